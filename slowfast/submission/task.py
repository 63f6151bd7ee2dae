"""What a job does on each of its machines: the run, and asking the scheduler for another turn when it was stopped.

One task per machine; the run starts the processes of its GPUs itself, as without a cluster, and tells their errors by
rank. All machines stop after the same step with a checkpoint on disk (see slowfast.utils.stopping), and the same
command goes on from it.
"""

from __future__ import annotations

import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slowfast.utils import stopping
from slowfast.utils.logging import append_json_line

# Below what systems give to outgoing connections, so that no such connection holds the port of a run.
FIRST_PORT, NUM_PORTS = 20000, 12000
_PAUSES_SECONDS = (2, 5, 10, 20)  # between questions that Slurm does not answer
_DRAWN_ONCE_MORE = 7919  # a prime: neighbours in the queue keep apart, whatever their numbers of restarts


@dataclass(frozen=True)
class Task:
    """To be called on every machine of a job that submitit has started; ``run`` is the command line of the run.

    ``main`` names (package.module:function) what takes that command line and returns the status of the process.
    """

    run: tuple[str, ...]
    main: str

    def __call__(self) -> None:
        """Return when the run is complete. Otherwise the process ends: with the run's status, or to be started again.

        An attempt leaves two lines in the attempts file, one when it begins and one when it ends.
        """
        from submitit import JobEnvironment

        place = JobEnvironment()
        paths = place.paths
        signal.signal(
            signal.SIGUSR1, signal.SIG_IGN
        )  # what it is outside the block, where there is nothing to stop
        with stopping.heeded():
            argv = [*self.run, *shard_options(place.node, place.hostnames, place.raw_job_id, restarts())]
            note = _Note(attempts_file(paths.folder, place.job_id, place.global_rank), paths.stderr)
            note.begin(place.hostname, argv)
            status = 1
            try:
                status = pkgutil.resolve_name(self.main)(argv)
            finally:
                note.end(status)
            asked = stopping.asked()
        if status == stopping.AGAIN_STATUS:
            if place.global_rank:
                sys.exit(0)  # the first task decides; a status here could end it while it saves
            if _is_wanted_again(place.cluster, place.raw_job_id, asked):
                print("asking for another turn", flush=True)
                place._requeue(
                    0
                )  # submitit's own way: scontrol requeue, or an exit status for its local controller
        if status:
            sys.exit(status)


def shard_options(node: int, hosts: Sequence[str], job_id: str, restart: int) -> list[str]:
    """Options of the run that tell a machine its place among ``hosts`` and where they meet; none for one machine.

    The port follows from the number of the job and of its restart: all agree on it, jobs that share a machine and
    attempts that follow each other do not.
    """
    if len(hosts) == 1:
        return []
    port = FIRST_PORT + (int(job_id) * _DRAWN_ONCE_MORE + restart) % NUM_PORTS
    where = f"tcp://{hosts[0]}:{port}"
    return ["--num_shards", str(len(hosts)), "--shard_id", str(node), "--init_method", where]


def restarts() -> int:
    """How often Slurm has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def attempts_file(folder: Path, job_id: str, task: int) -> Path:
    """Where a task of a job notes its attempts: one JSON object a line."""
    return Path(folder) / f"{job_id}_{task}_attempts.jsonl"


class _Note:
    """Writes the attempts file of one task."""

    def __init__(self, path: Path, error_log: Path) -> None:
        self._path, self._error_log = path, error_log

    def begin(self, host: str, argv: Sequence[str]) -> None:
        """The attempt begins; its errors will come after ``log_from`` bytes of the log."""
        size = self._error_log.stat().st_size if self._error_log.exists() else 0
        where = {"host": host, "pid": os.getpid(), "log_from": size}
        append_json_line(self._path, {"event": "begin", **where, "run": list(argv), "time": time.time()})

    def end(self, status: int) -> None:
        append_json_line(self._path, {"event": "end", "status": status, "time": time.time()})


def _is_wanted_again(cluster: str, job_id: str, asked: int) -> bool:
    """Whether a job whose run was stopped is to be started again by us.

    A scheduler that cancels or requeues a job sends the same signals as one whose time is up, but it has made up its
    mind: the job is not RUNNING then. Without a scheduler SIGUSR1 is the time limit, SIGTERM is somebody's wish.
    """
    if cluster != "slurm":
        return asked == signal.SIGUSR1
    if not shutil.which("squeue"):
        print("squeue is not found on this machine, so the job cannot be queued again", file=sys.stderr)
        return False
    return _state(job_id) == "RUNNING"


def _state(job_id: str) -> str:
    """What squeue says of a job; "" where it does not answer, which stderr tells.

    A busy controller may not do so for a while, and the turn that was not asked for would be the end of the run.
    """
    words = ["squeue", "--noheader", "--jobs", job_id, "--format", "%T"]
    for pause in (*_PAUSES_SECONDS, 0):
        try:
            told = subprocess.run(words, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired as error:
            reason = str(error)
        else:
            if told.returncode == 0:
                return told.stdout.strip()
            reason = told.stderr.strip()
        time.sleep(pause)
    print(f"Slurm does not say how the job stands, so it cannot be queued again: {reason}", file=sys.stderr)
    return ""
