"""How a training step is made to fit its memory: by blocks that are recomputed (slowfast.models.recomputation).

All processes count, since a pass of the model may need them all (slowfast.models.sync_batch_norm); rank 0 chooses, for
the one that has the least memory, and tells them. The choice changes no value that is computed, so a run may go on with
another one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from logging import Logger

import torch
from torch import nn

from slowfast.engine import optimizer as optimizers
from slowfast.models import recomputation
from slowfast.models.uniformer import UniformerBase
from slowfast.utils import distributed, environment

GIB = 2**30
SPARE_SHARE = 0.1  # of what is free, left alone: libraries, fragments, other processes
CLIPS_HELD = 2  # copies of the batch in float32: as prepared, and as it came or was mixed


def choose(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    shape: Sequence[int],
    dtype: torch.dtype | None,
    device: torch.device,
    log: Logger,
    wanted_gib: float,
) -> None:
    """Recompute just enough blocks for a training step with clips of `shape` to fit; all processes must call it.

    model: on its device, wrapped for several processes or not, its operators chosen. wanted_gib: memory in GiB for
    weights, gradients, optimizer state and activations; 0 for what is free. Raises ValueError for 0 where that is not
    known. A model that is not of the UniFormer family stays as it is, and the log says so.
    """
    bare = distributed.unwrap(model)
    if not isinstance(bare, UniformerBase):
        log.info("MODEL.CHECKPOINT auto: %s has no blocks to recompute", type(bare).__name__)
        return
    limit = min(distributed.all_gather_objects(_limit(bare, optimizer, device, wanted_gib)))
    bare.train()
    account = recomputation.account(bare, shape, dtype, device)
    found = None
    if distributed.is_main():
        fixed = _fixed(bare, optimizer, shape) + account.other
        counts = recomputation.choose(account.stages, fixed, limit)
        _report(log, account.stages, fixed, limit, counts)
        found = counts
    bare.recompute(distributed.broadcast_object(found))


def _limit(
    model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device, wanted_gib: float
) -> int:
    """Bytes for all that a step needs, with weights and optimizer state that are there already."""
    if wanted_gib:
        return int(wanted_gib * GIB)
    free = environment.free_memory(device, distributed.processes_on_this_host())
    if free is None:
        raise ValueError(
            "MODEL.CHECKPOINT auto with CHECKPOINT_GB 0 takes the memory that is free, which this system does not "
            "tell: write the GiB that a training step may take in each process as MODEL.CHECKPOINT_GB"
        )
    return int((1 - SPARE_SHARE) * free) + _weights(model) + optimizers.state_bytes_now(optimizer)


def _fixed(model: nn.Module, optimizer: torch.optim.Optimizer, shape: Sequence[int]) -> int:
    """Bytes that a step takes whatever its blocks save: gradients twice where processes exchange them."""
    gradients = _bytes(value for value in model.parameters() if value.requires_grad)
    copies = 2 if distributed.world_size() > 1 else 1
    clips = CLIPS_HELD * torch.float32.itemsize * math.prod(shape)
    return _weights(model) + copies * gradients + optimizers.state_bytes(optimizer) + clips


def _weights(model: nn.Module) -> int:
    return _bytes(model.parameters()) + _bytes(model.buffers())


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _report(
    log: Logger,
    stages: Sequence[Sequence[recomputation.BlockCost]],
    fixed: int,
    limit: int,
    counts: Sequence[int],
) -> None:
    """One line for people: what is wanted, what is predicted, what is done."""
    none, depth = (0,) * len(stages), tuple(map(len, stages))
    without, with_it = (recomputation.peak(stages, fixed, chosen) for chosen in (none, counts))
    again = recomputation.macs(stages, counts) / max(1, recomputation.macs(stages, depth))
    log.info(
        "recomputation: a training step may take %.3f GiB; predicted %.3f GiB without, %.3f GiB with recomputing "
        "%s of %s blocks (%.0f %% of their arithmetic again)",
        limit / GIB,
        without / GIB,
        with_it / GIB,
        list(counts),
        list(depth),
        100 * again,
    )
    if with_it > limit:
        log.warning(
            "a training step is predicted to take %.3f GiB with all blocks recomputed, more than the %.3f GiB it may; "
            "training goes on and may run out of memory: lower TRAIN.BATCH_SIZE and raise TRAIN.ACCUMULATION_STEPS by "
            "the same factor, or raise MODEL.CHECKPOINT_GB",
            with_it / GIB,
            limit / GIB,
        )
