"""Views between the two orders of dimensions, and what the operators ask of their surroundings."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def channels_first(tokens: Tensor) -> Tensor:
    """The view (B, C, T, H, W) of tokens (B, T, H, W, C); no copy."""
    return tokens.permute(0, 4, 1, 2, 3)


def channels_last(maps: Tensor) -> Tensor:
    """The view (B, T, H, W, C) of maps (B, C, T, H, W); no copy."""
    return maps.permute(0, 2, 3, 4, 1)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Inside, operations on `device` take the dtype of their inputs; nothing on devices without autocast."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def compute_dtype(values: Tensor) -> torch.dtype:
    """The dtype in which matrix products of `values` are computed here: autocast's inside it, else their own."""
    kind = values.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return values.dtype


def is_traced() -> bool:
    """Whether a tracer, exporter or compiler looks on: oneDNN cannot be called past it, and it unrolls loops."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def is_exported() -> bool:
    """Whether a tracer or exporter looks on, which must see the framework's own operators, one for a layer."""
    is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # since torch 2.7
    return torch.jit.is_tracing() or is_exporting()
