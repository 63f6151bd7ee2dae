"""results.py: what a summary says. What is written is tested from end to end in engine/test_check_data.py."""

import pytest

from slowfast.datasets.annotations import read_list
from slowfast.datasets.checking import results
from slowfast.datasets.checking.journal import Verdict

DAMAGE = "the header promises {} frames, the file holds {}"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("".join(f"{number}.mp4,{number % 2}\n" for number in range(5)))
    return read_list(path, num_classes=2)


def test_reasons_that_differ_in_numbers_are_told_once(tmp_path, table):
    verdicts = [
        Verdict("good"),
        Verdict("damaged", DAMAGE.format(40, 25)),
        Verdict("damaged", DAMAGE.format(40, 24)),
        Verdict("bad", "empty file"),
        Verdict("bad", "empty file"),
    ]
    counts = results.count_classes(table, [True, False, False, False, False], ["run", "jump"])
    assert results.summary(tmp_path / "out", table, verdicts, counts, ("good",)).splitlines() == [
        f"{tmp_path / 'train.csv'}: 1 of 5 videos are good (20.00%)",
        "  not good: 4",
        "    2 x damaged: the header promises 40 frames, the file holds 25 (and the like)",
        "    2 x empty file",
        "  classes that lost most:",
        "    0 of 2 good: 1 jump",
        "    1 of 3 good: 0 run",
        f"  good.csv, bad.csv and coverage.csv are in {tmp_path / 'out'}",
    ]
    kept = results.summary(tmp_path / "out", table, verdicts, counts, ("good", "damaged")).splitlines()
    assert kept[0].endswith("3 of 5 videos are good (60.00%)") and kept[1:5] == [
        "  not good: 2",
        "    2 x empty file",
        "  used as far as they go: 2",
        "    2 x damaged: the header promises 40 frames, the file holds 25 (and the like)",
    ]
