"""Frames → a video file, through PyAV. Reading lives in frames.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np

# Each pts counts milliseconds, a unit that mp4, avi and webm all keep exactly enough to tell frames apart.
_MILLISECONDS = Fraction(1, 1000)

# The 3x3 display matrix of an MP4 track header without its third column, 16.16 fixed point, by clockwise
# degrees.
_ONE, _MINUS_ONE = 0x00010000, 0xFFFF0000
_DISPLAY_MATRIX = {
    90: (0, _ONE, _MINUS_ONE, 0),
    180: (_MINUS_ONE, 0, 0, _MINUS_ONE),
    270: (0, _MINUS_ONE, _ONE, 0),
}


def write_video(
    path: str | Path,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    times_seconds: Sequence[float] | None = None,
) -> None:
    """Encode `frames` into `path`; the file's suffix chooses the container (.mp4, .avi, .webm, .mkv).

    frames: uint8 (H, W, 3) RGB arrays of one size, at least one; H and W even for chroma-subsampled pixel
    formats. fps: frames a second; with `times_seconds` (one rising presentation time per frame) only the
    nominal rate of a variable-rate file. options: passed to the encoder, for example {"crf": "20", "bf":
    "3"}. One encoder thread is used. A file that could not be finished is removed.

    Raises ValueError for no frames, a wrong dtype or shape, a size change, an odd size that the pixel format
    cannot hold, an unknown codec, or times that are not one per frame and rising.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path}: no frames to write; give one uint8 (height, width, 3) array or more")
    _check_first(path, first, codec, pixel_format)
    rate = Fraction(fps).limit_denominator(100_000)
    if rate <= 0:
        raise ValueError(f"{path}: fps must be above 0, not {fps}")
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, options={"threads": "1", **(options or {})})
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = pixel_format
            if times_seconds is not None:
                stream.time_base = stream.codec_context.time_base = _MILLISECONDS
            _encode(container, stream, chain([first], frames), times_seconds)
    except BaseException:
        Path(path).unlink(missing_ok=True)
        raise


def set_display_rotation(path: str | Path, clockwise_degrees: int) -> None:
    """Mark the only video track of the MP4 file `path` to be shown turned by 90, 180 or 270 degrees, as
    phones do.

    The coded frames stay as they are; a player, or a reader that honours the display matrix, turns them.
    Raises ValueError for another angle, or a file that has not exactly one MP4 track header.
    """
    if clockwise_degrees not in _DISPLAY_MATRIX:
        raise ValueError(
            f"rotation must be one of {sorted(_DISPLAY_MATRIX)} degrees, not {clockwise_degrees}"
        )
    data = bytearray(Path(path).read_bytes())
    tracks = data.count(b"tkhd")
    if tracks != 1:
        raise ValueError(f"{path}: expected an MP4 file with one track, found {tracks} track headers")
    a, b, c, d = _DISPLAY_MATRIX[clockwise_degrees]
    # ISO 14496-12, 8.3.2: in version 0 the matrix begins 40 bytes after the version byte, in version 1 52
    # bytes.
    body = data.index(b"tkhd") + 4
    matrix = body + (52 if data[body] == 1 else 40)
    for entry, value in ((0, a), (1, b), (3, c), (4, d)):
        data[matrix + 4 * entry : matrix + 4 * entry + 4] = value.to_bytes(4, "big")
    Path(path).write_bytes(data)


def _check_first(path: str | Path, frame: np.ndarray, codec: str, pixel_format: str) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"{path}: frames must be uint8 (height, width, 3), not {frame.dtype} {frame.shape}")
    if codec not in av.codecs_available:
        raise ValueError(f"{path}: no encoder named {codec!r}; usual are libx264, mpeg4, libvpx-vp9")
    height, width = frame.shape[:2]
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise ValueError(f"{path}: yuv420p needs even sides, not {height}x{width} (height x width)")


def _encode(
    container: av.container.OutputContainer,
    stream: av.VideoStream,
    frames: Iterable[np.ndarray],
    times_seconds: Sequence[float] | None,
) -> None:
    """Send every frame and what the encoder holds back to the container."""
    count, last_pts = 0, -1
    for count, array in enumerate(frames, start=1):
        if array.dtype != np.uint8 or array.shape != (stream.height, stream.width, 3):
            raise ValueError(
                f"frame {count - 1} is {array.dtype} {array.shape}; the first was uint8 "
                f"{(stream.height, stream.width, 3)}, and all frames of a file must be alike"
            )
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
        if times_seconds is not None:
            last_pts = frame.pts = _pts(times_seconds, count - 1, last_pts)
            frame.time_base = _MILLISECONDS
        container.mux(stream.encode(frame))
    if times_seconds is not None and len(times_seconds) != count:
        raise ValueError(f"{len(times_seconds)} times for {count} frames; give one time for each frame")
    container.mux(stream.encode(None))


def _pts(times_seconds: Sequence[float], number: int, last_pts: int) -> int:
    if number >= len(times_seconds):
        raise ValueError(f"only {len(times_seconds)} times; give one time for each frame")
    pts = round(times_seconds[number] / _MILLISECONDS)
    if pts <= last_pts:
        raise ValueError(
            f"time {number}, {times_seconds[number]} s, is not a millisecond after the one before"
        )
    return pts
