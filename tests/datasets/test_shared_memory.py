"""Shared memory that is too small is known before the first batch, with what to set."""

import os
from types import SimpleNamespace

import pytest

from slowfast.datasets import shared_memory
from slowfast.datasets.build import build_loaders

GIB = 2**30


@pytest.fixture
def free(monkeypatch):
    """A function that sets how many bytes are free, and in use."""

    def set_free(count, used=0):
        blocks = count // 4096
        status = SimpleNamespace(f_bavail=blocks, f_bfree=blocks, f_blocks=blocks + used // 4096, f_frsize=4096)
        monkeypatch.setattr(os, "statvfs", lambda folder: status)

    return set_free


def check(batch_bytes, **changes):
    settings = {"num_workers": 4, "prefetch_factor": 2, "passes": 1, "processes_on_host": 2, **changes}
    shared_memory.check(batch_bytes, **settings)


def test_what_fits_is_let_through(free):
    free(20 * GIB)  # 2 processes x (4 x 2 + 2) batches
    check(GIB)


def test_what_does_not_fit_is_refused_with_the_fix(free):
    free(20 * GIB - 4096)
    with pytest.raises(
        ValueError,
        match=r"20 GiB of shared memory free, and loading may take 20 GiB .*\(2 process\(es\) here x 10 batches x 1 GiB"
        r".*--shm-size=20g.*remount,size=20G /dev/shm.*write DATA_LOADER.NUM_WORKERS 3 or .*PREFETCH_FACTOR below 2",
    ):
        check(GIB)  # 3 workers: 2 x (3 x 2 + 2) = 16
    check(GIB, num_workers=3)


def test_the_size_to_give_it_counts_what_is_in_use(free):
    free(GIB, used=23 * GIB)
    with pytest.raises(ValueError, match=r"has 1 GiB .*--shm-size=43g.*remount,size=43G"):
        check(GIB)


def test_where_no_worker_fits_this_process_reads(free):
    free(64 * 2**20)
    with pytest.raises(ValueError, match=r"write DATA_LOADER.NUM_WORKERS 0$"):
        check(GIB, prefetch_factor=1)
    check(GIB, num_workers=0)


def test_a_system_that_does_not_tell_is_trusted(tmp_path):
    shared_memory.check(
        2**60, num_workers=1, prefetch_factor=1, passes=1, processes_on_host=1, folder=str(tmp_path / "none")
    )


def test_a_run_counts_the_pixels_of_its_largest_batch(debug_cfg, free):
    cfg = debug_cfg("TRAIN.ACCUMULATION_STEPS", "2", "TEST.BATCH_SIZE", "4")
    train_batch = 8 * 2 * 4 * 32 * 32 * 3  # videos x copies x frames x pixels x colours, of one pass
    needed = (1 * 2 + 2 + 1) * train_batch
    free(4096 * (needed // 4096))
    build_loaders(cfg, ("train", "val"))
    free(needed - 4096)
    with pytest.raises(ValueError, match=r"5 batches x .*DATA_LOADER.NUM_WORKERS 0"):
        build_loaders(cfg, ("train", "val"))
    test_batch = 12 * 4 * 32 * 32 * 3  # two videos of 2 x 3 views
    free(test_batch * 4 - 4096)
    with pytest.raises(ValueError, match=r"4 batches x"):
        build_loaders(debug_cfg(), ("test",))
    build_loaders(debug_cfg("TEST.NUM_SPATIAL_CROPS", "1", "TEST.BATCH_SIZE", "4"), ("test",))
