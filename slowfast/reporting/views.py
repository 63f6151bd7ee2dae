"""How accuracy grows with the number of views, from the view scores of one test; pure functions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb

import numpy as np
import torch

from slowfast.engine import metrics

MAX_SUBSETS = 8  # of clips, for each number of clips
_CHUNK = 256  # videos looked at together, so that their scores stay in the cache


@dataclass(frozen=True)
class ViewPoint:
    """The accuracy with ``clips`` clips in ``crops``: its mean, smallest and largest value over ``num_subsets`` sets
    of clips, in the unit of the measure."""

    crops: str
    clips: int
    mean: float
    low: float
    high: float
    num_subsets: int


def subsets(num_clips: int, size: int, most: int = MAX_SUBSETS) -> list[tuple[int, ...]]:
    """Sets of ``size`` of the clips 0..num_clips-1: all of them, or ``most`` different ones drawn with a fixed seed.

    With ``most`` 1 it is the first clips.
    """
    if most == 1 or comb(num_clips, size) <= most:
        return list(islice(combinations(range(num_clips), size), most))
    rng = random.Random(size)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < most:
        drawn[tuple(sorted(rng.sample(range(num_clips), size)))] = None
    return list(drawn)


def top1_by_views(
    logits: np.ndarray, labels: np.ndarray, *, clips: int, crops: int, method: str
) -> list[ViewPoint]:
    """Top-1 in percent, for every number of clips, with the centre crop alone and with all crops.

    ``logits`` float32 (N, clips x crops, K), crops varying fastest; views are merged by ``method`` as in the test.
    """
    points = []
    for name, chosen in crop_sets(crops).items():
        for size in range(1, clips + 1):
            sets = subsets(clips, size)
            hits = np.zeros(len(sets))
            for start in range(0, len(labels), _CHUNK):
                rows = slice(start, start + _CHUNK)
                for number, clip_set in enumerate(sets):
                    views = [clip * crops + crop for clip in clip_set for crop in chosen]
                    merged = metrics.merge_views(torch.from_numpy(logits[rows, views]), method)
                    hits[number] += float((merged.argmax(dim=1).numpy() == labels[rows]).sum())
            points.append(_point(name, size, 100 * hits / len(labels)))
    return points


def map_by_views(
    logits: np.ndarray, hot: np.ndarray, *, clips: int, crops: int, method: str
) -> list[ViewPoint]:
    """Mean average precision (0 to 1) over the first 1, 2, ... clips, with all crops. ``hot`` 0 or 1 (N, K)."""
    points = []
    for size in range(1, clips + 1):
        merged = metrics.merge_views(torch.from_numpy(logits[:, : size * crops]), method)
        value = metrics.mean_average_precision(merged, torch.from_numpy(hot))
        points.append(_point(_all_crops(crops), size, np.array([value])))
    return points


def crop_sets(crops: int) -> dict[str, tuple[int, ...]]:
    """Names of the sets of crops that are compared, and the crops of each."""
    whole = {_all_crops(crops): tuple(range(crops))}
    return {"centre crop": (crops // 2,), **whole} if crops > 1 else whole


def _all_crops(crops: int) -> str:
    return "one crop" if crops == 1 else f"all {crops} crops"


def _point(crops: str, size: int, values: np.ndarray) -> ViewPoint:
    return ViewPoint(crops, size, float(values.mean()), float(values.min()), float(values.max()), len(values))
