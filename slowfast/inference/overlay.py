"""A video with what the model says burnt in: the class, its probability in words and as a bar.

Frames go through one at a time, so a video may be of any length. Sound is not kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from slowfast.datasets.frame_stream import FolderStream, FrameStream, StreamedFrame
from slowfast.datasets.video_writer import write_video

SUFFIXES = (".mp4", ".mkv", ".mov")
FPS = 25  # of what is written, where the video tells no rate

_PANEL = 7  # the caption takes one part in so many of the height
_LEAST_HEIGHT = 16  # pixels of the caption: less cannot be read
_SHADE = 0.35  # of the picture that is left behind the caption
_TEXT, _BAR, _TRACK = (255, 255, 255), (64, 196, 255), (90, 90, 90)


@dataclass(frozen=True)
class Caption:
    """A class name, and its probability from 0 to 1."""

    name: str
    probability: float


def write_overlay(
    path: str | os.PathLike,
    stream: FrameStream | FolderStream,
    caption: Callable[[int], Caption],
    on_frame: Callable[[], object] = lambda: None,
) -> None:
    """Write the frames of a stream as H.264, with what ``caption`` says of their numbers; readers never see half of it.

    Odd sides lose their last row or column. on_frame: called after each. Raises UnreadableVideo, and ValueError for a
    suffix that is no container for H.264.
    """
    path = Path(path)
    check_suffix(path)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_video(
            unfinished,
            captioned(stream, caption, on_frame),
            stream.fps or FPS,
            options={"crf": "20", "preset": "veryfast"},
        )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def check_suffix(path: Path) -> None:
    """Raise ValueError for a file name that says no container for H.264."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"--overlay is {path}; its name must end in {', '.join(SUFFIXES)}, such as {path.stem}.mp4"
        )


def captioned(
    frames: Iterable[StreamedFrame], caption: Callable[[int], Caption], on_frame: Callable[[], object]
) -> Iterator[np.ndarray]:
    """Pictures uint8 (H, W, 3) with even sides and the caption of their number."""
    for frame in frames:
        yield draw(frame.picture(), caption(frame.number))
        on_frame()


def draw(picture: np.ndarray, caption: Caption) -> np.ndarray:
    """A new picture uint8 (H, W, 3), sides even, with the caption over its lowest part."""
    height, width = (max(2, side - side % 2) for side in picture.shape[:2])
    picture = picture[:height, :width].copy()
    drawn, mask = _panel(width, min(height, max(_LEAST_HEIGHT, height // _PANEL)), caption)
    below = picture[height - len(drawn) :]
    below[:] = np.where(mask, drawn, (below * _SHADE).astype(np.uint8))
    return picture


@lru_cache(maxsize=8)
def _panel(width: int, height: int, caption: Caption) -> tuple[np.ndarray, np.ndarray]:
    """What is drawn, uint8 (height, width, 3), and where, bool (height, width, 1)."""
    image = Image.new("RGB", (width, height))
    pen = ImageDraw.Draw(image)
    bar = max(2, height // 5)
    margin = max(1, height // 10)
    font = ImageFont.load_default(max(8, int((height - bar) * 0.7)))
    said = f"{caption.probability:.0%}"
    room = width - 3 * margin - pen.textlength(said, font)
    pen.text((margin, 0), _fitting(caption.name, room, lambda text: pen.textlength(text, font)), _TEXT, font)
    pen.text((width - margin, 0), said, _TEXT, font, anchor="ra")
    top, end = height - bar, round(caption.probability * (width - 1))
    pen.rectangle((0, top, width - 1, height - 1), fill=_TRACK)
    pen.rectangle((0, top, end, height - 1), fill=_BAR)
    drawn = np.asarray(image)
    return drawn, drawn.any(axis=2, keepdims=True)


def _fitting(text: str, room: float, measure: Callable[[str], float]) -> str:
    """The text, or as much of it as there is room for."""
    if measure(text) <= room:
        return text
    while text and measure(text + "...") > room:
        text = text[:-1]
    return text.rstrip() + "..." if text else ""
