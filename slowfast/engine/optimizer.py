"""Parameters to groups, groups to an optimizer; clipping of gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

METHODS = ("sgd", "adam", "adamw")


def param_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    bn_weight_decay: float,
    zero_wd_1d: bool,
    skip_names: Sequence[str] = (),
    layer_decay: float = 1.0,
) -> list[dict[str, Any]]:
    """Trainable parameters in the groups batch_norm, decayed, undecayed; empty ones are left out.

    Undecayed are parameters with one dimension if `zero_wd_1d`, and those whose full name contains one of
    `skip_names`; the published recipes use no names. Batch-norm parameters take `bn_weight_decay` in any
    case. Each group holds `params`, `name`, `weight_decay` and `lr_scale` 1.0. Order inside a group is that
    of the model's modules; saved optimizer states depend on it. Reference behaviour of UniFormer's
    PySlowFast.

    With `layer_decay` below 1 there is a group for each layer, whose lr_scale is layer_decay to the power of the
    layers after it (BEiT, Bao et al. 2022), by the model's `layer_of(name)` and `num_blocks` (see UniformerBase).

    Raises ValueError for a skip name that matches no parameter, if nothing is trainable, or if the model does not
    know its layers.
    """
    decays = {"batch_norm": bn_weight_decay, "decayed": weight_decay, "undecayed": 0.0}
    layers_after = _layers_after(model, layer_decay)
    groups: dict[tuple[str, int], list[nn.Parameter]] = {}
    unused = set(skip_names)
    for name, parameter, in_batch_norm in _named_parameters(model):
        matching = {skip for skip in skip_names if skip in name}
        unused -= matching
        if not parameter.requires_grad:
            continue
        kind = "batch_norm" if in_batch_norm else "decayed"
        if kind == "decayed" and (matching or (zero_wd_1d and parameter.dim() == 1)):
            kind = "undecayed"
        groups.setdefault((kind, layers_after(name)), []).append(parameter)
    if unused:
        names = ", ".join(sorted(unused))
        raise ValueError(f"no parameter name contains {names}; correct SOLVER.NO_WEIGHT_DECAY_NAMES")
    if not groups:
        raise ValueError("the model has no trainable parameter")
    order = sorted(groups, key=lambda key: (list(decays).index(key[0]), -key[1]))
    return [
        {
            "params": groups[kind, after],
            "name": f"{kind}, {after} layers from the end" if layer_decay < 1 else kind,
            "weight_decay": decays[kind],
            "lr_scale": layer_decay**after,
        }
        for kind, after in order
    ]


def _layers_after(model: nn.Module, layer_decay: float) -> Callable[[str], int]:
    """From a parameter's name to how many layers lie behind its own; 0 for all where that makes no difference."""
    if layer_decay == 1.0:
        return lambda name: 0
    if not hasattr(model, "layer_of"):
        raise ValueError(
            f"SOLVER.LAYER_DECAY {layer_decay:g} needs a model that knows its layers (layer_of and num_blocks, as "
            f"UniFormer has them), and {type(model).__name__} does not: write 1"
        )
    return lambda name: model.num_blocks + 1 - model.layer_of(name)


def _named_parameters(model: nn.Module) -> Iterable[tuple[str, nn.Parameter, bool]]:
    """(full name, parameter, whether a batch norm owns it) in module order; shared parameters once."""
    seen = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix=prefix, recurse=False):
            if parameter not in seen:
                seen.add(parameter)
                yield name, parameter, isinstance(module, _BatchNorm)


def build(
    groups: list[dict[str, Any]],
    method: str,
    *,
    lr: float,
    momentum: float = 0.9,
    dampening: float = 0.0,
    nesterov: bool = True,
    betas: tuple[float, float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """Optimizer over the groups: sgd, adam (coupled weight decay) or adamw.

    `momentum`, `dampening` and `nesterov` are for sgd, `betas` for the others, whose eps is 1e-8. Fused forms
    are used: one kernel, and they obey `found_inf`, by which a step is skipped without asking the device. The
    parameters must be where they will be trained. Raises ValueError for another method.
    """
    if method == "sgd":
        made = torch.optim.SGD(
            groups, lr=lr, momentum=momentum, dampening=dampening, nesterov=nesterov, fused=True
        )
        _start_momentum(made)
    elif method in ("adam", "adamw"):
        kind = torch.optim.AdamW if method == "adamw" else torch.optim.Adam
        made = kind(groups, lr=lr, betas=tuple(betas), eps=1e-8, fused=True)
    else:
        raise ValueError(f"unknown OPTIMIZING_METHOD {method!r}; write one of {', '.join(METHODS)}")
    set_lr(made, lr)
    return made


def _start_momentum(sgd: torch.optim.SGD) -> None:
    """Start momentum from zero.

    torch makes the buffers in the first step, with whatever the memory holds, and leaves that there when the
    step is skipped through `found_inf`. With dampening d, the first step is 1 - d of torch's.
    """
    for group in sgd.param_groups:
        if group["momentum"]:
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes that momenta take once a step was made: two for each parameter of adam and adamw, else those there are."""
    if isinstance(optimizer, torch.optim.Adam | torch.optim.AdamW):
        return 2 * sum(value.nbytes for group in optimizer.param_groups for value in group["params"])
    return state_bytes_now(optimizer)


def state_bytes_now(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of the state that there is already."""
    values = (value for state in optimizer.state.values() for value in state.values())
    return sum(value.nbytes for value in values if isinstance(value, torch.Tensor))


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any], source: str) -> None:
    """Take over the state (momenta, steps) that a checkpoint holds, not its settings: those are the config's.

    The rate alone comes from the checkpoint, until the next step sets it.

    Raises ValueError, naming `source`, for the state of another kind of optimizer or of other groups.
    """
    own = [
        {name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups
    ]
    kinds = [set(groups[0]) - {"params"} for groups in (own, state["param_groups"])]
    coupled = [groups[0].get("decoupled_weight_decay") for groups in (own, state["param_groups"])]
    sizes = [
        [len(group["params"]) for group in groups]
        for groups in (optimizer.param_groups, state["param_groups"])
    ]
    if kinds[0] != kinds[1] or coupled[0] != coupled[1] or sizes[0] != sizes[1]:
        raise ValueError(
            f"{source} holds the state of another optimizer, or of other parameter groups ({sizes[1]} parameters; "
            f"here {sizes[0]}): go on with the same SOLVER.OPTIMIZING_METHOD, ZERO_WD_1D_PARAM and model, or start "
            "a new run from its weights with TRAIN.INIT"
        )
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        group.update({name: value for name, value in settings.items() if name != "lr"})


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set every group to `lr` times its own `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def grad_norm(parameters: Iterable[nn.Parameter]) -> torch.Tensor:
    """L2 norm of all gradients together: float32 () on their device, 0 without any."""
    norms = [torch.linalg.vector_norm(p.grad, dtype=torch.float32) for p in parameters if p.grad is not None]
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.zeros(())


def clip(
    parameters: Iterable[nn.Parameter], max_norm: float | None = None, max_value: float | None = None
) -> torch.Tensor:
    """Clip gradients in place and return their norm before clipping, () on the device, without reading it.

    `max_value` bounds every entry and, as in PySlowFast, then takes the place of `max_norm`, which bounds
    the norm of all gradients together. Without either the norm is only measured.
    """
    parameters = list(parameters)
    if max_value is None and max_norm is not None:
        return nn.utils.clip_grad_norm_(parameters, max_norm)
    norm = grad_norm(parameters)
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)
    return norm
