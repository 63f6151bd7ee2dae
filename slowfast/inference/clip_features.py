"""One video → the features of its clips, decoding apart from the model so that the two can go on at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets import sampling
from slowfast.datasets.clip_stream import stream_clips
from slowfast.datasets.frames import EndOfVideo, UnreadableVideo
from slowfast.datasets.video_views import VideoViews
from slowfast.inference.video_features import VideoFeatures

DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Begin:
    """What is to come, anew if it comes again: distinct clips of frames (d, T), and which of them each clip is (n,)."""

    distinct: np.ndarray
    which: np.ndarray
    fps: float | None


@dataclass(frozen=True)
class Batch:
    """Clips with these numbers, uint8 (n, crops, T, S, S, 3)."""

    numbers: list[int]
    views: Tensor


@dataclass(frozen=True)
class Unreadable:
    """The reason why the video cannot be read."""

    reason: str


def decode(
    views: VideoViews, open_video: Callable[[], Any], stride_seconds: float, views_per_batch: int
) -> Iterator[Begin | Batch | Unreadable]:
    """The clips of a video in batches of about so many views, decoded once.

    A file that ends before its packets promised begins anew, once, with its true length.
    """
    try:
        with views.shrunk(open_video()) as reader:
            for attempt in range(2):
                clips, which = sampling.distinct_clips(views.clips(reader, stride_seconds))
                yield Begin(clips, which, reader.fps)
                try:
                    yield from _batches(reader, clips, views, views_per_batch)
                    return
                except EndOfVideo:
                    if attempt:
                        raise
    except UnreadableVideo as error:
        yield Unreadable(str(error))


def _batches(reader: Any, clips: np.ndarray, views: VideoViews, views_per_batch: int) -> Iterator[Batch]:
    numbers, held = [], []
    for number, crops in stream_clips(reader, clips, views.make_views):
        numbers.append(number)
        held.append(crops)
        if len(numbers) * len(crops) >= views_per_batch:
            yield Batch(numbers, torch.stack(held))
            numbers, held = [], []
    if numbers:
        yield Batch(numbers, torch.stack(held))


def gather(
    events: Iterable[Begin | Batch | Unreadable],
    values: Callable[[Tensor], Tensor],
    *,
    name: str = "",
    label: str = "",
    dtype: str = "float32",
) -> VideoFeatures:
    """The features of a video, ``values`` uint8 (N, T, S, S, 3) -> float32 (N, ..., C) being the model.

    Raises UnreadableVideo for a video that is, and ValueError where a value is too large for ``dtype``.
    """
    begin, found = None, {}
    for event in events:
        if isinstance(event, Unreadable):
            raise UnreadableVideo(event.reason)
        if isinstance(event, Begin):
            begin, found = event, {}
            continue
        features = values(event.views.flatten(0, 1)).numpy()
        features = _cast(features, dtype).reshape(*event.views.shape[:2], *features.shape[1:])
        found.update(zip(event.numbers, features, strict=True))
    frames = begin.distinct[begin.which].astype(np.int32)
    return VideoFeatures(
        name=name,
        label=label,
        features=np.stack([found[number] for number in begin.which.tolist()]),
        frames=frames,
        start_seconds=_seconds(frames.min(axis=1), begin.fps),
        end_seconds=_seconds(frames.max(axis=1) + 1, begin.fps),
    )


def _cast(features: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = features.astype(dtype)
    if np.isinf(cast).any() and np.isfinite(features).all():
        raise ValueError(f"a feature of {np.abs(features).max():g} is too large for {dtype}: write float32")
    return cast


def _seconds(frames: np.ndarray, fps: float | None) -> np.ndarray:
    """float64, not a number where the video states no frame rate, such as folders of frames."""
    return frames / fps if fps else np.full(len(frames), np.nan)
