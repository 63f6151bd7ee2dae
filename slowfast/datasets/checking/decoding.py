"""One video → good, damaged or bad: the frames that training may take of it are decoded, as training would.

Imports no torch: each of the processes that this runs in would have to load it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import numpy as np

from slowfast.datasets.checking.sources import Source
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frame_folders import FrameFolder
from slowfast.datasets.frames import EndOfVideo, UnreadableVideo, VideoReader

GOOD, DAMAGED, BAD = "good", "damaged", "bad"


def decode(source: Source, *, clips: ClipSampler, whole: bool) -> tuple[str, str]:
    """(GOOD, ""), (DAMAGED, what the file lacks though all frames in it decode), or (BAD, the reason).

    `clips` gives the frames; with `whole` they only say what a clip is, and every frame is decoded, so many at a time
    as a clip has. Raises MemoryError where memory is short.
    """
    try:
        with source.open() as reader:
            _read(reader, clips, whole)
            return (DAMAGED, reader.damage) if reader.damage else (GOOD, "")
    except UnreadableVideo as error:
        if _for_lack_of_memory(error):
            raise MemoryError from error
        return BAD, str(error)


def _read(reader: VideoReader | FrameFolder, clips: ClipSampler, whole: bool) -> None:
    """A stream that ends before its packets promised is read anew, once, as a data set does."""
    for attempt in range(2):
        clip = clips(reader.num_frames, reader.fps, np.random.default_rng(0)).ravel()
        try:
            for frames in _blocks(reader, len(clip)) if whole else [clip]:
                reader.read(frames)
            return
        except EndOfVideo:
            if attempt:
                raise


def _blocks(reader: VideoReader | FrameFolder, length: int) -> Iterator[np.ndarray]:
    """All frame numbers in order, `length` at a time. In a folder, each block is compared with the first frame."""
    for begin in range(0, reader.num_frames, length):
        block = np.arange(begin, min(begin + length, reader.num_frames))
        yield np.append(0, block) if isinstance(reader, FrameFolder) else block


def _for_lack_of_memory(error: BaseException | None) -> bool:
    """Whether that is what an error came from: FFmpeg reports it as one more reason why a file cannot be read."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        error = error.__cause__
    return False
