"""journal.py: whole lines are kept, half ones cut away, and nothing is taken for ours that is not."""

import json

import pytest

from slowfast.datasets.checking.journal import Journal, Verdict
from slowfast.utils.isolation import Limits

LIMITS = Limits(30, 2)
SETTINGS = {"list": "0a", "frames": "all"}
A, B = ("a.mp4", None), ("folder", 9)
VERDICTS = {A: Verdict("bad", "not done after 30 seconds", LIMITS), B: Verdict("damaged", "half ünï")}
STAMPS = {A: (10, 11), B: (20, 21)}


@pytest.fixture
def path(tmp_path):
    """A journal of two verdicts."""
    with Journal(tmp_path / "new" / "journal.jsonl", SETTINGS) as journal:
        for key, verdict in VERDICTS.items():
            journal.add(key, STAMPS[key], verdict)
    return tmp_path / "new" / "journal.jsonl"


def known(path, limits=LIMITS):
    with Journal(path, SETTINGS) as journal:
        return {key: journal.known(key, STAMPS[key], limits) for key in VERDICTS}


def test_verdicts_come_back(path):
    assert known(path) == VERDICTS


def test_other_stamps_limits_and_numbers_of_frames_are_not_known(path):
    assert known(path, Limits(60, 2)) == {A: None, B: VERDICTS[B]}
    with Journal(path, SETTINGS) as journal:
        assert journal.known(A, (10, 12), LIMITS) is None
        assert journal.known(B, (19, 21), LIMITS) is None
        assert journal.known(("folder", 8), STAMPS[B], LIMITS) is None


def test_the_last_verdict_holds(path):
    with Journal(path, SETTINGS) as journal:
        journal.add(A, STAMPS[A], Verdict("good"))
    assert known(path) == {A: Verdict("good"), B: VERDICTS[B]}


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines(path):
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        found = known(path)
        assert [key for key, verdict in found.items() if verdict] == [A, B][
            : max(0, sum(end <= cut for end in ends) - 1)
        ]
        assert all(json.loads(line) for line in path.read_bytes().splitlines())
        assert path.read_bytes().endswith(b"\n")


def test_zeros_at_the_end_are_cut_away(path):
    with open(path, "ab") as file:
        file.write(bytes(100) + b"\n")
    assert known(path) == VERDICTS
    assert path.read_bytes().count(b"\0") == 0


@pytest.mark.parametrize("content", ["text\n", "text", "[1]\n", '{"what": "other"}\n', "5\n"])
def test_what_is_not_ours_is_left_alone(tmp_path, content):
    path = tmp_path / "journal.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match="not the journal of a check"):
        Journal(path, SETTINGS)
    assert path.read_text() == content


def test_other_settings_are_named(path):
    with pytest.raises(ValueError, match="the list has changed; num_frames was None, is 8"):
        Journal(path, {"list": "0b", "frames": "all", "num_frames": 8})
