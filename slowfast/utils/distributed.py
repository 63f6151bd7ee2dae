"""Rank, size and collectives. The same calls work in one process, where they cost nothing.

This is the only module that touches `torch.distributed`; starting the processes is `launch.py`.
Every collective must be called by all ranks.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from slowfast.utils.logging import get_logger

_REDUCE = {"sum": dist.ReduceOp.SUM, "max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN}

# A store outlives the group made from it: training and testing follow each other at one address, and a server
# that closed in between would take the faster processes' next rendezvous down with it.
_stores: dict[str, dist.Store] = {}
_looks: dict[str, threading.Thread] = {}  # at addresses where such a server may be
_processes_on_host = 1
_group_store: dist.Store | None = None  # of the group there is now
_STOPPING = "stopping"
LOOK_SECONDS = 3.0  # for an answer of one address, where there are several
NEWS_SECONDS = 60.0  # between lines on who is still missing
# What errors of collectives say of a connection that has ended or is silent: gloo, NCCL, the store.
_LOST = re.compile(
    r"connection (closed|reset) by peer|broken pipe|connection was likely closed|failed to recv, got 0 bytes"
    r"|remote process exited|timed out waiting|watchdog caught collective operation timeout|socket timeout"
    r"|NCCL communicator was aborted",
    re.IGNORECASE,
)


def host_store(init_method: str, timeout_seconds: float = 1800) -> str:
    """Serve the rendezvous of a `tcp://HOST:PORT` address from this process; port 0 takes a free one.

    Returns the address the other processes must be given. The server lives as long as this process. Raises
    OSError when the port is taken.
    """
    host, port = _host_and_port(init_method)
    if init_method in _stores:
        return init_method
    try:
        timeout = timedelta(seconds=timeout_seconds)
        store = dist.TCPStore(host, port, None, True, timeout, wait_for_workers=False)
    except dist.DistNetworkError as error:
        raise OSError(
            f"cannot serve {init_method} ({_first_line(error)}): another job may use the port; "
            f"pass --init_method tcp://HOST:PORT with a free port of this machine"
        ) from error
    address = f"tcp://{host}:{store.port}"
    _stores[address] = store
    return address


def host_first(addresses: Sequence[str], name: str) -> str:
    """Serve the rendezvous `name` at the first of these addresses whose port is free, and return it.

    The log names ports that are taken. Raises OSError when all are.
    """
    tries = [*(address for address in addresses if address in _stores), *addresses]
    for left, address in zip(reversed(range(len(tries))), tries, strict=True):
        try:
            host_store(address)
        except OSError:
            if not left:
                raise
            get_logger(__name__).warning("the port of %s is taken, another one is tried", address)
        else:
            _stores[address].set(name, "here")
            return address
    raise ValueError("there is no address to serve")


def find_host(addresses: Sequence[str], name: str, timeout_seconds: float = 1800) -> str:
    """The one of these addresses where rank 0 serves the rendezvous `name`; waits until it does.

    Raises OSError when it is at none of them in time.
    """
    end = time.monotonic() + timeout_seconds
    while True:
        for address in sorted(addresses, key=_stores.__contains__, reverse=True):  # those known first
            if _is_served(address, name):
                return address
        if time.monotonic() > end:
            raise OSError(
                f"process 0 is not found at {', '.join(addresses)} after {timeout_seconds:g} s: look at its output, "
                "and whether its machine can be reached from this one under that name"
            )


def _is_served(address: str, name: str) -> bool:
    """Whether the rendezvous of this name is there, which is then kept, and not nothing or somebody else's."""
    if address in _stores:
        return True
    if address not in _looks:
        _looks[address] = threading.Thread(target=_look, args=(address, name), daemon=True)
        _looks[address].start()
    _looks[address].join(LOOK_SECONDS)
    if not _looks[address].is_alive():  # else it may hang for ever: another program that says nothing
        del _looks[address]
    return address in _stores


def _look(address: str, name: str) -> None:
    with suppress(RuntimeError):  # nobody there, or another program
        store = dist.TCPStore(*_host_and_port(address), None, False, timedelta(seconds=LOOK_SECONDS))
        if store.check([name]):
            _stores[address] = store


def init(
    backend: str,
    init_method: str,
    world_size: int,
    rank: int,
    timeout_seconds: float = 1800,
    round_name: str = "",
) -> None:
    """Join the process group of `world_size` processes as `rank`.

    `init_method` is `tcp://HOST:PORT`, served by a process that called `host_store`, or
    `file:///PATH`. `round_name` sets apart groups that are formed one after the other at one
    address; all ranks give the same. With nccl, CPU tensors and objects travel over gloo. Raises ValueError
    for another kind of address and OSError when the address cannot be reached in time, or when processes
    are missing by then, with their ranks; those that wait name them in the log from time to time.
    """
    global _processes_on_host, _group_store
    timeout = timedelta(seconds=timeout_seconds)
    store = dist.PrefixStore(f"slowfast/{round_name}", _open_store(init_method, world_size, timeout))
    hosts = _meet(store, world_size, rank, timeout_seconds)
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if backend == "nccl" else backend,
        store=store,
        world_size=world_size,
        rank=rank,
        timeout=timeout,
    )
    _processes_on_host = hosts.count(hosts[rank])
    _group_store = store


def _meet(store: dist.Store, world_size: int, rank: int, timeout_seconds: float) -> list[str]:
    """The names of the machines of all ranks, once the last one is here."""
    store.set(f"host/{rank}", socket.gethostname())
    end = time.monotonic() + timeout_seconds
    missing = list(range(world_size))
    while missing:
        left = max(0.0, end - time.monotonic())
        keys = [f"host/{other}" for other in missing]
        try:
            store.wait(keys, timedelta(seconds=min(left, NEWS_SECONDS) or 0.001))
            missing = []
        except dist.DistNetworkError as error:
            raise OSError(
                f"process 0 has ended before all {world_size} were there; its output says why ({_first_line(error)})"
            ) from error
        except RuntimeError:  # not in this time; stores differ in what they raise
            missing = [other for other in missing if not store.check([f"host/{other}"])]
            if missing and not left:
                raise OSError(_tell_missing(store, missing, world_size, timeout_seconds)) from None
            if missing and rank == min(set(range(world_size)) - set(missing)):
                get_logger(__name__).warning("waiting for process(es) %s of %d", _listed(missing), world_size)
    return [store.get(f"host/{other}").decode() for other in range(world_size)]


def _tell_missing(store: dist.Store, missing: Sequence[int], world_size: int, seconds: float) -> str:
    here = [other for other in range(world_size) if other not in missing]
    hosts: dict[str, list[int]] = {}
    for other in here:
        hosts.setdefault(store.get(f"host/{other}").decode(), []).append(other)
    return (
        f"{len(missing)} of {world_size} processes have not come within {seconds:g} s: {_listed(missing)} (ranks, from "
        f"0). Here are {'; '.join(f'{_listed(ranks)} on {host}' for host, ranks in hosts.items())}. Look at the output "
        "of the missing ones: whether they were started, with the same number of processes and the same address"
    )


def _listed(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))


def lost_contact(error: Exception) -> ConnectionError | None:
    """In plain words, an error by which a collective says that another process is gone or silent; else None."""
    if not isinstance(error, RuntimeError) or not _LOST.search(str(error)) or world_size() == 1:
        return None
    return ConnectionError(
        f"process {rank()} of {world_size()} has lost another process of the run, which has ended or does not answer; "
        f"that one's output, or the log of its machine, says why. What was saved is sound: the same command goes on "
        f"from it ({_first_line(error)})"
    )


def say_stopping() -> None:
    """Let the other processes know that this one ends since it was asked to, not by an error; waits for nobody."""
    if _group_store is not None:
        with suppress(RuntimeError):  # process 0, which would tell them, has ended
            _group_store.set(_STOPPING, str(rank()))


def another_is_stopping() -> bool:
    """Whether one of the processes has called `say_stopping`; not a collective.

    True also where nobody can tell since process 0 has ended: then it is that one's exit status which says what it was.
    """
    try:
        return _group_store is not None and _group_store.check([_STOPPING])
    except RuntimeError:
        return True


def shutdown() -> None:
    """Leave the process group; nothing happens where there is none."""
    global _processes_on_host, _group_store
    if _active():
        dist.destroy_process_group()
    _processes_on_host, _group_store = 1, None


def rank() -> int:
    """Number of this process in the world, from 0."""
    return dist.get_rank() if _active() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _active() else 1


def is_main() -> bool:
    """Whether this process writes the files and the log."""
    return rank() == 0


def processes_on_this_host() -> int:
    """How many processes of the group share this machine (1 without a group); not a collective."""
    return _processes_on_host


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier()


def all_reduce(tensor: torch.Tensor, op: str = "sum") -> torch.Tensor:
    """Reduce a tensor over the ranks, in place; returns it. `op` is sum, max or min."""
    if op not in _REDUCE:
        raise ValueError(f"all_reduce: op is {op!r}; write one of {', '.join(_REDUCE)}")
    if world_size() > 1:
        dist.all_reduce(tensor, _REDUCE[op])
    return tensor


def sum_in_rank_order(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over the ranks, on all of them: a new tensor, whose bits do not follow from what else is summed with it.

    Takes a copy of the tensor for each rank: for small ones. `all_reduce` of float numbers on three and more ranks sums
    in an order that follows from the place in the tensor.
    """
    places = tensor.new_zeros(world_size(), *tensor.shape)
    places[rank()] = tensor
    first, *others = all_reduce(places)
    for place in others:
        first = first + place
    return first


def gather_objects(obj: Any) -> list[Any] | None:
    """The objects of all ranks in rank order on rank 0, None elsewhere. They may differ in size."""
    if world_size() == 1:
        return [obj]
    gathered = [None] * world_size() if is_main() else None
    dist.gather_object(obj, gathered)
    return gathered


def all_gather_objects(obj: Any) -> list[Any]:
    """The objects of all ranks in rank order, on every rank. They may differ in size."""
    if world_size() == 1:
        return [obj]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, obj)
    return gathered


class Vote:
    """Yes-or-no questions to all ranks that nobody waits for: each call hands in answers and tells earlier ones.

    A question is answered yes if any rank says so. With several ranks a call returns what they handed in one call
    before, alike on all of them; alone, what it is given. All ranks call it alike, with as many answers.
    """

    def __init__(self) -> None:
        self._pending: tuple[torch.Tensor, Any] | None = None

    def __call__(self, *answers: bool) -> tuple[bool, ...]:
        if world_size() == 1:
            return answers
        earlier, self._pending = self._pending, self._hand_in(answers)
        if earlier is None:
            return (False,) * len(answers)
        result, work = earlier
        work.wait()
        return tuple(map(bool, result.tolist()))

    def forget(self) -> None:
        """Drop the answers handed in last, since what was asked for has happened; all ranks do so alike."""
        if self._pending is not None:
            self._pending[1].wait()
            self._pending = None

    @staticmethod
    def _hand_in(answers: tuple[bool, ...]) -> tuple[torch.Tensor, Any]:
        result = torch.tensor(answers, dtype=torch.int32)  # on the CPU, so no device is waited for
        return result, dist.all_reduce(result, dist.ReduceOp.MAX, async_op=True)


def broadcast_buffers(model: nn.Module) -> None:
    """Give the model of every rank the buffers (batch-norm statistics) of rank 0's."""
    if world_size() > 1:
        for buffer in unwrap(model).buffers():
            dist.broadcast(buffer, 0)


def broadcast_object(obj: Any) -> Any:
    """Rank 0's object, on every rank."""
    if world_size() == 1:
        return obj
    box = [obj]
    dist.broadcast_object_list(box)
    return box[0]


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with gradients averaged over the ranks; the model itself in one process.

    Every parameter must take part in the loss of every step (no search for unused ones). The graph is not declared
    static: blocks are recomputed in the non-reentrant way, whose gradients arrive once each without that, and a static
    graph exchanges nothing of use in a first step that accumulates (`local_gradients`). On a CPU the same gradients
    have the same averages, to the bit, in every step.
    """
    if world_size() == 1:
        return model
    wrapped = DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)
    if device.type == "cpu" and world_size() > 2:  # two ranks have one sum only
        wrapped.register_comm_hook(None, _average_in_rank_order)
    return wrapped


def _average_in_rank_order(state, bucket):  # not annotated: torch would take types that are text here for wrong ones
    """Average a bucket of gradients (GradBucket), each sum taken in the order of the ranks; returns a Future of them.

    In a ring the order follows from the place in the bucket, and the first step of a process has other buckets than
    later ones: a run that goes on would not have the bits of one that was not stopped. Each rank sums a share.
    """
    gradients = bucket.buffer()
    share = -(-len(gradients) // world_size())
    padded = nn.functional.pad(gradients, (0, share * world_size() - len(gradients)))
    parts = torch.empty_like(padded)
    dist.all_to_all_single(parts, padded)
    first, *others = parts.split(share)
    for part in others:
        first += part
    dist.all_gather_into_tensor(padded, first / world_size())
    gradients.copy_(padded[: len(gradients)])
    done = torch.futures.Future()
    done.set_result(gradients)
    return done


def unwrap(model: nn.Module) -> nn.Module:
    """The model that `wrap` was given."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def local_gradients(model: nn.Module, active: bool) -> AbstractContextManager:
    """While ``active``, gradients add up in this process; the next pass outside averages the sums over the ranks.

    Both the forward and the backward pass belong inside.
    """
    return model.no_sync() if active and isinstance(model, DistributedDataParallel) else nullcontext()


def _active() -> bool:
    return dist.is_available() and dist.is_initialized()


def _open_store(init_method: str, world_size: int, timeout: timedelta) -> dist.Store:
    if init_method in _stores:
        return _stores[init_method]
    parts = urlsplit(init_method)
    if parts.scheme == "file" and parts.path:
        store = dist.FileStore(parts.path, world_size)
    else:
        store = _connect(init_method, timeout)
    _stores[init_method] = store
    return store


def _connect(init_method: str, timeout: timedelta) -> dist.Store:
    """The store at a tcp address, once it is there. Tried for a short time again and again: between tries signals are
    heard, a second Ctrl-C among them.
    """
    host, port = _host_and_port(init_method)
    end = time.monotonic() + timeout.total_seconds()
    while True:
        left = end - time.monotonic()
        try:
            patience = timedelta(seconds=max(0.001, min(left, LOOK_SECONDS)))
            store = dist.TCPStore(host, port, None, False, patience, wait_for_workers=False)
        except dist.DistError as error:
            if left > LOOK_SECONDS:
                continue
            raise OSError(
                f"cannot reach {init_method} ({_first_line(error)}): start the process with shard id 0 "
                f"and give all shards the same --init_method"
            ) from error
        store.set_timeout(timeout)
        return store


def _host_and_port(init_method: str) -> tuple[str, int]:
    parts = urlsplit(init_method)
    if parts.scheme == "tcp" and parts.hostname and parts.port is not None:
        return parts.hostname, parts.port
    raise ValueError(
        f"init_method is {init_method!r}; write tcp://HOST:PORT, or file:///PATH on a disk that all share"
    )


def _first_line(error: BaseException) -> str:
    return str(error).split(os.linesep, 1)[0]
