"""Asking a run to stop: signals raise a flag that its loops look at, so that it ends between steps with all saved.

SIGTERM and SIGUSR1 are what clusters send before a time limit or a preemption, SIGINT is Ctrl-C. The first of them
asks; a second SIGINT leaves at once. Commands without such loops end by any of them as by Ctrl-C (`interrupting`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
AGAIN_STATUS = 75  # EX_TEMPFAIL of sysexits.h: run the same command again and it goes on; launchers requeue on it
INTERRUPTED_STATUS = 130  # as shells count Ctrl-C: a person wanted it, nobody should start it again
LOOK_SECONDS = 2.0  # between looks of a helper at whether its parent is there

_asked_by: list[int] = []


class Stopped(Exception):
    """A run has ended early because a signal asked it to; the same command goes on with it."""

    def __init__(self, signum: int, where: str) -> None:
        super().__init__(signum, where)
        self.signum, self.where = signum, where

    def __str__(self) -> str:
        name = signal.Signals(self.signum).name
        return f"stopped by {name} {self.where}; give the same command to go on"

    @property
    def status(self) -> int:
        """Exit status of the process: INTERRUPTED_STATUS for SIGINT, else AGAIN_STATUS."""
        return INTERRUPTED_STATUS if self.signum == signal.SIGINT else AGAIN_STATUS


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGUSR1 has ended a command as Ctrl-C does."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def status_of(interrupt: KeyboardInterrupt, goes_on: bool) -> int:
    """Exit status of a command that was interrupted; ``goes_on``: whether the same command, given again, goes on.

    INTERRUPTED_STATUS for Ctrl-C, else AGAIN_STATUS if it goes on, and 128 + the signal as in shells if not.
    """
    if not isinstance(interrupt, Interrupted):
        return INTERRUPTED_STATUS
    return AGAIN_STATUS if goes_on else 128 + interrupt.signum


@contextmanager
def interrupting() -> Iterator[None]:
    """Inside, the first SIGTERM or SIGUSR1 raises Interrupted in the main thread; further ones change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGTERM, signal.SIGUSR1)

    def interrupt(signum: int, frame: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def heeded() -> Iterator[None]:
    """Inside, SIGNALS ask to stop instead of ending the process; nothing changes in a thread that cannot say so.

    What was asked is forgotten, and the handlers that were there before are back, at the end of the outermost block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if _hear not in before.values():
            _asked_by.clear()


def asked() -> int:
    """The first signal that asked this process to stop since `heeded` began; 0 for none."""
    return _asked_by[0] if _asked_by else 0


def leave_to_parent() -> None:
    """From now on SIGNALS do not end this process, a helper, but for a SIGTERM of its parent, and the parent's end.

    To be called in a process of `multiprocessing`, before it starts threads. Where the system cannot tell senders
    (not Linux), SIGTERM keeps its effect. One of the parent is lost only if one of somebody else has come within the
    same instant. The parent may have ended already: torch, too, has workers look for that, but takes whoever has
    inherited them by the time they have started for the parent.
    """
    for number in set(SIGNALS) - {signal.SIGTERM}:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey, args=(multiprocessing.parent_process(),), daemon=True).start()


def _obey(parent: BaseProcess) -> None:
    while parent.is_alive():
        heard = signal.sigtimedwait({signal.SIGTERM}, LOOK_SECONDS)
        if heard and heard.si_pid == parent.pid:
            break
    os._exit(0)


def _hear(signum: int, frame: object) -> None:
    if signum == signal.SIGINT and signal.SIGINT in _asked_by:
        raise KeyboardInterrupt
    _asked_by.append(signum)
