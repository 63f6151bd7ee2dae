"""What training leaves as it is: parameters without gradients, and batch norms that stay in evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn


class FrozenBatchNorm3d(nn.BatchNorm3d):
    """A batch norm that normalises by its running statistics in training too, and keeps them."""

    def train(self, mode: bool = True) -> FrozenBatchNorm3d:
        return super().train(False)


def freeze(model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Freeze the parameters whose full names match one of the patterns, as in a shell; returns their names.

    Batch norms all of whose parameters are frozen keep their statistics too. Raises ValueError for a pattern that
    matches nothing, and if nothing would be left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            parts = ", ".join(f"{part}*" for part in dict.fromkeys(name.split(".")[0] for name in names))
            raise ValueError(f"MODEL.FREEZE {pattern!r} matches no parameter; parts of this model: {parts}")
    frozen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if len(frozen) == len(names):
        raise ValueError(f"MODEL.FREEZE {' '.join(patterns)} freezes all parameters, so nothing would be trained")
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    _keep_statistics(model)
    return frozen


def _keep_statistics(model: nn.Module) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.BatchNorm3d) and not any(value.requires_grad for value in module.parameters()):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, _frozen(module))


def _frozen(norm: nn.BatchNorm3d) -> FrozenBatchNorm3d:
    made = FrozenBatchNorm3d(norm.num_features, eps=norm.eps, momentum=norm.momentum)
    made.weight, made.bias = norm.weight, norm.bias
    for name, buffer in norm.named_buffers():
        setattr(made, name, buffer)
    return made.train(False)
