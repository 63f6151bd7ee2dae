"""What a model costs: parameters, and the multiply-accumulates of a forward pass."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

FLOPS_PER_MAC = 2
LAYER_NORM_MACS = (
    5  # per element, like the next: the rule of fvcore, with which the published tables were made
)
BATCH_NORM_MACS = 2


def count(model: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """Count {"parameters": ..., "macs": ...} for an input of `shape` (B, C, T, H, W), in eval mode.

    Counted are convolutions, linear layers, the two products of attention, and norms by element; additions,
    GELU, softmax and means count 0. The totals equal those of fvcore's counter on the published code. Only
    shapes are followed, on a copy without values, so it is quick at any size and leaves the model alone.
    """
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "macs": _counted(model, shape).get_total_flops() // FLOPS_PER_MAC,
    }


def by_module(model: nn.Module, shape: Sequence[int]) -> dict[str, int]:
    """The multiply-accumulates of `count`, by name of the module that was called for them; 0 for all others."""
    found = _counted(model, shape).get_flop_counts()
    return {
        name: sum(found.get(f"{type(model).__name__}.{name}", {}).values()) // FLOPS_PER_MAC
        for name, _ in model.named_modules()
        if name
    }


def _counted(model: nn.Module, shape: Sequence[int]) -> FlopCounterMode:
    shadow = copy.deepcopy(model).to("meta").eval().requires_grad_(False)
    norms = {
        torch.ops.aten.native_layer_norm: _norm_flops(LAYER_NORM_MACS),
        torch.ops.aten._native_batch_norm_legit_no_training: _norm_flops(BATCH_NORM_MACS),
    }
    with FlopCounterMode(display=False, custom_mapping=norms) as counter:
        shadow(torch.empty(tuple(shape), device="meta"))
    return counter


def _norm_flops(macs_per_element: int) -> Any:
    def flops(input_shape: Sequence[int], *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return FLOPS_PER_MAC * macs_per_element * math.prod(input_shape)

    return flops
