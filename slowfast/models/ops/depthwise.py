"""Depth-wise 3D convolution that keeps (T, H, W), in several exact formulations.

Convolution ways, for the forward pass and, with the kernel mirrored, for the gradient of the tokens:

- `native`: the framework's conv3d on maps copied to its default memory order;
- `channels_last`: the same on the tokens as they lie;
- `folded`: one grouped conv2d, a group being a channel and its members the frames, with weights banded in time;
- `summed`: a depth-wise conv2d for each tap in time, added up;
- `triton`: on a GPU, slowfast.models.ops.depthwise_triton; where it does not apply, `channels_last`.

Kernel gradient ways: `native`, the framework's; `taps`, a conv2d gradient for each tap in time; `band`, from the
gradient of the folded weights; `triton` as above, else `auto`. `slowfast benchmark operators` measures what is chosen.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

from slowfast.models.ops.layout import (
    channels_first,
    channels_last,
    compute_dtype,
    is_exported,
    without_autocast,
)


class DepthwiseWay(NamedTuple):
    """A formulation for each of the three computations; `auto` for the kernel goes by its size."""

    forward: str = "channels_last"
    tokens_gradient: str = "channels_last"
    kernel_gradient: str = "auto"


DEFAULT_WAY = DepthwiseWay()
_HAS_TRITON = importlib.util.find_spec("triton") is not None  # which is slow to import, and done where it is used


def depthwise_conv3d(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, way: DepthwiseWay = DEFAULT_WAY
) -> Tensor:
    """Depth-wise convolution, zero padding that keeps (T, H, W); weight (C, 1, k_t, k_h, k_w), sizes odd.

    Computed and given in the dtype of the tokens, inside autocast in that of autocast. Raises ValueError for an
    unknown way.
    """
    _check(way)
    if is_exported():
        return _traced(tokens, weight, bias)
    dtype = compute_dtype(tokens)
    tokens, weight = tokens.to(dtype), weight.to(dtype)
    bias = None if bias is None else bias.to(dtype)
    with without_autocast(tokens.device):
        return _DepthwiseConv3d.apply(tokens.contiguous(), weight, bias, way)


class _DepthwiseConv3d(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, weight: Tensor, bias: Tensor | None, way: DepthwiseWay) -> Tensor:
        ctx.save_for_backward(tokens, weight)
        ctx.way = way
        return CONVOLUTION_WAYS[way.forward](tokens, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, weight = ctx.saved_tensors
        grad, wanted = grad.contiguous(), ctx.needs_input_grad
        return (
            tokens_gradient(grad, weight, ctx.way.tokens_gradient) if wanted[0] else None,
            kernel_gradient(tokens, grad, weight.shape, ctx.way.kernel_gradient) if wanted[1] else None,
            grad.flatten(0, 3).sum(0) if wanted[2] else None,
            None,
        )


def tokens_gradient(grad: Tensor, weight: Tensor, way: str) -> Tensor:
    """Gradient of the tokens from that of the output: the convolution with the kernel mirrored."""
    return CONVOLUTION_WAYS[way](grad, weight.flip(2, 3, 4), None)


def kernel_gradient(tokens: Tensor, grad: Tensor, shape: torch.Size, way: str) -> Tensor:
    """Gradient of the kernel, of `shape`, from tokens and gradient of the output, (B, T, H, W, C) both.

    `auto` is what is fastest on most CPUs: taps for 3x3 in space, for which the framework has a fast kernel, else band.
    """
    if way == "triton" and not takes_triton(tokens, shape[2:]):
        way = "auto"
    if way == "auto":
        way = "taps" if max(shape[3:]) <= 3 else "band"
    return KERNEL_GRADIENT_WAYS[way](tokens, grad, shape)


def takes_triton(tokens: Tensor, kernel: Sequence[int]) -> bool:
    """Whether the way `triton` is there for such tokens and a kernel (k_t, k_h, k_w)."""
    if not tokens.is_cuda or not _HAS_TRITON:
        return False
    from slowfast.models.ops import depthwise_triton

    return depthwise_triton.takes(tokens.dtype, kernel)


# ----------------------------------------------------------------------------------------------------------
# Convolution
# ----------------------------------------------------------------------------------------------------------
def _native(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return channels_last(_conv3d(channels_first(tokens).contiguous(), weight, bias)).contiguous()


def _channels_last(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return channels_last(_conv3d(channels_first(tokens), weight, bias)).contiguous()


def _folded(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    batch, frames, height, width, channels = tokens.shape
    taps, *sides = weight.shape[2:]
    frame = torch.arange(frames, device=tokens.device)
    tap = frame[None, :] - frame[:, None] + taps // 2  # [frame out, frame in]
    banded = F.pad(weight[:, 0], (0, 0, 0, 0, frames, frames))[:, tap + frames]
    banded = banded.reshape(channels * frames, frames, *sides)
    maps = channels_first(tokens).reshape(batch, channels * frames, height, width)
    bias = None if bias is None else bias.repeat_interleave(frames)
    maps = F.conv2d(maps, banded, bias, padding=_same(sides), groups=channels)
    return channels_last(maps.view(batch, channels, frames, height, width)).contiguous()


def _summed(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    total = torch.zeros_like(tokens) if bias is None else bias.expand_as(tokens).contiguous()
    for tap, output, seen in _overlaps(tokens.shape[1], weight.shape[2]):
        images = _images(tokens[:, seen])
        part = F.conv2d(images, weight[:, :, tap], padding=_same(weight.shape[3:]), groups=weight.shape[0])
        total[:, output] += part.permute(0, 2, 3, 1).view_as(total[:, output])
    return total


def _in_triton(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not takes_triton(tokens, weight.shape[2:]):
        return _channels_last(tokens, weight, bias)
    from slowfast.models.ops import depthwise_triton

    return depthwise_triton.convolve(tokens, weight, bias)


def _traced(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """One convolution, so that exporters and counters find what the layer is."""
    return channels_last(_conv3d(channels_first(tokens), weight, bias)).contiguous()


def _conv3d(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.conv3d(maps, weight, bias, padding=_same(weight.shape[2:]), groups=weight.shape[0])


def _same(sizes: torch.Size | list[int]) -> list[int]:
    return [size // 2 for size in sizes]


def _overlaps(num_frames: int, num_taps: int) -> Iterator[tuple[int, slice, slice]]:
    """For each tap that reaches a frame: (tap, frames of the output, frames that it sees there)."""
    for tap in range(num_taps):
        shift = tap - num_taps // 2  # the output at t sees the input at t + shift
        first, last = max(0, -shift), min(num_frames, num_frames - shift)
        if first < last:
            yield tap, slice(first, last), slice(first + shift, last + shift)


def _images(tokens: Tensor) -> Tensor:
    """Frames of tokens (B, T, H, W, C) as maps (B*T, C, H, W), channels-last."""
    return tokens.flatten(0, 1).permute(0, 3, 1, 2)


# ----------------------------------------------------------------------------------------------------------
# Gradient of the kernel
# ----------------------------------------------------------------------------------------------------------
def _gradient_natively(tokens: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    maps, grads = channels_first(tokens).contiguous(), channels_first(grad).contiguous()
    dtype = torch.float32 if grad.device.type == "cpu" and grad.dtype == torch.bfloat16 else grad.dtype
    # In bfloat16 this gradient of torch 2.14 on a CPU is wrong by most of its size.
    padding = _same(shape[2:])
    maps, grads = maps.to(dtype), grads.to(dtype)
    return torch.nn.grad.conv3d_weight(maps, shape, grads, padding=padding, groups=shape[0]).to(grad.dtype)


def _gradient_by_taps(tokens: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    num_channels, _, num_taps, *sides = shape
    taps = [grad.new_zeros(num_channels, 1, *sides)] * num_taps
    for tap, output, seen in _overlaps(tokens.shape[1], num_taps):
        images, grads = _images(tokens[:, seen]), _images(grad[:, output])
        taps[tap] = conv2d_weight(
            images, (num_channels, 1, *sides), grads, padding=_same(sides), groups=num_channels
        )
    return torch.stack(taps, dim=2)


def _gradient_by_band(tokens: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    """The folded convolution has a kernel for each pair (frame out, frame in).

    Pairs of equal distance in time are one tap of the kernel wanted, so their gradients add up. Pairs too far apart
    are computed in vain, and still it is the fastest way for 5x5 in space.
    """
    num_channels, _, num_taps, *sides = shape
    num_frames = tokens.shape[1]

    def fold(values: Tensor) -> Tensor:  # (B, T, H, W, C) to (B, C*T, H, W), channels-last
        return values.permute(0, 2, 3, 4, 1).flatten(3, 4).permute(0, 3, 1, 2)

    pair_shape = (num_channels * num_frames, num_frames, *sides)
    pairs = conv2d_weight(fold(tokens), pair_shape, fold(grad), padding=_same(sides), groups=num_channels)
    pairs = pairs.view(num_channels, num_frames, num_frames, *sides)
    reach = num_taps // 2
    padded = F.pad(pairs, (0, 0, 0, 0, reach, reach))  # frame in: -reach .. T - 1 + reach
    taps = [padded.diagonal(tap, 1, 2).sum(-1) for tap in range(num_taps)]
    return torch.stack(taps, dim=1).unsqueeze(1)


def _gradient_in_triton(tokens: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    from slowfast.models.ops import depthwise_triton

    return depthwise_triton.kernel_gradient(tokens, grad, shape)


CONVOLUTION_WAYS = {
    "native": _native,
    "channels_last": _channels_last,
    "folded": _folded,
    "summed": _summed,
    "triton": _in_triton,
}
KERNEL_GRADIENT_WAYS = {
    "native": _gradient_natively,
    "taps": _gradient_by_taps,
    "band": _gradient_by_band,
    "triton": _gradient_in_triton,
}


def _check(way: DepthwiseWay) -> None:
    known = (CONVOLUTION_WAYS, CONVOLUTION_WAYS, ("auto", *KERNEL_GRADIENT_WAYS))
    for part, names in zip(way, known, strict=True):
        if part not in names:
            raise ValueError(f"{part!r} is no formulation of a depth-wise convolution; known: {', '.join(names)}")
