"""Predictions as text: a table for people, JSON lines, CSV. Each kind of line is made by one method of a format.

Probabilities have six decimals where programs read them, as in predictions.csv of a run; seconds have three.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Protocol

from slowfast.inference.live import LivePrediction
from slowfast.inference.prediction import Prediction, Span
from slowfast.inference.timeline import Timeline
from slowfast.utils.logging import finite

_WIDEST_NAME = 80  # characters of the columns of the table; longer names push the rest of their line


class Format(Protocol):
    """Texts of whole lines, "" for none. ``top``: how many of the best classes stand in a line."""

    def videos_begin(self, names: Sequence[str]) -> str: ...
    def video(self, name: str, prediction: Prediction) -> str: ...
    def timelines_begin(self) -> str: ...
    def timeline(self, name: str, found: Timeline) -> str: ...
    def live_begin(self) -> str: ...
    def live(self, found: LivePrediction) -> str: ...
    def unreadable(self, name: str, reason: str) -> str: ...


class Table:
    """For people: columns, percent, minutes and seconds. Of a timeline it shows the segments."""

    def __init__(self, class_names: Sequence[str], top: int) -> None:
        self._top = top
        self._class_width = _width(["class", *class_names])
        self._name_width = 0

    def videos_begin(self, names: Sequence[str]) -> str:
        self._name_width = _width(["video", *names])
        return self._row("video", "class", "probability")

    def video(self, name: str, prediction: Prediction) -> str:
        lines = []
        for place, (best, probability) in enumerate(prediction.top(self._top)):
            lines.append(self._row("" if place else name, best, f"{probability:11.1%}"))
        if prediction.damage:
            lines.append(self._row("", f"({prediction.damage})", ""))
        return "".join(lines)

    def timelines_begin(self) -> str:
        return ""

    def timeline(self, name: str, found: Timeline) -> str:
        lines = [
            f"{name}\n",
            f"  {'start':>10}  {'end':>10}  {'class'.ljust(self._class_width)}  mean probability\n",
        ]
        for segment in found.segments:
            start, end = _shown(segment.span)
            best = segment.name.ljust(self._class_width)
            lines.append(f"  {start:>10}  {end:>10}  {best}  {segment.probability:16.1%}\n")
        if found.damage:
            lines.append(f"  ({found.damage})\n")
        return "".join(lines)

    def live_begin(self) -> str:
        return f"{'time':>10}  {'class'.ljust(self._class_width)}  probability  latency  dropped frames\n"

    def live(self, found: LivePrediction) -> str:
        ((best, probability), *_) = found.prediction.top(1)
        time = _shown(found.span)[1]
        return (
            f"{time:>10}  {best.ljust(self._class_width)}  {probability:11.1%}  {found.latency_seconds:6.2f}s  "
            f"{found.dropped_frames:14}\n"
        )

    def unreadable(self, name: str, reason: str) -> str:
        return self._row(name, f"cannot be read: {reason}", "")

    def _row(self, name: str, best: str, probability: str) -> str:
        return (
            f"{name.ljust(self._name_width)}  {best.ljust(self._class_width)}  {probability}".rstrip() + "\n"
        )


class JsonLines:
    """One object a line, with the key ``video``: a prediction, a window or a segment of it, or an ``error``."""

    def __init__(self, class_names: Sequence[str], top: int) -> None:
        self._top = top

    def videos_begin(self, names: Sequence[str]) -> str:
        return ""

    def video(self, name: str, prediction: Prediction) -> str:
        return _json({"video": name, **prediction.as_dict(self._top)})

    def timelines_begin(self) -> str:
        return ""

    def timeline(self, name: str, found: Timeline) -> str:
        plain = found.as_dict(self._top)
        lines = [_json({"video": name, "kind": "window", **window}) for window in plain["windows"]]
        lines += [_json({"video": name, "kind": "segment", **segment}) for segment in plain["segments"]]
        if found.damage:
            lines.append(_json({"video": name, "kind": "damage", "damage": found.damage}))
        return "".join(lines)

    def live_begin(self) -> str:
        return ""

    def live(self, found: LivePrediction) -> str:
        lag = {"latency_seconds": round(found.latency_seconds, 3), "dropped_frames": found.dropped_frames}
        return _json({**found.span.as_dict(), **found.prediction.as_dict(self._top), **lag})

    def unreadable(self, name: str, reason: str) -> str:
        return _json({"video": name, "error": reason})


class Csv:
    """With a header. The best classes are name and probability in top1_name, top1_prob, ..., as in predictions.csv."""

    def __init__(self, class_names: Sequence[str], top: int) -> None:
        self._top = min(top, len(class_names))
        self._best = [f"top{place}_{what}" for place in range(1, self._top + 1) for what in ("name", "prob")]
        self._columns: list[str] = []

    def videos_begin(self, names: Sequence[str]) -> str:
        return self._begin(["path", *self._best, "num_views", "damage", "error"])

    def video(self, name: str, prediction: Prediction) -> str:
        facts = {"path": name, "num_views": prediction.num_views, "damage": prediction.damage}
        return self._line({**facts, **_cells(prediction.top(self._top))})

    def timelines_begin(self) -> str:
        return self._begin(["path", "kind", *_SPAN, *self._best, "damage", "error"])

    def timeline(self, name: str, found: Timeline) -> str:
        lines = [
            {"kind": "window", **_seconds(span), **_cells(found.top(number, self._top))}
            for number, span in enumerate(found.spans)
        ]
        lines += [
            {"kind": "segment", **_seconds(segment.span), **_cells([(segment.name, segment.probability)])}
            for segment in found.segments
        ]
        return "".join(self._line({"path": name, "damage": found.damage, **line}) for line in lines)

    def live_begin(self) -> str:
        return self._begin([*_SPAN, *self._best, "latency_seconds", "dropped_frames"])

    def live(self, found: LivePrediction) -> str:
        lag = {"latency_seconds": f"{found.latency_seconds:.3f}", "dropped_frames": found.dropped_frames}
        return self._line({**_seconds(found.span), **_cells(found.prediction.top(self._top)), **lag})

    def unreadable(self, name: str, reason: str) -> str:
        return self._line({"path": name, "error": reason})

    def _begin(self, columns: list[str]) -> str:
        self._columns = columns
        return self._line(dict(zip(columns, columns, strict=True)))

    def _line(self, cells: dict[str, Any]) -> str:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow([cells.get(column, "") for column in self._columns])
        return text.getvalue()


FORMATS = {"table": Table, "jsonl": JsonLines, "csv": Csv}

_SPAN = ("start_frame", "end_frame", "start_seconds", "end_seconds")


def _cells(top: Sequence[tuple[str, float]]) -> dict[str, str]:
    cells = {}
    for place, (name, probability) in enumerate(top, start=1):
        cells |= {f"top{place}_name": name, f"top{place}_prob": f"{probability:.6f}"}
    return cells


def _seconds(span: Span) -> dict[str, Any]:
    return {name: "" if value is None else value for name, value in span.as_dict().items()}


def _json(content: dict[str, Any]) -> str:
    return json.dumps(_rounded(finite(content)), ensure_ascii=False, allow_nan=False) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: round(item, 6) if key == "probability" and item is not None else _rounded(item)
            for key, item in value.items()
        }
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def _shown(span: Span) -> tuple[str, str]:
    """Start and end, in minutes and seconds or, where no time is known, as frame numbers."""
    if span.start_seconds is None or span.end_seconds is None:
        return f"frame {span.start_frame}", f"frame {span.end_frame}"
    return _clock(span.start_seconds), _clock(span.end_seconds)


def _clock(seconds: float) -> str:
    """1:02:03.45, or 2:03.45 within the first hour."""
    hundredths = round(seconds * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest // 100:02d}.{rest % 100:02d}"
    return f"{hours}:{minutes:02d}:{tail}" if hours else f"{minutes}:{tail}"


def _width(names: Sequence[str]) -> int:
    return min(_WIDEST_NAME, max(map(len, names)))
