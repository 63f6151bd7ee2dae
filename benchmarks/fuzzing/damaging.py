"""Small real encodings of made-up frames, and the damage that is done to them. Everything follows from a generator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from fuzzing.containers import REGIONS

_SOUND_RATE = 48_000  # a second, which all codecs here take
_MOST_HITS = 8
_LONGEST = 64  # bytes that one hit changes at most, but for a cut

# What headers are easily wrong by: nothing, too much, negative, and sizes that are nearly believed.
_EXTREMES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 65_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Pair:
    """A container by its suffix, with the codecs in it; options are those of the encoder and of the container."""

    suffix: str
    codec: str
    sound: str = ""
    pixel_format: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    container_options: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.suffix[1:]}/{self.codec}{'+' if self.sound else ''}{self.sound}"


PAIRS = (
    Pair(".mp4", "libx264", "aac", options={"bf": "2"}),
    Pair(".mp4", "libx265", options={"x265-params": "log-level=none"}),
    Pair(".mp4", "libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"}),
    Pair(".mov", "libx264", options={"bf": "3"}, container_options={"movflags": "faststart"}),
    Pair(".mov", "mpeg4"),
    Pair(".mkv", "mpeg4", options={"bf": "2"}),
    Pair(".mkv", "libx264", "aac"),
    Pair(".webm", "libvpx"),
    Pair(".webm", "libvpx-vp9", "libopus"),
    Pair(".avi", "mjpeg", pixel_format="yuvj420p"),
    Pair(".avi", "mpeg4", "libmp3lame", options={"bf": "2"}),
    Pair(".ts", "mpeg2video", "mp2", options={"bf": "2"}),
    Pair(".ts", "libx264"),
    Pair(".gif", "gif", pixel_format="rgb8"),
    Pair(".flv", "flv"),
)


def encode(pair: Pair, path: Path, rng: np.random.Generator) -> None:
    """Write a video of 64 to 128 pixels a side and 12 to 30 frames, at most 2 seconds: stripes that move, and noise.

    Raises av.FFmpegError where FFmpeg was built without one of the codecs.
    """
    os.environ.setdefault("SVT_LOG", "1")  # the encoder of AV1 tells errors alone
    height, width = (16 * int(rng.integers(4, 9)) for _ in range(2))
    num_frames, fps = int(rng.integers(12, 31)), int(rng.choice([24, 25, 30]))  # rates that MPEG-2 has
    with av.open(str(path), "w", options=dict(pair.container_options)) as container:
        pictures = container.add_stream(
            pair.codec, rate=fps, options={"threads": "1", "g": "8", **pair.options}
        )
        pictures.height, pictures.width, pictures.pix_fmt = height, width, pair.pixel_format
        sound = container.add_stream(pair.sound, rate=_SOUND_RATE) if pair.sound else None
        for picture in _pictures(height, width, num_frames, rng):
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(pictures.encode())
        if sound is not None:
            for frame in _tone(sound.codec_context, num_frames / fps):
                container.mux(sound.encode(frame))
            container.mux(sound.encode())


def _pictures(height: int, width: int, num_frames: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """uint8 (height, width, 3) RGB."""
    across, step = np.arange(width), rng.uniform(1, 4, 3)
    noise = rng.integers(0, 64, (height, width, 3))
    for number in range(num_frames):
        stripes = 96 + 95 * np.sin(across[:, None] / 6 + step * number)
        yield (stripes + np.roll(noise, number, axis=0)).clip(0, 255).astype(np.uint8)


def _tone(codec: av.CodecContext, seconds: float) -> Iterator[av.AudioFrame]:
    size = codec.frame_size or 1024
    for begin in range(0, int(seconds * _SOUND_RATE), size):
        wave = np.sin(np.arange(begin, begin + size) / 20, dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]) / 2, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = _SOUND_RATE, begin
        yield frame


def damaged(data: bytes, labels: np.ndarray, region: int, rng: np.random.Generator) -> bytes:
    """A file that is hit in one to eight places of a region, and differs from what it was.

    `labels` are those of `containers.label`, as is `region`. Raises ValueError if the file has no byte of that region.
    """
    places = np.flatnonzero(labels == region)
    if not len(places):
        raise ValueError(f"no byte of the file is {REGIONS[region]}")
    while True:
        hits = rng.choice(places, min(len(places), int(rng.integers(1, _MOST_HITS + 1))), replace=False)
        changed = bytearray(data)
        for place in sorted(hits.tolist(), reverse=True):  # what lies before stays where it is
            length = _run(labels, place, int(rng.integers(1, _LONGEST + 1)))
            _hit(changed, place, length, rng)
        if changed != data:
            return bytes(changed)


def damaged_text(data: bytes, tokens: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """A text that is hit in one to eight places, at times by one of `tokens` put in."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, _MOST_HITS + 1))):
        place = int(rng.integers(len(changed) + 1))
        if rng.random() < 0.5 or place == len(changed):
            changed[place:place] = tokens[int(rng.integers(len(tokens)))]
        else:
            _hit(changed, place, int(rng.integers(1, 9)), rng)
    return bytes(changed)


def _run(labels: np.ndarray, place: int, length: int) -> int:
    """How many of the `length` bytes from `place` on belong to the region of the first."""
    same = labels[place : place + length] == labels[place]
    return len(same) if same.all() else int(same.argmin())


def _hit(data: bytearray, place: int, length: int, rng: np.random.Generator) -> None:
    """Change `length` bytes from `place` on, in one of the ways below."""
    way = list(_WAYS)[int(rng.choice(len(_WAYS), p=list(_WAYS.values())))]
    way(data, slice(place, place + length), rng)


def _flip(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    data[run.start] ^= 1 << int(rng.integers(8))


def _noise(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    data[run] = rng.bytes(len(data[run]))


def _fill(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    data[run] = bytes([int(rng.choice([0, 255]))]) * len(data[run])


def _number(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    size, order = int(rng.choice([2, 4, 8])), str(rng.choice(["big", "little"]))
    value = int(rng.choice(_EXTREMES)) & ((1 << 8 * size) - 1)
    place = slice(run.start, min(run.start + size, run.stop))
    data[place] = value.to_bytes(size, order)[: len(data[place])]


def _lose(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    del data[run]


def _repeat(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    data[run.start : run.start] = data[run]


def _cut(data: bytearray, run: slice, rng: np.random.Generator) -> None:
    del data[run.start :]


_Way = Callable[[bytearray, slice, np.random.Generator], None]
_WAYS: dict[_Way, float] = {  # with their chances
    _flip: 0.3,
    _noise: 0.2,
    _number: 0.2,
    _fill: 0.1,
    _lose: 0.08,
    _repeat: 0.08,
    _cut: 0.04,
}
