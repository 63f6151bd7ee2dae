"""One video, in no list, to the views that a test makes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_cache import ShrunkFrames
from slowfast.datasets.frame_folders import FrameFolder
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
            return self.of(reader), reader.damage

    def of(self, reader: VideoReader | FrameFolder | ShrunkFrames) -> Views:
        """The views of an open video. Raises UnreadableVideo."""
        clips, which = read_clips(reader, self.sampler, _no_draw)
        return self.make_views(clips, ()).repeated(which)

    def clips(
        self, reader: VideoReader | FrameFolder | ShrunkFrames, stride_seconds: float = 0.0
    ) -> np.ndarray:
        """Frame numbers, int64 (clips, T), of the test's clips, or with a stride of windows over the whole video.

        Raises what the sampler raises.
        """
        if stride_seconds:
            return self.sampler.windows(reader.num_frames, reader.fps, stride_seconds, _no_draw())
        return self.sampler(reader.num_frames, reader.fps, _no_draw())

    def open(self, video: Source) -> VideoReader | ShrunkFrames:
        """A reader of the video's frames, to be used as a context; raises UnreadableVideo."""
        return self.shrunk(open_video(video, threads=self.threads))

    def shrunk(self, reader: VideoReader | FrameFolder) -> VideoReader | FrameFolder | ShrunkFrames:
        """The reader with frames as small as ``short_side`` says."""
        return ShrunkFrames(reader, self.short_side) if self.short_side else reader


def _no_draw() -> np.random.Generator:
    """For a sampler whose clips are fixed."""
    return np.random.default_rng(0)
