"""Views between the two orders of dimensions, and what the operators ask of their surroundings."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

# Kinds of devices, asked for once: some versions of torch.compile cannot look into the question.
_WITH_AUTOCAST = tuple(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))


def channels_first(tokens: Tensor) -> Tensor:
    """The view (B, C, T, H, W) of tokens (B, T, H, W, C); no copy."""
    return tokens.permute(0, 4, 1, 2, 3)


def channels_last(maps: Tensor) -> Tensor:
    """The view (B, T, H, W, C) of maps (B, C, T, H, W); no copy."""
    return maps.permute(0, 2, 3, 4, 1)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Inside, operations on `device` take the dtype of their inputs; nothing on devices without autocast."""
    if device.type not in _WITH_AUTOCAST:
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def compute_dtype(values: Tensor) -> torch.dtype:
    """The dtype in which matrix products of `values` are computed here: autocast's inside it, else their own."""
    kind = values.device.type
    if kind in _WITH_AUTOCAST and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return values.dtype


def is_traced() -> bool:
    """Whether a tracer, exporter or compiler looks on: oneDNN cannot be called past it, and it unrolls loops."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def is_exported() -> bool:
    """Whether a tracer or exporter looks on, which must see the framework's own operators, one for a layer.

    Not torch.compile, inside which `is_exporting` is true as well in some versions.
    """
    is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # since torch 2.7
    return torch.jit.is_tracing() or (is_exporting() and not torch.compiler.is_dynamo_compiling())
