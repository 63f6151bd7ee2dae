"""Progress in epochs to learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

POLICIES = ("cosine", "steps_with_relative_lrs")


def learning_rate(
    epoch: float,
    *,
    policy: str,
    base: float,
    end: float,
    warmup_start: float,
    warmup_epochs: float,
    max_epoch: float,
    cosine_after_warmup: bool,
    steps: Sequence[float] = (),
    lrs: Sequence[float] = (),
) -> float:
    """Learning rate at a fractional epoch: finished epochs plus the finished part of the present one.

    `cosine` falls from `base` to `end` over all epochs, or over those after the warm-up.
    `steps_with_relative_lrs` is `base` times the entry of `lrs` for the last of `steps` (epochs, rising
    from 0) that has been reached. Before `warmup_epochs` the rate rises linearly from `warmup_start` to
    what the policy says at the end of the warm-up, which is below `base` for a cosine that does not wait
    for it. Reference behaviour of PySlowFast.

    Raises ValueError for an unknown policy, `steps` that do not begin with 0 or do not match `lrs`, and a
    cosine that would not fall.
    """
    if policy == "cosine":
        if end >= base:
            raise ValueError(f"COSINE_END_LR is {end:g}; it must be below BASE_LR, which is {base:g}")
        start = warmup_epochs if cosine_after_warmup else 0.0

        def rate(at: float) -> float:
            return _cosine(at, base, end, start, max_epoch)

    elif policy == "steps_with_relative_lrs":
        _check_steps(steps, lrs)

        def rate(at: float) -> float:
            reached = [lr for step, lr in zip(steps, lrs, strict=True) if step <= at]
            return base * reached[-1]

    else:
        raise ValueError(f"unknown LR_POLICY {policy!r}; write one of {', '.join(POLICIES)}")
    if epoch < warmup_epochs:
        return warmup_start + epoch * (rate(warmup_epochs) - warmup_start) / warmup_epochs
    return rate(epoch)


def _cosine(epoch: float, base: float, end: float, start: float, stop: float) -> float:
    """Half a cosine from `base` at epoch `start` to `end` at epoch `stop`; `base` before."""
    if epoch <= start:
        return base
    return end + (base - end) * (1 + math.cos(math.pi * (epoch - start) / (stop - start))) / 2


def _check_steps(steps: Sequence[float], lrs: Sequence[float]) -> None:
    if not steps or steps[0] != 0:
        raise ValueError(f"SOLVER.STEPS is {list(steps)}; its first entry must be 0, where LRS[0] begins")
    if list(steps) != sorted(steps):
        raise ValueError(f"SOLVER.STEPS is {list(steps)}; write the epochs in rising order")
    if len(steps) != len(lrs):
        raise ValueError(f"SOLVER.STEPS has {len(steps)} entries, SOLVER.LRS {len(lrs)}; give one per step")
