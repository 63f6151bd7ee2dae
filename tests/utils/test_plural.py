"""plural.py: one is one, and everything else is several."""

import pytest

from slowfast.utils.plural import counted


@pytest.mark.parametrize(
    ("number", "nouns", "said"),
    [
        (0, ("video",), "0 videos"),
        (1, ("video",), "1 video"),
        (2, ("frame folder",), "2 frame folders"),
        (1, ("class", "classes"), "1 class"),
        (3, ("class", "classes"), "3 classes"),
    ],
)
def test_nouns_follow_their_number(number, nouns, said):
    assert counted(number, *nouns) == said
