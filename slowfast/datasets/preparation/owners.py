"""Annotation files as the owners of the data sets distribute them → entries. No media are looked at here.

Kinetics csv: header with label, youtube_id, time_start, time_end, split. Something-Something V1: "id;template" lines;
V2: a JSON array of {"id", "template"}, objects in [brackets]. UCF101: "Class/v_Class_g01_c01.avi 1" lines, numbered
from 1. HMDB51: a file per class and split with "name.avi 0|1|2" lines, for unused, train and test.

All functions raise FileNotFoundError, or ValueError that names file and line.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from slowfast.datasets.preparation.classes import ClassNumbers
from slowfast.datasets.preparation.entries import UNLABELLED, Entry

_KINETICS_COLUMNS = ("label", "youtube_id", "time_start", "time_end")
_KINETICS_SPLITS = {"validate": "val", "validation": "val", "val": "val", "train": "train", "test": "test"}
_UCF_LIST = re.compile(r"(train|test)list0([123])\.txt")
_HMDB_LIST = re.compile(r"(.+)_test_split([123])\.txt")
_HMDB_SPLITS = {"0": None, "1": "train", "2": "val"}


def read_kinetics(path: str | Path, split: str, classes: ClassNumbers) -> list[Entry]:
    """Entries of a Kinetics csv; `split` is the one it is given for.

    A video is looked for as <id>_<start>_<end> with six digits each, then as <id>. A test file without labels
    gives entries of the split `unlabelled`.
    """
    rows = _csv_rows(Path(path), ",")
    where, header = next(rows, (f"{path}:1", []))
    columns = {name.strip(): place for place, name in enumerate(header)}
    needed = _KINETICS_COLUMNS[1:] if split == "test" else _KINETICS_COLUMNS
    if not set(needed) <= set(columns):
        raise ValueError(
            f"{where}: found {','.join(header)!r} where the header of a Kinetics csv should stand: "
            "label,youtube_id,time_start,time_end,split"
        )
    labelled = "label" in columns
    found = []
    for where, row in rows:
        if len(row) < len(header):
            raise ValueError(f"{where}: {len(row)} fields, but the header names {len(header)}")
        value = {name: row[place].strip() for name, place in columns.items()}
        stated = _KINETICS_SPLITS.get(value.get("split", ""), split)
        if stated != split:
            raise ValueError(
                f"{where}: this row is of the split {value['split']!r}, in a file given for {split}"
            )
        start, end = (_seconds(value[key], where) for key in ("time_start", "time_end"))
        if not value["youtube_id"]:
            raise ValueError(f"{where}: no youtube_id")
        names = (f"{value['youtube_id']}_{start:06d}_{end:06d}", value["youtube_id"])
        found.append((names, value["label"] if labelled else "", where))
    return _entries(found, split, classes, path)


def read_something_v1(path: str | Path, split: str, classes: ClassNumbers) -> list[Entry]:
    """Entries of something-something-v1-{train,validation,test}.csv; the test file has numbers of videos only."""
    found = []
    for where, row in _csv_rows(Path(path), ";"):
        if not row[0].isdigit() or len(row) > 2:
            raise ValueError(
                f"{where}: found {';'.join(row)!r}; Something-Something V1 has lines 'number;template'"
            )
        if len(row) == 1 and split != "test":
            raise ValueError(f"{where}: no template; only the test file may leave it out")
        found.append(((row[0],), row[1] if len(row) == 2 else "", where))
    return _entries(found, split, classes, path)


def read_something_v2(path: str | Path, split: str, classes: ClassNumbers) -> list[Entry]:
    """Entries of something-something-v2-{train,validation,test}.json; the test file has numbers of videos only."""
    videos = _json(Path(path))
    if not isinstance(videos, list):
        raise ValueError(
            f'{path}: a list of {{"id": ..., "template": ...}} is needed, found {type(videos).__name__}'
        )
    found = []
    for place, video in enumerate(videos):
        where = f"{path}: video {place}"
        if not isinstance(video, dict) or "id" not in video:
            raise ValueError(f'{where}: found {str(video)[:60]!r}, needed {{"id": ..., "template": ...}}')
        if "template" not in video and split != "test":
            raise ValueError(f"{where} (id {video['id']}): no template; only the test file may leave it out")
        found.append(((str(video["id"]),), video.get("template", ""), f"{where} (id {video['id']})"))
    return _entries(found, split, classes, path)


def read_something_labels(path: str | Path) -> list[str]:
    """The templates of a labels file in their order: V1 csv, one a line; V2 json, template → number."""
    path = Path(path)
    if path.suffix != ".json":
        return [";".join(row) for _, row in _csv_rows(path, ";")]
    numbers = _json(path)
    try:
        return sorted(numbers, key=lambda template: int(numbers[template]))
    except (TypeError, ValueError, KeyError):
        raise ValueError(f'{path}: labels are written as {{"template": number, ...}}') from None


def read_ucf101(folder: str | Path, classes: ClassNumbers) -> dict[str, list[Entry]]:
    """{"split1": entries, ...} of a folder with classInd.txt, trainlist0k.txt and testlist0k.txt.

    Videos of a test list are entries of the split `val`: UCF101 has no other videos to validate with.
    """
    folder = Path(folder)
    names = [line.split()[-1] for _, line in _lines(folder / "classInd.txt")]
    classes.require_order(names, str(folder / "classInd.txt"))
    splits: dict[str, list[Entry]] = {}
    for path, match in _matching(folder, _UCF_LIST, "trainlist01.txt, testlist01.txt"):
        split = {"train": "train", "test": "val"}[match[1]]
        found = []
        for where, line in _lines(path):
            video, *number = line.split()
            name = PurePosixPath(video)
            if len(name.parts) != 2:
                raise ValueError(f"{where}: found {line!r}; UCF101 has lines 'Class/v_Class_g01_c01.avi 1'")
            found.append(((name.stem,), name.parts[0], where))
            if number:
                _require_ucf_number(number[0], name.parts[0], where, names)
        splits.setdefault(f"split{match[2]}", []).extend(_entries(found, split, classes, path))
    _require_both(splits, folder, "trainlist0{k}.txt and testlist0{k}.txt")
    return splits


def read_hmdb51(folder: str | Path, classes: ClassNumbers) -> dict[str, list[Entry]]:
    """{"split1": entries, ...} of a folder with <class>_test_split<k>.txt; its test videos are the split `val`.

    Videos of different classes may have the same name.
    """
    folder = Path(folder)
    splits: dict[str, list[Entry]] = {}
    for path, match in _matching(folder, _HMDB_LIST, "brush_hair_test_split1.txt"):
        (label,) = classes.number([(match[1], str(path))])
        entries = splits.setdefault(f"split{match[2]}", [])
        for where, line in _lines(path):
            video, _, use = line.rpartition(" ")
            if use not in _HMDB_SPLITS or not video:
                raise ValueError(f"{where}: found {line!r}; HMDB51 has lines 'name.avi 0', 1 or 2")
            if _HMDB_SPLITS[use]:
                stem = PurePosixPath(video.strip()).stem
                entries.append(Entry((stem,), match[1], label, _HMDB_SPLITS[use], where, names_repeat=True))
    for split, entries in splits.items():
        absent = set(range(len(classes.names))) - {entry.label for entry in entries}
        if absent:
            first = ", ".join(classes.names[number] for number in sorted(absent)[:5])
            raise ValueError(
                f"{folder}: {split} has no videos of {len(absent)} classes: {first}; is a file missing?"
            )
    _require_both(splits, folder, "videos for training (1) and for testing (2)")
    return splits


def _entries(
    found: list[tuple[tuple[str, ...], str, str]], split: str, classes: ClassNumbers, path: str | Path
) -> list[Entry]:
    """(names, class name, where) of the videos of one file → entries, all with a class or all without."""
    if not found:
        raise ValueError(f"{path}: no videos in this annotation file")
    without = [where for _, name, where in found if not name]
    if split == "test" and len(without) == len(found):
        return [Entry(names, "", 0, UNLABELLED, where) for names, _, where in found]
    if without:
        raise ValueError(f"{without[0]}: no class name")
    labels = classes.number([(name, where) for _, name, where in found])
    return [
        Entry(names, name, label, split, where)
        for (names, name, where), label in zip(found, labels, strict=True)
    ]


def _require_ucf_number(number: str, class_name: str, where: str, names: list[str]) -> None:
    if not number.isdigit() or not 1 <= int(number) <= len(names) or names[int(number) - 1] != class_name:
        raise ValueError(
            f"{where}: class {class_name!r} has the number {number}, which classInd.txt gives otherwise"
        )


def _require_both(splits: dict[str, list[Entry]], folder: Path, needed: str) -> None:
    for name, entries in splits.items():
        if {entry.split for entry in entries} != {"train", "val"}:
            raise ValueError(f"{folder}: {name} needs {needed.format(k=name[-1])}; one of them is missing")


def _matching(folder: Path, pattern: re.Pattern, example: str) -> list[tuple[Path, re.Match]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder (of annotation files)")
    found = [(path, pattern.fullmatch(path.name)) for path in sorted(folder.iterdir())]
    found = [(path, match) for path, match in found if match]
    if not found:
        raise ValueError(f"{folder}: no annotation files in it; they are named like {example}")
    return found


def _seconds(text: str, where: str) -> int:
    try:
        return int(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"{where}: time {text!r} is not a number of seconds") from None


def _text(path: Path) -> str:
    if path.is_dir():
        raise ValueError(f"{path}: a folder; give the annotation file itself")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file (annotations)")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason}); is it still compressed?") from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """("file:line", stripped line) of every line that is not blank."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def _csv_rows(path: Path, delimiter: str) -> Iterator[tuple[str, list[str]]]:
    reader = csv.reader(io.StringIO(_text(path)), delimiter=delimiter)
    for row in reader:
        if any(field.strip() for field in row):
            yield f"{path}:{reader.line_num}", row


def _json(path: Path) -> object:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); Something-Something V2 comes as .json, V1 as .csv"
        ) from error
