"""Work that is done ahead in threads, while the caller is busy with what came before; only so much of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Done = TypeVar("Item"), TypeVar("Done")


def map_ahead(function: Callable[[Item], Done], items: Iterable[Item], threads: int) -> Iterator[Done]:
    """``function`` of every item, in their order, with as many of them worked on ahead as there are threads.

    Raises what the function raises, when its turn has come.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="ahead")
    waiting: deque = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
