"""Which videos a test got most wrong; pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from slowfast.reporting import statistics
from slowfast.reporting.reading import TestRun

MOST = 12  # with frames


@dataclass(frozen=True)
class Mistake:
    """A video whose first guess is wrong. ``row`` in the run, ``label`` its own class (of several the one that ranks
    best), ``rank`` of that class from 1, and the softmax probabilities of both."""

    row: int
    label: int
    predicted: int
    rank: int
    probability: float
    label_probability: float


def worst_mistakes(run: TestRun, most: int = MOST) -> list[Mistake]:
    """The mistakes in which the wrong class got the largest probability, largest first."""
    labelled = [row for row, own in enumerate(run.labels) if own]
    rows = np.array(labelled, dtype=np.int64)
    if not len(rows):
        return []
    labels = statistics.best_labels(run.scores[rows], [run.labels[row] for row in labelled])
    ranks = statistics.label_ranks(run.scores[rows], labels)
    predicted = run.scores[rows].argmax(axis=1)
    probabilities = statistics.softmax(run.mean_logits[rows])
    own = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    wrong_ones = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
    wrong = np.flatnonzero(ranks > 0)
    order = wrong[np.argsort(-wrong_ones[wrong], kind="stable")][:most]
    return [
        Mistake(
            int(rows[at]),
            int(labels[at]),
            int(predicted[at]),
            int(ranks[at]) + 1,
            float(wrong_ones[at]),
            float(own[at]),
        )
        for at in order
    ]
