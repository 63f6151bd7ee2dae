"""How a run is doing, in words: where its job stands, how far it came, and what went wrong on which machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slowfast.submission import cluster, records
from slowfast.submission.task import attempts_file
from slowfast.utils.logging import read_json_lines
from slowfast.utils.plural import counted
from slowfast.utils.stopping import AGAIN_STATUS, INTERRUPTED_STATUS

NUM_LINES = 5  # of a log, where it does not say by itself what the error is
_TOLD = "slowfast: error: "
# What a process says whose peer has gone: the consequence of an error, seldom the cause.
_LOST_PEER = re.compile(
    r"has lost another process of the run|Connection (closed|reset|refused)|closed by peer|Broken pipe"
    r"|remote process exited|NCCL communicator was aborted"
)
_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b")  # the last line of a traceback
_RANK = re.compile(r"^\[rank\d+\]: ?", re.MULTILINE)  # which torch puts before each line of a traceback
_OF_SLURM = ("srun:", "slurmstepd:")
_NO_FAILURE = (None, 0, AGAIN_STATUS, INTERRUPTED_STATUS)
_NO_ERROR = {cluster.ENDED[word] for word in ("CANCELLED", "COMPLETED", "DEADLINE", "PREEMPTED", "TIMEOUT")}
_FIGURES = ("loss", "lr", "top1_err", "top5_err", "map", "eta")


@dataclass(frozen=True)
class Attempt:
    """The newest attempt of one task. ``status`` and ``ended`` are None while it runs, or if it was killed."""

    task: int
    host: str
    number: int
    status: int | None
    ended: float | None
    errors: str


def describe(output_dir: Path) -> str:
    """Lines for people about the run in a folder. Raises ValueError where there is nothing to tell of."""
    submission = records.last(output_dir)
    progress = list(_progress(output_dir))
    if submission is None and not progress:
        raise ValueError(
            f"{output_dir} holds neither {records.FILE} nor metrics.jsonl, so no run was submitted or begun there: "
            "give the OUTPUT_DIR of a run"
        )
    lines = [("run", str(output_dir))]
    if submission is None:
        lines.append(("job", "none: it was started by hand"))
    else:
        state = cluster.state(submission.cluster, submission.job_id)
        attempts = list(read_attempts(submission))
        lines.append(("job", _job(submission, attempts)))
        lines.append(("state", outcome(state, submission, attempts)))
    lines += progress
    if submission is not None:
        if not state.active:
            lines += _failure(state, attempts)
        lines.append(("logs", f"{submission.logs}/{submission.job_id}_*_log.err (errors), .out"))
    return "\n".join(f"{name:<11}{text}" for name, text in lines)


def read_attempts(submission: records.Submission) -> Iterator[Attempt]:
    """The newest attempt of every task of a job that has begun."""
    logs = Path(submission.logs)
    for task in range(submission.nodes):
        path = attempts_file(logs, submission.job_id, task)
        notes = read_json_lines(path) if path.exists() else []
        begins = [number for number, note in enumerate(notes) if note["event"] == "begin"]
        if begins:
            begin, *end = notes[begins[-1] :]
            text = _tail(logs / f"{submission.job_id}_{task}_log.err", begin["log_from"])
            status, ended = (end[-1]["status"], end[-1]["time"]) if end else (None, None)
            yield Attempt(task, begin["host"], len(begins), status, ended, text)


def outcome(state: cluster.State, submission: records.Submission, attempts: Sequence[Attempt]) -> str:
    """Where a job stands: what the scheduler says, or if it says nothing what the tasks left."""
    if state.active or submission.cluster == "slurm" and state.words in cluster.ENDED.values():
        return state.words
    ends = [attempt.status for attempt in attempts]
    if not ends:
        return f"never began: {state.words}"
    if any(status not in _NO_FAILURE for status in ends):
        return cluster.ENDED["FAILED"]
    if None in ends:
        return f"killed, it left no word: {state.words}"
    if any(ends):
        return "stopped by a signal; submit it again, and it goes on"
    return cluster.ENDED["COMPLETED"]


def culprit(attempts: Sequence[Attempt]) -> Attempt | None:
    """The task that ended a job which is over; None if none of them failed.

    The first that failed of itself; else one that was killed before it could say so; else the first that lost its
    connection to another one.
    """
    failed = sorted(
        (attempt for attempt in attempts if attempt.status not in _NO_FAILURE), key=lambda one: one.ended
    )
    of_themselves = [attempt for attempt in failed if not _LOST_PEER.search(attempt.errors)]
    killed = [attempt for attempt in attempts if attempt.status is None]
    return next(iter([*of_themselves, *killed, *failed]), None)


def reason(errors: str) -> str:
    """What an error log says went wrong: the message for people, or the end of the traceback, or its last lines."""
    lines = [
        line for line in _RANK.sub("", errors).splitlines() if line.strip() and not line.startswith(_OF_SLURM)
    ]
    told = [number for number, line in enumerate(lines) if line.startswith(_TOLD)]
    if told:
        message = [line for line in lines[told[-1] :] if not line.startswith("(SLOWFAST_DEBUG")]
        return "\n".join(message).removeprefix(_TOLD)
    ends = [number for number, line in enumerate(lines) if _ERROR.match(line)]
    return "\n".join(lines[ends[-1] :][:NUM_LINES] if ends else lines[-NUM_LINES:])


def _job(submission: records.Submission, attempts: Sequence[Attempt]) -> str:
    where = "on this machine" if submission.cluster == "local" else "on Slurm"
    number = max((attempt.number for attempt in attempts), default=0)
    again = f", begun {number} times" if number > 1 else ""
    machines = counted(submission.nodes, "machine")
    return f"{submission.job_id} {where}, {machines}{again}, submitted {submission.time}"


def _failure(state: cluster.State, attempts: Sequence[Attempt]) -> Iterator[tuple[str, str]]:
    if state.words in _NO_ERROR:
        return
    found = culprit(attempts)
    if found is not None:
        how = f"exit status {found.status}"
        if found.status is None:
            how = "killed before it could say why: often too little memory, or the machine was lost"
        yield "error", f"machine {found.task} ({found.host}), {how}"
        yield from (("", line) for line in reason(found.errors).splitlines())


def _progress(output_dir: Path) -> Iterator[tuple[str, str]]:
    path = output_dir / "metrics.jsonl"
    lines = read_json_lines(path) if path.exists() else []
    kinds = {line.get("_type"): line for line in lines}
    training = next((line for line in reversed(lines) if str(line.get("_type")).startswith("train_")), None)
    if training:
        yield "training", _training(training)
    if "val_epoch" in kinds:
        yield "validation", f"epoch {kinds['val_epoch']['epoch']}: {_figures(kinds['val_epoch'])}"
    results = output_dir / "results.json"
    if results.exists():
        scores = json.loads(results.read_text(encoding="utf-8")).get("video", {})
        yield "test", _accuracy(scores)


def _training(line: Mapping[str, Any]) -> str:
    step = f", step {line['iter']} of it" if "iter" in line else " complete"
    return f"epoch {line['epoch']}{step} ({line['global_step']} in all): {_figures(line)}"


def _accuracy(scores: Mapping[str, float]) -> str:
    """Percent, but for mAP, which is from 0 to 1; a list without true labels has neither."""
    told = (f"{name} {value:.4f}" if name == "map" else f"{name} {value:.2f} %" for name, value in scores.items())
    return ", ".join(told) or "predictions without accuracy"


def _figures(line: Mapping[str, Any]) -> str:
    found = ((name, line[name]) for name in _FIGURES if line.get(name) is not None)
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in found
    )


def _tail(path: Path, start: int) -> str:
    """The text of a log after ``start`` bytes; "" if there is none."""
    if not path.exists():
        return ""
    with open(path, "rb") as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")
