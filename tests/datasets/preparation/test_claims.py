"""claims.py: of several lines of annotation that name one video, the list that is scored keeps it."""

import itertools

import pytest

from slowfast.datasets.preparation.claims import TWICE, TWO_CLASSES, TWO_LISTS, settle
from slowfast.datasets.preparation.entries import Entry


def entry(split, line, class_name="jump", label=0):
    return Entry(("v",), class_name, label, split, f"{split}.csv:{line}")


def test_one_line_keeps_what_it_names():
    assert settle([entry("train", 2)]) == (entry("train", 2), {})


def test_a_list_that_names_a_video_again_has_it_once_for_the_first_line():
    first, again = entry("test", 2), entry("test", 9)
    kept, others = settle([first, again])
    assert kept == first
    assert others == {again: (TWICE, "named again (test.csv:9): listed once, for test.csv:2")}


@pytest.mark.parametrize(
    ("split", "gives_way"),
    [("val", "train"), ("test", "train"), ("unlabelled", "train"), ("val", "test"), ("val", "unlabelled")],
)
def test_what_is_scored_keeps_a_video_whatever_the_order(split, gives_way):
    for entries in itertools.permutations([entry(split, 3), entry(gives_way, 7)]):
        kept, others = settle(entries)
        assert kept == entry(split, 3)
        reason = f"kept in {split} ({split}.csv:3) and so taken out of {gives_way} ({gives_way}.csv:7)"
        assert others == {entry(gives_way, 7): (TWO_LISTS, reason)}


def test_classes_that_differ_between_lists_are_told():
    train = entry("train", 7, "run", 1)
    kept, others = settle([train, entry("val", 3)])
    assert kept == entry("val", 3)
    assert others[train][1].endswith("; the classes differ, val says 'jump' and train 'run'")
    unlabelled = Entry(("v",), "", 0, "unlabelled", "test.csv:1")
    assert "differ" not in settle([unlabelled, train])[1][train][1]


def test_two_classes_in_the_list_that_is_scored_leave_it_in_no_list():
    entries = [entry("val", 3), entry("train", 7), entry("val", 5, "run", 1)]
    kept, others = settle(entries)
    reason = "annotated as 'jump' (val.csv:3) and as 'run' (val.csv:5): listed as neither"
    assert kept is None and others == dict.fromkeys(entries, (TWO_CLASSES, reason))
    two_in_train = [entry("train", 3), entry("train", 5, "run", 1)]
    assert settle(two_in_train)[0] is None
    assert settle([*two_in_train, entry("val", 1)])[0] == entry("val", 1)
