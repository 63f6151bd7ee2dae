"""The arithmetic of the network on channels-last tokens, one small function for each kind of layer.

Tokens are float tensors (B, T, H, W, C), contiguous, so the channels of one place lie next to each other.
Weights keep the shapes that `nn.Conv3d` and `nn.Linear` give them, as in published files. Blocks call these
functions and know nothing of memory layouts: a faster formulation of a layer changes this file alone.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight


def channels_first(tokens: Tensor) -> Tensor:
    """The view (B, C, T, H, W) of tokens (B, T, H, W, C); no copy."""
    return tokens.permute(0, 4, 1, 2, 3)


def channels_last(maps: Tensor) -> Tensor:
    """The view (B, T, H, W, C) of maps (B, C, T, H, W); no copy."""
    return maps.permute(0, 2, 3, 4, 1)


def pointwise(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1x1 convolution with weight (C_out, C_in, 1, 1, 1), as a matrix product over the channels."""
    return F.linear(tokens, weight.flatten(1), bias)


def depthwise_conv3d(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Depth-wise convolution, zero padding that keeps (T, H, W); weight (C, 1, k_t, k_h, k_w), sizes odd.

    On a CPU half precision is computed in float32: the kernel gradient that torch 2.14 computes there in bfloat16
    is wrong by most of its size, and sometimes holds what the memory held before.
    """
    halved = torch.is_autocast_enabled("cpu") or tokens.dtype in (torch.bfloat16, torch.float16)
    if tokens.device.type != "cpu" or not halved:
        return _depthwise_conv3d(tokens, weight, bias)
    with without_autocast(tokens.device):
        maps = _depthwise_conv3d(tokens.float(), weight.float(), None if bias is None else bias.float())
    return maps.to(tokens.dtype)


def patch_conv3d(
    tokens: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], padding: Sequence[int]
) -> Tensor:
    """Strided convolution with weight (C_out, C_in, k_t, k_h, k_w); tokens may have any strides."""
    maps = F.conv3d(channels_first(tokens), weight, bias, stride=tuple(stride), padding=tuple(padding))
    return channels_last(maps).contiguous()


def batch_norm(tokens: Tensor, norm: nn.Module) -> Tensor:
    """Apply a batch-norm module, which expects channels in dimension 1, to tokens."""
    return channels_last(norm(channels_first(tokens)))


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(scale query key^T) value for (B, heads, N, d) tensors, fused: no (N, N) matrix is kept."""
    return F.scaled_dot_product_attention(query, key, value, scale=scale)


def attention_weights(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """softmax(scale query key^T), (B, heads, N, N): for those who need the weights themselves."""
    return torch.softmax(query @ key.transpose(-2, -1) * scale, dim=-1)


def first_attention_row(query: Tensor, key: Tensor, scale: float) -> Tensor:
    """The weights of the first query, (B, heads, N), in float32 whatever the inputs are: row 0 of those above.

    Products and sums instead of a matrix product: for one row that costs no more, autocast leaves it in float32,
    and counted costs stay those of the published code, which takes the row from the whole matrix.
    """
    logits = (query[:, :, :1].float() * key.float()).sum(dim=-1) * scale
    return torch.softmax(logits, dim=-1)


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Inside, operations on `device` take the dtype of their inputs; nothing on devices without autocast."""
    if not torch.amp.is_autocast_available(device.type):
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


def _depthwise_conv3d(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    maps = channels_first(tokens.contiguous())
    convolve = _DepthwiseConv3d.apply if _has_slow_gradients(maps) else _same_size_conv3d
    return channels_last(convolve(maps, weight, bias)).contiguous()


def _same_size_conv3d(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    return F.conv3d(maps, weight, bias, padding=padding, groups=weight.shape[0])


def _has_slow_gradients(maps: Tensor) -> bool:
    """Whether `_DepthwiseConv3d` is faster: on a CPU. Tracers and compilers see the plain layer."""
    return maps.device.type == "cpu" and not (torch.jit.is_tracing() or torch.compiler.is_compiling())


class _DepthwiseConv3d(torch.autograd.Function):
    """Depth-wise conv3d whose gradients are exact and, on a CPU, 2 to 10 times faster than the framework's.

    On a CPU the forward kernel for channels-last maps is an order of magnitude faster than both gradient
    kernels. So the gradient of the maps is a forward convolution with the kernel mirrored; that of the kernel
    is taken from two-dimensional convolutions, in one of two ways by kernel size. benchmarks/dwconv.py
    measures them.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(maps, weight)
        return _same_size_conv3d(maps, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        maps, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last_3d)
        grad_maps = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_maps = _same_size_conv3d(grad, weight.flip(2, 3, 4), None)
        if ctx.needs_input_grad[1]:
            by_shape = kernel_gradient_by_taps if max(weight.shape[3:]) <= 3 else kernel_gradient_by_band
            grad_weight = by_shape(channels_last(maps), channels_last(grad), weight.shape)
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum(dim=(0, 2, 3, 4))
        return grad_maps, grad_weight, grad_bias


def kernel_gradient_by_taps(tokens: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    """Gradient of a depth-wise kernel of `shape`: a two-dimensional convolution for each tap in time.

    tokens, grad: input and gradient of the output, (B, T, H, W, C). The fastest way for 3x3 in space, for
    which the framework has a fast two-dimensional kernel.
    """
    num_channels, _, num_taps, height, width = shape
    num_frames = tokens.shape[1]
    taps = []
    for shift in range(-(num_taps // 2), num_taps // 2 + 1):  # the output at t sees the input at t + shift
        first, last = max(0, -shift), min(num_frames, num_frames - shift)
        if first >= last:
            taps.append(grad.new_zeros(num_channels, 1, height, width))
            continue
        images = tokens[:, first + shift : last + shift].flatten(0, 1).permute(0, 3, 1, 2)
        grads = grad[:, first:last].flatten(0, 1).permute(0, 3, 1, 2)
        padding = (height // 2, width // 2)
        tap_shape = (num_channels, 1, height, width)
        taps.append(conv2d_weight(images, tap_shape, grads, padding=padding, groups=num_channels))
    return torch.stack(taps, dim=2)


def kernel_gradient_by_band(tokens: Tensor, grad: Tensor, shape: torch.Size) -> Tensor:
    """The same from one grouped two-dimensional convolution: a group is a channel, its members the frames.

    That convolution has a kernel for each pair (frame out, frame in). Pairs of equal distance in time are one
    tap of the kernel wanted, so their gradients add up. Pairs too far apart are computed in vain, and still
    it is the fastest way for 5x5 in space.
    """
    num_channels, _, num_taps, height, width = shape
    num_frames = tokens.shape[1]

    def fold(values: Tensor) -> Tensor:  # (B, T, H, W, C) to (B, C*T, H, W), channels-last
        return values.permute(0, 2, 3, 4, 1).flatten(3, 4).permute(0, 3, 1, 2)

    pair_shape = (num_channels * num_frames, num_frames, height, width)
    padding = (height // 2, width // 2)
    pairs = conv2d_weight(fold(tokens), pair_shape, fold(grad), padding=padding, groups=num_channels)
    pairs = pairs.view(num_channels, num_frames, num_frames, height, width)
    reach = num_taps // 2
    padded = F.pad(pairs, (0, 0, 0, 0, reach, reach))  # frame in: -reach .. T - 1 + reach
    taps = [padded.diagonal(tap, 1, 2).sum(-1) for tap in range(num_taps)]
    return torch.stack(taps, dim=1).unsqueeze(1)
