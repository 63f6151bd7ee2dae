"""What a model says of a video: plain results, without the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """The classes of one video. ``logits`` float32 (K,), merged over its views; ``probabilities`` float32 (K,).

    ``ranking`` lists class numbers, the best first. ``damage``: "" or what the file lacks. ``num_views``: how many
    were scored.
    """

    class_names: tuple[str, ...]
    logits: Tensor
    probabilities: Tensor
    ranking: tuple[int, ...]
    num_views: int
    damage: str = ""

    def top(self, count: int = 5) -> list[tuple[str, float]]:
        """(class name, probability from 0 to 1) of the best classes."""
        return [
            (self.class_names[number], float(self.probabilities[number])) for number in self.ranking[:count]
        ]

    def as_dict(self, count: int = 5) -> dict[str, Any]:
        """Plain values, for JSON: the best classes with name, number and probability; num_views; damage if any."""
        top = [
            {"class": name, "number": number, "probability": probability}
            for number, (name, probability) in zip(self.ranking, self.top(count), strict=False)
        ]
        return {"top": top, "num_views": self.num_views, **({"damage": self.damage} if self.damage else {})}

    def __repr__(self) -> str:
        best = ", ".join(f"{name} {probability:.1%}" for name, probability in self.top(3))
        return f"Prediction({best})"


@dataclass(frozen=True)
class Span:
    """A part of a video: frames from ``start_frame`` up to, not including, ``end_frame``.

    The same in seconds from frame 0, or None where the video tells no time.
    """

    start_frame: int
    end_frame: int
    start_seconds: float | None = None
    end_seconds: float | None = None

    @property
    def centre_frame(self) -> float:
        return (self.start_frame + self.end_frame) / 2

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; seconds to the millisecond."""
        seconds = {
            name: None if value is None else round(value, 3)
            for name, value in (("start_seconds", self.start_seconds), ("end_seconds", self.end_seconds))
        }
        return {"start_frame": self.start_frame, "end_frame": self.end_frame, **seconds}


@dataclass(frozen=True)
class WindowPrediction:
    """The classes of one window of a video."""

    span: Span
    prediction: Prediction
