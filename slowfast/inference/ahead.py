"""Work that is done ahead in threads, while the caller is busy with what came before; only so much of it."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item, Done = TypeVar("Item"), TypeVar("Done")

_END = object()


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


def iterate_ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """The same items, made in a thread of their own, at most ``count`` of them before they are asked for.

    Raises what iterating raises, in its place. When this is closed the thread has ended.
    """
    ready: queue.Queue = queue.Queue()
    room = threading.Semaphore(count)
    stopped = threading.Event()

    def work() -> None:
        error = None
        try:
            for item in _while_there_is_room(items, room, stopped):
                ready.put((item, None))
        except BaseException as raised:
            error = raised
        ready.put((_END, error))

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is _END:
                return
            room.release()
            yield item
    finally:
        stopped.set()
        room.release()
        thread.join()


def _while_there_is_room(
    items: Iterable[Item], room: threading.Semaphore, stopped: threading.Event
) -> Iterator[Item]:
    """The same items, each made only once there is room for it."""
    iterator = iter(items)
    while True:
        room.acquire()
        if stopped.is_set():
            return
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item
