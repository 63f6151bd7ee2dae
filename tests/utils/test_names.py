"""Spellings of one name, and names that are two."""

import pytest

from slowfast.utils.names import normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Playing Cymbals", "playing_cymbals"),
        ("petting animal (not cat)", "petting animal not cat"),
        ("decorating the christmas tree's top", "decorating the christmas trees top"),
        ("Moving [something] up", "Moving something up"),
        ("ApplyEyeMakeup", "apply eye makeup"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert normalised(one) == normalised(other)


def test_case_spaces_and_punctuation_do_not_count():
    assert normalised("Hurling (sport)") == normalised("hurling_sport") == "hurlingsport"
    assert normalised("jump") != normalised("jumps")
