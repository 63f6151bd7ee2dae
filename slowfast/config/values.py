"""What a config key may hold: one name per kind of value, one conversion per kind.

A recipe and the command line give text, a program gives Python values; both pass through ``convert``, so that
``1e-6``, ``10`` for a float, ``8.0`` for a count, ``"[256, 320]"`` or a tuple mean the same everywhere.
"""

from __future__ import annotations

import ast
import math
import os
from collections.abc import Callable
from typing import Any

NO_VALUE = ("", "none", "null", "~")


def convert(kind: str, value: Any) -> Any:
    """``value`` as a value of ``kind``.

    Raises ValueError with the allowed form; the message is made to follow the key's name.
    """
    try:
        return KINDS[kind](value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"must be {DESCRIPTIONS[kind]}, not {value!r}") from None


def kind_of(default: Any) -> str:
    """The kind of a key whose default shows it: a bool, int, float, str, or a list of some of these."""
    if isinstance(default, (list, tuple)):
        assert default, "the kind of an empty list does not show: name it in defaults.KINDS"
        kinds = {kind_of(item) for item in default}
        kind = "number" if kinds == {"whole number", "number"} else kinds.pop()
        return f"list of {kind}s"
    for type_, kind in ((bool, "yes/no"), (int, "whole number"), (float, "number"), (str, "text")):
        if isinstance(default, type_):
            return kind
    raise TypeError(f"a key cannot hold {default!r} ({type(default).__name__})")


def literal(value: Any) -> Any:
    """The Python value that a text spells; the text itself where it spells none."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() in ("none", "null", "~"):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _switch(value: Any) -> bool:
    word = {"yes": True, "on": True, "no": False, "off": False}.get(str(value).strip().lower())
    value = literal(value) if word is None else word
    if not isinstance(value, bool):
        raise ValueError
    return value


def _number(value: Any) -> float:
    value = literal(literal(value))  # twice: a quoted number is a number
    if isinstance(value, (bool, str)) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _whole_number(value: Any) -> int:
    value = literal(literal(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not _number(value).is_integer():
        raise ValueError
    return int(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    value = os.fspath(value)
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = literal(value)
    if not isinstance(value, str):
        raise ValueError
    return value


def _text_or_switch(value: Any) -> str | bool:
    plain = literal(value)
    return plain if isinstance(plain, bool) else _text(value).lower()


def _optional(inner: Callable) -> Callable:
    def convert_optional(value: Any) -> Any:
        absent = value is None or (isinstance(value, str) and value.strip().lower() in NO_VALUE)
        return None if absent else inner(value)

    return convert_optional


def _list_of(inner: Callable) -> Callable:
    def convert_list(value: Any) -> list:
        value = _bracketed(value)
        if not isinstance(value, (list, tuple)):
            raise ValueError
        return [inner(item) for item in value]

    return convert_list


def _bracketed(value: Any) -> Any:
    """A list written as text, also one whose words lost their quotes to the shell: ``[head.*, norm]``."""
    plain = literal(value)
    if isinstance(plain, str) and plain.startswith("[") and plain.endswith("]"):
        return [word.strip() for word in plain[1:-1].split(",")]
    return plain


def _number_or_list(value: Any) -> float | list[float]:
    plain = literal(value)
    return _list_of(_number)(plain) if isinstance(plain, (list, tuple)) else _number(plain)


KINDS: dict[str, Callable[[Any], Any]] = {
    "yes/no": _switch,
    "whole number": _whole_number,
    "number": _number,
    "text": _text,
    "text or yes/no": _text_or_switch,
    "number or nothing": _optional(_number),
    "text or nothing": _optional(_text),
    "number or list": _number_or_list,
    "list of whole numbers": _list_of(_whole_number),
    "list of numbers": _list_of(_number),
    "list of texts": _list_of(_text),
    "list of lists": _list_of(_list_of(_number)),
}
DESCRIPTIONS: dict[str, str] = {
    "yes/no": "True or False",
    "whole number": "a whole number",
    "number": "a number",
    "text": "a text",
    "text or yes/no": "a word, or True or False",
    "number or nothing": "a number, or null for none",
    "text or nothing": "a text, or null for none",
    "number or list": "a number or a list of numbers",
    "list of whole numbers": "a list of whole numbers, such as [1, 2]",
    "list of numbers": "a list of numbers, such as [0.5, 1.0]",
    "list of texts": "a list of texts, such as ['a', 'b']",
    "list of lists": "a list of lists of numbers, one per stage",
}
