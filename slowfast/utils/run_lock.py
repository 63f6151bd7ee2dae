"""One run at a time in a folder, since two would mix their records there.

The lock is a record lock of POSIX: it belongs to the process that took it and goes with it, whatever ends it. Locks of
the other kind (flock) go on to forked processes, and a loader worker that outlives a killed run would hold the folder.
The price is that the file must not be opened elsewhere in the process: to close it anywhere gives up the lock.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from slowfast.utils import distributed
from slowfast.utils.folders import make_folder

FILE = ".lock"
_HELD_BY_ANOTHER = (errno.EACCES, errno.EAGAIN)


@contextmanager
def held(folder: str | os.PathLike) -> Iterator[list[str]]:
    """Inside, no other run gets this folder, which is made. All processes of the run call it; rank 0 holds the lock.

    Yields lines for the log, such as where the file system has no locks and the run goes on without. Raises ValueError,
    in all processes, that names the run which has the folder.
    """
    file, refused, notes = None, "", []
    if distributed.is_main():
        file, refused, notes = _take(make_folder(folder) / FILE)
    refused = distributed.broadcast_object(refused)
    if refused:
        raise ValueError(refused)
    try:
        yield notes
    finally:
        if file is not None:
            file.close()


def _take(path: Path) -> tuple[BinaryIO | None, str, list[str]]:
    """The file, while which is open the lock is held, None without; why the run may not go on, or ""; notes."""
    try:
        import fcntl
    except ImportError:
        return None, "", [f"{path.parent} is not locked: this system has no such locks"]
    file = open(path, "ab+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = _owner(file)
        file.close()
        if error.errno not in _HELD_BY_ANOTHER:
            return None, "", [f"{path.parent} is not locked: its file system has no locks ({error.strerror})"]
        if _is_earlier_turn(owner):
            return None, "", [f"the lock of {path.parent} is of an earlier turn of this job: {_said(owner)}"]
        return None, _refusal(path.parent, owner), []
    file.truncate(0)
    file.write(json.dumps(_me()).encode())
    file.flush()
    return file, "", []


def _me() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": datetime.now().isoformat(" ", "seconds"),
        **_turn(),
    }


def _turn() -> dict[str, Any]:
    """The job of Slurm and how often it was started again; {} elsewhere."""
    job = os.environ.get("SLURM_JOB_ID")
    return {"job": job, "restarts": int(os.environ.get("SLURM_RESTART_COUNT", "0"))} if job else {}


def _is_earlier_turn(owner: Mapping[str, Any]) -> bool:
    """Whether the lock is left of a machine that was lost: Slurm starts a job again only once its last turn is over."""
    mine = _turn()
    return bool(mine) and owner.get("job") == mine["job"] and owner.get("restarts", 0) < mine["restarts"]


def _owner(file: BinaryIO) -> dict[str, Any]:
    """What the process that has the lock wrote; {} if it has not come to that yet."""
    try:
        file.seek(0)
        owner = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _said(owner: Mapping[str, Any]) -> str:
    if not owner:
        return "it has not said which"
    job = f", job {owner['job']}" if owner.get("job") else ""
    return f"process {owner.get('pid')} on {owner.get('host')}{job}, since {owner.get('since')}"


def _refusal(folder: Path, owner: Mapping[str, Any]) -> str:
    return (
        f"another run writes to {folder} ({_said(owner)}), and two would mix their records: end it, wait for it, or "
        "give this one another OUTPUT_DIR (to test weights of that run, name them with TEST.CHECKPOINT_FILE_PATH)"
    )
