"""Clips of one pass are those of reading each alone, decoded once and let go in time."""

import numpy as np
import pytest
import torch

from slowfast.datasets import clip_stream, sampling
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.clip_stream import stream_clips
from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.pipeline import EvalViews


class Reader:
    """Frames of noise, and which were read."""

    fps = 10.0

    def __init__(self, num_frames, height=20, width=30):
        self.num_frames, self.read_numbers = num_frames, []
        self.pixels = np.random.default_rng(0).integers(
            0, 256, (num_frames, height, width, 3), dtype=np.uint8
        )

    def read(self, indices):
        self.read_numbers += np.asarray(indices).tolist()
        return self.pixels[np.asarray(indices)]


@pytest.mark.parametrize("crops", [1, 3])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_clips_equal_those_made_alone(monkeypatch, crops, chunk):
    monkeypatch.setattr(clip_stream, "CHUNK", chunk)
    reader, views = Reader(40), EvalViews(16, 12, crops, antialias=True)
    numbers = np.array([[0, 9, 18], [5, 14, 23], [36, 37, 38], [4, 4, 30]])
    found = dict(stream_clips(reader, numbers, views))
    assert sorted(found) == [0, 1, 2, 3]
    for clip, frames in enumerate(numbers):
        made = views(torch.from_numpy(reader.pixels[frames])[None], ())
        assert torch.equal(found[clip], made.clips[made.rows])
    assert reader.read_numbers == sorted(set(numbers.ravel().tolist()))


def test_frames_are_kept_only_as_long_as_a_clip_needs_them(monkeypatch):
    monkeypatch.setattr(clip_stream, "CHUNK", 1)
    reader = Reader(500)
    numbers = np.array([[start, start + 4] for start in range(0, 490, 2)])
    stream, most = stream_clips(reader, numbers, EvalViews(8, 8, 1)), 0
    for _ in stream:
        most = max(most, len(stream.gi_frame.f_locals["kept"]))
    assert most == 3  # of a clip, its first, its last and the one between


def test_windows_begin_every_stride_and_the_last_ends_with_the_video():
    assert sampling.window_starts(20, 8, 5) == [0, 5, 10, 12]
    assert sampling.window_starts(18, 8, 5) == [0, 5, 10]
    assert sampling.window_starts(8, 8, 5) == [0] and sampling.window_starts(3, 8, 5) == [0]
    with pytest.raises(ValueError, match="must be above 0"):
        sampling.window_starts(20, 8, 0)


def test_windows_of_a_sampler_are_clips_of_its_length():
    sampler = ClipSampler(num_frames=4, sampling_rate=2, num_clips=1)
    frames = sampler.windows(20, 10.0, 0.5, None)
    assert frames[:, 0].tolist() == [0, 5, 10, 12] and frames[:, -1].tolist() == [7, 12, 17, 19]
    with pytest.raises(UnreadableVideo, match="no frame rate"):
        sampler.windows(20, None, 0.5, None)
    with pytest.raises(ValueError, match="spread over the whole video"):
        ClipSampler(num_frames=4, sampling_rate=2, num_clips=1, rule="segments").windows(20, 10.0, 0.5, None)
