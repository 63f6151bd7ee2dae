"""Frames of small data sets, made small once and kept in memory: later epochs decode nothing.

A training set of some hundred short clips fits into memory at the size that a small model needs, and decoding is then
most of the time of a run. Frames are shrunk in the same way whether they are kept or not, so what an item holds does
not depend on what was read before. Every loader worker keeps frames of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch

from slowfast.datasets import transforms
from slowfast.datasets.annotations import VideoTable
from slowfast.datasets.frames import EndOfVideo

_CHUNK = 32  # frames decoded at a time, so that no video is held at full size


class FrameCache:
    """Opens entries of a list through ``open_media``, with frames of a short side of at most ``short_side`` pixels.

    Videos are kept as long as they fit into ``max_bytes`` together; what comes later is decoded at every use. It is
    called with (table, index), as the openers of video_dataset are, and raises what they raise.
    """

    def __init__(self, open_media: Callable[[VideoTable, int], Any], short_side: int, max_bytes: int) -> None:
        self.open_media = open_media
        self._short_side = short_side
        self._room = max_bytes
        self._kept: dict[str, KeptFrames] = {}

    def __getstate__(self) -> dict:
        """What travels to a worker: everything but the frames."""
        return {**self.__dict__, "_kept": {}}

    def __call__(self, table: VideoTable, index: int) -> KeptFrames | ShrunkFrames:
        path = table.path(index)
        if path in self._kept:
            return self._kept[path]
        with ExitStack() as stack:
            reader = stack.enter_context(ShrunkFrames(self.open_media(table, index), self._short_side))
            if reader.num_frames * reader.read([0]).nbytes > self._room:
                stack.pop_all()  # the caller closes it
                return reader
            kept = KeptFrames(reader.read_all(), reader.fps, reader.damage)
        self._kept[path] = kept
        self._room -= kept.num_bytes
        return kept


class KeptFrames:
    """All frames of one video in memory, behind the interface of frames.VideoReader."""

    def __init__(self, frames: np.ndarray, fps: float | None, damage: str) -> None:
        self._frames = frames
        self.num_frames, self.num_bytes = len(frames), frames.nbytes
        self.fps, self.damage = fps, damage

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames with these numbers, uint8 (len(indices), height, width, 3)."""
        return self._frames[np.asarray(indices)]

    def __enter__(self) -> KeptFrames:
        return self

    def __exit__(self, *exception: object) -> None:
        """They stay: the next one to open the video gets them."""


class ShrunkFrames:
    """A reader whose frames come with a short side of at most ``short_side`` pixels, antialiased."""

    def __init__(self, reader: Any, short_side: int) -> None:
        self._reader = reader
        self._short_side = short_side

    num_frames = property(lambda self: self._reader.num_frames)
    fps = property(lambda self: self._reader.fps)
    damage = property(lambda self: self._reader.damage)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """The frames with these numbers, uint8 (len(indices), height, width, 3); raises what the reader raises."""
        return shrink(torch.from_numpy(self._reader.read(indices)), self._short_side).numpy()

    def read_all(self) -> np.ndarray:
        """Every frame, uint8 (num_frames, height, width, 3), as many as there turn out to be."""
        chunks, start = [], 0
        while start < self.num_frames:
            try:
                chunks.append(self.read(range(start, min(start + _CHUNK, self.num_frames))))
            except EndOfVideo:  # now num_frames is right
                continue
            start += _CHUNK
        return np.concatenate(chunks)

    def __enter__(self) -> ShrunkFrames:
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.__exit__(*exception)


def shrink(frames: torch.Tensor, short_side: int) -> torch.Tensor:
    """Frames uint8 (N, H, W, 3) with a short side of at most ``short_side`` pixels, antialiased."""
    if min(frames.shape[1:3]) <= short_side:
        return frames
    return transforms.resize_short_side(frames, short_side, antialias=True)
