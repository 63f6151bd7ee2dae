"""The records of metrics.jsonl -> learning curves; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slowfast.reporting.charts import Series

LOSS, ACCURACY, RATE = "training loss", "accuracy (%)", "learning rate"


@dataclass(frozen=True)
class Curves:
    """Series by what they show (`LOSS`, `ACCURACY`, `RATE`, mAP), all over ``x``: "epoch" or "step"."""

    x: str
    charts: dict[str, list[Series]]


def learning_curves(metrics: Sequence[Mapping[str, Any]]) -> Curves:
    """Curves over epochs, or over steps of a run that has trained for a single epoch; empty ones are left out.

    Of an epoch that was recorded twice the later record counts. Accuracy in training is that of augmented clips, and
    of mixed ones where classes are mixed.
    """
    train, val = _by_epoch(metrics, "train_epoch"), _by_epoch(metrics, "val_epoch")
    x = "epoch"
    if len(train) < 2:
        steps = {
            r["global_step"]: r for r in metrics if r.get("_type") == "train_iter" and "global_step" in r
        }
        if len(steps) > 1:
            x, train, val = "step", steps, {r["global_step"]: r for r in val.values() if "global_step" in r}
    accuracy = [
        _series("training, top-1", train, "top1_err", _percent_right),
        _series("validation, top-1", val, "top1_err", _percent_right),
        _series("validation, top-5", val, "top5_err", _percent_right),
    ]
    charts = {
        LOSS: [_series("training", train, "loss")],
        ACCURACY: accuracy,
        "mAP": [_series("validation", val, "map")],
        RATE: [_series("rate", train, "lr")],
    }
    kept = {name: [one for one in series if one.points] for name, series in charts.items()}
    return Curves(x, {name: series for name, series in kept.items() if series})


def _by_epoch(metrics: Sequence[Mapping[str, Any]], kind: str) -> dict[int, Mapping[str, Any]]:
    found = {}
    for record in metrics:
        number = str(record.get("epoch", "")).split("/")[0]
        if record.get("_type") == kind and number.isdigit():
            found[int(number)] = record
    return found


def _percent_right(error: float) -> float:
    return 100.0 - error


def _series(name: str, records: Mapping[int, Mapping[str, Any]], key: str, of=float) -> Series:
    points = [(at, record.get(key)) for at, record in sorted(records.items())]
    return Series(name, [(at, of(value)) for at, value in points if _is_number(value)])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
