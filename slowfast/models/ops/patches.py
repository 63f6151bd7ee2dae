"""Strided convolution and batch norm on tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.models.ops.layout import channels_first, channels_last


def patch_conv3d(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Strided convolution with weight (C_out, C_in, k_t, k_h, k_w); tokens may have any strides."""
    maps = F.conv3d(channels_first(tokens), weight, bias, stride=tuple(stride), padding=tuple(padding))
    return channels_last(maps).contiguous()


def batch_norm(tokens: Tensor, norm: nn.Module) -> Tensor:
    """Apply a batch-norm module, which expects channels in dimension 1, to tokens."""
    return channels_last(norm(channels_first(tokens)))
