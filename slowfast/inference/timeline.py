"""Scores of windows → what happens when: smoothed over time, and joined into segments of one class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from slowfast.inference.prediction import Span, WindowPrediction

SMOOTHING = 3  # windows


@dataclass(frozen=True)
class Segment:
    """A part of a video in which one class leads. ``probability``: its mean over the windows, smoothed, 0 to 1."""

    span: Span
    number: int
    name: str
    probability: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        best = {"class": self.name, "number": self.number, "probability": self.probability}
        return {**self.span.as_dict(), **best}


@dataclass(frozen=True)
class Timeline:
    """What happens in a video: windows in their order, and segments.

    ``probabilities`` float32 (N, K) of the N windows at ``spans``; ``smoothed`` the same after `smooth`. ``damage``:
    "" or why the video ended early.
    """

    class_names: tuple[str, ...]
    spans: tuple[Span, ...]
    probabilities: np.ndarray
    smoothed: np.ndarray
    segments: tuple[Segment, ...]
    damage: str = ""

    def top(self, window: int, count: int = 5) -> list[tuple[str, float]]:
        """(class name, probability) of the best classes of a window, before smoothing."""
        return [(self.class_names[number], probability) for number, probability in self._best(window, count)]

    def at(self, frame: int) -> tuple[str, float]:
        """The leading class at a frame and its smoothed probability: of the window whose centre is nearest."""
        centres = np.array([span.centre_frame for span in self.spans])
        row = self.smoothed[np.abs(centres - (frame + 0.5)).argmin()]
        best = int(row.argmax())
        return self.class_names[best], float(row[best])

    def as_dict(self, count: int = 5) -> dict[str, Any]:
        """Plain values, for JSON: windows, each with its best classes, and segments."""
        windows = []
        for window, span in enumerate(self.spans):
            top = [
                {"class": self.class_names[number], "number": number, "probability": probability}
                for number, probability in self._best(window, count)
            ]
            windows.append({**span.as_dict(), "top": top})
        found = {"windows": windows, "segments": [segment.as_dict() for segment in self.segments]}
        return {**found, **({"damage": self.damage} if self.damage else {})}

    def _best(self, window: int, count: int) -> list[tuple[int, float]]:
        """(class number, probability); of equal ones the lower number comes first."""
        row = self.probabilities[window]
        return [(number, float(row[number])) for number in np.argsort(-row, kind="stable").tolist()[:count]]


def timeline(
    windows: Iterable[WindowPrediction], class_names: Sequence[str], smoothing: int = SMOOTHING
) -> Timeline:
    """All windows of one video, of which only spans and probabilities are kept. Raises as `smooth` does."""
    spans, rows = [], []
    for window in windows:
        spans.append(window.span)
        rows.append(window.prediction.probabilities.numpy())
    probabilities = np.stack(rows)
    smoothed = smooth(probabilities, smoothing)
    return Timeline(
        tuple(class_names), tuple(spans), probabilities, smoothed, tuple(join(spans, smoothed, class_names))
    )


def smooth(probabilities: np.ndarray, count: int) -> np.ndarray:
    """Each row of (N, K) averaged with those around it, ``count`` in all; fewer at both ends. 1 leaves them.

    Raises as `check_smoothing` does.
    """
    check_smoothing(count)
    half, length = count // 2, len(probabilities)
    sums = np.concatenate(
        [np.zeros((1, probabilities.shape[1])), np.cumsum(probabilities, axis=0, dtype=np.float64)]
    )
    start = np.maximum(np.arange(length) - half, 0)
    end = np.minimum(np.arange(length) + half + 1, length)
    return ((sums[end] - sums[start]) / (end - start)[:, None]).astype(np.float32)


def check_smoothing(count: int) -> None:
    """Raise ValueError for a count that is even or below 1: a window stands in the middle of those that it is averaged
    with."""
    if count < 1 or count % 2 == 0:
        raise ValueError(f"--smooth is {count}; write an odd number of windows, 1 for none")


def join(spans: Sequence[Span], probabilities: np.ndarray, class_names: Sequence[str]) -> list[Segment]:
    """Runs of windows with the same leading class; one ends, and the next begins, midway between window centres.

    The first begins with the first window, the last ends with the last one. Of equal probabilities the lower number
    leads.
    """
    best = probabilities.argmax(axis=1)
    segments = []
    for number, run in groupby(range(len(spans)), key=lambda window: int(best[window])):
        run = list(run)
        first, last = run[0], run[-1]
        begin = (
            _between(spans[first - 1], spans[first])
            if first
            else (spans[0].start_frame, spans[0].start_seconds)
        )
        end = (spans[last].end_frame, spans[last].end_seconds)
        if last + 1 < len(spans):
            end = _between(spans[last], spans[last + 1])
        mean = float(probabilities[run, number].mean())
        segments.append(Segment(Span(begin[0], end[0], begin[1], end[1]), number, class_names[number], mean))
    return segments


def _between(one: Span, other: Span) -> tuple[int, float | None]:
    """Frame and second midway between the centres of two windows."""
    frame = round((one.centre_frame + other.centre_frame) / 2)
    ends = (one.start_seconds, one.end_seconds, other.start_seconds, other.end_seconds)
    return frame, None if None in ends else sum(ends) / 4
