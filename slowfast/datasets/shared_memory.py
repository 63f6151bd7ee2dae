"""Whether the batches that loader workers prepare ahead fit into the system's shared memory, before they do not.

A worker that finds it full is killed by the system (SIGBUS) in the middle of an epoch; containers often have 64 MB.
"""

from __future__ import annotations

import os

FOLDER = "/dev/shm"  # of Linux; elsewhere shared memory has no such limit
_GIB = 2**30


def batches_in_flight(num_workers: int, prefetch_factor: int, passes: int) -> int:
    """Most batches of one process at a time: those that workers hold ready, those of a step, and the next one."""
    return num_workers * prefetch_factor + passes + 1


def check(
    batch_bytes: int,
    *,
    num_workers: int,
    prefetch_factor: int,
    passes: int,
    processes_on_host: int,
    folder: str = FOLDER,
) -> None:
    """Raise ValueError if they do not fit into what is free in ``folder``, with what to set; see `batches_in_flight`.

    ``batch_bytes`` are the pixels of the largest batch, the same in all ``processes_on_host``.
    """
    free, used = _free_and_used(folder)
    needed = batch_bytes * batches_in_flight(num_workers, prefetch_factor, passes) * processes_on_host
    if not num_workers or free is None or needed <= free:
        return
    fitting = (free // processes_on_host // batch_bytes - passes - 1) // prefetch_factor
    fewer = f"DATA_LOADER.NUM_WORKERS {max(0, fitting)}"
    lower = f" or DATA_LOADER.PREFETCH_FACTOR below {prefetch_factor}" if prefetch_factor > 1 else ""
    size = -(-(used + needed) // _GIB)  # of all of it, what is in use among it
    raise ValueError(
        f"{folder} has {free / _GIB:.3g} GiB of shared memory free, and loading may take {needed / _GIB:.3g} GiB of it "
        f"({processes_on_host} process(es) here x {batches_in_flight(num_workers, prefetch_factor, passes)} batches x "
        f"{batch_bytes / _GIB:.3g} GiB): give it more (docker run --shm-size={size}g or --ipc=host; as "
        f"root, mount -o remount,size={size}G {folder}), or write {fewer}{lower}"
    )


def _free_and_used(folder: str) -> tuple[int | None, int]:
    """Bytes; what is free is None where the system does not tell."""
    try:
        status = os.statvfs(folder)
    except (OSError, AttributeError):
        return None, 0
    return status.f_bavail * status.f_frsize, (status.f_blocks - status.f_bfree) * status.f_frsize
