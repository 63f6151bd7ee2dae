"""Output whose reader has gone, such as that of ``slowfast predict ... | head``: it is dropped without a word."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 128 + 13  # what shells tell of a program that SIGPIPE ended


def caused(error: BaseException | None) -> bool:
    """Whether it was raised because nobody reads stdout any more, and not, say, because a worker process has died."""
    if not isinstance(error, BrokenPipeError) or not hasattr(select, "poll"):
        return False
    watch = select.poll()
    try:
        watch.register(sys.stdout, 0)  # 0: errors alone
    except (OSError, ValueError):  # no file of the system
        return False
    return bool(watch.poll(0))


def drop() -> None:
    """What was or will be written to stdout leads nowhere from now on, so that nothing more is raised."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Inside, a command whose output nobody reads any more ends: raises SystemExit with STATUS.

    All has been written when the block is left, so that nothing is left to fail when Python ends.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        if not caused(error):
            raise
        drop()
        raise SystemExit(STATUS) from None
