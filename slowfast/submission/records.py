"""What was submitted from a folder: its submitted.jsonl, one JSON object a line for each job."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from slowfast.utils.logging import append_json_line, read_json_lines

FILE = "submitted.jsonl"
LOGS = "submitted"  # folder of logs and of what submitit keeps, below that of the run


@dataclass(frozen=True)
class Submission:
    """A job: ``command`` submitted it, in the folder ``cwd``; ``run`` is what its machines do, but for their numbers.

    ``cluster`` is slurm or local; ``logs`` has JOB_TASK_log.out and .err, a task for each of ``nodes`` machines.
    """

    job_id: str
    cluster: str
    nodes: int
    command: str
    run: str
    cwd: str
    logs: str
    time: str


def add(output_dir: Path, submission: Submission) -> None:
    """Note a job in the folder of its run."""
    output_dir.mkdir(parents=True, exist_ok=True)
    append_json_line(output_dir / FILE, asdict(submission))


def last(output_dir: Path) -> Submission | None:
    """The newest job of a run; None if it was never submitted."""
    path = output_dir / FILE
    lines = read_json_lines(path) if path.exists() else []
    return Submission(**lines[-1]) if lines else None
