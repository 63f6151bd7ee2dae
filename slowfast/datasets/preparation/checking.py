"""Which video files cannot be opened, found out before they stand in a list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.preparation.parallel import run_all


def unreadable(root: Path, paths: Sequence[str], *, workers: int) -> dict[str, str]:
    """path → reason, in the order of `paths`, for every video below `root` whose first frame cannot be read.

    Raises ValueError for less than one worker, ChildProcessError if a worker process was killed.
    """
    reasons = dict(run_all(_first_frame, [(root, path) for path in paths], workers, "opened"))
    return {path: reasons[path] for path in paths if reasons[path]}


def _first_frame(job: tuple[Path, str]) -> tuple[str, str]:
    """(path, reason or ""); runs in a worker process."""
    root, path = job
    try:
        with open_video(root / path) as reader:
            reader.read([0])
    except (UnreadableVideo, OSError) as error:
        return path, str(error)
    return path, ""
