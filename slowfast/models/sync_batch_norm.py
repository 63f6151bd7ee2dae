"""Batch normalisation with the statistics of the joined batch of all processes, on any device and backend.

Forward and backward exchange sums of each channel, so outputs, statistics and gradients are those of one process with
all samples, however these are shared out. All processes must run the model alike: a pass of one alone would wait for
the others. In evaluation, and in one process, nothing is exchanged and the layer is the framework's own.

With several passes to a step (accumulation) the statistics are those of a pass, of all processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from slowfast.utils import distributed


def synchronise(model: nn.Module) -> nn.Module:
    """Put a synchronised norm, with the same parameters and buffers, in place of each batch norm inside `model`.

    Returns the model, which is changed in place; names in its state dict stay. Raises ValueError for norms without
    weights or running statistics.
    """
    for name, child in model.named_children():
        kind = _KINDS.get(type(child))
        setattr(model, name, kind.of(child) if kind else synchronise(child))
    return model


def is_synchronised(module: nn.Module) -> bool:
    """Whether a module is a norm made by `synchronise`."""
    return isinstance(module, _Synchronised)


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    """What the classes for 1, 2 and 3 dimensions share; each is a subclass of the framework's."""

    @classmethod
    def of(cls, norm: nn.modules.batchnorm._BatchNorm) -> _Synchronised:
        """A norm with the settings, parameters and buffers of another; they are shared, not copied."""
        if not (norm.affine and norm.track_running_stats and norm.momentum is not None):
            raise ValueError(
                f"BN.NORM_TYPE sync_batchnorm: {norm} cannot be synchronised; give it weights, running statistics and "
                "a momentum, or write BN.NORM_TYPE batchnorm"
            )
        made = cls(norm.num_features, norm.eps, norm.momentum)
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            setattr(made, name, getattr(norm, name))
        return made.train(norm.training)

    def forward(self, values: Tensor) -> Tensor:
        """Values (B, C, ...) normalised, in their dtype; half precision is computed in float32."""
        if not self.training or distributed.world_size() == 1 or values.is_meta:
            return super().forward(values)
        self._check_input_dim(values)
        with torch.no_grad():
            total, mean, squares = _joined_statistics(values)
            variance = squares / total
            self._track(mean, squares / (total - 1).clamp(min=1))
        inverse = (variance + self.eps).rsqrt()
        return _Normalised.apply(values, self.weight, self.bias, mean, inverse, total)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards these, the variance being the unbiased one."""
        self.num_batches_tracked.add_(1)
        for buffer, found in ((self.running_mean, mean), (self.running_var, variance)):
            buffer.lerp_(found.to(buffer.dtype), self.momentum)


class SyncBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    """For values (B, C) or (B, C, L)."""


class SyncBatchNorm2d(_Synchronised, nn.BatchNorm2d):
    """For values (B, C, H, W)."""


class SyncBatchNorm3d(_Synchronised, nn.BatchNorm3d):
    """For values (B, C, T, H, W)."""


_KINDS = {nn.BatchNorm1d: SyncBatchNorm1d, nn.BatchNorm2d: SyncBatchNorm2d, nn.BatchNorm3d: SyncBatchNorm3d}


def _joined_statistics(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count (), mean (C,) and sum of squared deviations (C,) over the values of all processes, in float64.

    Each process hands in its own three, which are combined without cancellation: Chan et al., "Updating formulae and
    a pairwise algorithm for computing sample variances", 1979. One without any values hands in zeros.
    """
    channels, count = values.shape[1], values.numel() // values.shape[1]
    table = values.new_zeros(distributed.world_size(), 2 * channels + 1, dtype=torch.float64)
    if count:
        own = table[distributed.rank()]
        variance, own[:channels] = torch.var_mean(
            values.to(_working(values)), _all_but_channels(values), correction=0
        )
        own[channels:-1], own[-1] = variance.double() * count, count
    distributed.all_reduce(table)  # into places of their own: a gather that every backend has on every device
    means, squares, counts = table.split((channels, channels, 1), dim=1)
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    return total, mean, (squares + counts * (means - mean).square()).sum(0)


class _Normalised(torch.autograd.Function):
    """(values - mean) * inverse * weight + bias, where mean and inverse (1 / deviation) follow from all values."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, total: Tensor
    ) -> Tensor:
        dtype = _working(values)
        mean, inverse = mean.to(dtype), inverse.to(dtype)
        ctx.save_for_backward(values, weight, mean, inverse, total)
        normal = (values.to(dtype) - _spread(mean, values)) * _spread(inverse * weight, values)
        return (normal + _spread(bias, values)).to(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, inverse, total = ctx.saved_tensors
        dims = _all_but_channels(values)
        grad = grad.to(mean.dtype)
        normal = (values.to(mean.dtype) - _spread(mean, values)) * _spread(inverse, values)
        sums = torch.stack((grad.sum(dims), (grad * normal).sum(dims)))
        means = distributed.all_reduce(sums.to(torch.float64, copy=True)) / total  # in place, so of a copy
        of_mean, of_normal = (_spread(part.to(mean.dtype), values) for part in means)
        slope = (grad - of_mean - normal * of_normal) * _spread(inverse * weight, values)
        # Those of the parameters are of this process: they are averaged with all others.
        return slope.to(values.dtype), sums[1].to(weight.dtype), sums[0].to(weight.dtype), None, None, None


def _working(values: Tensor) -> torch.dtype:
    """What is computed in: at least float32."""
    return torch.promote_types(values.dtype, torch.float32)


def _all_but_channels(values: Tensor) -> Sequence[int]:
    return (0, *range(2, values.ndim))


def _spread(channels: Tensor, values: Tensor) -> Tensor:
    """A number for each channel (C,) in the shape that fits values (B, C, ...)."""
    return channels.view(-1, *(1,) * (values.ndim - 2))
