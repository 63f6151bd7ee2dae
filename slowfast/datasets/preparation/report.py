"""What was listed and what was not → lines for a person."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from slowfast.datasets.preparation.conversion import Result
from slowfast.datasets.preparation.entries import UNLABELLED, Item, LeftOut
from slowfast.datasets.preparation.lists import ListFormat, counts_table
from slowfast.datasets.preparation.media import NOUNS
from slowfast.utils.plural import counted

_ROWS = 20  # a table with more classes becomes one line per split
_SHOWN = 3


def summary(
    folder: Path,
    listed: Mapping[str, Sequence[Item]],
    left_out: Sequence[LeftOut],
    class_names: Sequence[str],
    form: ListFormat,
) -> str:
    """Videos per list, per class, and the first that are left out, those with a common cause together."""
    lines = [f"{folder}:"]
    for split, items in listed.items():
        note = ""
        if split == "test" and items == listed.get("val"):
            note = ", the validation list again"
        if split == UNLABELLED:
            note = ", label 0 for all: not to be scored"
        lines.append(f"  {form.names[split]}: {counted(len(items), 'video')}{note}")
    lines += ["  " + line for line in _table(*counts_table(listed, left_out, class_names))]
    if left_out:
        lines.append(f"  {len(left_out)} left out, see {folder / 'missing.csv'}")
    causes = sorted({item.cause for item in left_out})  # "", for what has a reason of its own, comes first
    for cause in causes:
        lines += _first([item for item in left_out if item.cause == cause], cause)
    return "\n".join(lines)


def _first(left_out: Sequence[LeftOut], cause: str) -> list[str]:
    """The first of those with one cause. Two lines of annotation may have one reason, which is told once."""
    indent, lines = "    ", []
    if cause:
        lines.append(f"    {counted(len({item.path for item in left_out}), 'video')} {cause}:")
        indent = "      "
    told = list(dict.fromkeys(f"{indent}{item.path}: {item.reason}" for item in left_out))
    return [*lines, *told[:_SHOWN], *([f"{indent}..."] if len(told) > _SHOWN else [])]


def damaged(folder: Path, number: int) -> list[str]:
    """How many of the listed videos are damaged."""
    if not number:
        return []
    return [
        f"  {counted(number, 'damaged video')} listed, used as far as the frames go: see {folder / 'damaged.csv'}"
    ]


def unused(number: int, kind: str, media: Path) -> list[str]:
    """Media that no annotation names."""
    are = "is" if number == 1 else "are"
    return [f"{counted(number, NOUNS[kind])} in {media} {are} in none of these lists"] if number else []


def removed(paths: Sequence[Path]) -> list[str]:
    """Lists that are no longer there."""
    return [f"  removed {path.name} of an earlier preparation from {path.parent}" for path in paths]


def no_classes(folders: Sequence[str]) -> list[str]:
    """Folders beside those of the classes."""
    return [f"no usable media in class folders: {', '.join(folders)}; they are no classes"] if folders else []


def alike(groups: Sequence[Sequence[str]]) -> list[str]:
    """Class folders that may be meant as one class."""
    return [
        f"warning: the class folders {', '.join(map(repr, group))} differ only in case, spaces or punctuation; if they "
        "are one class, put their videos into one folder"
        for group in groups
    ]


def ignored(others: Mapping[str, int]) -> list[str]:
    """Files of the media folder that are neither videos nor pictures."""
    counts = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
    return [f"neither videos nor pictures, not looked at: {counts}"] if counts else []


def conversion(results: Mapping[str, Result]) -> list[str]:
    """What was made from the videos."""
    if not results:
        return []
    made = sum(result.made for result in results.values())
    failed = sum(bool(result.reason) for result in results.values())
    return [f"converted now: {made}, earlier: {len(results) - made - failed}, impossible: {failed}"]


def checked(number: int, unreadable: int, kind: str) -> list[str]:
    """How many media were looked into, and how many of them are in no list for what was found."""
    if not number:
        return []
    return [f"{counted(number, NOUNS[kind])} opened; unreadable: {unreadable}"]


def usage(keys: Mapping[str, object]) -> list[str]:
    """The keys that a recipe needs to read these lists, as words of a command line."""
    words = " ".join(f"{key} {shlex.quote(str(value))}" for key, value in keys.items())
    return ["for the command line of tools/run_net.py:", f"  {words}"]


def _table(header: Sequence[str], rows: Sequence[tuple]) -> list[str]:
    if len(rows) <= _ROWS:
        cells = [tuple(header), *(tuple(map(str, row)) for row in rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
        return [
            "  ".join(
                cell.ljust(width) if place == 1 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
    lines = [f"{len(rows)} classes; videos of a class, least / median / most:"]
    for place, name in list(enumerate(header))[2:]:
        counts = [row[place] for row in rows]
        lines.append(f"  {name}: {min(counts)} / {median(counts):g} / {max(counts)}")
    empty = [row[1] for row in rows if not any(row[2:-1])]
    if empty:
        more = ", ..." if len(empty) > _SHOWN else ""
        lines.append(
            f"  {counted(len(empty), 'class', 'classes')} without any video: {', '.join(empty[:_SHOWN])}{more}"
        )
    return lines
