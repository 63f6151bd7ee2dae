"""Frames are shrunk alike whether they are kept or not, and a kept video is not opened again."""

import pickle

import numpy as np
import pytest
import torch

from slowfast.datasets import transforms
from slowfast.datasets.frame_cache import FrameCache
from slowfast.datasets.frames import EndOfVideo, UnreadableVideo


class Table:
    def path(self, index):
        return f"video {index}"


class Reader:
    """40 frames of noise; `promised` may claim more, as some headers do."""

    fps, damage = 25.0, ""

    def __init__(self, seed, promised=40):
        self.frames = np.random.default_rng(seed).integers(0, 256, (40, 24, 32, 3), dtype=np.uint8)
        self.num_frames = promised
        self.closed = False

    def read(self, indices):
        if max(indices) >= 40:
            self.num_frames = 40
            raise EndOfVideo(40)
        return self.frames[list(indices)]

    def __exit__(self, *exception):
        self.closed = True


class Opener:
    def __init__(self, promised=40):
        self.promised, self.opened = promised, []

    def __call__(self, table, index):
        self.opened.append(Reader(index, self.promised))
        return self.opened[-1]


def read(cache, index, indices):
    with cache(Table(), index) as reader:
        return reader.read(indices)


@pytest.mark.parametrize("promised", [40, 43])
def test_a_kept_video_is_opened_once_and_equals_one_that_is_not_kept(promised):
    opener, indices = Opener(promised), [39, 0, 17, 17]
    kept, anew = FrameCache(opener, 12, 10**6), FrameCache(Opener(), 12, 0)
    expected = transforms.resize(torch.from_numpy(Reader(5).frames[indices]), 12, 16, antialias=True)
    for _ in range(3):
        assert np.array_equal(read(kept, 5, indices), expected)
        assert np.array_equal(read(anew, 5, indices), expected)
    assert len(opener.opened) == 1 and opener.opened[0].closed
    with kept(Table(), 5) as reader:
        assert (reader.num_frames, reader.fps, reader.damage) == (40, 25.0, "")


def test_what_does_not_fit_is_opened_at_every_use():
    opener = Opener()
    cache = FrameCache(opener, 12, 40 * 12 * 16 * 3)  # one video
    for _ in range(2):
        for index in (0, 1):
            read(cache, index, [3])
    assert len(opener.opened) == 3


def test_small_frames_are_not_enlarged():
    assert np.array_equal(read(FrameCache(Opener(), 100, 10**6), 2, [1]), Reader(2).frames[[1]])


def test_frames_do_not_travel_to_workers():
    cache = FrameCache(Reader, 12, 10**6)
    cache.open_media = Opener()
    read(cache, 0, [0])
    assert len(pickle.dumps(cache._kept)) > 20_000 > len(pickle.dumps(cache.__getstate__()["_kept"]))


def test_unreadable_videos_stay_unreadable():
    def refuse(table, index):
        raise UnreadableVideo("no such file")

    with pytest.raises(UnreadableVideo, match="no such file"):
        FrameCache(refuse, 12, 10**6)(Table(), 0)
