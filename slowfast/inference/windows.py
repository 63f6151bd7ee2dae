"""Where the windows of a long video lie, and which of its frames each takes: arithmetic, without pixels.

A window is treated as a video of its own: its clips are those that the sampler takes of a video of that length. Windows
begin every ``stride`` frames. The last one may be cut short by the end of the video; its last frame then stands for
those that are missing. It is left out if less than half of it is there, unless it is the only one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slowfast.datasets import sampling
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frames import UnreadableVideo

SPARSE_SECONDS = 4.0  # a window of a model that looks at whole videos: about one clip of Something-Something
SPARSE_SPACING = (
    4  # frames from one frame of a clip to the next, where there is no frame rate to tell seconds
)

Extent = float | int | str
"""A length of time: seconds, as a number or its text; or frames, as text with an f at its end, such as 64f."""


@dataclass(frozen=True)
class Windows:
    """Windows of ``length`` frames, one every ``stride``. clips int64 (D, T): the frames that the different clips of a
    window take, counted from its first; which (C,): the different clip that each of its clips is."""

    length: int
    stride: int
    clips: np.ndarray
    which: np.ndarray

    def start(self, window: int) -> int:
        """Number of the first frame of a window; the first window is 0."""
        return window * self.stride

    def ending_with(self, frame: int) -> int | None:
        """The window whose last frame this is."""
        window, rest = divmod(frame + 1 - self.length, self.stride)
        return window if window >= 0 and not rest else None

    def last_taking(self, frame: int) -> int | None:
        """The last window that takes this frame; None if none does."""
        offsets = range(frame % self.stride, min(self.length, frame + 1), self.stride)
        offset = next((offset for offset in offsets if offset in self._taken), None)
        return None if offset is None else (frame - offset) // self.stride

    def cut_short(self, num_frames: int) -> int | None:
        """The window that the end of a video of so many frames cuts short and that is scored; None if there is none."""
        window = max(0, (num_frames - self.length) // self.stride + 1)
        there = num_frames - self.start(window)
        uncovered = num_frames - (self.start(window - 1) + self.length) if window else num_frames
        if uncovered <= 0 or (window and 2 * there < self.length):
            return None
        return window

    @cached_property
    def _taken(self) -> frozenset[int]:
        return frozenset(self.clips.ravel().tolist())


def plan(sampler: ClipSampler, fps: float | None, window: Extent | None, stride: Extent | None) -> Windows:
    """Windows for a video at ``fps`` (None: not known).

    window None: what one clip of the model spans or, for models that spread their frames over the whole video,
    4 seconds. stride None: half a window. Raises as `in_frames` does.
    """
    length = _own_length(sampler, fps) if window is None else in_frames(window, fps, "--window")
    step = max(1, length // 2) if stride is None else in_frames(stride, fps, "--stride")
    clips, which = sampling.distinct_clips(sampler(length, fps, np.random.default_rng(0)))
    return Windows(length, step, clips, which)


def in_frames(extent: Extent, fps: float | None, name: str) -> int:
    """A length in frames, at least 1. Raises ValueError, calling it by ``name``; UnreadableVideo for seconds of a video
    whose frame rate is not known."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(f?)", str(extent).strip())
    if not found or not float(found[1]) > 0 or (found[2] and not found[1].isdigit()):
        raise ValueError(f"{name} is {extent!r}; write seconds above 0, such as 2.5, or frames, such as 64f")
    if found[2]:
        return int(found[1])
    if not fps:
        raise UnreadableVideo(
            f"it states no frame rate, which {name} in seconds needs: write frames, such as 64f"
        )
    return max(1, round(float(found[1]) * fps))


def _own_length(sampler: ClipSampler, fps: float | None) -> int:
    if sampler.rule == "dense":
        return math.ceil(sampler.span(fps))
    return max(1, round(SPARSE_SECONDS * fps)) if fps else sampler.num_frames * SPARSE_SPACING
