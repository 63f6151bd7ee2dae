"""One video, in no list, to the views that a test makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_cache import ShrunkFrames
from slowfast.datasets.frames import Source, VideoReader, open_video
from slowfast.datasets.pipeline import EvalViews, Views
from slowfast.datasets.video_dataset import read_clips


@dataclass(frozen=True)
class VideoViews:
    """Called with a video it gives its views: fixed clips as of ``sampler``, each in the crops of ``make_views``.

    ``short_side``: frames are shrunk to it first, antialiased; 0 leaves them. ``threads``: of the decoder.
    """

    sampler: ClipSampler
    make_views: EvalViews
    short_side: int = 0
    threads: int = 1

    def __call__(self, video: Source) -> tuple[Views, str]:
        """The views, uint8, and what is damaged about the video, "" if nothing. Raises UnreadableVideo."""
        with self.open(video) as reader:
            clips, which = read_clips(reader, self.sampler, _no_draw)
            return self.make_views(clips, ()).repeated(which), reader.damage

    def open(self, video: Source) -> VideoReader | ShrunkFrames:
        """A reader of the video's frames, to be used as a context; raises UnreadableVideo."""
        return self.shrunk(open_video(video, threads=self.threads))

    def shrunk(self, reader: VideoReader) -> VideoReader | ShrunkFrames:
        """A reader of a video with frames of the size that clips are made of."""
        return ShrunkFrames(reader, self.short_side) if self.short_side else reader

    def frame_numbers(self, reader: VideoReader | ShrunkFrames) -> np.ndarray:
        """Which frames its clips show, int64 (clips, T)."""
        return self.sampler(reader.num_frames, reader.fps, _no_draw())


def _no_draw() -> np.random.Generator:
    """For a sampler whose clips are fixed."""
    return np.random.default_rng(0)
