"""The operations of RandAugment on whole uint8 clips, with the values that Pillow gives for each frame.

A clip is uint8 (T, H, W, 3), 0..255, channels R, G, B. Only the part of the result that is asked for is computed, and
of every operation before only what that part needs: `apply_operations` walks back from the box asked for to the box
to start from. Where an operation takes statistics (contrast, histograms), these are of each whole frame.

Values equal Pillow's, whose formulas are repeated, except that sums of float32 products may round the other way: by one
grey level, in at most 2 % of the values, of Rotate, Shear and Translate alone (tests/datasets/test_clip_ops.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from slowfast.datasets import clip_geometry, clip_sampling
from slowfast.datasets.transforms import Box, crop


class Operation(NamedTuple):
    """One operation with everything drawn: apply it and the result is determined."""

    name: str
    """One of OPERATIONS."""
    argument: float | None
    """Degrees, bits, threshold, factor, shear or fraction of the frame's side; None if none is needed."""
    interpolation: str
    """Filter, bilinear or bicubic; read by Rotate, Shear and Translate only."""


def apply_operations(clip: Tensor, operations: Sequence[Operation], box: Box | None = None) -> Tensor:
    """The uint8 clip (T, H, W, 3), R, G, B, after the operations, or the part of it inside the box.

    Without operations the clip itself, or a view of it. What a rotation or shift uncovers is grey (128). Statistics
    that some operations use (contrast, histograms) are those of each frame, as published.
    """
    assert clip.dtype == torch.uint8 and clip.shape[-1] == 3, (clip.dtype, clip.shape)
    size = height, width = clip.shape[1:3]
    boxes = [box or (0, 0, height, width)]
    for operation in reversed(operations):
        boxes.append(_needed(operation, boxes[-1], height, width))
    boxes.reverse()
    part = crop(clip, boxes[0]) if boxes[0] != (0, 0, height, width) else clip
    for operation, source, target in zip(operations, boxes, boxes[1:], strict=False):
        part = _apply(operation, part, source, target, size)
    return part


def ends_in_geometry(operations: Sequence[Operation]) -> bool:
    """Whether the last operation moves pixels alone: rotation, shear or shift."""
    return bool(operations) and operations[-1].name in clip_geometry.MATRICES


def apply_and_sample(
    clip: Tensor, operations: Sequence[Operation], grid: clip_sampling.Grid, mirrored: bool = False
) -> Tensor:
    """What the grid shows of the clip after the operations, uint8 (T, height, width, 3); mirrored: right to left.

    The rotations, shears and shifts at the end of the operations become part of the sampling. Those with another
    operation behind them do not: it takes statistics of the whole frame, looks at neighbours or changes values, and
    must see what they made of the frame, grey included. See `clip_sampling` for how far this is from step by step.
    """
    height, width = clip.shape[1:3]
    before, at_end = list(operations), []
    while ends_in_geometry(before):
        at_end.insert(0, _matrix(before.pop(), height, width))
    places = clip_sampling.look_up(grid.mirrored() if mirrored else grid, at_end, height, width)
    box = places.box(height, width)
    return clip_sampling.sample(apply_operations(clip, before, box), box, places)


def _needed(operation: Operation, box: Box, height: int, width: int) -> Box:
    """Which part of a frame the operation must see, so that it can give the box of the result."""
    name, argument, _ = operation
    if name in _OF_FRAME:
        return 0, 0, height, width
    if name == "Sharpness":
        return _enlarged(box, 1, height, width)
    if name in clip_geometry.MATRICES:
        return clip_geometry.seen_through(_matrix(operation, height, width), box, height, width)
    return box


def _apply(operation: Operation, part: Tensor, source: Box, target: Box, size: tuple[int, int]) -> Tensor:
    """The target box of the result, from the source box of the frames, which `_needed` gave for it."""
    name, argument, interpolation = operation
    if name in _OF_FRAME:
        return _OF_FRAME[name](part, target, argument)
    if name == "Sharpness":
        return crop(_sharpness(part, argument), _inside(target, source))
    if name in clip_geometry.MATRICES:
        return clip_geometry.affine(part, source, target, size, _matrix(operation, *size), interpolation)
    return _OF_PIXEL[name](part, argument)


def _matrix(operation: Operation, height: int, width: int) -> clip_geometry.Matrix:
    return clip_geometry.MATRICES[operation.name](operation.argument, height, width)


# ----------------------------------------------------------------------------------------------------------
# Each pixel by itself
# ----------------------------------------------------------------------------------------------------------
def _posterize(clip: Tensor, bits: int) -> Tensor:
    """Keeps the top bits. None gives a black image, which newer versions of Pillow's own function refuse."""
    return clip & (256 - (1 << (8 - bits)))


def _solarize(clip: Tensor, threshold: int) -> Tensor:
    if threshold > 255:
        return clip
    return (clip >= threshold).view(torch.uint8).neg_().bitwise_xor_(clip)  # 255 - value where it is reached


def _solarize_add(clip: Tensor, add: int) -> Tensor:
    assert 0 <= add <= 128, add  # so that no sum is above 255
    return (clip < 128).view(torch.uint8).mul_(add).add_(clip)


def _brightness(clip: Tensor, factor: float) -> Tensor:
    out = torch.empty(clip.shape, dtype=torch.uint8)
    for frame, result in zip(clip, out, strict=True):
        result.copy_(_blend(0.0, frame.float(), factor))
    return out


def _colour(clip: Tensor, factor: float) -> Tensor:
    return _by_pillow(lambda image: ImageEnhance.Color(image).enhance(factor), clip)


_OF_PIXEL: dict[str, Callable[[Tensor, float | None], Tensor]] = {
    "Invert": lambda clip, _: 255 - clip,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "SolarizeAdd": _solarize_add,
    "Color": _colour,
    "Brightness": _brightness,
}


# ----------------------------------------------------------------------------------------------------------
# With statistics of the frame
# ----------------------------------------------------------------------------------------------------------
def _contrast(clip: Tensor, box: Box, factor: float) -> Tensor:
    """Blends with the mean grey of each frame, rounded."""
    part = crop(clip, box)
    out = torch.empty(part.shape, dtype=torch.uint8)
    for frame, inside, result in zip(clip, part, out, strict=True):
        mean = math.floor(_grey(frame.float()).mean(dtype=torch.float64).item() + 0.5)
        result.copy_(_blend(float(mean), inside.float(), factor))
    return out


_OF_FRAME: dict[str, Callable[[Tensor, Box, float | None], Tensor]] = {
    "AutoContrast": lambda clip, box, _: crop(_by_pillow(ImageOps.autocontrast, clip), box),
    "Equalize": lambda clip, box, _: crop(_by_pillow(ImageOps.equalize, clip), box),
    "Contrast": _contrast,
}


def _grey(frame: Tensor) -> Tensor:
    """(H, W, 3) -> (H, W): Pillow's conversion to "L", in whole numbers below 2^24, which float32 holds exactly."""
    weighted = frame @ frame.new_tensor([19595.0, 38470.0, 7471.0])
    return weighted.add_(0x8000).mul_(2.0**-16).floor_()


def _blend(other: Tensor | float, frame: Tensor, factor: float) -> Tensor:
    """other + factor (frame - other), cut to 0..255; on its way to uint8 it loses what is after the point."""
    return (frame - other).mul_(factor).add_(other).clamp_(0.0, 255.0)


def _by_pillow(function: Callable[[Image.Image], Image.Image], clip: Tensor) -> Tensor:
    """Frame by frame, for what Pillow does as fast as whole clips can be computed."""
    frames = np.ascontiguousarray(clip.numpy())
    out = np.empty_like(frames)
    for frame, result in zip(frames, out, strict=True):
        result[...] = function(Image.fromarray(frame))
    return torch.from_numpy(out)


# ----------------------------------------------------------------------------------------------------------
# With neighbours
# ----------------------------------------------------------------------------------------------------------
def _sharpness(clip: Tensor, factor: float) -> Tensor:
    """Blends with a smoothed frame: weights 1, in the middle 5, of 13. Pixels at the border stay as they are."""
    out = clip.clone(memory_format=torch.contiguous_format)
    if min(clip.shape[1:3]) < 3:
        return out
    for frame, result in zip(clip, out, strict=True):
        wide = frame.to(torch.int16)
        rows = wide[:-2] + wide[1:-1] + wide[2:]
        middle = wide[1:-1, 1:-1]
        total = (rows[:, :-2] + rows[:, 1:-1]).add_(rows[:, 2:]).add_(middle, alpha=4)
        smooth = total.float().mul_(1 / 13).round_()
        result[1:-1, 1:-1] = _blend(smooth, middle.float(), factor)
    return out


def _enlarged(box: Box, by: int, height: int, width: int) -> Box:
    """With so many pixels more at every side, as far as the frame goes."""
    top, left, box_height, box_width = box
    first_row, first_column = max(top - by, 0), max(left - by, 0)
    bottom, right = min(top + box_height + by, height), min(left + box_width + by, width)
    return first_row, first_column, bottom - first_row, right - first_column


def _inside(box: Box, outer: Box) -> Box:
    """The box in coordinates of the outer one."""
    return box[0] - outer[0], box[1] - outer[1], *box[2:]


OPERATIONS = (*_OF_PIXEL, *_OF_FRAME, "Sharpness", *clip_geometry.MATRICES)
