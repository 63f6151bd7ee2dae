"""Listed videos → tar shards: the same videos give the same bytes, and what is whole is not written again.

Videos go into shards in the order of the lists, each until the next one would make it larger than asked for. A
member has the path as listed, the time of change of its file, and nothing else of it: so names, sizes and times tell
whether a shard is the one that would be written.
"""

from __future__ import annotations

import csv
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from slowfast.datasets.preparation.entries import LeftOut
from slowfast.datasets.preparation.lists import require_writable
from slowfast.datasets.preparation.parallel import run_all
from slowfast.datasets.tar_members import read_members
from slowfast.utils.atomic import replace_file
from slowfast.utils.plural import counted

_ANY_CLASS = 2**31 - 1
_NAMED = 5  # of the videos left out, in the report


@dataclass(frozen=True)
class Video:
    """A video to be written. name: as listed, without a leading ./; mtime: whole seconds."""

    name: str
    size: int
    mtime: int


@dataclass(frozen=True)
class Shard:
    """A tar file to be there, and what is to be in it, in this order."""

    path: Path
    media: Path
    videos: tuple[Video, ...]


def make_shards(lists: Sequence[Path], media: Path, out: Path, *, shard_bytes: int, workers: int) -> str:
    """Write the videos of all these lists, each once, to `out`/000000.tar, ... with an index; returns a report.

    Videos that are not there are left out and named in missing.csv. Raises ValueError for lists of frame folders,
    paths that lead out of the media folder, lists of which no video is there, and tar files in `out` that are not of
    these shards; what `read_list` and `run_all` raise; OSError if the system refuses to write.
    """
    from slowfast.datasets.shards import (
        open_index,
    )  # brings PyTorch, of which every worker would take its 300 MB

    if shard_bytes < 1:
        raise ValueError("--size must be above 0 gigabytes; 1 is usual")
    require_writable(out)
    videos, left_out = look_up(_listed_names(lists), media)
    if not videos:
        name, reason = left_out[0].path, left_out[0].reason
        raise ValueError(
            f"none of the {len(left_out)} listed videos is in {media}, such as {name}: {reason}; is --media right?"
        )
    shards = plan_shards(videos, media, out, shard_bytes)
    _refuse_others(out, shards)
    made = sum(run_all(write_shard, shards, workers, "shards", unit="shard"))
    _write_missing(out / "missing.csv", left_out)
    pattern = str(out / "*.tar")
    index = open_index(pattern)
    return "\n".join(_report(index.pattern, videos, shards, made, left_out))


def look_up(names: Iterable[str], media: Path) -> tuple[list[Video], list[LeftOut]]:
    """The files of these names in the media folder, and the names of which there is none."""
    videos, left_out = [], []
    for name in names:
        try:
            status = os.stat(media / name)
        except OSError as error:
            left_out.append(LeftOut(name, (error.strerror or str(error)).lower()))
            continue
        if stat.S_ISREG(status.st_mode):
            videos.append(Video(name, status.st_size, int(status.st_mtime)))
        else:
            left_out.append(LeftOut(name, "not a file"))
    return videos, left_out


def plan_shards(videos: Sequence[Video], media: Path, out: Path, shard_bytes: int) -> list[Shard]:
    """Videos in their order, cut where the content of a shard would pass `shard_bytes`; at least one in each."""
    groups: list[list[Video]] = []
    filled = shard_bytes
    for video in videos:
        if not groups or filled + video.size > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(video)
        filled += video.size
    return [Shard(out / f"{number:06d}.tar", media, tuple(group)) for number, group in enumerate(groups)]


def write_shard(shard: Shard) -> bool:
    """Write a shard, unless it is there and whole; returns whether it was written. Runs in a worker process.

    Raises ValueError for a video that changes meanwhile.
    """
    if _is_whole(shard):
        return False
    with (
        replace_file(shard.path) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, encoding="utf-8") as tar,
    ):
        for video in shard.videos:
            _add(tar, shard.media, video)
            tar.members.clear()  # tarfile would keep a kilobyte for each
    return True


def _add(tar: tarfile.TarFile, media: Path, video: Video) -> None:
    info = tarfile.TarInfo(video.name)
    info.size, info.mtime = video.size, video.mtime
    with open(media / video.name, "rb") as source:
        status = os.fstat(source.fileno())
        if (status.st_size, int(status.st_mtime)) != (video.size, video.mtime):
            raise ValueError(f"{media / video.name} changed while shards were written; run the command again")
        tar.addfile(info, source)


def _is_whole(shard: Shard) -> bool:
    try:
        found = [(member.name, member.size, member.mtime) for member in read_members(shard.path)]
    except (OSError, ValueError):  # missing or damaged: it is written
        return False
    return found == [(video.name.encode(), video.size, video.mtime) for video in shard.videos]


def _listed_names(lists: Sequence[Path]) -> list[str]:
    """The paths of all lists, each once, in the order in which they first come."""
    from slowfast.datasets.annotations import lists_frame_folders, read_list  # brings PyTorch, as below

    names: dict[str, None] = {}
    for path in lists:
        if lists_frame_folders(path):
            raise ValueError(
                f"{path}: a list of frame folders; shards hold video files: give lists of these "
                "(--transcode makes small ones)"
            )
        table = read_list(path, num_classes=_ANY_CLASS, multi_label=True)
        for index in range(len(table)):
            name = table.name(index).removeprefix("./")
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                raise ValueError(
                    f"{path}: {name} leads out of --media; in shards a video has the path that the list gives, so "
                    "write paths below the media folder"
                )
            names[name] = None
    return list(names)


def _refuse_others(out: Path, shards: Sequence[Shard]) -> None:
    """Refuse to leave tar files among the shards that the pattern of the shards would fit too."""
    planned = {shard.path.name for shard in shards}
    others = sorted(path.name for path in out.glob("*.tar") if path.name not in planned)
    if others:
        raise ValueError(
            f"{out} holds {others[0]}{f' and {len(others) - 1} more' if others[1:] else ''}, which these "
            f"{len(shards)} shards would be read together with: remove it, or give another --out"
        )


def _write_missing(path: Path, left_out: Sequence[LeftOut]) -> None:
    if not left_out:
        with suppress(FileNotFoundError):  # of an earlier run
            path.unlink()
        return
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "reason"), *((item.path, item.reason) for item in left_out)])
    with replace_file(path) as file:
        file.write(text.getvalue().encode())


def _report(
    pattern: str, videos: Sequence[Video], shards: Sequence[Shard], made: int, left_out: Sequence[LeftOut]
) -> list[str]:
    total = sum(video.size for video in videos)
    lines = [
        f"{counted(len(videos), 'video')}, {total / 1e9:.2f} GB, in {counted(len(shards), 'shard')}: {made} written, "
        f"{len(shards) - made} were there and whole"
    ]
    if left_out:
        lines.append(f"{counted(len(left_out), 'listed video')} not there, see missing.csv:")
        lines += [f"  {item.path}: {item.reason}" for item in left_out[:_NAMED]]
    return [*lines, "for the command line of tools/run_net.py:", f"DATA.PATH_PREFIX '{pattern}'"]
