"""Starting the processes of a run: here, shard by shard by hand, or through torchrun."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import Any

import torch
from torch import multiprocessing

from slowfast.utils import distributed, stopping

_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
# Errors whose message says all there is to say; the most specific first.
_PLAIN_ERRORS = (FileNotFoundError, PermissionError, OSError, ValueError, FloatingPointError)
_STOPPED = "stopped"
LOOK_SECONDS = 0.5  # between looks at whether the processes of a shard were asked to stop
GRACE_SECONDS = 10.0  # for the others, once one of them has failed
_PR_SET_PDEATHSIG = 1  # of prctl(2)
_rounds = itertools.count()
_local_rank = 0


@dataclass(frozen=True)
class _Place:
    """Where one process stands, and how it finds the others."""

    rank: int
    local_rank: int
    world_size: int
    init_method: str
    backend: str
    round_name: str
    use_cuda: bool


def local_rank() -> int:
    """Number of this process among those of its machine, from 0."""
    return _local_rank


def launch(
    function: Callable[..., Any],
    args: tuple = (),
    *,
    processes_per_shard: int,
    num_shards: int,
    shard_id: int,
    init_method: str,
    backend: str,
) -> Any:
    """Run `function(*args)` in max(1, processes_per_shard) x num_shards processes, which form a group.

    Processes that torchrun started are used as they are. Otherwise this call starts the ones of shard
    `shard_id`: one runs right here, more are spawned (`function` must then be importable, `args` picklable)
    and share a free port unless there are several shards, which meet at `init_method`. `processes_per_shard`
    0 means one process without a GPU. Launches may follow each other at one address.

    Returns what rank 0's function returned if it ran in this process, else None. An error of a spawned
    process is raised here with its rank: as it was where its message is for people (ValueError, OSError,
    FloatingPointError, stopping.Stopped), as RuntimeError with its traceback otherwise. Raises ValueError for
    sizes that contradict each other. Signals ask the function to stop (see stopping.heeded); those that reach this
    process alone are handed on to the processes it has spawned.
    """
    if not 0 <= shard_id < num_shards:
        raise ValueError(f"shard_id is {shard_id}; with num_shards {num_shards} it is 0 to {num_shards - 1}")
    world_size = max(1, processes_per_shard) * num_shards
    place = _Place(
        rank=shard_id * max(1, processes_per_shard),
        local_rank=0,
        world_size=world_size,
        init_method=init_method,
        backend=backend,
        round_name=str(next(_rounds)),
        use_cuda=processes_per_shard > 0 and torch.cuda.is_available(),
    )
    if all(name in os.environ for name in _TORCHRUN):
        return _run(_torchrun_place(place), function, args)
    if processes_per_shard > 1:
        return _spawn(place, processes_per_shard, num_shards, function, args)
    if num_shards > 1 and shard_id == 0:
        _serve(init_method)
    return _run(place, function, args)


def _torchrun_place(place: _Place) -> _Place:
    """The place that torchrun gave this process. A world of 1 asked for means that nothing was asked for."""
    rank, world_size, local = (int(os.environ[name]) for name in _TORCHRUN[:3])
    if place.world_size not in (1, world_size):
        raise ValueError(
            f"torchrun started {world_size} processes (WORLD_SIZE), but the settings ask for "
            f"{place.world_size}; set NUM_GPUS to the processes of a machine and NUM_SHARDS to the number of "
            f"machines, or leave both at 1"
        )
    address = f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    # The agent of torchrun usually serves the address itself, and goes on doing so after a restart.
    if world_size > 1 and rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        address = distributed.host_store(address)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return replace(
        place,
        rank=rank,
        local_rank=local,
        world_size=world_size,
        init_method=address,
        round_name=f"{attempt}.{place.round_name}",
    )


def _run(
    place: _Place,
    function: Callable[..., Any],
    args: tuple,
    on_error: Callable[[Exception], None] = lambda error: None,
) -> Any:
    """Run the function as one process of the group; `on_error` hears of an error before the others can."""
    global _local_rank
    _local_rank = place.local_rank
    if place.use_cuda and place.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(place.local_rank)
    try:
        if place.world_size > 1:
            address, name = place.init_method, place.round_name
            distributed.init(place.backend, address, place.world_size, place.rank, round_name=name)
        with stopping.heeded():
            result = function(*args)
        distributed.barrier()  # not after an error: the others may never come
        distributed.shutdown()  # not after an error either: with NCCL it would wait for them
    except Exception as error:
        on_error(error)
        raise
    finally:
        _local_rank = 0
    return result if place.rank == 0 else None


def _spawn(place: _Place, processes: int, num_shards: int, function: Callable[..., Any], args: tuple) -> None:
    """Start the processes of this shard and wait for them."""
    if num_shards == 1:
        place = replace(place, init_method=distributed.host_store("tcp://127.0.0.1:0"))
    elif place.rank == 0:
        _serve(place.init_method)
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    context = multiprocessing.spawn(_child, (place, errors, function, args), nprocs=processes, join=False)
    codes: dict[int, int | None] = {}
    with stopping.heeded():
        try:
            codes = dict(enumerate(_wait(context.processes), start=place.rank))
            while not context.join(grace_period=GRACE_SECONDS):
                pass
        except (multiprocessing.ProcessRaisedException, multiprocessing.ProcessExitedException) as failure:
            reports = []
            while not errors.empty():
                reports.append(errors.get())
            raise _error_of_children(codes, reports, failure) from None
        except KeyboardInterrupt:  # the second one
            for process in context.processes:
                process.kill()
            raise


def _wait(processes: Sequence[Any]) -> list[int | None]:
    """Exit codes once all have ended or one has failed (None: still running); hands on what asks to stop till then."""
    told = False
    while None in (codes := [process.exitcode for process in processes]) and not any(codes):
        connection.wait([process.sentinel for process in processes if process.exitcode is None], LOOK_SECONDS)
        if stopping.asked() and not told:
            told = True
            for process in processes:
                process.terminate()  # not SIGINT, which a terminal has sent them already: two of them would kill
    return codes


def _child(index: int, place: _Place, errors: Any, function: Callable[..., Any], args: tuple) -> None:
    """Body of a spawned process."""
    place = replace(place, rank=place.rank + index, local_rank=index)
    _stop_without_parent()

    def report(error: Exception) -> None:
        if isinstance(error, stopping.Stopped):
            errors.put((place.rank, _STOPPED, error.args, ""))
            return
        kind = next((kind.__name__ for kind in _PLAIN_ERRORS if isinstance(error, kind)), "")
        errors.put((place.rank, kind, str(error), traceback.format_exc()))

    try:
        _run(place, function, args, report)
    except stopping.Stopped as stopped:
        sys.exit(stopped.status)


def _stop_without_parent() -> None:
    """Have the system ask this process to stop once its parent is gone, where it can (Linux).

    torch has it send SIGINT, once for each thread that the parent had; the second one would end a save in its midst.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _error_of_children(codes: dict[int, int | None], reports: list[tuple], failure: Exception) -> Exception:
    """What to raise after reports (rank, kind, message, trace) and exit codes by rank, as the first failure found them.

    The first to report brought the others down, unless one could not report because the system killed it.
    """
    reported = {rank for rank, *_ in reports}  # such a process may still abort on its way out
    for rank, code in codes.items():
        if code is not None and code < 0 and -code not in stopping.SIGNALS and rank not in reported:
            name = signal.Signals(-code).name
            return RuntimeError(f"process {rank} was killed by {name}; SIGKILL often means too little memory")
    asked = stopping.asked()
    if not reports and asked:
        return stopping.Stopped(asked, "before it began")
    if not reports:
        return RuntimeError(f"a process ended without a word: {failure}")
    rank, kind, message, trace = reports[0]
    if kind == _STOPPED:
        signum, where = message
        return stopping.Stopped(asked or signum, where)
    for error in _PLAIN_ERRORS:
        if error.__name__ == kind:
            return error(f"process {rank}: {message}")
    return RuntimeError(f"process {rank} failed:\n{trace}")


def _serve(init_method: str) -> None:
    """Serve a tcp address for all shards; a shared file needs no server."""
    if not init_method.startswith("file://"):
        distributed.host_store(init_method)
