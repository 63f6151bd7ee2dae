"""Starting the processes of a run: here, shard by shard by hand, or through torchrun or srun."""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection
from typing import Any

import torch
from torch import multiprocessing as torch_multiprocessing

from slowfast.utils import distributed, launchers, stopping

# Errors whose message says all there is to say; the most specific first.
_PLAIN_ERRORS = (FileNotFoundError, PermissionError, ConnectionError, OSError, ValueError, FloatingPointError)
_STOPPED = "stopped"
LOOK_SECONDS = 0.5  # between looks at whether the processes of a shard were asked to stop
GRACE_SECONDS = 10.0  # for the others, once one of them has failed
_PR_SET_PDEATHSIG = 1  # of Linux' prctl.h
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
    given: launchers.Given | None = None,
) -> Any:
    """Run `function(*args)` in max(1, processes_per_shard) x num_shards processes, which form a group.

    Processes that a launcher has started are used as they are: those of torchrun, and with `given` those of srun.
    Otherwise, and where srun has started one for each machine, this call starts the ones of shard
    `shard_id`: one runs right here, more are spawned (`function` must then be importable, `args` picklable)
    and share a free port unless there are several shards, which meet at `init_method`. `processes_per_shard`
    0 means one process without a GPU, which talks gloo whatever the backend. Launches may follow each other at one
    address.

    Returns what rank 0's function returned if it ran in this process, else None. An error of a spawned
    process is raised here with its rank: as it was where its message is for people (ValueError, OSError,
    FloatingPointError, stopping.Stopped), as RuntimeError with its traceback otherwise. Where another process of the
    group has ended or does not answer, it is a ConnectionError. Raises ValueError for
    sizes that contradict each other. Signals ask the function to stop (see stopping.heeded); those that reach this
    process alone are handed on to the processes it has spawned.
    """
    if not 0 <= shard_id < num_shards:
        raise ValueError(f"shard_id is {shard_id}; with num_shards {num_shards} it is 0 to {num_shards - 1}")
    processes = max(1, processes_per_shard)
    use_cuda = processes_per_shard > 0 and torch.cuda.is_available()
    place = _Place(
        rank=shard_id * processes,
        local_rank=0,
        world_size=processes * num_shards,
        init_method=init_method,
        backend=backend if use_cuda else "gloo",
        round_name=str(next(_rounds)),
        use_cuda=use_cuda,
    )
    given = given or launchers.torchrun(os.environ)
    if given and not given.per_machine:
        return _run(_given_place(place, given), function, args)
    if given:
        place = replace(place, init_method=_meeting(given))
    elif num_shards > 1 and shard_id == 0:
        _serve(init_method)
    elif num_shards == 1 and processes > 1:
        place = replace(place, init_method=distributed.host_store("tcp://127.0.0.1:0"))
    if processes > 1:
        return _spawn(place, processes, function, args)
    return _run(place, function, args)


def _given_place(place: _Place, given: launchers.Given) -> _Place:
    """The place that a launcher gave this process. A world of 1 asked for means that nothing was asked for."""
    if place.world_size not in (1, given.world_size):
        raise ValueError(
            f"{given.launcher} started {given.world_size} processes, but the settings ask for "
            f"{place.world_size}; set NUM_GPUS to the processes of a machine and NUM_SHARDS to the number of "
            f"machines, or leave both at 1"
        )
    return replace(
        place,
        rank=given.rank,
        local_rank=given.local_rank,
        world_size=given.world_size,
        init_method=_meeting(given),
        round_name=f"{given.attempt}.{place.round_name}",
    )


def _meeting(given: launchers.Given) -> str:
    """The address where processes of a launcher meet, served by rank 0 unless the launcher does so itself."""
    if given.served or given.world_size == 1:
        return given.addresses[0]
    name = f"{given.launcher} {given.attempt}"
    if given.rank == 0:
        return distributed.host_first(given.addresses, name)
    return distributed.find_host(given.addresses, name) if len(given.addresses) > 1 else given.addresses[0]


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
            result = _call(function, args)
        distributed.barrier()  # not after an error: the others may never come
        distributed.shutdown()  # not after an error either: with NCCL it would wait for them
    except Exception as error:
        lost = distributed.lost_contact(error)
        on_error(lost or error)
        if lost:
            raise lost from error
        raise
    finally:
        _local_rank = 0
    return result if place.rank == 0 else None


def _call(function: Callable[..., Any], args: tuple) -> Any:
    """What the function returns. Raises Stopped where another process has stopped and this one, too, was asked to.

    Where processes do not wait for each other, as in a validation, one may have stopped while this one waits for it.
    One that has died is an error, even though launchers then ask the others to stop.
    """
    try:
        return function(*args)
    except stopping.Stopped:
        distributed.say_stopping()
        raise
    except Exception as error:
        asked = stopping.asked()
        if asked and distributed.lost_contact(error) and distributed.another_is_stopping():
            raise stopping.Stopped(asked, "as another process of the run did") from error
        raise


def _spawn(place: _Place, processes: int, function: Callable[..., Any], args: tuple) -> None:
    """Start the processes of this shard and wait for them."""
    errors = multiprocessing.get_context("spawn").SimpleQueue()
    context = torch_multiprocessing.spawn(
        _child, (place, errors, function, args), nprocs=processes, join=False
    )
    codes: dict[int, int | None] = {}
    with stopping.heeded():
        try:
            codes = dict(enumerate(_wait(context.processes), start=place.rank))
            while not context.join(grace_period=GRACE_SECONDS):
                pass
        except (
            torch_multiprocessing.ProcessRaisedException,
            torch_multiprocessing.ProcessExitedException,
        ) as failure:
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
    _end_with_parent()
    place = replace(place, rank=place.rank + index, local_rank=index)

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


def _end_with_parent() -> None:
    """Let the system kill this process once its parent is gone, however that ended; where it can, which is Linux.

    Not SIGTERM, after which it would go on to save: by then another run may be at work in the same folder.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != multiprocessing.parent_process().pid:  # it had ended before
            os.kill(os.getpid(), signal.SIGKILL)


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
