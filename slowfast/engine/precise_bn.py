"""Batch-norm statistics of a whole population, in place of running means that lag behind the weights.

Those of all batches combined, each counted by its size: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, as in
`fvcore.nn.precise_bn`. A synchronised norm (slowfast.models.sync_batch_norm) counts what all processes put in; any
other measures what its own process saw.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.models.sync_batch_norm import is_synchronised
from slowfast.utils import distributed


@torch.no_grad()
def measure(model: nn.Module, inputs: Iterable[Tensor], num_batches: int) -> None:
    """Set the running statistics to those of the first `num_batches` of `inputs`, in training mode.

    Weights stay. With synchronised norms all processes must call it with as many batches; there is at least one.
    """
    model.train()
    modules = (module for module in model.modules() if isinstance(module, _BatchNorm))
    norms = [norm for norm in modules if norm.track_running_stats and norm.training]  # not those that are frozen
    momenta = [norm.momentum for norm in norms]
    found = [_Population(norm) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 1.0  # then the running statistics are those of the last batch
        for clips in islice(inputs, num_batches):
            model(clips)
            for one in found:
                one.add()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for one in found:
            one.unhook()
    for one in found:
        one.set()


class _Population:
    """Sums over the values that one norm has seen, in float64."""

    def __init__(self, norm: _BatchNorm) -> None:
        self._norm = norm
        self._here = 0  # values of a channel in the current batch, in this process
        self._sums = torch.zeros(2, norm.num_features, dtype=torch.float64, device=norm.running_mean.device)
        self._count = self._sums.new_zeros(())
        self._hook = norm.register_forward_pre_hook(self._look)

    def add(self) -> None:
        """Count the batch whose statistics the norm holds, by what of it has passed the norm."""
        size = self._sums.new_full((), self._here)
        if is_synchronised(self._norm):
            distributed.all_reduce(size)
        self._here = 0
        mean, unbiased = self._norm.running_mean.double(), self._norm.running_var.double()
        squares = unbiased * (size - 1).clamp(min=0) + size * mean.square()
        self._sums += torch.stack((size * mean, squares))
        self._count += size

    def set(self) -> None:
        """Make what was counted the statistics of the norm, if anything was."""
        if not self._count:
            return
        mean, square = self._sums / self._count
        self._norm.running_mean.copy_(mean)
        self._norm.running_var.copy_((square - mean.square()).clamp(min=0))

    def unhook(self) -> None:
        self._hook.remove()

    def _look(self, norm: _BatchNorm, inputs: tuple[Tensor]) -> None:
        self._here = inputs[0].numel() // inputs[0].shape[1]
