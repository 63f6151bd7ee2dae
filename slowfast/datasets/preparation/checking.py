"""What is wrong with videos and frame folders, found out before they stand in a list."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast.datasets.frame_folders import open_frame_folder
from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.preparation.media import FrameFolder
from slowfast.datasets.preparation.parallel import run_all


@dataclass(frozen=True)
class Finding:
    """reason: "" or why a medium cannot be used. damage: "" or what a video lacks, as `VideoReader.damage` has it."""

    reason: str = ""
    damage: str = ""


def check_videos(root: Path, paths: Sequence[str], *, workers: int) -> dict[str, Finding]:
    """path → Finding, in the order of `paths`, for every video below `root` that is not whole.

    A reason has a video whose first frame cannot be read; damage one that is shorter than its header promises, which
    shows from its compressed stream without decoding it.

    Raises ValueError for less than one worker, ChildProcessError if a worker process was killed.
    """
    return _findings(_check_video, {path: (root, path) for path in paths}, workers, "opened", "video")


def check_frame_folders(
    root: Path, paths: Sequence[str], folders: Mapping[str, FrameFolder], *, workers: int
) -> dict[str, Finding]:
    """path → Finding, in the order of `paths`, for every frame folder below `root` with a damaged frame or sizes that
    differ; `FrameFolder.check` of datasets/frame_folders.py says what is looked at. Raises as `check_videos`.
    """
    jobs = {path: (root, path, folders[path]) for path in paths}
    return _findings(_check_frame_folder, jobs, workers, "opened", "folder")


def _findings(
    check: Callable[[tuple], tuple[str, Finding]],
    jobs: Mapping[str, tuple],
    workers: int,
    what: str,
    unit: str,
) -> dict[str, Finding]:
    found = dict(run_all(check, list(jobs.values()), workers, what, unit=unit))
    return {path: found[path] for path in jobs if found[path] != Finding()}


def _check_video(job: tuple[Path, str]) -> tuple[str, Finding]:
    """Runs in a worker process, as the next one."""
    root, path = job
    try:
        with open_video(root / path) as reader:
            reader.read([0])
            return path, Finding(damage=reader.damage)
    except (UnreadableVideo, OSError) as error:
        return path, Finding(reason=str(error))


def _check_frame_folder(job: tuple[Path, str, FrameFolder]) -> tuple[str, Finding]:
    root, path, folder = job
    try:
        with open_frame_folder(root / path, folder.num_frames, folder.template) as reader:
            reader.check()
    except (UnreadableVideo, OSError) as error:
        return path, Finding(reason=str(error))
    return path, Finding()
