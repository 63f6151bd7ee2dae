"""Is a published figure reproduced, and if not, what is likely wrong? Pure functions on the numbers of one test.

A figure of p % is reproduced if the score lies in the 95 % Wilson interval of p for as many videos as were scored
(Wilson 1927; what a sound model scores on that many videos drawn anew), widened on both sides by the last digit of
the published figure, and if the test was the published one: its views, and its videos but for 2 % of them. Of few
videos that interval is wide, and a score within it proves little (`MAX_HALF_WIDTH`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

QUANTILE = 1.959964  # of the normal distribution, for 95 %
LAST_DIGIT = 0.1  # published figures are percentages with one decimal
MAX_HALF_WIDTH = 2.0  # points; of a wider interval a pass proves little
MAX_MISSING = 0.02  # share of the published videos
MAX_FRAME_RATE_DEVIATION = 0.1
MAX_DAMAGED = 0.01  # share of the videos scored
NAMES_COMPARED = ("same", "reordered")  # kinds of slowfast.models.class_names.ClassMatch
# Frames of the median video in the published lists: of validation for Something-Something, of a split for HMDB51
MEDIAN_FRAMES = {"ssv1": 50, "ssv2": 123, "hmdb51": 79}


def views_text(frames: int, crops: int, clips: int) -> str:
    """Views as results and tables write them: frames x crops x clips."""
    return f"{frames}x{crops}x{clips}"


@dataclass(frozen=True)
class Published:
    """The published side of a row: top-1 in percent, and the test that gave it.

    Of a row with several test lists ``split`` says which one is meant, from 1, and ``videos_of_splits`` how many
    videos each has.
    """

    top1: float
    dataset: str
    input_frames: int
    crops: int
    clips: int
    num_test_videos: int
    split: int | None = None
    videos_of_splits: tuple[int, ...] = ()

    @property
    def views(self) -> str:
        return views_text(self.input_frames, self.crops, self.clips)


@dataclass(frozen=True)
class Check:
    """One possible cause: what was found, and whether it explains a failure; None if that could not be checked."""

    name: str
    said: str
    likely: bool | None


@dataclass(frozen=True)
class Verdict:
    """PASS or FAIL, why, the interval of scores that pass (percent), and all that was checked."""

    passed: bool
    reasons: tuple[str, ...]
    low: float
    high: float
    checks: tuple[Check, ...]

    def check(self, name: str) -> Check:
        """The check of that name; KeyError if there is none."""
        return {check.name: check for check in self.checks}[name]

    @property
    def word(self) -> str:
        return "PASS" if self.passed else "FAIL"

    @property
    def half_width(self) -> float:
        """Of the interval, in points."""
        return (self.high - self.low) / 2

    def causes(self) -> list[Check]:
        """The checks that explain a failure; none of a pass."""
        return [] if self.passed else [check for check in self.checks if check.likely]


def wilson(hits: float, total: int) -> tuple[float, float]:
    """The 95 % Wilson interval, as shares from 0 to 1, of ``hits`` out of ``total``; hits need not be whole."""
    if total == 0:
        return 0.0, 1.0
    share, z2 = hits / total, QUANTILE**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = QUANTILE / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def tolerance(top1: float, num_videos: int) -> tuple[float, float]:
    """The scores (percent) that reproduce a published ``top1`` (percent) on ``num_videos`` videos."""
    low, high = wilson(top1 / 100 * num_videos, num_videos)
    return max(0.0, 100 * low - LAST_DIGIT), min(100.0, 100 * high + LAST_DIGIT)


def proves_little(top1: float, num_videos: int) -> bool:
    """Whether so few videos were scored that ``tolerance`` is wider than `MAX_HALF_WIDTH` to either side."""
    low, high = tolerance(top1, num_videos)
    return (high - low) / 2 > MAX_HALF_WIDTH


def judge(
    published: Published,
    results: Mapping[str, Any],
    predictions: Sequence[tuple[int, int]],
    *,
    precision: str,
    overrides: Mapping[str, Any],
) -> Verdict:
    """``results`` is what results.json of the test holds, ``predictions`` (label, predicted class) of each video.

    ``precision`` is TEST.MIXED_PRECISION; ``overrides`` are keys of the protocol that were given another value than
    the recipe's.
    """
    top1 = results["video"]["top1"]
    low, high = tolerance(published.top1, results["num_scored"])
    videos, views = _videos(published, results), _views(published, results)
    reasons = []
    if not low <= top1 <= high:
        side = "below" if top1 < low else "above"
        reasons.append(f"top-1 {top1:.2f} is {side} {low:.2f} to {high:.2f}")
    if views.likely:
        reasons.append("the views are not the published ones")
    if videos.likely:
        reasons.append("the videos are not the published ones")
    checks = (
        videos,
        _class_order(published, results, predictions),
        views,
        _decoder(results),
        _frame_rate(published, results),
        _precision(precision),
        _overrides(overrides),
    )
    return Verdict(not reasons, tuple(reasons), low, high, checks)


def _videos(published: Published, results: Mapping[str, Any]) -> Check:
    scored, expected = results["num_scored"], published.num_test_videos
    said = f"{scored} scored, {results['num_total']} in the list, {expected} published"
    unscored = results["num_total"] - scored
    if unscored:
        said += f"; {unscored} of the list could not be scored"
    off = abs(scored - expected) / expected
    if scored != expected:
        said += f" ({100 * off:.1f} % {'missing' if scored < expected else 'too many'})"
    return Check("videos", said, off > MAX_MISSING)


def _views(published: Published, results: Mapping[str, Any]) -> Check:
    said = f"{results['views']} (frames x crops x clips), published {published.views}"
    return Check("views", said, results["views"] != published.views)


def _class_order(
    published: Published, results: Mapping[str, Any], predictions: Sequence[tuple[int, int]]
) -> Check:
    """By name as the test found it, and by trying whether other numbers for the classes explain the labels."""
    said = results["class_order"]["said"]
    relabelled = relabel(predictions)
    total = len(predictions)
    before = sum(label == predicted for label, predicted in predictions)
    if wilson(relabelled.hits, total)[0] > wilson(before, total)[1]:
        return Check(
            "class order",
            f"{said}; but with the classes numbered anew (found on one half of the videos, measured on the other) "
            f"top-1 is {100 * relabelled.hits / total:.2f} instead of {100 * before / total:.2f}: "
            f"{relabelled.describe()}. The labels of the list follow another order than the weights",
            True,
        )
    if _would_show(published, predictions, before):
        return Check("class order", f"{said}; no other numbering of the classes fits better", False)
    said += "; too few videos of a class to see whether another numbering of the classes fits better"
    return Check("class order", said, False if results["class_order"]["kind"] in NAMES_COMPARED else None)


def _would_show(published: Published, predictions: Sequence[tuple[int, int]], before: int) -> bool:
    """Whether `relabel` would have found the published score under other numbers, or no number can be wrong.

    It judges only videos whose class has another one. ``before`` are the hits without it.
    """
    share, total = published.top1 / 100, len(predictions)
    videos_of = Counter(label for label, _ in predictions)
    judged = sum(count for count in videos_of.values() if count > 1)
    return before >= share * total or wilson(share * judged, total)[0] > wilson(before, total)[1]


def _decoder(results: Mapping[str, Any]) -> Check:
    """By the videos that it could not read, or not to their end; of folders of frames the second is not known."""
    unreadable, damaged = len(results["unreadable"]), len(results["damaged"])
    said = f"{unreadable} videos unreadable, {damaged} damaged and scored from what could be decoded"
    if results["unreadable"]:
        first = results["unreadable"][0]
        said += f", such as {first['path']}: {first['reason']}"
    few = damaged <= MAX_DAMAGED * results["num_scored"]
    if unreadable > MAX_MISSING * results["num_total"] or not few:
        return Check("decoder", said, True)
    if results.get("median_num_frames") is not None:
        return Check(
            "decoder",
            f"{unreadable} folders of frames unreadable; how their videos were decoded cannot be seen from here",
            None,
        )
    return Check("decoder", said, False)


def _frame_rate(published: Published, results: Mapping[str, Any]) -> Check:
    median, expected = results.get("median_num_frames"), MEDIAN_FRAMES.get(published.dataset)
    if median is None or expected is None:
        missing = "this list" if median is None else f"the published lists of {published.dataset}"
        return Check("frame rate", f"no numbers of extracted frames are known of {missing}", None)
    said = f"the median video has {median:g} extracted frames, in the published lists {expected}"
    return Check("frame rate", said, abs(median / expected - 1) > MAX_FRAME_RATE_DEVIATION)


def _precision(mode: str) -> Check:
    return Check("precision", f"TEST.MIXED_PRECISION {mode}", mode != "off")


def _overrides(overrides: Mapping[str, Any]) -> Check:
    said = ", ".join(f"{key} {value}" for key, value in overrides.items())
    return Check("overrides", said or "none of the keys that scores follow from", bool(overrides))


@dataclass(frozen=True)
class Relabelling:
    """Videos that would be right (each judged by the other half), and which label a predicted class stands for."""

    hits: int
    label_of: dict[int, int]

    def describe(self) -> str:
        """The new numbers in words: a shift that most classes share, else one example."""
        shifts = Counter(label - predicted for predicted, label in self.label_of.items())
        shift, count = shifts.most_common(1)[0]
        if shift and count >= 0.8 * len(self.label_of):
            return f"labels are the numbers of the weights {shift:+d}"
        predicted, label = next((one, other) for one, other in self.label_of.items() if one != other)
        return f"class {predicted} of the weights is class {label} of the list, for example"


def relabel(predictions: Sequence[tuple[int, int]]) -> Relabelling:
    """The best one-to-one renumbering of predicted classes that greedy choice finds, most frequent pairs first.

    Found on every second video of each label and counted on the others, and the other way round: a renumbering that
    fits noise gains nothing.
    """
    halves: tuple[list, list] = ([], [])
    seen_of: Counter[int] = Counter()
    for label, predicted in predictions:
        halves[seen_of[label] % 2].append((label, predicted))
        seen_of[label] += 1
    hits = 0
    for seen, unseen in (halves, halves[::-1]):
        label_of = _assign(seen)
        hits += sum(label_of.get(predicted) == label for label, predicted in unseen)
    return Relabelling(hits, _assign(predictions))


def _assign(predictions: Sequence[tuple[int, int]]) -> dict[int, int]:
    label_of: dict[int, int] = {}
    taken: set[int] = set()
    # Of equally frequent pairs one that changes no number comes first, then the lower numbers.
    pairs = sorted(
        Counter(predictions).items(), key=lambda item: (-item[1], item[0][0] != item[0][1], item[0])
    )
    for (label, predicted), _ in pairs:
        if predicted not in label_of and label not in taken:
            label_of[predicted] = label
            taken.add(label)
    return label_of


def median_frames(frame_counts: Sequence[int] | np.ndarray | None) -> float | None:
    """The median of a list's numbers of frames; None for a list that has none."""
    return None if frame_counts is None else float(np.median(np.asarray(frame_counts)))
