"""One video, in no list, to the views that a test makes of it: all at once, or frame by frame as they come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from slowfast.datasets import frames
from slowfast.datasets.checking.sources import FolderSource, LostSource, ShardSource
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_cache import ShrunkFrames, shrink
from slowfast.datasets.frame_folders import FrameFolder
from slowfast.datasets.frame_stream import FolderStream, FrameStream, open_stream
from slowfast.datasets.frames import UnreadableVideo, VideoReader, open_video
from slowfast.datasets.pipeline import EvalViews, Views
from slowfast.datasets.preparation.media import pictures_in
from slowfast.datasets.tar_members import read_stored
from slowfast.datasets.video_dataset import read_clips

Video = frames.Source | FolderSource | ShardSource | LostSource
"""A path of a file or of a folder of numbered pictures, the bytes of a file, a binary file object, or where a list says
that a video lies."""


@dataclass(frozen=True)
class VideoViews:
    """Called with a video it gives its views: fixed clips as of ``sampler``, each in the crops of ``make_views``.

    ``short_side``: frames are shrunk to it first, antialiased; 0 leaves them. ``threads``: of the decoder.
    """

    sampler: ClipSampler
    make_views: EvalViews
    short_side: int = 0
    threads: int = 1

    def __call__(self, video: Video) -> tuple[Views, str]:
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

    def open(self, video: Video) -> VideoReader | FrameFolder | ShrunkFrames:
        """A reader of the video's frames, to be used as a context; raises UnreadableVideo."""
        return self.shrunk(self.reader(video))

    def reader(self, video: Video) -> VideoReader | FrameFolder:
        """The same, of frames in their own size."""
        video = _located(video)
        if isinstance(video, (FolderSource, ShardSource, LostSource)):
            return video.open()
        return open_video(video, threads=self.threads)

    def shrunk(self, reader: VideoReader | FrameFolder) -> VideoReader | FrameFolder | ShrunkFrames:
        """The reader with frames as small as ``short_side`` says."""
        return ShrunkFrames(reader, self.short_side) if self.short_side else reader

    def stream(self, video: Video) -> FrameStream | FolderStream:
        """The video's frames one after the other, in their own size, as a context; raises UnreadableVideo."""
        video = _located(video)
        if isinstance(video, FolderSource):
            return FolderStream(video.open())
        if isinstance(video, LostSource):
            raise UnreadableVideo(video.reason)
        if isinstance(video, ShardSource):
            return open_stream(read_stored(video.path, video.offset, video.size), threads=self.threads)
        return open_stream(video, threads=self.threads)

    def of_frame(self, picture: np.ndarray) -> Views:
        """What the crops show of one frame, uint8 (H, W, 3): clips of this frame alone, (N, 1, S, S, 3)."""
        frame = torch.from_numpy(picture)[None]
        if self.short_side:
            frame = shrink(frame, self.short_side)
        return self.make_views(frame[None], ())


def _located(video: Video) -> Video:
    """The same, but for the path of a folder: the video whose frames are the pictures in there."""
    if not isinstance(video, (str, os.PathLike)) or not os.path.isdir(video):
        return video
    try:
        found = pictures_in(video)
    except OSError as error:
        return LostSource(f"the folder cannot be read ({error.strerror})")
    if found is None:
        return LostSource("a folder, not a video file, and without the numbered pictures of one")
    if found.problem:
        return LostSource(f"a folder of pictures that are no frames of a video: {found.problem}")
    return FolderSource(os.fspath(video), found.num_frames, found.template)


def joined(frames: Mapping[int, Views], clips: np.ndarray, which: np.ndarray) -> Views:
    """The views of clips whose frames were cut one by one: equal to those of the whole clips.

    frames: number -> `VideoViews.of_frame` of it. clips int64 (D, T): numbers of the frames of each different clip;
    which (C,): the different clip that each of the wanted ones is.
    """
    pixels = [torch.cat([frames[number].clips for number in clip], dim=1) for clip in clips.tolist()]
    crops = frames[int(clips[0, 0])]
    rows = len(crops.clips) * torch.arange(len(clips))[:, None] + crops.rows
    return Views.of(torch.cat(pixels), rows=rows.flatten()).repeated(which)


def _no_draw() -> np.random.Generator:
    """For a sampler whose clips are fixed."""
    return np.random.default_rng(0)
