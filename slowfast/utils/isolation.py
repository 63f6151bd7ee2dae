"""Jobs done in processes of their own, which may crash, hang or ask for too much memory without harm to this one.

The pools of Python are no help here: multiprocessing.Pool waits forever for what a killed process was doing, and
ProcessPoolExecutor gives up all jobs with the first one that kills its process. Here a process that ends, or does not
answer in time, costs its one job, and another process takes its place. Answers come back as JSON: what a damaged
process sends is never unpickled.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from slowfast.utils import stopping

_GRACE_SECONDS = 5  # for a process to be gone after it was killed, and for the alarm of one that nobody kills
_MOST_BYTES = 2**20  # of an answer
_GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """What one job may take. seconds: by the clock. memory_gb: GiB, besides what a process without a job has; held
    where the kernel can be told so (Linux). Raises ValueError unless both are above 0.
    """

    seconds: float = 30.0
    memory_gb: float = 2.0

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("GB of memory", self.memory_gb)):
            if not 0 < value < math.inf:
                raise ValueError(f"a limit of {value:g} {name} leaves no job anything; write more than 0")


@dataclass(frozen=True)
class Outcome:
    """What came of a job. value: what the function returned. failure: "" or why there is no value, in one line.

    at_limit: whether time or memory ran out or the process ended, so that other limits might give another outcome.
    """

    value: Any = None
    failure: str = ""
    at_limit: bool = False


def run_isolated(
    function: Callable[[Any], Any], jobs: Sequence[Any], *, processes: int, limits: Limits
) -> Iterator[tuple[int, Outcome]]:
    """(number of the job, Outcome) of every job, as they end; `function` is importable and returns what JSON can hold.

    Jobs and the function are pickled; each process does one job at a time. A job that ends its process, or that runs
    into a limit, is tried once more in a fresh process if the process had done other jobs before: what they left
    behind may have been the cause. When the iterator is closed, all processes are killed.

    Raises ValueError for less than one process, ChildProcessError if a process ends before it takes any job.
    """
    if processes < 1:
        raise ValueError(f"{processes} processes; write 1 or more")
    waiting = deque(range(len(jobs)))
    workers = [_Worker(function, limits) for _ in range(min(processes, len(jobs)))]
    try:
        while waiting or any(worker.job is not None for worker in workers):
            for worker in _attentive(workers):
                number, outcome = worker.job, worker.answer()
                if outcome and outcome.at_limit and worker.num_answers > 1:
                    waiting.appendleft(number)
                elif outcome:
                    yield number, outcome
                if worker.ended:
                    workers.remove(worker)
                    workers += [_Worker(function, limits)] if waiting else []
                elif waiting:
                    worker.give(waiting[0], jobs[waiting.popleft()])
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """One process. job: the number of the job it has, None if it is starting or idle. ended: whether it is gone.

    num_answers: jobs that it had, the last of which may have ended it.
    """

    def __init__(self, function: Callable[[Any], Any], limits: Limits):
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function, limits), daemon=True)
        self._process.start()
        theirs.close()
        self._limits = limits
        self._started = False
        self.ended = False
        self.job: int | None = None
        self.num_answers = 0
        self.deadline = math.inf

    def give(self, number: int, job: Any) -> None:
        """Let it do a job, whose time begins now."""
        self.job, self.deadline = number, time.monotonic() + self._limits.seconds
        try:
            self.pipe.send(job)
        except OSError:
            pass  # it has just ended, which its end of the pipe tells next

    def answer(self) -> Outcome | None:
        """What came of its job; None if it had none and says that it is ready. It must have answered or be late."""
        outcome = self._received() if self.pipe.poll() else self._late()
        if outcome is not None and outcome.at_limit:
            self.end()
        if self.job is None:
            if self.ended and not self._started:
                raise ChildProcessError(f"no process can be started: {outcome.failure}")
            self._started = True
            return None
        self.job, self.deadline = None, math.inf
        self.num_answers += 1
        return outcome

    def end(self) -> None:
        """Kill it. One that even that does not end, since a disk does not answer it, is left behind."""
        self.ended = True
        self._process.kill()
        self._process.join(_GRACE_SECONDS)
        self.pipe.close()

    def _received(self) -> Outcome:
        try:
            kind, value = json.loads(self.pipe.recv_bytes(_MOST_BYTES))
        except (EOFError, ConnectionError):
            return Outcome(failure=self._cause_of_end(), at_limit=True)
        except (OSError, ValueError, TypeError):  # OSError: it is too long
            return Outcome(failure="its process gave a garbled answer", at_limit=True)
        if kind == "memory":
            limit = f"{self._limits.memory_gb:g} GB"
            return Outcome(failure=f"needs more than {limit} of memory", at_limit=True)
        return Outcome(failure=value) if kind == "error" else Outcome(value)

    def _late(self) -> Outcome:
        return Outcome(failure=f"not done after {self._limits.seconds:g} seconds", at_limit=True)

    def _cause_of_end(self) -> str:
        self._process.join(_GRACE_SECONDS)
        status = self._process.exitcode
        if status == -getattr(signal, "SIGALRM", 0):
            return self._late().failure
        return cause_of_end(status)


def cause_of_end(status: int | None) -> str:
    """Why the process of a job is gone, from its exit status as multiprocessing tells it."""
    if status is None or status >= 0:
        return f"its process ended by itself (exit status {status})"
    if status == -getattr(signal, "SIGKILL", 0):
        return "its process was killed (SIGKILL), perhaps by the system for lack of memory"
    return f"its process crashed ({_signal_name(-status)})"


def _attentive(workers: Sequence[_Worker]) -> list[_Worker]:
    """Wait until a worker has answered, ended or missed its deadline; return those."""
    first = min(worker.deadline for worker in workers)
    timeout = None if first == math.inf else max(0.0, first - time.monotonic())
    ready = wait([worker.pipe for worker in workers], timeout)
    now = time.monotonic()
    return [worker for worker in workers if worker.pipe in ready or worker.deadline <= now]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


# ----------------------------------------------------------------------------------------------------------
# In the process
# ----------------------------------------------------------------------------------------------------------
def _serve(pipe: Connection, function: Callable[[Any], Any], limits: Limits) -> None:
    """Say that the process is ready, then answer jobs until the pipe is closed."""
    _confine(limits)
    pipe.send_bytes(b'["ready", null]')
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):  # nobody wants answers any more
            return
        _alarm(limits.seconds + _GRACE_SECONDS)
        answer = _answer(function, job)
        _alarm(0)
        pipe.send_bytes(json.dumps(answer).encode())


def _answer(function: Callable[[Any], Any], job: Any) -> tuple[str, Any]:
    try:
        return "value", function(job)
    except MemoryError:
        return "memory", None
    except Exception as error:
        return "error", " ".join(f"unexpected {type(error).__name__}: {error}".split())


def _confine(limits: Limits) -> None:
    """Leave signals to the parent, keep what libraries print off the terminal, leave no core files, limit memory."""
    stopping.leave_to_parent()  # else a job is blamed for what was sent to all processes of a command
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    in_use = _data_bytes()
    if in_use:
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = in_use + int(limits.memory_gb * _GIB)
        resource.setrlimit(
            resource.RLIMIT_DATA, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most)
        )


def _data_bytes() -> int:
    """What Linux counts against RLIMIT_DATA in this process; 0 on another system.

    Not RLIMIT_AS: that also counts libraries and files that are mapped and memory that is merely reserved.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:")), 0)
    except OSError:
        return 0


def _alarm(seconds: float) -> None:
    """Have the kernel end this process after so long, should the parent be gone by then; 0 takes that back."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
