"""What the log says about waiting for data: nothing up to a fifth, then one setting."""

import pytest

from slowfast.engine.data_wait import advice


def said(share, num_workers=4, max_workers=15, processes=8, cached=False, num_videos=240_000):
    return advice(
        share,
        num_workers=num_workers,
        max_workers=max_workers,
        processes=processes,
        cached=cached,
        num_videos=num_videos,
        crop_size=224,
    )


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2])
def test_a_fifth_is_no_matter(share):
    assert said(share) == ""


@pytest.mark.parametrize(
    ("share", "num_workers", "enough"),
    [
        (0.5, 4, 8),  # they bring a step's data in two steps' time
        (0.25, 6, 8),
        (0.75, 4, 15),  # 16, but there are cores for 15
        (0.4, 0, 1),  # one beside the process reads 0.4 of the time while that computes for 0.6
        (0.75, 0, 3),
    ],
)
def test_more_workers_while_there_are_cores(share, num_workers, enough):
    line = said(share, num_workers)
    assert (
        line == f"{share:.0%} of the epoch was spent waiting for data: write DATA_LOADER.NUM_WORKERS {enough}"
    )


def test_a_small_set_is_kept_in_memory_once_all_cores_read():
    line = said(0.3, 15, num_videos=2000)
    assert line.startswith("30% of the epoch was spent waiting for data: 15 workers take all cores")
    assert "write DATA.CACHE_SHORT_SIDE 224" in line


@pytest.mark.parametrize("case", [{"num_videos": 2001}, {"num_videos": 10, "cached": True}])
def test_otherwise_less_work_for_each_core(case):
    line = said(0.3, 15, **case)
    assert "lower NUM_GPUS" in line and "short side of 224 pixels" in line and "CACHE" not in line


def test_a_process_alone_has_no_other_to_take_cores_from():
    line = said(0.3, 1, max_workers=1, processes=1)
    assert line.endswith("1 worker takes all cores of this process; store the videos with a short side of 224 pixels")
