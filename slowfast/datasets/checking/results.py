"""Verdicts → the files that a check leaves, and its summary."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast.datasets.annotations import VideoTable, list_lines
from slowfast.datasets.checking.decoding import BAD, DAMAGED, GOOD
from slowfast.datasets.checking.journal import Verdict
from slowfast.datasets.preparation.lists import csv_text
from slowfast.utils.atomic import replace_file

_REASONS, _CLASSES = 15, 5  # shown in a summary
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NAME = re.compile(r"\S*\d\S*\.\w+")  # a file of a folder, such as img_00012.jpg


@dataclass(frozen=True)
class ClassCount:
    """Videos of one class in a list. A video with several labels counts for each of them."""

    label: int
    name: str
    listed: int
    good: int

    @property
    def share(self) -> float:
        """Of its videos that are good, 0..1; 1 where there is none."""
        return self.good / self.listed if self.listed else 1.0


def accepted(keep_damaged: bool) -> tuple[str, ...]:
    """The verdicts with which a video is listed as good."""
    return (GOOD, DAMAGED) if keep_damaged else (GOOD,)


def count_classes(
    table: VideoTable, good: Sequence[bool], class_names: Sequence[str] | None
) -> list[ClassCount]:
    """One for each class, by label: of all that have a name, else of all that are listed."""
    listed, kept = Counter(), Counter()
    for index, is_good in enumerate(good):
        for label in _labels(table, index):
            listed[label] += 1
            kept[label] += is_good
    labels = range(len(class_names)) if class_names else sorted(listed)
    return [
        ClassCount(label, class_names[label] if class_names else "", listed[label], kept[label])
        for label in labels
    ]


def write_results(
    folder: Path,
    table: VideoTable,
    verdicts: Sequence[Verdict],
    counts: Sequence[ClassCount],
    accept: Collection[str],
) -> None:
    """good.csv, lines of the list as they are; bad.csv; coverage.csv. `verdicts` has one for each line.

    Raises ValueError if the list has not as many lines as the table any more.
    """
    lines = [line for _, line in list_lines(Path(table.source))]
    if len(lines) != len(table):
        raise ValueError(f"{table.source}: changed while its videos were checked; check it again")
    good = [line for line, verdict in zip(lines, verdicts, strict=True) if verdict.status in accept]
    bad = [
        (table.name(index), ";".join(map(str, _labels(table, index))), full_reason(verdict))
        for index, verdict in enumerate(verdicts)
        if verdict.status not in accept
    ]
    rows = [
        (one.label, one.name, one.listed, one.good, one.listed - one.good, f"{one.share:.4f}")
        for one in counts
    ]
    coverage = csv_text(["label", "class", "listed", "good", "bad", "share"], rows)
    _write(folder / "good.csv", b"".join(line + b"\n" for line in good))
    _write(folder / "bad.csv", csv_text(["path", "label", "reason"], bad).encode())
    _write(folder / "coverage.csv", coverage.encode())


def summary(
    folder: Path,
    table: VideoTable,
    verdicts: Sequence[Verdict],
    counts: Sequence[ClassCount],
    accept: Collection[str],
) -> str:
    """How many are good, why the others are not, which classes lost most."""
    good = sum(verdict.status in accept for verdict in verdicts)
    lines = [f"{table.source}: {good} of {len(verdicts)} videos are good ({good / len(verdicts):.2%})"]
    lines += _reasons("not good", [one for one in verdicts if one.status not in accept])
    lines += _reasons(
        "used as far as they go", [one for one in verdicts if one.status in accept and one.reason]
    )
    poorest = sorted((one for one in counts if one.good < one.listed), key=lambda one: (one.share, one.label))
    lines += ["  classes that lost most:"] if poorest else []
    lines += [
        f"    {one.good} of {one.listed} good: {one.label} {one.name}".rstrip() for one in poorest[:_CLASSES]
    ]
    lines += [f"    and {len(poorest) - _CLASSES} more classes"] if len(poorest) > _CLASSES else []
    return "\n".join([*lines, f"  good.csv, bad.csv and coverage.csv are in {folder}"])


def full_reason(verdict: Verdict) -> str:
    """The reason as bad.csv has it: whether a video is damaged, and used as far as it goes, stands before it."""
    return verdict.reason if verdict.status == BAD else f"damaged: {verdict.reason}"


def _reasons(title: str, verdicts: Sequence[Verdict]) -> list[str]:
    """How often each reason is given; where only numbers and names of frames differ, one stands for all."""
    examples, times = defaultdict(dict), Counter()
    for verdict in verdicts:
        reason = full_reason(verdict)
        kind = _NUMBER.sub("0", _NAME.sub("0", reason))
        times[kind] += 1
        examples[kind][reason] = None
    lines = [f"  {title}: {len(verdicts)}"] if verdicts else []
    for kind, count in times.most_common(_REASONS):
        first, *others = examples[kind]
        lines.append(f"    {count} x {first}{' (and the like)' if others else ''}")
    return lines + ([f"    and {len(times) - _REASONS} more reasons"] if len(times) > _REASONS else [])


def _labels(table: VideoTable, index: int) -> list[int]:
    label = table.label(index)
    return label if isinstance(label, list) else [label]


def _write(path: Path, content: bytes) -> None:
    with replace_file(path) as file:
        file.write(content)
