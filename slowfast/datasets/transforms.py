"""Deterministic functions on a clip; nothing here draws a random number of its own accord.

A clip is a torch tensor (T, H, W, C), uint8 in 0..255 or floating point in any range, channels in the order
R, G, B. Resizing is bilinear with pixel centres at half-integers (align_corners False) and, unless asked for,
without antialiasing, as in the published UniFormer and PySlowFast code. uint8 stays uint8: values are interpolated in
float32 and rounded once, so they lie within 0.5 of the float result. A box is (top, left, height, width) in
pixels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Box = tuple[int, int, int, int]

COLOUR_CHANGES = ("brightness", "contrast", "saturation")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL and PySlowFast weigh R, G and B
ERASE_MODES = ("pixel", "rand", "const")


# ----------------------------------------------------------------------------------------------------------
# Resize and crop
# ----------------------------------------------------------------------------------------------------------
def short_side_size(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of a frame resized so that its short side is `size`; the long side is rounded down."""
    if min(height, width) == size:
        return height, width
    if width < height:
        return math.floor(height / width * size), size
    return size, math.floor(width / height * size)


def resize(clip: Tensor, height: int, width: int, antialias: bool = False) -> Tensor:
    """The clip as (T, height, width, C), dtype as given; the clip itself if it has that size already.

    antialias: every pixel of the result averages all pixels that it covers. Without it at most four count, so a
    clip made several times smaller loses thin things and flickers.
    """
    if clip.shape[1:3] == (height, width):
        return clip
    if clip.is_floating_point():
        return _interpolate(clip, height, width, antialias)
    # One frame at a time, so that never more than one is held as float.
    out = torch.empty((len(clip), height, width, clip.shape[3]), dtype=clip.dtype, device=clip.device)
    for t in range(len(clip)):
        out[t] = _interpolate(clip[t : t + 1].float(), height, width, antialias)[0].round_()
    return out


def resize_short_side(clip: Tensor, size: int, antialias: bool = False) -> Tensor:
    """The clip with its short side at `size` pixels and its shape kept; see `short_side_size`."""
    return resize(clip, *short_side_size(clip.shape[1], clip.shape[2], size), antialias)


def crop(clip: Tensor, box: Box) -> Tensor:
    """The part of every frame inside the box, as a view. Raises ValueError unless it lies in the frame."""
    top, left, height, width = box
    _, frame_height, frame_width, _ = clip.shape
    inside = 0 <= top <= top + height <= frame_height and 0 <= left <= left + width <= frame_width
    if not inside or height < 1 or width < 1:
        raise ValueError(
            f"box {width}x{height} at column {left}, row {top} does not lie in a frame of "
            f"{frame_width}x{frame_height}; resize the clip first or take a smaller crop"
        )
    return clip[:, top : top + height, left : left + width]


def crop_and_resize(clip: Tensor, box: Box, size: int, antialias: bool = False) -> Tensor:
    """The box of every frame, resized to size x size. Only the box is converted and interpolated."""
    return resize(crop(clip, box), size, size, antialias)


def crop_and_resize_moving(
    clip: Tensor, boxes: Sequence[Box] | np.ndarray, size: int, antialias: bool = False
) -> Tensor:
    """Frame t cut at boxes[t] and resized to size x size, as if the camera moved.

    Source: TRAIN_JITTER_MOTION_SHIFT of PySlowFast. Raises ValueError unless there is one box for each frame.
    """
    if len(boxes) != len(clip):
        raise ValueError(f"{len(boxes)} boxes were given for {len(clip)} frames; one a frame is needed")
    frames = [
        crop_and_resize(clip[t : t + 1], tuple(map(int, box)), size, antialias) for t, box in enumerate(boxes)
    ]
    return torch.cat(frames)


def uniform_crop_box(height: int, width: int, size: int, position: int) -> Box:
    """The size x size box at position 0, 1, 2: left, centre, right; in tall frames top, centre, bottom.

    Square frames count as wide. Centres are rounded up. Raises ValueError for a box larger than the frame.
    """
    assert position in (0, 1, 2), position
    if size > min(height, width):
        raise ValueError(
            f"a crop of {size}x{size} does not fit in a frame of {width}x{height}; resize its short side to "
            f"{size} or more first (DATA.TEST_SCALE, at least DATA.TEST_CROP_SIZE)"
        )
    top, left = math.ceil((height - size) / 2), math.ceil((width - size) / 2)
    if position != 1:
        at_end = position == 2
        if height > width:
            top = height - size if at_end else 0
        else:
            left = width - size if at_end else 0
    return top, left, size, size


def flip(clip: Tensor) -> Tensor:
    """The clip mirrored left to right."""
    return clip.flip(2)


def _interpolate(clip: Tensor, height: int, width: int, antialias: bool) -> Tensor:
    """Bilinear resize of a floating point clip (T, H, W, C)."""
    # Seen as (T, C, H, W) the memory is channels-last, for which the interpolation is several times faster.
    frames = clip.permute(0, 3, 1, 2)
    frames = functional.interpolate(
        frames, size=(height, width), mode="bilinear", align_corners=False, antialias=antialias
    )
    return frames.permute(0, 2, 3, 1)


# ----------------------------------------------------------------------------------------------------------
# Values
# ----------------------------------------------------------------------------------------------------------
def normalise(clip: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(value - mean) / std for each channel, in a new tensor on the clip's device.

    Takes (..., W, C), so also whole batches; the result is contiguous. uint8 is first brought to 0..1 and
    gives float32; floating point is taken as 0..1 already and keeps its dtype. mean and std are numbers for
    each channel. Raises ValueError for another number of channels.
    """
    mean, std = (_channel_constants(tuple(map(float, values)), clip.device) for values in (mean, std))
    width, channels = clip.shape[-2:]
    if mean.shape != (channels,) or std.shape != (channels,):
        raise ValueError(
            f"mean and std have shapes {tuple(mean.shape)} and {tuple(std.shape)}; a clip of {channels} "
            f"channels needs {channels} numbers in each of DATA.MEAN and DATA.STD"
        )
    dtype, largest = (clip.dtype, 1) if clip.is_floating_point() else (torch.float32, 255)
    out = clip.to(dtype, copy=True, memory_format=torch.contiguous_format)
    # Two passes instead of three, value / (largest std) - mean / std, over whole rows of pixels: repeating
    # three numbers along the innermost axis is eight times slower on a CPU.
    out.view(-1, width * channels).mul_((1 / (largest * std)).repeat(width)).sub_((mean / std).repeat(width))
    return out


@functools.cache
def _channel_constants(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers as a float32 tensor on the device, copied there once: each copy would make the host wait for it."""
    with torch.inference_mode(False):  # the first to ask may be inference, the next training
        return torch.tensor(values, dtype=torch.float32, device=device)


def jitter_colours(clip: Tensor, names: Sequence[str], factors: Sequence[float]) -> Tensor:
    """The clip (T, H, W, 3), R, G, B, with its colours blended with black, its mean grey or its own grey.

    names: of COLOUR_CHANGES, applied in this order; a factor of 1 changes nothing, 0 gives the other colour alone.
    "brightness" blends with black, "contrast" with the mean grey of each frame, "saturation" with the grey of each
    pixel. uint8 is rounded once and floating point expected in 0..1; both are cut to their range.
    """
    largest = 1.0 if clip.is_floating_point() else 255.0
    out = clip.to(torch.float32)
    for name, factor in zip(names, factors, strict=True):
        if name == "brightness":
            out = out * factor
        else:
            grey = (out * out.new_tensor(LUMA)).sum(dim=-1, keepdim=True)
            grey = grey.mean(dim=(1, 2), keepdim=True) if name == "contrast" else grey
            out = torch.lerp(grey, out, factor)
        out = out.clamp_(0.0, largest)
    return out.to(clip.dtype) if clip.is_floating_point() else out.round_().to(clip.dtype)


def reverse_channels(clip: Tensor) -> Tensor:
    """The clip (..., C) with its channels in reverse order: R, G, B becomes B, G, R."""
    return clip.flip(-1)


def erase_(clip: Tensor, boxes: Sequence[Box] | np.ndarray, mode: str, generator: torch.Generator) -> Tensor:
    """Fills the boxes of all frames of a normalised floating point clip (T, H, W, C) in place; returns it.

    mode "pixel": standard normal noise, drawn afresh for each frame, pixel and channel. "rand": one standard
    normal colour for each frame. "const": zero, the mean colour. Every frame has the same boxes; boxes
    without rows are skipped, so that their number can be fixed. The generator lives on the clip's device and
    is used by the first two modes. Raises ValueError for an unknown mode or a box outside the frame. Source:
    random erasing (Zhong et al. 2020) as in PySlowFast, which by mistake leaves the first frames alone when
    there may be several boxes; here none is spared.
    """
    assert clip.is_floating_point(), clip.dtype
    if mode not in ERASE_MODES:
        raise ValueError(
            f"erasing mode {mode!r} is unknown; write one of {', '.join(ERASE_MODES)} in AUG.RE_MODE"
        )
    for box in boxes:
        top, left, height, width = map(int, box)
        if height == 0:
            continue
        region = crop(clip, (top, left, height, width))
        if mode == "const":
            region.zero_()
            continue
        shape = region.shape if mode == "pixel" else (len(clip), 1, 1, clip.shape[-1])
        region.copy_(torch.randn(shape, generator=generator, device=clip.device))
    return clip
