"""Videos inside uncompressed tar files (shards): where each one lies, and its bytes.

Cluster file systems serve a few large files well and millions of small ones badly. A shard is a plain tar, whose
members lie in it byte for byte, so a video is read with one seek. Where the members lie is found once, from the
headers of all shards, and kept in a file beside them; it is made anew when a shard has another size or time of change.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import json
import os
import re
import time
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.tar_members import WRITE_PLAIN, plain_name, read_members, read_stored
from slowfast.utils.atomic import replace_file
from slowfast.utils.logging import get_logger

_TAR = re.compile(r"\.(tar(\.\w+)?|tgz|tbz2?|txz|tzst)$")
_THREADS = 8  # shards looked through at a time: most of it is waiting for the disk
_HITS = 1000  # names looked at for one that is like a missing one

Stamp = tuple[str, int, int]  # of a shard: its path from the folder of the pattern, size in bytes, mtime_ns


def names_shards(prefix: str) -> bool:
    """Whether a media prefix is one or many tar files, such as `shards/*.tar`, and not a folder."""
    return bool(_TAR.search(prefix)) and not os.path.isdir(prefix)


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where the videos of all shards lie; made by `open_index`.

    Like a VideoTable it holds tensors and no Python object for a video, so that workers share it. Videos are in the
    order of their names: name_bytes uint8, name_ends int64 (N + 1,); shards int32 (N,) numbers of `paths`; offsets
    and sizes int64 (N,) in bytes.
    """

    pattern: str
    paths: tuple[str, ...]
    name_bytes: torch.Tensor
    name_ends: torch.Tensor
    shards: torch.Tensor
    offsets: torch.Tensor
    sizes: torch.Tensor

    def __len__(self) -> int:
        return len(self.shards)

    def read(self, name: str) -> bytes:
        """The video of this name, a leading ./ aside. Raises UnreadableVideo if it is not there."""
        return read_stored(*self.locate(name))

    def locate(self, name: str) -> tuple[str, int, int]:
        """(shard, offset, size in bytes) of the video of this name. Raises UnreadableVideo if there is none."""
        wanted = plain_name(name)
        place = bisect_left(range(len(self)), wanted, key=self._name)
        if place == len(self) or self._name(place) != wanted:
            raise UnreadableVideo(
                f"no such member in {self.pattern} ({len(self)} videos in {len(self.paths)} shards); "
                f"a similar one is {self._similar(wanted, place).decode(errors='backslashreplace')}"
            )
        return self.paths[self.shards[place]], int(self.offsets[place]), int(self.sizes[place])

    def _name(self, place: int) -> bytes:
        return self.name_bytes[self.name_ends[place] : self.name_ends[place + 1]].numpy().tobytes()

    def _similar(self, wanted: bytes, place: int) -> bytes:
        """A member with the same file name in another folder, or the neighbour that begins most like `wanted`."""
        base = wanted.rpartition(b"/")[2]
        hits = itertools.islice(re.finditer(re.escape(base), self.name_bytes.numpy()), _HITS)
        ends = self.name_ends.numpy()
        found = [self._name(int(np.searchsorted(ends, hit.start(), side="right")) - 1) for hit in hits]
        alike = [name for name in found if name.rpartition(b"/")[2] == base]
        if alike:
            return max(alike, key=lambda name: len(os.path.commonprefix([name[::-1], wanted[::-1]])))
        near = [self._name(other) for other in (place - 1, place) if 0 <= other < len(self)]
        return max(near, key=lambda name: len(os.path.commonprefix([name, wanted])))


def open_index(pattern: str, spare_folder: str = "") -> ShardIndex:
    """The index of the shards that `pattern` names, from its file or made anew.

    Its file lies beside the shards, or in `spare_folder` where that folder cannot be written; if neither can, the
    index is made at every start, and the log says so.

    Raises FileNotFoundError for a pattern that no file fits, ValueError for what `read_members` refuses, shards
    without any file, and two members of the same name.
    """
    folder, relative = _split(pattern)
    stamps = tuple(_stamp(folder, path) for path in _find(pattern))
    return _open(folder, relative, stamps, spare_folder)


@lru_cache(maxsize=1)  # the lists of a run share one
def _open(folder: str, relative: str, stamps: tuple[Stamp, ...], spare_folder: str) -> ShardIndex:
    name = f"index-{hashlib.sha256(os.fsencode(relative)).hexdigest()[:8]}.npz"
    files = [Path(place, name) for place in (folder, spare_folder) if place]
    pattern, paths = os.path.join(folder, relative), tuple(os.path.join(folder, stamp[0]) for stamp in stamps)
    for file in files:
        columns = _load(file, stamps)
        if columns is not None:
            return ShardIndex(pattern, paths, *columns)
    begin, log = time.perf_counter(), get_logger(__name__)
    columns = _build(pattern, paths)
    kept = _save(files, stamps, columns)
    log.info(
        "index of %d videos in %d shards made in %.1f seconds; %s",
        len(columns[-1]),
        len(paths),
        time.perf_counter() - begin,
        f"kept in {kept}"
        if kept
        else f"made again at every start: cannot write {' or '.join(map(str, files))}",
    )
    return ShardIndex(pattern, paths, *columns)


_COLUMNS = ("name_bytes", "name_ends", "shards", "offsets", "sizes")


def _build(pattern: str, paths: Sequence[str]) -> tuple[torch.Tensor, ...]:
    """The columns of an index, from the headers of all shards."""
    names: list[bytes] = []
    shards, offsets, sizes = array("i"), array("q"), array("q")
    with ThreadPoolExecutor(min(_THREADS, len(paths))) as pool:
        for shard, (found, starts, lengths) in enumerate(pool.map(_scan, paths)):
            names += found
            shards.extend([shard] * len(found))
            offsets += starts
            sizes += lengths
    if not names:
        raise ValueError(f"DATA.PATH_PREFIX {pattern}: {len(paths)} tar files fit, and all are empty")
    order = sorted(range(len(names)), key=names.__getitem__)
    for one, other in zip(order, order[1:], strict=False):
        if names[one] == names[other]:
            raise ValueError(_twice(names[one], paths[shards[one]], paths[shards[other]]))
    lengths = np.fromiter((len(names[place]) for place in order), np.int64, len(order))
    ends = np.concatenate([np.zeros(1, np.int64), lengths.cumsum()])
    text = np.frombuffer(bytearray().join(names[place] for place in order), np.uint8)
    columns = (np.frombuffer(values, values.typecode)[order] for values in (shards, offsets, sizes))
    return tuple(map(torch.from_numpy, (text, ends, *columns)))


def _scan(path: str) -> tuple[list[bytes], array, array]:
    names, offsets, sizes = [], array("q"), array("q")
    for member in read_members(path):
        names.append(member.name)
        offsets.append(member.offset)
        sizes.append(member.size)
    return names, offsets, sizes


def _twice(name: bytes, one: str, other: str) -> str:
    shown = name.decode(errors="backslashreplace")
    where = f"twice in {one}" if one == other else f"in {one} and in {other}"
    return (
        f"{shown} is {where}: which is meant? Write the shards anew, or give a pattern that fits one of them"
    )


def _load(file: Path, stamps: Sequence[Stamp]) -> list[torch.Tensor] | None:
    """The columns that `_save` wrote for exactly these shards, else None."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            if json.loads(str(saved["stamps"])) == [list(stamp) for stamp in stamps]:
                return [torch.from_numpy(saved[name]) for name in _COLUMNS]
    except Exception:  # one wrong byte looks like many things to zipfile
        pass  # missing or damaged: it is made anew
    return None


def _save(files: Sequence[Path], stamps: Sequence[Stamp], columns: Sequence[torch.Tensor]) -> Path | None:
    """Write an index to the first of these files that can be written; return which one, if any."""
    named = {name: column.numpy() for name, column in zip(_COLUMNS, columns, strict=True)}
    for path in files:
        try:
            with replace_file(path) as file:
                np.savez(file, stamps=np.array(json.dumps(stamps)), **named)
            return path
        except OSError:
            continue
    return None


def _find(pattern: str) -> list[str]:
    """The files that a pattern names, in order of their names."""
    if not pattern.endswith(".tar"):
        raise ValueError(
            f"DATA.PATH_PREFIX {pattern}: compressed shards cannot be read from the middle; {WRITE_PLAIN}"
        )
    found = sorted(path for path in glob.glob(pattern) if os.path.isfile(path))
    if found:
        return found
    folder, _ = _split(pattern)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"DATA.PATH_PREFIX {pattern}: there is no folder {folder}")
    held = sorted(os.listdir(folder))
    holds = f"{len(held)} entries such as {held[0]}" if held else "nothing"
    raise FileNotFoundError(
        f"DATA.PATH_PREFIX {pattern}: no file fits; {folder} holds {holds}. Write a pattern that fits the "
        "shards, such as folder/*.tar (in quotes, where a shell reads it)"
    )


def _split(pattern: str) -> tuple[str, str]:
    """A pattern → the folder before its first *, ? or [, and the rest."""
    folder, relative = os.path.split(pattern)
    while glob.has_magic(folder):
        folder, last = os.path.split(folder)
        relative = os.path.join(last, relative)
    return folder or os.curdir, relative


def _stamp(folder: str, path: str) -> Stamp:
    status = os.stat(path)
    return os.path.relpath(path, folder), status.st_size, status.st_mtime_ns
