"""Several sources read in threads ahead of their reader, in order, each by a bounded number of items."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from queue import Full, Queue
from typing import Any

_END = object()
_PATIENCE_SECONDS = 0.1  # between two looks at whether anybody still wants the items


def read_ahead(
    sources: Iterable[Callable[[], Iterator[Any]]], *, threads: int, room: int
) -> Iterator[Iterator[Any]]:
    """For each source, in order, an iterator of its items, to be used up before the next is asked for.

    Up to ``threads`` sources are read at once, and ``room`` items of each wait at most, so that memory is bounded
    however long a source is. What a source raises is raised where its items are taken. Sources that are not taken
    any more, because the reader stopped, are closed.
    """
    stop = threading.Event()
    waiting: deque[Queue] = deque()
    left = iter(sources)
    with ThreadPoolExecutor(threads, thread_name_prefix="read-ahead") as pool:

        def start() -> None:
            source = next(left, None)
            if source is not None:
                waiting.append(Queue(room))
                pool.submit(_fill, source, waiting[-1], stop)

        try:
            for _ in range(threads):
                start()
            while waiting:
                yield _items(waiting.popleft())
                start()
        finally:
            stop.set()


def _fill(source: Callable[[], Iterator[Any]], queue: Queue, stop: threading.Event) -> None:
    """Put (item, None) for each item, then (end, error or None)."""
    error = None
    try:
        with closing(source()) as items:
            for item in items:
                if not _put(queue, (item, None), stop):
                    return
    except BaseException as raised:  # told to the reader, who is in another thread
        error = raised
    _put(queue, (_END, error), stop)


def _put(queue: Queue, entry: tuple, stop: threading.Event) -> bool:
    """Whether the entry found room before the reader stopped."""
    while not stop.is_set():
        try:
            queue.put(entry, timeout=_PATIENCE_SECONDS)
            return True
        except Full:
            continue
    return False


def _items(queue: Queue) -> Iterator[Any]:
    while True:
        item, error = queue.get()
        if error is not None:
            raise error
        if item is _END:
            return
        yield item
