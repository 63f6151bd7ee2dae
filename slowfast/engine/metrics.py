"""Scores and labels to counts and averages; pure functions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

ENSEMBLE_METHODS = ("sum", "softmax", "max")


def topk_correct(scores: torch.Tensor, labels: torch.Tensor, ks: Sequence[int]) -> dict[int, torch.Tensor]:
    """Number of samples whose label is among the k largest scores, for every k.

    The counts are int64 () on the device of `scores`, which is not waited for. `scores` (N, K), `labels`
    int64 (N,) in 0..K-1; a k above K counts as K, so that every sample is a hit. Of equal scores the lower
    class number comes first, and a score that is NaN is never a hit.
    """
    rank = _rank(scores, labels)
    return {k: (rank < k).sum() for k in ks}


def mixed_topk(scores: torch.Tensor, targets: torch.Tensor, ks: Sequence[int]) -> dict[int, torch.Tensor]:
    """`topk_correct` for scores (N, K) and soft targets (N, K) of samples mixed from up to two classes: float32 ().

    Each of the two classes counts by its share: a sample of 0.7 dog and 0.3 cat whose first guess is dog is 0.7 of a
    hit, and what label smoothing gave to all classes is taken off first. PySlowFast adds the raw score of one class
    to that of the other, which means nothing for logits, and a sum of two is ranked first too easily.
    """
    shares = targets - targets.amin(dim=1, keepdim=True)
    weights, classes = shares.topk(min(2, shares.shape[1]), dim=1)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
    hits = {k: scores.new_zeros((), dtype=torch.float32) for k in ks}
    for weight, label in zip(weights.unbind(1), classes.unbind(1), strict=True):
        rank = _rank(scores, label)
        for k in ks:
            hits[k] = hits[k] + (weight * (rank < k)).sum()
    return hits


def _rank(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many classes come before the label, int64 (N,); equal scores by class number, K or more for NaN."""
    own = scores.gather(1, labels[:, None])
    classes = torch.arange(scores.shape[1], device=scores.device)
    ahead = ~(scores <= own) | ((scores == own) & (classes < labels[:, None]))
    return ahead.sum(dim=1)


def mean_average_precision(scores: torch.Tensor, labels: torch.Tensor) -> float:
    """Mean over classes of the average precision, from 0 to 1.

    `scores` (N, K), `labels` (N, K) of 0 and 1. Average precision is the sum over the distinct scores,
    falling, of precision times the gain in recall, without interpolation. Classes without a positive label
    are left out; NaN when no class has one.
    """
    values = [_average_precision(scores[:, k], labels[:, k] > 0) for k in range(scores.shape[1])]
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else float("nan")


def _average_precision(scores: torch.Tensor, positive: torch.Tensor) -> float | None:
    """Of one class: `scores` (N,), `positive` bool (N,); None without a positive."""
    num_positive = int(positive.sum())
    if num_positive == 0:
        return None
    ranked, order = scores.double().sort(descending=True, stable=True)
    hits = positive[order].double().cumsum(dim=0)
    taken = torch.arange(1, len(ranked) + 1, dtype=torch.float64, device=scores.device)
    # Equal scores enter together: only the last of them is a point of the curve.
    is_point = torch.ones_like(ranked, dtype=torch.bool)
    is_point[:-1] = ranked[1:] != ranked[:-1]
    hits, taken = hits[is_point], taken[is_point]
    gained = torch.diff(hits, prepend=hits.new_zeros(1))
    return float((gained * hits / taken).sum() / num_positive)


def merge_views(logits: torch.Tensor, method: str) -> torch.Tensor:
    """Logits of the V views of a video (..., V, K) to one score per class (..., K).

    `sum` adds the logits, as the published UniFormer results do. `softmax` averages probabilities. `max`
    takes the largest logit; the reference starts its running maximum at 0 and so loses negative logits,
    this does not. Raises ValueError for another method.
    """
    if method == "sum":
        return logits.sum(dim=-2)
    if method == "softmax":
        return logits.float().softmax(dim=-1).mean(dim=-2)
    if method == "max":
        return logits.amax(dim=-2)
    raise ValueError(f"unknown ensemble method {method!r}; write one of {', '.join(ENSEMBLE_METHODS)}")
