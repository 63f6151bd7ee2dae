"""What the processes started by test_launch.py do; they import this file by its name."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import torch

from slowfast.utils import distributed, stopping
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
    """One rank raises or dies; the others wait for it in a collective, or do not listen to anything ("deaf")."""
    if distributed.rank() != rank and kind == "deaf":
        while True:
            time.sleep(60)
    if distributed.rank() == rank:
        if kind in ("value", "deaf"):
            raise ValueError("the list is empty")
        if kind == "other":
            raise KeyError("left over")
        os.kill(os.getpid(), signal.SIGKILL)
    distributed.barrier()


def outlive() -> None:
    """Say that this rank is there, and how it is asked to stop."""
    os.write(1, b"ready\n")  # at once and in one piece, since two processes write there
    for _ in range(6000):
        if stopping.asked():
            break
        time.sleep(0.01)
    os.write(1, b"asked by %d\n" % stopping.asked())


def main(folder: str, num_shards: str, shard_id: str, init_method: str) -> None:
    """Two launches in a row at one address, as training and testing do."""
    for word in ("train", "test"):
        result = launch(
            collect,
            (folder, word),
            processes_per_shard=0,
            num_shards=int(num_shards),
            shard_id=int(shard_id),
            init_method=init_method,
            backend="gloo",
        )
        print("returned", result)


if __name__ == "__main__":
    if sys.argv[1:] == ["outlive"]:
        place = {"num_shards": 1, "shard_id": 0, "init_method": "", "backend": "gloo"}
        launch(outlive, processes_per_shard=2, **place)
    else:
        main(*sys.argv[1:])
