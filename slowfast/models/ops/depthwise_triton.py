"""Depth-wise 3D convolution of channels-last tokens on a GPU, written in Triton.

The framework's kernels for it read the maps once for each tap. Here a program computes BLOCK places in FRAMES
frames, one after the other, for CHANNELS channels, so that what it has read of a frame serves all taps in time. Sums
are in float32, and nothing is added up by atomics: the same call gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

FRAMES = 4  # of a program of the convolution, which has a sum for each
BLOCK, CHANNELS, WARPS = 32, 64, 4
MAX_TAPS = 5  # a dimension
LEAST_BLOCKS = 8  # that a program of the kernel gradient adds up
PROGRAMS = 4096  # of the kernel gradient, about


@torch.library.custom_op("slowfast::depthwise_in_triton", mutates_args=())  # which compilers need not look into
def convolve(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Tokens (B, T, H, W, C), contiguous; weight (C, 1, k_t, k_h, k_w), odd, up to MAX_TAPS. Keeps (T, H, W)."""
    batch, frames, height, width, channels = tokens.shape
    rows = weight.reshape(channels, -1).t().contiguous()  # (taps, C)
    output = torch.empty_like(tokens)
    parts = triton.cdiv(frames, FRAMES)
    grid = (triton.cdiv(height * width, BLOCK), batch * parts, triton.cdiv(channels, CHANNELS))
    with _device_of(tokens):
        _convolve[grid](
            tokens, rows, rows if bias is None else bias, output, frames, parts, height, width, channels,
            *weight.shape[2:], bias is not None, _odd(channels), FRAMES, BLOCK, CHANNELS,
            num_warps=WARPS if weight.shape[2] < MAX_TAPS else 2 * WARPS,  # which have more sums to hold
        )  # fmt: skip
    return output


@convolve.register_fake
def _(tokens: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.empty_like(tokens)


@torch.library.custom_op("slowfast::depthwise_kernel_gradient_in_triton", mutates_args=())
def kernel_gradient(tokens: Tensor, grad: Tensor, shape: Sequence[int]) -> Tensor:
    """Gradient of a weight of `shape` (C, 1, k_t, k_h, k_w), from tokens and that of the output; see `convolve`."""
    batch, frames, height, width, channels = tokens.shape
    taps, *sides = shape[2:]
    places, pairs, groups = tokens.numel() // channels, taps * sides[0], triton.cdiv(channels, CHANNELS)
    blocks = triton.cdiv(triton.cdiv(places, BLOCK), max(1, PROGRAMS // (pairs * groups)))
    blocks = max(blocks, LEAST_BLOCKS)
    parts = triton.cdiv(places, BLOCK * blocks)
    sums = tokens.new_empty((parts, pairs, sides[1], channels), dtype=torch.float32)
    with _device_of(tokens):
        _kernel_gradient[(parts, pairs, groups)](
            tokens, grad, sums, places, blocks, frames, height, width, channels,
            *shape[2:], _odd(channels), BLOCK, CHANNELS, num_warps=WARPS,
        )  # fmt: skip
    return sums.sum(0).flatten(0, 1).t().to(grad.dtype).contiguous().view(shape)


@kernel_gradient.register_fake
def _(tokens: Tensor, grad: Tensor, shape: Sequence[int]) -> Tensor:
    return grad.new_empty(shape)


def takes(dtype: torch.dtype, kernel: Sequence[int]) -> bool:
    """Whether these functions are made for tokens of a dtype and a kernel of such sizes."""
    return dtype != torch.float64 and max(kernel) <= MAX_TAPS


def _odd(channels: int) -> int:
    """The channels as the kernels are to know them when they are compiled; 0 where there is no need.

    Of multiples of 16 the compiler finds out by itself that it may read several channels at once.
    """
    return channels if channels % 16 else 0


def _device_of(tokens: Tensor) -> AbstractContextManager:
    """Kernels start on the current device, which need not be that of the tokens."""
    return torch.cuda.device(tokens.device) if tokens.is_cuda else nullcontext()


@triton.jit
def _convolve(
    tokens, rows, bias, output, frames, parts, height, width, channels,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, HAS_BIAS: tl.constexpr,
    ODD_CHANNELS: tl.constexpr, FRAMES: tl.constexpr, BLOCK: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    if ODD_CHANNELS:
        channels = ODD_CHANNELS
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.program_id(1) % parts * FRAMES
    frame_size = height * width
    sample = (tl.program_id(1) // parts).to(tl.int64) * frames * frame_size * channels
    y, x = place // width, place % width
    inside, known = (place < frame_size)[:, None], (channel < channels)[None, :]
    if HAS_BIAS:
        start = tl.load(bias + channel, mask=channel < channels, other=0.0).to(tl.float32)
    else:
        start = tl.zeros((CHANNELS,), tl.float32)
    sum0 = tl.zeros((BLOCK, CHANNELS), tl.float32) + start[None, :]
    sum1, sum2, sum3 = sum0, sum0, sum0
    for row in range(ROWS):
        for column in tl.static_range(COLUMNS):
            weights = rows + (row * COLUMNS + column) * channels + channel
            tap0 = _tap(weights, 0, ROWS * COLUMNS * channels, channel < channels, TAPS)
            tap1 = _tap(weights, 1, ROWS * COLUMNS * channels, channel < channels, TAPS)
            tap2 = _tap(weights, 2, ROWS * COLUMNS * channels, channel < channels, TAPS)
            tap3 = _tap(weights, 3, ROWS * COLUMNS * channels, channel < channels, TAPS)
            tap4 = _tap(weights, 4, ROWS * COLUMNS * channels, channel < channels, TAPS)
            from_y, from_x = y + row - ROWS // 2, x + column - COLUMNS // 2
            seen = (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
            seen = seen[:, None] & inside & known
            offsets = (from_y * width + from_x)[:, None] * channels + channel[None, :]
            for step in tl.static_range(FRAMES + TAPS - 1):
                frame = first + step - TAPS // 2
                at = tokens + sample + frame.to(tl.int64) * frame_size * channels
                mask = seen & (frame >= 0) & (frame < frames)
                values = tl.load(at + offsets, mask=mask, other=0.0).to(tl.float32)
                sum0 = _added(sum0, values, step - 0, tap0, tap1, tap2, tap3, tap4, TAPS)
                sum1 = _added(sum1, values, step - 1, tap0, tap1, tap2, tap3, tap4, TAPS)
                sum2 = _added(sum2, values, step - 2, tap0, tap1, tap2, tap3, tap4, TAPS)
                sum3 = _added(sum3, values, step - 3, tap0, tap1, tap2, tap3, tap4, TAPS)
    at = output + sample + first.to(tl.int64) * frame_size * channels
    at += place[:, None] * channels + channel[None, :]
    tl.store(at, sum0, mask=inside & known)
    tl.store(at + frame_size * channels, sum1, mask=inside & known & (first + 1 < frames))
    tl.store(at + 2 * frame_size * channels, sum2, mask=inside & known & (first + 2 < frames))
    tl.store(at + 3 * frame_size * channels, sum3, mask=inside & known & (first + 3 < frames))


@triton.jit
def _tap(weights, tap: tl.constexpr, stride, mask, TAPS: tl.constexpr):
    """The weights of a tap in time, of all channels; of one that there is not, those of tap 0, which nobody uses."""
    used: tl.constexpr = tap if tap < TAPS else 0
    return tl.load(weights + used * stride, mask=mask, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _added(total, values, tap: tl.constexpr, tap0, tap1, tap2, tap3, tap4, TAPS: tl.constexpr):
    """The total with the values times the weights of a tap, if there is such a tap."""
    if tap < 0 or tap >= TAPS:
        return total
    elif tap == 0:
        return total + values * tap0
    elif tap == 1:
        return total + values * tap1
    elif tap == 2:
        return total + values * tap2
    elif tap == 3:
        return total + values * tap3
    else:
        return total + values * tap4


@triton.jit
def _kernel_gradient(
    tokens, grads, sums, places, blocks, frames, height, width, channels,
    TAPS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, ODD_CHANNELS: tl.constexpr, BLOCK: tl.constexpr,
    CHANNELS: tl.constexpr,
):  # fmt: skip
    """A program has one tap in time and one row of the kernel, and adds up all its columns over some places."""
    if ODD_CHANNELS:
        channels = ODD_CHANNELS
    pair = tl.program_id(1)
    later, lower = pair // ROWS - TAPS // 2, pair % ROWS - ROWS // 2
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    known = (channel < channels)[None, :]
    sum0 = tl.zeros((BLOCK, CHANNELS), tl.float32)
    sum1, sum2, sum3, sum4 = sum0, sum0, sum0, sum0
    for block in range(blocks):
        place = (tl.program_id(0) * blocks + block) * BLOCK + tl.arange(0, BLOCK)
        x, y, frame = place % width, place // width % height, place // (width * height) % frames
        seen = (y + lower >= 0) & (y + lower < height) & (frame + later >= 0) & (frame + later < frames)
        seen = seen & (place < places)
        at = place.to(tl.int64)[:, None] * channels + channel[None, :]
        grad = tl.load(grads + at, mask=seen[:, None] & known, other=0.0).to(tl.float32)
        at += (later * height + lower) * width * channels
        sum0 = _with_column(sum0, tokens + at, grad, seen, x, 0, known, width, channels, COLUMNS)
        sum1 = _with_column(sum1, tokens + at, grad, seen, x, 1, known, width, channels, COLUMNS)
        sum2 = _with_column(sum2, tokens + at, grad, seen, x, 2, known, width, channels, COLUMNS)
        sum3 = _with_column(sum3, tokens + at, grad, seen, x, 3, known, width, channels, COLUMNS)
        sum4 = _with_column(sum4, tokens + at, grad, seen, x, 4, known, width, channels, COLUMNS)
    row = tl.program_id(0) * tl.num_programs(1) + pair
    at = sums + row.to(tl.int64) * COLUMNS * channels + channel
    _store_column(at, sum0, 0, channels, channel, COLUMNS)
    _store_column(at, sum1, 1, channels, channel, COLUMNS)
    _store_column(at, sum2, 2, channels, channel, COLUMNS)
    _store_column(at, sum3, 3, channels, channel, COLUMNS)
    _store_column(at, sum4, 4, channels, channel, COLUMNS)


@triton.jit
def _with_column(total, at, grad, seen, x, column: tl.constexpr, known, width, channels, COLUMNS: tl.constexpr):
    """The total with the gradient times the tokens that a column of the kernel saw, if there is such a column."""
    if column >= COLUMNS:
        return total
    else:
        right: tl.constexpr = column - COLUMNS // 2
        mask = (seen & (x + right >= 0) & (x + right < width))[:, None] & known
        return total + grad * tl.load(at + right * channels, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_column(at, total, column: tl.constexpr, channels, channel, COLUMNS: tl.constexpr):
    if column < COLUMNS:
        tl.store(at + column * channels, tl.sum(total, axis=0), mask=channel < channels)
