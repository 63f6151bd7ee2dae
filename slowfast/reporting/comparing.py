"""Tests of several runs, video by video: which is better, and can that be chance? Pure functions.

Videos are the same if their lists name them alike, and classes if their names are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slowfast.reporting import statistics
from slowfast.reporting.reading import TestRun
from slowfast.reporting.statistics import McNemar
from slowfast.utils.plural import counted

REPEATS, MAP_REPEATS = 1000, 200  # of a bootstrap
SEED = 0


@dataclass(frozen=True)
class Pairing:
    """Rows of two runs that are the same video, int64 (M,) each, and what is left out: videos of one run alone, and
    videos whose labels have other names in the other run."""

    first: np.ndarray
    second: np.ndarray
    only_first: int
    only_second: int
    relabelled: int

    def said(self) -> str:
        """What is left out, in words; "" where nothing is."""
        parts = [
            (self.only_first, "in the first run alone"),
            (self.only_second, "in the second run alone"),
            (self.relabelled, "with other labels"),
        ]
        return ", ".join(f"{counted(number, 'video')} {what}" for number, what in parts if number)


@dataclass(frozen=True)
class Difference:
    """One figure of two runs over the videos that both scored, in percent (mAP: from 0 to 1): second minus first with
    its 95 % bootstrap interval, and McNemar's test where the figure is a share of right videos."""

    name: str
    first: float
    second: float
    low: float
    high: float
    test: McNemar | None = None

    @property
    def difference(self) -> float:
        return self.second - self.first


@dataclass(frozen=True)
class ClassDifference:
    """A class in two runs: its videos that both scored, and its figure in each."""

    name: str
    videos: int
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """The second of two runs against the first."""

    pairing: Pairing
    differences: list[Difference]
    classes: list[ClassDifference]


def check_comparable(runs: Sequence[TestRun]) -> None:
    """Raise ValueError for runs without labels, or of which some have one label a video and others several."""
    for run in runs:
        if not run.labelled:
            raise ValueError(f"{run.folder} has no accuracy to compare: {run.results['no_accuracy']}")
    if len({run.multi_label for run in runs}) > 1:
        several = next(run for run in runs if run.multi_label)
        raise ValueError(
            f"{several.folder} has several labels a video and others one: they cannot be compared"
        )
    if runs[0].multi_label and len({frozenset(run.class_names) for run in runs}) > 1:
        raise ValueError(
            "the runs have other classes, and mAP is a mean over classes: they cannot be compared"
        )


def warnings(runs: Sequence[TestRun]) -> list[str]:
    """What is not alike about the tests, in lines for people."""
    said = []
    for what, text in (
        ("views", "the views (frames x crops x clips) differ"),
        ("num_total", "the lists have other numbers of videos"),
        ("list", "the lists are other files"),
    ):
        values = [str(run.results.get(what, "")) for run in runs]
        if len(set(values)) > 1:
            said.append(f"{text}: {', '.join(values)}")
    return said


def pair(first: TestRun, second: TestRun) -> Pairing:
    """Match the videos of two runs; a name that a list has twice is matched in order."""
    places = {name: row for row, name in enumerate(_numbered(second.paths))}
    rows, others, relabelled = [], [], 0
    for row, name in enumerate(_numbered(first.paths)):
        other = places.get(name)
        if other is None:
            continue
        if _named_labels(first, row) != _named_labels(second, other):
            relabelled += 1
            continue
        rows.append(row)
        others.append(other)
    common = len(rows) + relabelled
    return Pairing(
        np.array(rows, np.int64),
        np.array(others, np.int64),
        len(first.paths) - common,
        len(second.paths) - common,
        relabelled,
    )


def _numbered(paths: Sequence[str]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    numbered = []
    for path in paths:
        numbered.append((path, seen[path]))
        seen[path] += 1
    return numbered


def _named_labels(run: TestRun, row: int) -> frozenset[str]:
    return frozenset(run.class_names[label] for label in run.labels[row])


def compare(first: TestRun, second: TestRun) -> Comparison:
    """Figures of two comparable runs on the videos that both scored. Raises ValueError where there is none."""
    pairing = pair(first, second)
    if not len(pairing.first):
        raise ValueError(
            f"{first.folder} and {second.folder} have no video in common ({pairing.said()}): their lists name other "
            "videos"
        )
    if first.multi_label:
        return _compare_precision(first, second, pairing)
    ranks = [
        statistics.label_ranks(run.scores[rows], run.label_array[rows])
        for run, rows in ((first, pairing.first), (second, pairing.second))
    ]
    labels, num_classes = first.label_array[pairing.first], len(first.class_names)
    smallest = min(len(first.class_names), len(second.class_names))
    differences = [_share(f"top-{k}", ranks[0] < k, ranks[1] < k) for k in (1, 5) if k < smallest]
    differences.append(_class_mean(ranks[0] < 1, ranks[1] < 1, labels, num_classes))
    counts, before = statistics.class_means(ranks[0] < 1, labels, num_classes)
    after = statistics.class_means(ranks[1] < 1, labels, num_classes)[1]
    classes = _class_differences(first.class_names, counts, 100 * before, 100 * after)
    return Comparison(pairing, differences, classes)


def _class_differences(
    names: Sequence[str], counts: np.ndarray, before: np.ndarray, after: np.ndarray
) -> list[ClassDifference]:
    """Of the classes that have any video, largest change first."""
    rows = zip(names, counts.tolist(), before.tolist(), after.tolist(), strict=True)
    found = [ClassDifference(*row) for row in rows if row[1]]
    return sorted(found, key=lambda one: -abs(one.second - one.first))


def _share(name: str, first: np.ndarray, second: np.ndarray) -> Difference:
    change = second.astype(np.float64) - first
    low, high = statistics.bootstrap(
        lambda drawn: 100 * float(drawn @ change) / len(change), len(change), _rng(), REPEATS
    )
    test = statistics.mcnemar(first, second)
    return Difference(name, 100 * float(first.mean()), 100 * float(second.mean()), low, high, test)


def _class_mean(first: np.ndarray, second: np.ndarray, labels: np.ndarray, num_classes: int) -> Difference:
    """Mean over classes of top-1."""

    def mean(values: np.ndarray, drawn: np.ndarray) -> float:
        sums = np.bincount(labels, weights=drawn * values, minlength=num_classes)
        counts = np.bincount(labels, weights=drawn, minlength=num_classes)
        return 100 * float((sums[counts > 0] / counts[counts > 0]).mean())

    change = second.astype(np.float64) - first
    once = np.ones(len(labels))
    low, high = statistics.bootstrap(lambda drawn: mean(change, drawn), len(labels), _rng(), REPEATS)
    return Difference("mean over classes of top-1", mean(first, once), mean(second, once), low, high)


def _compare_precision(first: TestRun, second: TestRun, pairing: Pairing) -> Comparison:
    """mAP, and the average precision of each class; the classes of the second run in the order of the first."""
    order = [second.class_names.index(name) for name in first.class_names]
    hot = first.hot()[pairing.first] > 0
    ranked = [
        statistics.RankedClasses(first.scores[pairing.first], hot),
        statistics.RankedClasses(second.scores[pairing.second][:, order], hot),
    ]
    once = np.ones(len(hot))
    before, after = (one.average_precisions(once) for one in ranked)

    def change(drawn: np.ndarray) -> float:
        one, other = (each.average_precisions(drawn) for each in ranked)
        return float(np.nanmean(other) - np.nanmean(one))

    low, high = statistics.bootstrap(change, len(hot), _rng(), MAP_REPEATS)
    difference = Difference("mAP", float(np.nanmean(before)), float(np.nanmean(after)), low, high)
    classes = _class_differences(first.class_names, hot.sum(axis=0), before, after)
    return Comparison(pairing, [difference], classes)


def _rng() -> np.random.Generator:
    return np.random.default_rng(SEED)
