"""Scores and labels to the figures of a report; pure functions of arrays.

Scores and logits are float32 (N, K), labels int64 (N,) in 0..K-1, shares and probabilities from 0 to 1. Of equal scores
the lower class number comes first, as in slowfast.engine.metrics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

NUM_BINS = 15  # of a reliability diagram; Guo et al. 2017 take as many
TEMPERATURES = 0.02, 50.0  # the range that is searched
_CHUNK = 1024  # rows looked at together, so that they stay in the cache
_STEPS = 60  # of a search in that range at most
_TOLERANCE = 1e-6  # of log T


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the label, int64 (N,): 0 is a top-1 hit, 4 or less a top-5 hit."""
    ranks = np.empty(len(scores), dtype=np.int64)
    for start in range(0, len(scores), _CHUNK):
        part, own_labels = scores[start : start + _CHUNK], labels[start : start + _CHUNK, None]
        own = np.take_along_axis(part, own_labels, axis=1)
        ranks[start : start + _CHUNK] = np.count_nonzero(part > own, axis=1)
        ties = np.flatnonzero(np.count_nonzero(part == own, axis=1) > 1)
        before = (part[ties] == own[ties]) & (np.arange(part.shape[1]) < own_labels[ties])
        ranks[start + ties] += before.sum(axis=1)
    return ranks


def best_labels(scores: np.ndarray, labels: Sequence[Sequence[int]]) -> np.ndarray:
    """Of each row's labels, one or more, the one with the largest score, int64 (N,)."""
    chosen = [
        max(own, key=lambda label, row=row: row[label]) for row, own in zip(scores, labels, strict=True)
    ]
    return np.array(chosen, dtype=np.int64)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float32 (N, K)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Confusion:
    """The cells of a confusion matrix that are not empty: int64 (M,) each, by label, then by prediction."""

    labels: np.ndarray
    predicted: np.ndarray
    counts: np.ndarray

    def pairs(self) -> list[tuple[int, int, int]]:
        """(label, predicted, videos) of the mistakes, most frequent first, then by class numbers."""
        wrong = self.labels != self.predicted
        cells = zip(
            *(column[wrong].tolist() for column in (self.labels, self.predicted, self.counts)), strict=True
        )
        return sorted(cells, key=lambda cell: (-cell[2], cell))


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> Confusion:
    """How often each class was taken for each."""
    cells, counts = np.unique(labels * num_classes + predicted, return_counts=True)
    return Confusion(cells // num_classes, cells % num_classes, counts)


@dataclass(frozen=True)
class Bin:
    """Videos whose confidence lies in (low, high]: how many, their mean confidence, and the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability(confidence: np.ndarray, correct: np.ndarray, num_bins: int = NUM_BINS) -> list[Bin]:
    """Equal bins from 0 to 1; empty ones are left out. ``confidence`` (N,), ``correct`` bool (N,)."""
    which = np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)
    bins = []
    for number in range(num_bins):
        inside = which == number
        if inside.any():
            mean, right = float(confidence[inside].mean()), float(correct[inside].mean())
            bins.append(Bin(number / num_bins, (number + 1) / num_bins, int(inside.sum()), mean, right))
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Expected calibration error: the mean of |confidence - accuracy| of bins, by videos (Naeini et al. 2015)."""
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / total if total else math.nan


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0) -> float:
    """Mean of -log softmax(logits / T) of the label."""
    scaled = logits.astype(np.float64) / temperature
    top = scaled.max(axis=1)
    partition = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
    return float((partition - np.take_along_axis(scaled, labels[:, None], axis=1)[:, 0]).mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T within `TEMPERATURES` that minimises the negative log-likelihood of softmax(logits / T).

    That is convex in 1 / T, so the sign of its slope tells on which side T lies. At an end of the range there is no
    minimum inside: of rows that are all right, ever smaller T fit ever better.
    """
    centred = logits - logits.max(axis=1, keepdims=True)
    own = float(np.take_along_axis(centred, labels[:, None], axis=1).mean(dtype=np.float64))
    low, high = (math.log(value) for value in TEMPERATURES)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        powers = np.exp(centred * np.float32(math.exp(-middle)))
        expected = float(((powers * centred).sum(axis=1) / powers.sum(axis=1)).mean(dtype=np.float64))
        low, high = (low, middle) if expected <= own else (middle, high)
        if high - low < _TOLERANCE:
            break
    return math.exp((low + high) / 2)


@dataclass(frozen=True)
class Calibration:
    """Of the confidence in the first guess. ``temperature``: fitted to all rows, or None with fewer than two rows.

    The ``_after`` values are of held-out rows: each half is scored with the T that the other half gave.
    """

    bins: list[Bin]
    error: float
    nll: float
    temperature: float | None
    bins_after: list[Bin]
    error_after: float
    nll_after: float

    @property
    def at_limit(self) -> bool:
        """Whether no temperature is best, only the end of the range."""
        return self.temperature is not None and any(
            abs(math.log(self.temperature / end)) < 0.01 for end in TEMPERATURES
        )


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Calibration of softmax(logits), and of softmax(logits / T) by two-fold cross-validation (even and odd rows)."""

    def bins_of(values: np.ndarray) -> list[Bin]:
        return reliability(softmax(values).max(axis=1), logits.argmax(axis=1) == labels)

    before = bins_of(logits)
    nll = negative_log_likelihood(logits, labels)
    if len(logits) < 2:
        return Calibration(before, calibration_error(before), nll, None, [], math.nan, math.nan)
    scaled = np.empty_like(logits)
    for own, other in ((slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))):
        scaled[own] = logits[own] / np.float32(fit_temperature(logits[other], labels[other]))
    after = bins_of(scaled)
    return Calibration(
        before,
        calibration_error(before),
        nll,
        fit_temperature(logits, labels),
        after,
        calibration_error(after),
        negative_log_likelihood(scaled, labels),
    )


def class_means(values: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows of each class int64 (K,), mean of ``values`` (N,) over them (K,), NaN for a class without rows)."""
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, weights=values, minlength=num_classes)
    return counts, np.divide(sums, counts, out=np.full(num_classes, math.nan), where=counts > 0)


@dataclass(frozen=True)
class McNemar:
    """``only_first`` rows that the first of two got right alone, ``only_second`` likewise, and two-sided p values."""

    only_first: int
    only_second: int
    exact: float
    mid_p: float


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's test of bool (N,) hits on the same rows: under H0 the rows that differ fall to either side alike.

    exact: from the binomial distribution; mid_p: with half the probability of what was seen, which is less cautious
    and keeps its level (Fagerland et al. 2013).
    """
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    total, fewer = one + other, min(one, other)
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)
    ]
    shares = [math.exp(value - total * math.log(2)) for value in logs]
    tail = 2 * math.fsum(shares)
    return McNemar(one, other, min(1.0, tail), min(1.0, tail - shares[-1]))


def bootstrap(
    statistic: Callable[[np.ndarray], float], num_rows: int, rng: np.random.Generator, repeats: int
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic over ``repeats`` draws of rows with replacement.

    ``statistic`` is told how often each row was drawn, int64 (N,); draws for which it is NaN are left out.
    """
    values = []
    for _ in range(repeats):
        drawn = np.bincount(rng.integers(num_rows, size=num_rows), minlength=num_rows)
        values.append(statistic(drawn))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


class RankedClasses:
    """Scores (N, K) sorted once for each class, for its average precision under any weights of the rows.

    ``positive`` is bool (N, K). Average precision as in slowfast.engine.metrics: equal scores enter together.
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self._order = np.argsort(-scores, axis=0, kind="stable")
        ranked = np.take_along_axis(scores, self._order, axis=0)
        self._is_point = np.ones(scores.shape, dtype=bool)
        self._is_point[:-1] = ranked[1:] != ranked[:-1]
        self._positive = np.take_along_axis(positive, self._order, axis=0)

    def average_precisions(self, weights: np.ndarray) -> np.ndarray:
        """Of each class, float64 (K,), from 0 to 1; NaN for one without a positive row. ``weights`` (N,)."""
        return np.array([self._one(number, weights) for number in range(self._order.shape[1])])

    def _one(self, number: int, weights: np.ndarray) -> float:
        drawn = weights[self._order[:, number]].astype(np.float64)
        hits, taken = np.cumsum(drawn * self._positive[:, number]), np.cumsum(drawn)
        if not len(hits) or hits[-1] == 0:
            return math.nan
        point = self._is_point[:, number]
        hits, taken = hits[point], taken[point]
        precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])
