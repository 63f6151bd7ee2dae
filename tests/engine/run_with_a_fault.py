"""Runs in which something happens at a defined point; test_resume.py starts and imports this file by its name."""

import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from slowfast import cli
from slowfast.config import load_cfg
from slowfast.engine.monitor import EvalMonitor
from slowfast.engine.step import TrainStep
from slowfast.utils import checkpoint, distributed, stopping

RECIPE = Path(__file__).parents[2] / "configs" / "debug" / "uniformer_debug.yaml"
POINTS = {
    "step": (TrainStep, "__call__"),  # before a training step
    "validation": (EvalMonitor, "step"),  # after a batch of a validation has been scored
    "save": (checkpoint, "_seal"),  # when all of a checkpoint but its checksum has been written
}


def interfere(point: str, number: int, act: Callable[[], None], set_attribute=setattr) -> None:
    """Have ``act`` called when the run comes by a point for the ``number``-th time, counted from 0."""
    owner, name = POINTS[point]
    original, count = getattr(owner, name), itertools.count()

    def with_fault(*args, **kwargs):
        if next(count) == number:
            act()
        return original(*args, **kwargs)

    set_attribute(owner, name, with_fault)


def spoil(times: dict[int, int], factor: float = math.nan, rank: int = 0, set_attribute=setattr) -> None:
    """Have the loss of a rank multiplied in steps {number, from 1: how often}."""
    original, left = TrainStep.__call__, dict(times)

    def with_fault(self, batches, global_step):
        loss, number = self.loss, global_step + 1
        if left.get(number) and distributed.rank() == rank:
            left[number] -= 1
            self.loss = lambda *args: factor * loss(*args)
        try:
            return original(self, batches, global_step)
        finally:
            self.loss = loss

    set_attribute(TrainStep, "__call__", with_fault)


def one_spoiled_rank(options: list[str], times: dict[int, int], rank: int) -> None:
    """A rank of a training run, one of which has losses that are not finite."""
    spoil(times, rank=rank)
    cli.train_and_test(load_cfg(RECIPE, options))


def one_rank(options: list[str], step: int, signum: int, hears: str) -> None:
    """A rank of a training run that is signalled before a step: "parent", or "rank 1" alone; "" for nobody."""
    distributed_rank = distributed.rank()
    if hears == "rank 1" and distributed_rank == 1:
        interfere("step", step, lambda: os.kill(os.getpid(), signum))
    if hears == "parent" and distributed_rank == 0:
        interfere("step", step, lambda: _tell_parent(signum))
    cli.train_and_test(load_cfg(RECIPE, options))


def _tell_parent(signum: int) -> None:
    """Send the parent a signal, and wait for the one that it hands on."""
    os.kill(os.getppid(), signum)
    for _ in range(6000):
        if stopping.asked():
            return
        time.sleep(0.01)
    raise TimeoutError("the parent has handed nothing on")


if __name__ == "__main__":
    fault, times, settings = sys.argv[1:]
    interfere(fault, int(times), lambda: os.kill(os.getpid(), signal.SIGKILL))
    sys.exit(cli.main(["run", "--cfg", str(RECIPE), *json.loads(settings)]))
