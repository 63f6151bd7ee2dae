"""A video → a folder of numbered JPEG files, one for every frame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from slowfast.datasets.frames import EndOfVideo, VideoReader, open_video
from slowfast.datasets.preparation.media import frame_folder

_FRAMES_AT_ONCE = 16  # bounds memory: 100 MB at 1920x1080
_QUALITY = 95


@dataclass(frozen=True)
class ExtractFrames:
    """Settings of an extraction. template: names of the files from 1. short_side: pixels, 0 keeps the size."""

    template: str
    short_side: int = 0
    suffix: str = ""

    def __post_init__(self):
        check_short_side(self.short_side)

    def make(self, source: Path, target: Path) -> tuple[int, str]:
        target.mkdir()
        with open_video(source) as reader:
            size = scaled_size(reader.width, reader.height, self.short_side)
            number = 0
            for number, frame in enumerate(all_frames(reader), start=1):
                resized(frame, size).save(target / self.template.format(number), quality=_QUALITY)
            return number, reader.damage

    def count(self, target: Path) -> int:
        if not target.is_dir():
            return -1
        found = frame_folder(sorted(os.listdir(target)) or [""])
        return -1 if found.problem or found.template != self.template else found.num_frames

    def stamp(self, target: Path) -> int:
        """The bytes of all frames: one that was lost, emptied or cut off, as by a power failure, changes them."""
        if self.count(target) < 0:
            return -1
        with os.scandir(target) as entries:
            return sum(entry.stat().st_size for entry in entries)


def check_short_side(short_side: int) -> None:
    """Raise ValueError for a length that no picture can have."""
    if short_side and short_side < 16:
        raise ValueError(f"--short-side is {short_side}; write 16 or more pixels, or 0 to keep the size")


def all_frames(reader: VideoReader) -> Iterator[np.ndarray]:
    """Every frame of a video in order, uint8 (height, width, 3), RGB. Raises UnreadableVideo if one cannot be read."""
    position = 0
    while position < reader.num_frames:  # which a read past the true end corrects
        wanted = range(position, min(position + _FRAMES_AT_ONCE, reader.num_frames))
        frames = _read(reader, wanted)
        yield from frames
        position = wanted.stop


def _read(reader: VideoReader, wanted: range) -> np.ndarray:
    try:
        return reader.read(wanted)
    except EndOfVideo as end:
        return reader.read(range(wanted.start, max(end.num_frames, wanted.start)))


def scaled_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) with the shorter side `short_side` and the same shape; never enlarged, 0 keeps the size."""
    scale = short_side / min(width, height)
    if not short_side or scale >= 1:
        return width, height
    return round(width * scale), round(height * scale)


def resized(frame: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """The picture in the size (width, height), filtered so that fine patterns do not turn into coarse ones."""
    image = Image.fromarray(frame)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
