"""A few frames of a video as one small picture that a page can hold."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from slowfast.datasets.frames import EndOfVideo, UnreadableVideo

NUM_FRAMES = 3
HEIGHT = 96  # pixels of a frame
QUALITY = 70  # of JPEG
MAX_SECONDS = 10.0  # for the pictures of a report: no further video is opened after that


@dataclass(frozen=True)
class Media:
    """The videos of a test list. ``open`` takes a place in the list and gives a reader as a context, or raises
    UnreadableVideo; ``names`` gives the path at a place. ``class_names``: of the list, None if it has none."""

    open: Callable[[int], AbstractContextManager[Any]]
    name: Callable[[int], str]
    class_names: Sequence[str] | None


@dataclass(frozen=True)
class Picture:
    """Frames of a video side by side as a data URI, or "" and why not; ``width`` and ``height`` in pixels."""

    uri: str = ""
    width: int = 0
    height: int = 0
    why_not: str = ""


def pictures(
    media: Media | None, videos: Sequence[tuple[int, str]], *, clock: Callable[[], float] = time.monotonic
) -> list[Picture]:
    """One for each (place in the list, path); what is wrong with a video is said in its place."""
    end = clock() + MAX_SECONDS
    return [_picture_before(media, place, path, clock() < end) for place, path in videos]


def _picture_before(media: Media | None, place: int, path: str, in_time: bool) -> Picture:
    if media is None:
        return Picture(why_not="the list of this test cannot be read here")
    if not in_time:
        return Picture(why_not=f"not opened: the videos before took {MAX_SECONDS:g} seconds")
    try:
        if media.name(place) != path:
            return Picture(why_not="the list has changed since the test")
        with media.open(place) as reader:
            return picture(read_spread(reader))
    except (UnreadableVideo, OSError, IndexError) as error:
        return Picture(why_not=f"cannot be read now: {error}")


def read_spread(reader: Any) -> np.ndarray:
    """Frames uint8 (NUM_FRAMES, H, W, 3) from the middles of equal parts of the video. Raises UnreadableVideo."""
    for _ in range(2):
        places = [int((part + 0.5) * reader.num_frames / NUM_FRAMES) for part in range(NUM_FRAMES)]
        try:
            return reader.read(places)
        except EndOfVideo:  # the reader knows the true length from here on
            continue
    raise UnreadableVideo("its length is not what its file says")


def picture(frames: np.ndarray) -> Picture:
    """Frames uint8 (N, H, W, 3), RGB, scaled to HEIGHT and put side by side as a JPEG."""
    width = max(1, round(HEIGHT * frames.shape[2] / frames.shape[1]))
    strip = Image.new("RGB", (width * len(frames), HEIGHT))
    for number, frame in enumerate(frames):
        strip.paste(Image.fromarray(np.ascontiguousarray(frame)).resize((width, HEIGHT)), (number * width, 0))
    data = io.BytesIO()
    strip.save(data, "JPEG", quality=QUALITY)
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{text}", strip.width, strip.height)
