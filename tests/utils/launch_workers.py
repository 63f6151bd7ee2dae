"""What the processes started by test_launch.py do; they import this file by its name."""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import torch

from slowfast.utils import distributed, launchers, stopping
from slowfast.utils.launch import launch, local_rank


def collect(folder: str, word: str) -> str:
    """Use every collective once and leave what this rank saw in a file."""
    rank = distributed.rank()
    device = torch.device("cpu")
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    wrapped = distributed.wrap(model, device)
    wrapped(torch.full((1, 1), float(rank + 1))).sum().backward()
    seen = {
        "rank": rank,
        "world_size": distributed.world_size(),
        "local_rank": local_rank(),
        "is_main": distributed.is_main(),
        "on_this_host": distributed.processes_on_this_host(),
        "sum": distributed.all_reduce(torch.tensor([rank + 1.0, 10.0])).tolist(),
        "max": distributed.all_reduce(torch.tensor([rank, -rank]), "max").tolist(),
        "min": distributed.all_reduce(torch.tensor([rank, -rank]), "min").tolist(),
        "gathered": distributed.gather_objects(list(range(rank))),
        "broadcast": distributed.broadcast_object({"from": rank}),
        "mean_gradient": model.weight.grad.item(),
        "votes": vote(rank),
        "unwrapped": distributed.unwrap(wrapped) is model,
    }
    distributed.barrier()
    Path(folder, f"{word}{rank}.json").write_text(json.dumps(seen))
    return f"{word} of rank {rank}"


def vote(rank: int) -> list[tuple[bool, ...]]:
    """What four votes tell, the third of which is forgotten: rank 1 says yes to the first question, then 0 to both."""
    ask = distributed.Vote()
    told = [ask(rank == 1, False), ask(rank == 0, rank == 0), ask(True, True)]
    ask.forget()
    return [*told, ask(False, False)]


def fail(rank: int, kind: str) -> None:
    """One rank raises or dies; the others wait for it in a collective, or do not listen to anything ("deaf").

    "told": they were asked to stop before they noticed, as srun does when a task has died.
    """
    if distributed.rank() != rank and kind == "deaf":
        while True:
            time.sleep(60)
    if distributed.rank() == rank:
        if kind in ("value", "deaf"):
            raise ValueError("the list is empty")
        if kind == "other":
            raise KeyError("left over")
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "told":
        signal.raise_signal(signal.SIGTERM)
    distributed.barrier()


def stop(rank: int) -> None:
    """A signal reaches all; one rank stops at once, and the others wait for it in a collective."""
    signal.raise_signal(signal.SIGUSR1)
    if distributed.rank() == rank:
        raise stopping.Stopped(stopping.asked(), "in the validation")
    distributed.gather_objects("scores")


def gradients(folder: str) -> None:
    """Leave what this rank has for gradients of its batch, by itself and in two passes of the wrapped model."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(*(torch.nn.Linear(31, 31) for _ in range(9)))
    batch = torch.randn(5, 31, generator=torch.Generator().manual_seed(distributed.rank()))
    wrapped, found = distributed.wrap(net, torch.device("cpu")), []
    for model in (net, wrapped, wrapped):
        net.zero_grad()
        model(batch).square().mean().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in net.parameters()]))
    torch.save(found, Path(folder) / f"{distributed.rank()}.pt")


def sums(folder: str) -> None:
    """Leave what this rank gives, its sum over the ranks at once, and the same piece by piece."""
    values = torch.rand(1000, generator=torch.Generator().manual_seed(distributed.rank()))
    pieces = [distributed.sum_in_rank_order(piece) for piece in values.split(7)]
    found = [values, distributed.sum_in_rank_order(values), torch.cat(pieces)]
    torch.save(found, Path(folder) / f"{distributed.rank()}.pt")


def hold(port: str) -> None:
    """Connect to a port of this machine and wait; the connection ends with the process."""
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(b"here")
        connection.recv(1)


def main(folder: str, num_shards: str, shard_id: str, init_method: str) -> None:
    """Two launches in a row at one address, as training and testing do."""
    for word in ("train", "test"):
        print("returned", start(collect, (folder, word), num_shards, shard_id, init_method))


def start(function, args: tuple, num_shards: str, shard_id: str, init_method: str, processes: str = "0"):
    return launch(
        function,
        args,
        processes_per_shard=int(processes),
        num_shards=int(num_shards),
        shard_id=int(shard_id),
        init_method=init_method,
        backend="nccl",  # which means gloo, for these are processes without a GPU
        given=launchers.srun(os.environ),
    )


if __name__ == "__main__":
    if sys.argv[1] == "fail":
        start(fail, (1, sys.argv[2]), *sys.argv[3:])
    elif sys.argv[1] == "stop":
        start(stop, (1,), *sys.argv[2:])
    elif sys.argv[1] == "hold":
        start(hold, (sys.argv[2],), "1", "0", "", "2")
    else:
        main(*sys.argv[1:])
