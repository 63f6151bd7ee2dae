"""Handing jobs to Slurm, or to a stand-in on this machine, by submitit, and asking what became of them."""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIGNAL = "USR1"  # of those that a run heeds the one that means nothing else
_ANSWER_SECONDS = 120
_COARSENESS_SECONDS = 60  # by which Slurm may be early, says its manual of --signal
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?$")
ENDED = {
    "BOOT_FAIL": "failed: a machine did not start",
    "CANCELLED": "cancelled",
    "COMPLETED": "complete",
    "DEADLINE": "ended at its deadline",
    "FAILED": "failed",
    "NODE_FAIL": "failed: a machine of the job was lost",
    "OUT_OF_MEMORY": "failed: it took more memory than the job was given; ask for more with --sbatch mem=",
    "PREEMPTED": "ended, since its place was given to another job",
    "TIMEOUT": "ended at its time limit before it could be queued again; submit it again, and it goes on",
}
ACTIVE = {
    "COMPLETING": "ending",
    "CONFIGURING": "starting",
    "PENDING": "waiting",
    "REQUEUED": "waiting for its next turn",
    "RUNNING": "running",
    "SUSPENDED": "suspended",
}


@dataclass(frozen=True)
class Resources:
    """What a job asks for. ``gpus`` and ``cpus`` are of one machine, ``notice_seconds`` between signal and limit."""

    name: str
    nodes: int
    gpus: int
    cpus: int
    minutes: int
    notice_seconds: int
    partition: str | None = None
    more: Mapping[str, str | bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, least in (("nodes", 1), ("gpus", 0), ("cpus", 1), ("notice_seconds", 1)):
            if getattr(self, what) < least:
                raise ValueError(
                    f"--{what.removesuffix('_seconds')} is {getattr(self, what)}; the least is {least}"
                )
        if self.notice_seconds + _COARSENESS_SECONDS >= self.minutes * 60:
            raise ValueError(
                f"of a time limit of {self.minutes * 60} s nothing may be left for the run: the signal comes "
                f"{self.notice_seconds} s (--notice) before it, or up to {_COARSENESS_SECONDS} s earlier; write a "
                "longer --time or a shorter --notice"
            )


@dataclass(frozen=True)
class State:
    """How a job stands: ``active`` while it waits or runs; ``words`` for people."""

    active: bool
    words: str


def minutes(time: str) -> int:
    """Minutes, rounded up, of a time as sbatch takes it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S."""
    match = _TIME.match(time)
    if not match:
        raise ValueError(f"--time is {time!r}; write minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES")
    parts = [int(match[name] or 0) for name in ("first", "second", "third")]
    if match["days"]:
        hours, minute, seconds = parts
    elif match["third"]:
        hours, minute, seconds = parts
    else:
        hours, (minute, seconds) = 0, parts[:2]
    total = math.ceil(int(match["days"] or 0) * 1440 + hours * 60 + minute + seconds / 60)
    if total < 1:
        raise ValueError(f"--time is {time}: a job needs at least a minute")
    return total


def script(folder: Path, resources: Resources, num_jobs: int = 1) -> str:
    """The batch script of a job whose logs go to ``folder``; of a job array for several."""
    from submitit.slurm import slurm

    command = f"{_python()} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    array = {"map_count": num_jobs} if num_jobs > 1 else {}
    return slurm._make_sbatch_string(command=command, folder=folder, **_parameters(resources), **array)


def submit(tasks: Sequence[Any], folder: Path, resources: Resources, local: bool) -> list[str]:
    """Queue a job for each task, or start them here; returns their ids. Several are one job array.

    Raises OSError where there is no Slurm or it refuses.
    """
    import submitit

    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = (
        SIGNAL  # what submitit's own handlers, and its local controller, use
    )
    if local:
        executor: Any = submitit.LocalExecutor(folder)
        executor.update_parameters(**_local_parameters(resources))
    else:
        if not shutil.which("srun"):
            raise OSError(
                "this machine has no Slurm (srun is not found): submit from a login node of the cluster, or add "
                "--local to run here or --dry-run to see the script"
            )
        executor = submitit.SlurmExecutor(folder, python=_python())
        executor.update_parameters(**_parameters(resources))
    try:
        with warnings.catch_warnings(), executor.batch():
            warnings.simplefilter("ignore")  # of submitit, about its own arrays
            jobs = [executor.submit(task) for task in tasks]
    except submitit.core.utils.FailedJobError as error:
        raise OSError(f"Slurm did not take the job: {_told_by_sbatch(str(error))}") from error
    return [job.job_id for job in jobs]


def state(cluster: str, job_id: str) -> State:
    """How a job stands, by the scheduler; one that it knows nothing about is not active."""
    if cluster == "local":
        running = _is_controller(int(job_id))
        return State(running, "running on this machine" if running else "not running on this machine")
    queued = _ask("squeue", "--noheader", "--jobs", job_id, "--format", "%T|%r|%N")
    if queued:
        word, reason, nodes = queued.split("|")
        if word in ACTIVE:
            more = f" ({reason})" if word == "PENDING" else f" on {nodes}" if nodes else ""
            return State(True, ACTIVE[word] + more)
        return State(False, ENDED.get(word, word))
    recorded = _ask(
        "sacct", "--noheader", "--allocations", "--parsable2", "--jobs", job_id, "--format", "State"
    )
    if recorded:
        word = recorded.split()[0]  # "CANCELLED by 1000"
        return State(word in ACTIVE, {**ACTIVE, **ENDED}.get(word, word))
    return State(False, "not known to the scheduler (any more)")


def _python() -> str:
    """The interpreter of the tasks, deaf to the signal until the task listens: it may come while modules load."""
    return f"""sh -c 'trap "" {SIGNAL}; exec "$0" "$@"' {shlex.quote(sys.executable)}"""


def _parameters(resources: Resources) -> dict[str, Any]:
    """What submitit's Slurm executor takes."""
    gpus = {"gpus_per_node": resources.gpus} if resources.gpus else {}
    ours = {"requeue": True, "signal": f"{SIGNAL}@{resources.notice_seconds}"}
    return {
        "job_name": resources.name,
        "time": resources.minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": 1,
        "cpus_per_task": resources.cpus,
        "partition": resources.partition,
        **gpus,
        "additional_parameters": {**ours, **resources.more},
        "srun_args": [
            "--kill-on-bad-exit=1",  # else the others hold the machines until the time limit
            f"--cpus-per-task={resources.cpus}",  # which srun no longer takes from sbatch, since Slurm 22.05
        ],
    }


def _local_parameters(resources: Resources) -> dict[str, Any]:
    if resources.nodes > 1:
        raise ValueError(
            f"--local runs on this machine alone, and --nodes is {resources.nodes}: leave one out"
        )
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = [int(word) for word in visible.split(",") if word.strip().isdigit()]
    return {
        "timeout_min": resources.minutes,
        "gpus_per_node": resources.gpus,
        "signal_delay_s": resources.notice_seconds,
        **({"visible_gpus": numbers} if numbers and resources.gpus else {}),
    }


def _told_by_sbatch(message: str) -> str:
    told = [line for line in message.splitlines() if "sbatch: error:" in line]
    return " ".join(line.split("sbatch: error:", 1)[1].strip() for line in told) or message.strip()


def _ask(*command: str) -> str:
    """What a command of Slurm says in its first line; "" where there is none, or it knows nothing.

    Raises OSError where it does not answer.
    """
    if not shutil.which(command[0]):
        return ""
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"Slurm does not answer within {_ANSWER_SECONDS} s ({command[0]}): try again later") from error
    return told.stdout.strip().partition("\n")[0] if told.returncode == 0 else ""


def _is_controller(pid: int) -> bool:
    """Whether a process is there and belongs to submitit; its number may have been given to another since."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"submitit" in words
