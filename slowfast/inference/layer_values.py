"""What a named layer of a model gives for clips."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

HEAD_INPUT = "head_input"
"""The name of what the head is given: the mean over the last tokens, normalised."""
_FINAL_NORM = "norm"  # its output are the tokens of which the head is given the mean


def layer_names(model: nn.Module) -> list[str]:
    """All names that `check_layer` takes, the default first."""
    return [HEAD_INPUT, *(name for name, _ in model.named_modules() if name)]


def check_layer(model: nn.Module, layer: str) -> None:
    """Raise ValueError for a name that is no layer's, with those that are nearest, or for one that does nothing."""
    modules = dict(model.named_modules())
    if layer == HEAD_INPUT:
        if "head" not in modules:
            raise ValueError(f"the model has no head; name a layer instead of {HEAD_INPUT}: {_some(modules)}")
        return
    if layer not in modules or not layer:
        near = difflib.get_close_matches(layer, layer_names(model), n=5, cutoff=0.5)
        known = f"near it are {', '.join(near)}" if near else f"there are {HEAD_INPUT}, {_some(modules)}"
        raise ValueError(f"layer {layer!r} is unknown in this model; {known}")
    if type(modules[layer]) is nn.Identity:
        raise ValueError(
            f"layer {layer!r} does nothing in a loaded model: batch norms and layer scales are folded into the layers "
            f"beside them. Take {layer.rpartition('.')[0] or HEAD_INPUT} or another layer"
        )


def layer_values(model: nn.Module, layer: str, dense: bool, forward: Callable[[], Any]) -> Tensor:
    """What ``layer`` gives in one call of ``forward``, float32 on the CPU: (N, C), or with ``dense`` (N, ..., C).

    Dense values of blocks and of head_input are tokens (N, T', H', W', C), of attention layers rows (N, tokens, C);
    others are their mean. Raises ValueError as `check_layer` does, and for a layer whose output is no such thing or
    that is not called as a module.
    """
    check_layer(model, layer)
    modules, seen = dict(model.named_modules()), []
    if layer == HEAD_INPUT and not dense:
        hook = modules["head"].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    else:
        if layer == HEAD_INPUT and _FINAL_NORM not in modules:
            raise ValueError(
                f"{HEAD_INPUT} is one vector a clip in this model: leave out dense, or name a layer"
            )
        layer = _FINAL_NORM if layer == HEAD_INPUT else layer
        hook = modules[layer].register_forward_hook(lambda _, given, output: seen.append(output))
    with hook:
        forward()
    if not seen:
        raise ValueError(f"layer {layer!r} is not called by itself in a pass: take {_beside(modules, layer)}")
    tokens = _tokens(layer, modules.get(layer), seen[-1])
    if tokens.ndim > 2 and not dense:
        tokens = tokens.mean(dim=tuple(range(1, tokens.ndim - 1)))
    return tokens.cpu()


def _tokens(layer: str, module: nn.Module | None, output: Any) -> Tensor:
    """float32 (N, ..., C) of a layer's output, the first of several, such as a block's."""
    while isinstance(output, tuple | list) and output:
        output = output[0]
    if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 2:
        raise ValueError(f"layer {layer!r} gives no vectors, but {type(output).__name__}; take another one")
    if isinstance(module, nn.BatchNorm3d):  # called with channels in dimension 1
        output = output.movedim(1, -1)
    return output.to(torch.float32)


def _beside(modules: dict[str, nn.Module], layer: str) -> str:
    """Layers inside a list of layers, or the one that a layer is a part of."""
    inside = [name for name in modules if name.rpartition(".")[0] == layer]
    if isinstance(modules[layer], nn.ModuleList) and inside:
        return " or ".join(inside) if len(inside) < 4 else f"one of {inside[0]} to {inside[-1]}"
    return layer.rpartition(".")[0] or HEAD_INPUT


def _some(modules: dict[str, nn.Module], count: int = 12) -> str:
    names = [name for name in modules if name and "." not in name]
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
