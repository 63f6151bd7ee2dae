"""Loader workers under watch: which video each of them reads, since when, and what became of those that are gone.

A decoder can hang or take its process with it. Workers say in shared memory what they are about to read, so that the
training process can tell of a worker that is late or gone which video it was at. Late ones are killed, so that there
is one case to deal with.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import torch

from slowfast.utils.isolation import cause_of_end

_LATE = "not read within "
_GRACE_SECONDS = 1.0  # for a process to be gone once its end of a pipe is
_MOST_LOOKS_A_SECOND = 4

# Columns of the shared table, a row for each worker. Times are in nanoseconds of the system's monotonic clock, which
# all processes share; 0 while a worker reads nothing.
_PID, _WHICH, _SOURCE, _SINCE = range(4)

_row: torch.Tensor | None = None  # in a worker: its row of the table
_waiting = False  # in the training process: whether it waits for a batch


# ----------------------------------------------------------------------------------------------------------
# In a worker
# ----------------------------------------------------------------------------------------------------------
def begin(table: torch.Tensor, worker: int) -> None:
    """This process is worker number ``worker`` from now on and tells in ``table`` what it reads."""
    global _row
    _row = table[worker]
    _row[_PID] = os.getpid()


@contextmanager
def item(which: int, source: int) -> Iterator[None]:
    """Inside, this process reads an item of data set number ``which``, at first from its entry ``source``."""
    if _row is not None:
        _row[_WHICH] = which
    now_reading(source)
    try:
        yield
    finally:
        if _row is not None:
            _row[_SINCE] = 0


def now_reading(source: int) -> None:
    """The item that this process reads is from now on tried from entry ``source``, whose time begins."""
    if _row is not None:
        _row[_SINCE] = 0  # nobody is to see the one with the time of the other
        _row[_SOURCE] = source
        _row[_SINCE] = time.monotonic_ns()


# ----------------------------------------------------------------------------------------------------------
# In the training process
# ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Casualty:
    """A worker that is gone: what it read, as number of its data set and list index, None if nothing; and why."""

    reading: tuple[int, int] | None
    reason: str


def is_late(reason: str) -> bool:
    """Whether a video was given up for its deadline, from the reason that its failure has."""
    return reason.startswith(_LATE)


class Watch:
    """Over up to ``num_workers`` processes, of which none may read one video for longer than ``deadline_seconds``.

    0 is no such limit. ``table`` is what workers hand to `begin`.
    """

    def __init__(self, num_workers: int, deadline_seconds: float) -> None:
        self.table = torch.zeros((num_workers, 4), dtype=torch.int64).share_memory_()
        self._deadline_seconds = deadline_seconds
        self._processes: Sequence[BaseProcess] = ()
        self._late: set[int] = set()  # ids of the processes that were killed for it
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, make: Callable[[], Iterator]) -> Iterator:
        """What ``make`` returns, with the processes that it starts under watch, be it that it fails."""
        before = set(multiprocessing.active_children())
        try:
            return make()
        finally:
            started = [process for process in multiprocessing.active_children() if process not in before]
            self._processes = started or self._processes
            _defer_alarms()
            if self._deadline_seconds and self._thread is None:
                # A thread, and so started after the processes, which may be forks.
                self._thread = threading.Thread(target=self._look, args=(self._over,), daemon=True)
                self._thread.start()

    def rest(self) -> None:
        """Look no more for those that are late, until the next `start`."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._over, self._thread = threading.Event(), None

    def end(self) -> None:
        """Rest, and forget the processes, of which those that are still there are killed."""
        self.rest()
        for process in self._processes:
            process.kill()
            process.join(_GRACE_SECONDS)
        self._processes = ()
        self._late.clear()
        self.table.zero_()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, this process waits for a batch: here, and nowhere else, it hears of a worker that ends.

        Raises RuntimeError if one has.
        """
        global _waiting
        _waiting = True
        try:
            if any(process.exitcode is not None for process in self._processes):
                raise RuntimeError("a loader worker has ended")
            yield
        finally:
            _waiting = False

    def casualties(self) -> list[Casualty]:
        """Of the workers that are gone, which may take an instant to show."""
        if self._processes:
            ready = wait([process.sentinel for process in self._processes], _GRACE_SECONDS)
            for process in self._processes:
                if process.sentinel in ready:  # it has closed its files, and ends next
                    process.join(_GRACE_SECONDS)
        return [self._casualty(process) for process in self._processes if process.exitcode is not None]

    def _casualty(self, process: BaseProcess) -> Casualty:
        reason = cause_of_end(process.exitcode)
        if process.pid in self._late:
            reason = f"{_LATE}{self._deadline_seconds:g} seconds (DATA_LOADER.DEADLINE_SECONDS)"
        row = next((row for row in self.table.tolist() if row[_PID] == process.pid), None)
        reading = (row[_WHICH], row[_SOURCE]) if row and row[_SINCE] else None
        return Casualty(reading, reason)

    def _look(self, over: threading.Event) -> None:
        """Until it is over, kill workers that are late."""
        pause = max(1 / _MOST_LOOKS_A_SECOND, min(1.0, self._deadline_seconds / 4))
        while not over.wait(pause):
            latest = time.monotonic_ns() - int(self._deadline_seconds * 1e9)
            for process in self._processes:
                pids = self.table[:, _PID].tolist()
                if process.pid not in pids:
                    continue
                row = self.table[pids.index(process.pid)]
                if 0 < int(row[_SINCE]) < latest and process.exitcode is None:
                    self._late.add(process.pid)
                    process.kill()


def _defer_alarms() -> None:
    """Have torch raise for a worker that has ended only while a batch is waited for.

    Its handler raises wherever the training process happens to be, such as in the middle of a step.
    """
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    ours = isinstance(handler, partial) and handler.func is _hear
    if callable(handler) and not ours and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, partial(_hear, handler))


def _hear(handler: Callable, signum: int, frame: object) -> None:
    if _waiting:
        handler(signum, frame)
