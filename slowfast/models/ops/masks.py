"""Masks of dropout and drop path that are a function of a seed."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slowfast.utils.seeds import derive


@torch.library.custom_op(
    "slowfast::seeded_mask",
    mutates_args=(),
    schema="(Tensor seed, int draw, SymInt[] shape, float rate, ScalarType dtype, Device device) -> Tensor",
)
def seeded_mask(
    seed: Tensor, draw: int, shape: Sequence[int], rate: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """A mask of `shape`: 1 where kept, 0 where dropped (a share of `rate`), drawn from a stream of (seed, draw) alone.

    seed: int64 (), on the CPU. An operator of its own, and its seed a tensor, for compilers: they can look into no
    generator, and would take a seed that is a number for a constant and compile every step anew.
    """
    generator = torch.Generator(device).manual_seed(derive(int(seed), draw))
    uniform = torch.rand(shape, generator=generator, device=device)
    return (uniform >= rate).to(dtype)


@seeded_mask.register_fake
def _(
    seed: Tensor, draw: int, shape: Sequence[int], rate: float, dtype: torch.dtype, device: torch.device
) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=device)
