"""Video lists and class names: text files → compact tables, checked line by line.

A list has no header and one video per line, `path SEPARATOR label`, or for folders of frames `folder SEPARATOR
number of frames SEPARATOR label`: the numbers stand last, so the path may contain the separator. Several labels
are written `3;17;42`. UTF-8, with or without a byte order mark, with LF or CRLF; blank lines are passed over;
nothing is quoted (reference behaviour).
"""

import hashlib
import itertools
import json
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

_SEPARATORS = (b",", b"\t", b" ")
_DETECTION_LINES = 100  # lines looked at to find the separator
_LABEL_SEPARATOR = b";"
_MOST_FRAMES = 2**31 - 1
_MOST_DIGITS = 18  # of a number that can be right; Python refuses to convert thousands of them
_MOST_SHOWN = 200  # bytes of a line
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, eq=False)
class VideoTable:
    """The videos of a list, in its order; made by `read_list`.

    Paths and labels lie end to end in tensors, not in Python objects: loader workers that are forked leave
    these pages untouched, and workers that are spawned get them through shared memory, so that nobody copies
    the list.

    path_bytes: uint8, all paths in UTF-8. path_ends: int64 (N + 1,), where each begins and ends. labels:
    int32. label_ends: int64 (N + 1,) likewise for `labels` if the list is multi-label, else None. prefix:
    media folder. frame_counts: int32 (N,) as listed if the entries are folders of frames, else None. source: the
    list this was read from.
    """

    path_bytes: torch.Tensor
    path_ends: torch.Tensor
    labels: torch.Tensor
    label_ends: torch.Tensor | None
    prefix: str
    frame_counts: torch.Tensor | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.path_ends) - 1

    def name(self, index: int) -> str:
        """The path as the list has it. Raises IndexError unless 0 <= index < len."""
        begin, end = self._span(self.path_ends, index)
        return self.path_bytes[begin:end].numpy().tobytes().decode()

    def path(self, index: int) -> str:
        """The path joined to the prefix, which an absolute path overrides. Raises IndexError like `name`."""
        return os.path.join(self.prefix, self.name(index))

    def label(self, index: int) -> int | list[int]:
        """The label; in a multi-label table its distinct labels as listed. Raises IndexError like `name`."""
        if self.label_ends is not None:
            begin, end = self._span(self.label_ends, index)
            return self.labels[begin:end].tolist()
        self._span(self.path_ends, index)
        return int(self.labels[index])

    def num_frames(self, index: int) -> int:
        """The listed number of frames, of a list of frame folders. Raises IndexError like `name`."""
        assert self.frame_counts is not None, "a list of video files tells no number of frames"
        self._span(self.path_ends, index)
        return int(self.frame_counts[index])

    def digest(self) -> str:
        """A SHA-256 that changes with names, labels, their order and numbers of frames; not with prefix or source."""
        digest = hashlib.sha256()
        for part in (self.path_ends, self.path_bytes, self.label_ends, self.labels, self.frame_counts):
            values = np.empty(0) if part is None else part.numpy()
            digest.update(f"{values.nbytes} ".encode())
            digest.update(values)
        return digest.hexdigest()

    def _span(self, ends: torch.Tensor, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of a list of {len(self)}")
        return int(ends[index]), int(ends[index + 1])


def read_list(
    path: str | os.PathLike,
    *,
    separator: str = "",
    num_classes: int,
    multi_label: bool = False,
    prefix: str = "",
    frame_folders: bool = False,
) -> VideoTable:
    """Read and check a video list.

    `separator` "" finds out which of comma, tab and space the list uses. Labels are whole numbers in
    0..num_classes-1; with `multi_label` one or more of them, joined by ";". With `frame_folders` the column
    before them is the number of frames, 1 or more; it is taken from the list, no folder is looked into.

    Raises FileNotFoundError for a missing list and ValueError, with file and line, for anything wrong in it:
    no videos, a header, another separator or number of columns, a missing path or label, a label or number of
    frames that is no number or out of range.
    """
    path = Path(path)
    cut = separator.encode() or _detect_separator(path)
    parser = _LineParser(path, cut, num_classes, multi_label)
    path_bytes, path_ends, labels, label_ends = bytearray(), array("q", [0]), array("i"), array("q", [0])
    frame_counts = array("i")
    for number, line in list_lines(path):
        if frame_folders:
            line, count = parser.cut_frame_count(number, line)
            frame_counts.append(count)
        video, _, label = line.rpartition(cut)
        video = video.rstrip()
        # Lists have hundreds of thousands of lines: the plain ones are taken here, all others by the parser.
        if video and video.isascii() and _is_number(label) and int(label) < num_classes:
            labels.append(int(label))
        else:
            video, found = parser.parse(number, line)
            labels.extend(found)
        path_bytes += video
        path_ends.append(len(path_bytes))
        label_ends.append(len(labels))
    if not labels:
        columns = "folder, number of frames, label" if frame_folders else "path, separator, label"
        raise ValueError(f"{path}: no videos in this list; each line is: {columns}")
    return VideoTable(
        path_bytes=_tensor(path_bytes, torch.uint8),
        path_ends=_tensor(path_ends, torch.int64),
        labels=_tensor(labels, torch.int32),
        label_ends=_tensor(label_ends, torch.int64) if multi_label else None,
        prefix=prefix,
        frame_counts=_tensor(frame_counts, torch.int32) if frame_folders else None,
        source=str(path),
    )


def table_of_paths(paths: Sequence[str], prefix: str) -> VideoTable:
    """A table of videos that no list gives labels, such as those found in a folder: `label` gives []."""
    encoded = [path.encode() for path in paths]
    return VideoTable(
        path_bytes=_tensor(bytearray(b"".join(encoded)), torch.uint8),
        path_ends=_tensor(array("q", itertools.accumulate(map(len, encoded), initial=0)), torch.int64),
        labels=torch.empty(0, dtype=torch.int32),
        label_ends=torch.zeros(len(paths) + 1, dtype=torch.int64),
        prefix=prefix,
    )


def lists_frame_folders(path: str | os.PathLike) -> bool:
    """Whether most of the first lines end in two numbers, as in `folder 54 0`. Raises as `read_list` does."""
    cut = _detect_separator(Path(path))
    sample = [line.rpartition(cut) for _, line in itertools.islice(list_lines(Path(path)), _DETECTION_LINES)]
    fitting = sum(_is_label(label.strip()) and _ends_in_count(rest, cut) for rest, _, label in sample)
    return 2 * fitting > len(sample)


def list_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, line without outer white space) of every line that is not blank, one for each video.

    Raises FileNotFoundError or ValueError for what is no text file in UTF-8 by its first bytes, or has lines that end
    in CR alone.
    """
    with open(_require_file(path, "video list"), "rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                if line.startswith(_UTF16_MARKS):
                    raise ValueError(f"{path}:1: the file is UTF-16; save it as UTF-8")
                line = line.removeprefix(_BYTE_ORDER_MARK)
            line = line.strip()
            if b"\r" in line:
                raise ValueError(
                    f"{path}:{number}: a carriage return in a line; save the list with LF or CRLF ends"
                )
            if line:
                yield number, line


def read_class_names(path: str | os.PathLike) -> list[str]:
    """Names of the classes, in the order of their numbers.

    A .json file maps each name to its number (which may be written as a string); any other file has one name
    a line, the first being class 0. Raises FileNotFoundError, or ValueError if names are missing or numbers
    have gaps.
    """
    path = Path(path)
    try:
        text = _require_file(path, "class names").read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return _names_from_json(path, _json(path, text))
        return _names_from_lines(path, text)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error.reason}); save it as UTF-8") from error


def find_class_names(list_dir: str | os.PathLike, explicit: str = "") -> list[str] | None:
    """Names from the file `explicit`, else from classes.txt or classes.json beside the lists, else None."""
    if explicit:
        return read_class_names(explicit)
    for candidate in (Path(list_dir, "classes.txt"), Path(list_dir, "classes.json")):
        if candidate.is_file():
            return read_class_names(candidate)
    return None


def check_class_names(names: list[str], num_classes: int) -> None:
    """Raise ValueError unless there is one name for each of `num_classes` classes."""
    if len(names) != num_classes:
        raise ValueError(
            f"{len(names)} class names, but MODEL.NUM_CLASSES is {num_classes}; make them agree "
            "(DATA.CLASS_NAMES_PATH says which file the names come from)"
        )


class _LineParser:
    """One line of a list → path and labels, or a ValueError that says what is wrong with it."""

    def __init__(self, path: Path, separator: bytes, num_classes: int, multi_label: bool):
        self._path, self._separator = path, separator
        self._num_classes, self._multi_label = num_classes, multi_label

    def parse(self, number: int, line: bytes) -> tuple[bytes, Iterable[int]]:
        path, _, label = line.rpartition(self._separator)
        path, label = path.rstrip(), label.lstrip()
        if not path:
            raise self._error(number, self._no_path(line))
        if not path.isascii():
            self._check_utf8(number, path)
        if label.isdigit():
            return path, (self._in_range(number, label),)
        if self._multi_label and _is_label(label):
            found = [self._in_range(number, value) for value in label.split(_LABEL_SEPARATOR)]
            return path, list(dict.fromkeys(found))
        raise self._error(number, self._no_label(number, label))

    def cut_frame_count(self, number: int, line: bytes) -> tuple[bytes, int]:
        """A line of a list of frame folders → the line without its number of frames, and that number."""
        rest, cut, label = line.rpartition(self._separator)
        folder, _, count = rest.rstrip().rpartition(self._separator)
        count = count.strip()
        if not folder.strip() or not count.isdigit():
            raise self._error(number, self._no_frame_count(number, line, label.strip()))
        if not _is_number(count) or not 0 < int(count) <= _MOST_FRAMES:
            shown = _cut(count.lstrip(b"0")).decode() or "0"
            raise self._error(number, f"{shown} frames; a folder of frames has 1 to {_MOST_FRAMES}")
        return folder + cut + label, int(count)

    def _no_frame_count(self, number: int, line: bytes, label: bytes) -> str:
        wanted = "in a list of frame folders a line is: folder, number of frames, label"
        if number == 1 and not _is_label(label):
            return f"{_show(line)} is not a video; if this is a header, remove it: lists have none; {wanted}"
        if _fits(line, self._separator):
            return (
                f"two columns in {_show(line)}, but {wanted}. A list of video files belongs to another data set: "
                "kinetics, kinetics_sparse, ucf101, ssv2 and hmdb51 read them"
            )
        return f"no number of frames before the label in {_show(line)}; {wanted}"

    def _in_range(self, number: int, label: bytes) -> int:
        if not _is_number(label) or int(label) >= self._num_classes:
            allowed = f"0..{self._num_classes - 1} (MODEL.NUM_CLASSES is {self._num_classes})"
            raise self._error(
                number,
                f"label {_cut(label).decode()} is outside {allowed}; is this the list of another data set?",
            )
        return int(label)

    def _check_utf8(self, number: int, path: bytes) -> None:
        try:
            path.decode()
        except UnicodeDecodeError:
            raise self._error(
                number, f"the path {_cut(path)!r} is not UTF-8; save the list as UTF-8"
            ) from None

    def _no_path(self, line: bytes) -> str:
        wanted, shown = _spell(self._separator), _show(line)
        if line.startswith(self._separator):
            return f"no path before the {wanted} in {shown}"
        for other in _SEPARATORS:
            if _fits(line, other):
                return (
                    f"no {wanted} between path and label in {shown}, which uses {_spell(other)}; use one "
                    "separator in the whole list, and name it in DATA.PATH_LABEL_SEPARATOR or leave that ''"
                )
        return f"no label in {shown}; a line is: path, {wanted}, label"

    def _no_label(self, number: int, label: bytes) -> str:
        shown = _show(label)
        if not label:
            return f"no label after the last {_spell(self._separator)}"
        if _is_label(label):
            return f"several labels {shown}; set DATA.MULTI_LABEL True, or give one"
        if label.startswith(b"-") and label[1:].isdigit():
            return f"label {_cut(label).decode()} is outside 0..{self._num_classes - 1}"
        header = "; if this is a header, remove it: lists have none" if number == 1 else ""
        return f"label {shown} is not a whole number{header}"

    def _error(self, number: int, reason: str) -> ValueError:
        return ValueError(f"{self._path}:{number}: {reason}")


def _detect_separator(path: Path) -> bytes:
    """The separator that leaves a label at the end of most of the first lines; comma before tab and space."""
    sample = [line for _, line in itertools.islice(list_lines(path), _DETECTION_LINES)]
    return max(_SEPARATORS, key=lambda separator: sum(_fits(line, separator) for line in sample))


def _fits(line: bytes, separator: bytes) -> bool:
    path, _, label = line.rpartition(separator)
    return bool(path.strip()) and _is_label(label.strip())


def _ends_in_count(text: bytes, separator: bytes) -> bool:
    folder, _, count = text.rstrip().rpartition(separator)
    return bool(folder.strip()) and count.strip().isdigit()


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MOST_DIGITS


def _is_label(text: bytes) -> bool:
    return all(part.isdigit() for part in text.split(_LABEL_SEPARATOR))


def _require_file(path: Path, what: str) -> Path:
    if path.is_dir():
        raise ValueError(f"{path}: a folder; give the file with the {what}")
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file ({what})")
    return path


def _names_from_lines(path: Path, text: str) -> list[str]:
    if not text.strip():
        raise ValueError(f"{path}: no class names; write one name a line")
    names = [line.strip() for line in text.rstrip().split("\n")]
    for number, name in enumerate(names, start=1):
        if not name:
            raise ValueError(f"{path}:{number}: blank line; remove it, since lines count the classes")
    return names


def _json(path: Path, text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path}: no class names: a number is too long, or brackets are nested too deep"
        ) from error


def _names_from_json(path: Path, ids: object) -> list[str]:
    if not isinstance(ids, dict) or not ids:
        raise ValueError(f'{path}: class names in JSON are written as {{"name": number, ...}}')
    halves = [name for name in ids if any("\ud800" <= letter <= "\udfff" for letter in name)]
    if halves:
        raise ValueError(
            f"{path}: the name {halves[0]!r} holds half a character, which no file can; spell it in UTF-8"
        )
    try:
        by_id = {int(str(number)): name for name, number in ids.items()}
    except (TypeError, ValueError):
        raise ValueError(f"{path}: every class number must be a whole number") from None
    if sorted(by_id) != list(range(len(ids))):
        raise ValueError(f"{path}: {len(ids)} names need the numbers 0..{len(ids) - 1}, each once")
    return [by_id[number] for number in range(len(ids))]


def _tensor(values: bytearray | array, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(values, dtype=dtype).clone()


def _show(text: bytes) -> str:
    return repr(_cut(text).decode(errors="backslashreplace"))


def _cut(text: bytes) -> bytes:
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + b"..."


def _spell(separator: bytes) -> str:
    return {b",": "comma", b"\t": "tab", b" ": "space"}.get(separator, repr(separator.decode()))
