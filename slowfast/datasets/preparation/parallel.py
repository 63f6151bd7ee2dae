"""One function over many jobs, in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TypeVar

from tqdm import tqdm

Job, Done = TypeVar("Job"), TypeVar("Done")


def run_all(
    function: Callable[[Job], Done], jobs: Sequence[Job], workers: int, what: str, *, unit: str = "video"
) -> Iterator[Done]:
    """What `function` returns for every job, in the order in which they end, with a progress bar called `what`
    that counts in `unit`.

    One worker works in this process; several end with this process, even if it is killed. Raises ValueError for less
    than one, ChildProcessError if a worker process was killed, and what `function` raises.
    """
    if workers < 1:
        raise ValueError(f"--workers is {workers}; write 1 or more")
    yield from tqdm(_run(function, jobs, workers), desc=what, total=len(jobs), unit=unit, disable=None)


def _run(function: Callable[[Job], Done], jobs: Sequence[Job], workers: int) -> Iterator[Done]:
    if workers == 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_end_with_parent)
    try:
        for future in as_completed([pool.submit(function, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process was killed, perhaps for lack of memory; the same command goes on from here, "
            "with --workers 1 one video at a time"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """Watch the process that started this worker and leave with it: what goes on writing would be in the way of the
    same command given again, and a worker left alone waits for work for ever.
    """
    threading.Thread(target=_leave_once_alone, name="end with parent", daemon=True).start()


def _leave_once_alone() -> None:
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
