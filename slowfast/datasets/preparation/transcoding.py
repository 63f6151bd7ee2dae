"""A video → a smaller one that is quick to read from: short side and key-frame distance chosen, H.264 in MP4.

All frames are kept, in order. They come out at the constant average rate of the source; sound is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.preparation.extraction import all_frames, check_short_side, resized, scaled_size
from slowfast.datasets.video_writer import write_video

_CRF = 18  # hardly to be told from the source by eye


@dataclass(frozen=True)
class Transcode:
    """Settings of a transcoding. short_side: pixels, 0 keeps the size. gop: frames from one key frame to the next."""

    short_side: int = 320
    gop: int = 12
    suffix: str = ".mp4"

    def __post_init__(self):
        check_short_side(self.short_side)
        if self.gop < 1:
            raise ValueError(f"--gop is {self.gop}; write 1 (key frames only) or more")

    def make(self, source: Path, target: Path) -> tuple[int, str]:
        with open_video(source) as reader:
            if reader.fps is None:
                raise UnreadableVideo("the container does not tell the frame rate")
            size = tuple(map(_even, scaled_size(reader.width, reader.height, self.short_side)))
            counted = _Counted(np.asarray(resized(frame, size)) for frame in all_frames(reader))
            options = {"crf": str(_CRF), "g": str(self.gop)}
            write_video(target, counted, reader.fps, options=options)
            return counted.number, reader.damage

    def count(self, target: Path) -> int:
        """Frames that a decode of the whole file yields."""
        try:
            with open_video(target) as reader:
                return sum(1 for _ in all_frames(reader))
        except UnreadableVideo:
            return -1

    def stamp(self, target: Path) -> int:
        return target.stat().st_size if target.is_file() else -1


class _Counted:
    """Frames passed on, and counted on the way."""

    def __init__(self, frames):
        self._frames, self.number = frames, 0

    def __iter__(self):
        for frame in self._frames:
            self.number += 1
            yield frame


def _even(length: int) -> int:
    """yuv420p halves both sides."""
    return max(2, length - length % 2)
