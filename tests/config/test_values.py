"""One conversion for recipes, command lines and programs."""

import math
from pathlib import Path

import pytest

from slowfast.config.values import KINDS, convert, kind_of, literal


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("number", "1e-6", 1e-6),
        ("number", "'1e-6'", 1e-6),
        ("number", "5", 5.0),
        ("number", 5, 5.0),
        ("number", "-1", -1.0),
        ("whole number", "8.0", 8),
        ("whole number", 8.0, 8),
        ("whole number", "1e3", 1000),
        ("yes/no", "True", True),
        ("yes/no", "false", False),
        ("yes/no", "off", False),
        ("text", "007", "007"),
        ("text", "2024", "2024"),
        ("text", "','", ","),
        ("text", None, ""),
        ("text", Path("a") / "b", "a/b"),
        ("text or yes/no", "True", True),
        ("text or yes/no", "off", "off"),
        ("text or yes/no", "BF16", "bf16"),
        ("number or nothing", "None", None),
        ("number or nothing", "null", None),
        ("number or nothing", "", None),
        ("number or nothing", "20", 20.0),
        ("text or nothing", "None", None),
        ("number or list", "4", 4.0),
        ("number or list", [4, "3.5"], [4.0, 3.5]),
        ("number or list", "[3, 3, 3, 3]", [3.0, 3.0, 3.0, 3.0]),
        ("list of whole numbers", ["256", "320"], [256, 320]),
        ("list of whole numbers", "256,320", [256, 320]),
        ("list of numbers", (0.9, 1), [0.9, 1.0]),
        ("list of numbers", "[]", []),
        ("list of texts", "[head.*, norm]", ["head.*", "norm"]),
        ("list of texts", "['head.*']", ["head.*"]),
        ("list of lists", [[], [], ["1", "0.5"], [0.5]], [[], [], [1.0, 0.5], [0.5]]),
    ],
)
def test_what_is_written_becomes_what_is_meant(kind, given, expected):
    value = convert(kind, given)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("number", "fast"),
        ("number", True),
        ("number", "nan"),
        ("number", math.inf),
        ("number", [1]),
        ("number", None),
        ("whole number", "2.5"),
        ("whole number", True),
        ("whole number", "9" * 500 + ".5"),
        ("yes/no", "1"),
        ("yes/no", 0),
        ("yes/no", "maybe"),
        ("text", 3),
        ("text", ["a"]),
        ("list of whole numbers", "8"),
        ("list of whole numbers", [1.5]),
        ("list of whole numbers", {}),
        ("list of lists", [1, 2]),
        ("number or list", "wide"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_allowed_form(kind, given):
    with pytest.raises(ValueError, match="^must be .*, not "):
        convert(kind, given)


def test_every_kind_is_described():
    for kind in KINDS:
        with pytest.raises(ValueError, match="must be"):
            convert(kind, object())


@pytest.mark.parametrize(
    ("default", "kind"),
    [
        (True, "yes/no"),
        (1, "whole number"),
        (1.0, "number"),
        ("", "text"),
        ([1, 2], "list of whole numbers"),
        ([0.5, 1], "list of numbers"),
        (["a"], "list of texts"),
    ],
)
def test_the_kind_shows_in_the_default(default, kind):
    assert kind_of(default) == kind
    assert kind in KINDS


def test_a_default_that_shows_nothing_is_our_mistake():
    with pytest.raises(TypeError, match="cannot hold"):
        kind_of(None)
    with pytest.raises(AssertionError):
        kind_of([])


def test_text_spells_python_values_or_itself():
    assert literal("true") is True
    assert literal("~") is None
    assert literal("(1, 2)") == (1, 2)
    assert literal("rand-m7-n4") == "rand-m7-n4"
    assert literal(3) == 3
