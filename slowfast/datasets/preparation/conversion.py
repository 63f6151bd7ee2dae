"""Making one thing from each of many videos: in parallel, resumable, whole or not there.

A thing is made under a hidden name, checked, and renamed; then a line in `converted.jsonl` says what it was made
from and how. What has such a line and still passes its check is not made again; everything else is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.preparation.parallel import run_all
from slowfast.utils import logging

RECORD = "converted.jsonl"


class Task(Protocol):
    """A frozen dataclass of settings; equal settings make equal things. `suffix` is "" for a folder."""

    suffix: str

    def make(self, source: Path, target: Path) -> tuple[int, str]:
        """Make `target`; return (frames in it, damage of the source or ""). Raises UnreadableVideo."""

    def count(self, target: Path) -> int:
        """Frames that are in what `make` made, found by looking; -1 if it is not whole."""

    def stamp(self, target: Path) -> int:
        """A number that is quick to find and changes if a finished target loses something; -1 if it is not there."""


@dataclass(frozen=True)
class Result:
    """What became of one video. path: relative to the output folder. reason: "" or why there is nothing."""

    path: str
    num_frames: int = 0
    reason: str = ""
    damage: str = ""
    made: bool = False


def target_name(path: str, suffix: str) -> str:
    """Where the thing made from the video `path` lies: "a/b.avi" → "a/b" for folders, "a/b.mp4" for videos."""
    return str(PurePosixPath(path).with_suffix("")) + suffix


def convert(root: Path, paths: Sequence[str], out: Path, task: Task, *, workers: int) -> dict[str, Result]:
    """path → Result for every video of `paths`, which lie in `root`, in the order of `paths`.

    Videos that cannot be read have a Result with the reason. Raises ValueError if `out` lies in `root` or
    root in it, OSError if the system refuses to write, ChildProcessError if a worker process was killed; what is
    finished by then stays, and the next call goes on from it.
    """
    _check_apart(root, out)
    out.mkdir(parents=True, exist_ok=True)
    results, jobs, owners = {}, [], {}
    done = _finished(out, task)
    for path in paths:
        target = target_name(path, task.suffix)
        owner = owners.setdefault(target, path)
        if owner != path:
            results[path] = Result(
                target, reason=f"{owner} has the same name without suffix, and is converted"
            )
        elif done.get(target, {}).get("source") == _identity(root, path):
            known = done[target]
            results[path] = Result(target, known["num_frames"], damage=known["damage"])
        else:
            jobs.append((root, path, out, target, task))
    for path, result in run_all(convert_one, jobs, workers, "converted"):
        results[path] = result
        if not result.reason:
            _note(out, root, path, result, task)
    return {path: results[path] for path in paths}


def convert_one(job: tuple[Path, str, Path, str, Task]) -> tuple[str, Result]:
    """Make one target; runs in a worker process."""
    root, path, out, target, task = job
    final = out / target
    temporary = final.with_name(f".{final.name}.tmp{task.suffix}")
    _remove(temporary)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        num_frames, damage = task.make(root / path, temporary)
        found = task.count(temporary)
        if found != num_frames:
            raise UnreadableVideo(f"{num_frames} frames were written, {found} came back")
        _remove(final)
        os.replace(temporary, final)
    except UnreadableVideo as error:
        _remove(final)  # of an earlier version of the video
        return path, Result(target, reason=str(error))
    finally:
        _remove(temporary)
    return path, Result(target, num_frames, damage=damage, made=True)


def _finished(out: Path, task: Task) -> dict[str, dict]:
    """target → its latest line in the record, if made with this task and still whole."""
    record = out / RECORD
    lines = logging.read_json_lines(record) if record.exists() else []
    latest = {line["target"]: line for line in lines}
    return {
        target: line
        for target, line in latest.items()
        if line["task"] == _settings(task) and task.stamp(out / target) == line["stamp"]
    }


def _note(out: Path, root: Path, path: str, result: Result, task: Task) -> None:
    line = {
        "target": result.path,
        "source": _identity(root, path),
        "task": _settings(task),
        "num_frames": result.num_frames,
        "stamp": task.stamp(out / result.path),
        "damage": result.damage,
    }
    logging.append_json_line(out / RECORD, line)


def _settings(task: Task) -> dict:
    return {"name": type(task).__name__, **asdict(task)}


def _identity(root: Path, path: str) -> list:
    """Enough to notice that a video was replaced: its name, size and time of change."""
    status = os.stat(root / path)
    return [path, status.st_size, status.st_mtime_ns]


def _check_apart(root: Path, out: Path) -> None:
    inner, outer = out.resolve(), root.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        raise ValueError(f"{out} and the media folder {root} lie in each other; write to a folder of its own")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
