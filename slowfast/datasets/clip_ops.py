"""The operations of RandAugment on whole uint8 clips, with the values that Pillow gives for each frame.

A clip is uint8 (T, H, W, 3), 0..255, channels R, G, B. Only the part of the result that is asked for is computed, and
of every operation before only what that part needs: `apply_operations` walks back from the box asked for to the box
to start from. Where an operation takes statistics (contrast, histograms), these are of each whole frame.

Values equal Pillow's, whose formulas are repeated, except that sums of float32 products may round the other way: by one
grey level, in few pixels (tests/datasets/test_clip_ops.py states in how many).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from slowfast.datasets.transforms import Box, crop

FILL = (128, 128, 128)
"""What a rotation, shear or shift uncovers; one grey, as `_shift` relies on."""


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


def _needed(operation: Operation, box: Box, height: int, width: int) -> Box:
    """Which part of a frame the operation must see, so that it can give the box of the result."""
    name, argument, _ = operation
    if name in _OF_FRAME:
        return 0, 0, height, width
    if name == "Sharpness":
        return _enlarged(box, 1, height, width)
    if name in _MATRICES:
        return _seen_through(_MATRICES[name](argument, height, width), box, height, width)
    return box


def _apply(operation: Operation, part: Tensor, source: Box, target: Box, size: tuple[int, int]) -> Tensor:
    """The target box of the result, from the source box of the frames, which `_needed` gave for it."""
    name, argument, interpolation = operation
    if name in _OF_FRAME:
        return _OF_FRAME[name](part, target, argument)
    if name == "Sharpness":
        return crop(_sharpness(part, argument), _inside(target, source))
    if name in _MATRICES:
        matrix = _MATRICES[name](argument, *size)
        return _affine(part, source, target, size, matrix, interpolation)
    return _OF_PIXEL[name](part, argument)


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


def _by_pillow(
    function: Callable[[Image.Image], Image.Image], clip: Tensor, size: tuple[int, int] | None = None
) -> Tensor:
    """Frame by frame, for what Pillow does as fast as whole clips can be computed; size if the function changes it."""
    frames = np.ascontiguousarray(clip.numpy())
    out = np.empty((len(frames), *(size or frames.shape[1:3]), 3), dtype=np.uint8)
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
    top, left, box_height, box_width = box
    return _between(top - by, left - by, top + box_height + by, left + box_width + by, height, width)


def _between(top: int, left: int, bottom: int, right: int, height: int, width: int) -> Box:
    """The part of a box that lies in the frame; at least one pixel, the nearest, if none does."""
    top, left = min(max(top, 0), height - 1), min(max(left, 0), width - 1)
    bottom, right = min(max(bottom, top + 1), height), min(max(right, left + 1), width)
    return top, left, bottom - top, right - left


def _inside(box: Box, outer: Box) -> Box:
    """The box in coordinates of the outer one."""
    return box[0] - outer[0], box[1] - outer[1], *box[2:]


# ----------------------------------------------------------------------------------------------------------
# Geometry
# ----------------------------------------------------------------------------------------------------------
Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): output (x, y) shows input (a x + b y + c, d x + e y + f); pixel centres lie at halves."""

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_REACH = 3  # pixels beside a place that its filter may look at, and one more for rounding


def _rotation(degrees: float, height: int, width: int) -> Matrix:
    """Counterclockwise about the centre; sines rounded as in Pillow."""
    angle = -math.radians(degrees)
    cosine, sine = round(math.cos(angle), 15), round(math.sin(angle), 15)
    x, y = width / 2, height / 2
    return cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y


_MATRICES: dict[str, Callable[[float, int, int], Matrix]] = {
    "Rotate": _rotation,
    "ShearX": lambda shear, height, width: (1, shear, 0, 0, 1, 0),
    "ShearY": lambda shear, height, width: (1, 0, 0, shear, 1, 0),
    "TranslateXRel": lambda part, height, width: (1, 0, part * width, 0, 1, 0),
    "TranslateYRel": lambda part, height, width: (1, 0, 0, 0, 1, part * height),
}


def _seen_through(matrix: Matrix, box: Box, height: int, width: int) -> Box:
    """Every pixel that the filters look at to give the box."""
    a, b, c, d, e, f = matrix
    top, left, box_height, box_width = box
    corners = [(x, y) for x in (left, left + box_width) for y in (top, top + box_height)]
    columns = [a * x + b * y + c for x, y in corners]
    rows = [d * x + e * y + f for x, y in corners]
    return _between(
        math.floor(min(rows)) - _REACH,
        math.floor(min(columns)) - _REACH,
        math.ceil(max(rows)) + _REACH,
        math.ceil(max(columns)) + _REACH,
        height,
        width,
    )


def _affine(
    part: Tensor, source: Box, target: Box, size: tuple[int, int], matrix: Matrix, interpolation: str
) -> Tensor:
    """The target box of the frames seen through the matrix, grey where it looks outside of the frame."""
    a, b, c, d, e, f = matrix
    if (a, d, e, f) == (1, 0, 1, 0):  # every row moves by itself
        return _shift(part, source, target, size, b, c, interpolation)
    if (a, b, c, e) == (1, 0, 0, 1):  # every column does: rows of the frames on their side
        turned = part.transpose(1, 2), _transposed(source), _transposed(target), size[::-1]
        return _shift(*turned, d, f, interpolation).transpose(1, 2)
    c += a * target[1] + b * target[0] - source[1]
    f += d * target[1] + e * target[0] - source[0]
    options = {"resample": _RESAMPLING[interpolation], "fillcolor": FILL}

    def see(image: Image.Image) -> Image.Image:
        return image.transform(target[:1:-1], Image.Transform.AFFINE, (a, b, c, d, e, f), **options)

    return _by_pillow(see, part, target[2:])


def _transposed(box: Box) -> Box:
    top, left, height, width = box
    return left, top, width, height


def _shift(
    part: Tensor,
    source: Box,
    target: Box,
    size: tuple[int, int],
    slope: float,
    offset: float,
    interpolation: str,
) -> Tensor:
    """Row y of the target box shows its row of the source box from slope (y + 1/2) + offset pixels further right.

    A filter in one direction is all that it takes. The memory order of the result is that of the part.
    """
    top, left, num_rows, num_columns = target
    shifts = slope * (np.arange(top, top + num_rows) + 0.5) + offset
    whole = np.floor(shifts).astype(np.int64)
    weights = _weights(torch.from_numpy(shifts - whole), interpolation)
    before = 1 if interpolation == "bicubic" else 0
    taps = _taps(part, source, target, whole - before, len(weights))
    # Spelled out along what follows in memory, so that each product is one long loop.
    weights = weights[..., None, None].expand(-1, -1, 1, 3 if _on_side(part) else 1).contiguous()
    out = _empty_like(part, (len(part), num_rows, num_columns, 3))
    for frame, result in zip(taps, out, strict=True):
        values = frame.float()
        total = values[:, :num_columns] * weights[0]
        for tap in range(1, len(weights)):
            total.addcmul_(values[:, tap : tap + num_columns], weights[tap])
        result.copy_(total.add_(_NUDGE).clamp_(0.0, 255.0))
    places = np.arange(left, left + num_columns) + 0.5 + shifts[:, None]
    outside = torch.from_numpy((places < 0) | (places >= size[1]))
    if outside.any():
        mask = _empty_like(part, (1, num_rows, num_columns, 3)).copy_(outside[..., None]).neg_()
        out.bitwise_and_(mask.bitwise_not()).bitwise_or_(mask.bitwise_and_(FILL[0]))
    return out


# Results lose what is after the point, as in Pillow; this keeps whole numbers that came out a rounding error too small.
_NUDGE = 2.0**-12


def _weights(fraction: Tensor, interpolation: str) -> Tensor:
    """Pillow's filters between pixels: float64 (N,) in 0..1 -> float32 (taps, N), taps from left to right."""
    d = fraction
    if interpolation == "bilinear":
        weights = [1 - d, d]
    else:  # cubic convolution with slope -1 at distance 1
        weights = [-d + 2 * d**2 - d**3, 1 - 2 * d**2 + d**3, d + d**2 - d**3, -(d**2) + d**3]
    return torch.stack(weights).float()


def _taps(part: Tensor, source: Box, target: Box, shifts: np.ndarray, num_taps: int) -> Tensor:
    """Rows of the part, each moved by its shift: column k of the result holds column left + k + shift of the frame.

    Has num_taps - 1 columns more than the target. What lies up to _REACH columns beyond the part repeats its edge;
    what lies further is left as it comes, because nothing inside a frame is made of it.
    """
    num_frames, num_rows, num_columns, _ = part.shape
    padded = _empty_like(part, (num_frames, num_rows, num_columns + 2 * _REACH, 3))
    padded[:, :, :_REACH] = part[:, :, :1]
    padded[:, :, _REACH:-_REACH] = part
    padded[:, :, -_REACH:] = part[:, :, -1:]
    taps = _empty_like(part, (num_frames, target[2], target[3] + num_taps - 1, 3))
    from_array, to_array = padded.numpy(), taps.numpy()  # numpy copies small pieces faster
    firsts = target[1] - source[1] + _REACH + shifts
    bounds = [0, *(np.flatnonzero(np.diff(firsts)) + 1).tolist(), target[2]]
    above = target[0] - source[0]
    for start, end in zip(bounds, bounds[1:], strict=False):  # rows one after the other with one shift
        first = int(firsts[start])
        here, there = max(first, 0), max(-first, 0)
        count = min(padded.shape[2] - here, taps.shape[2] - there)
        if count > 0:
            rows = from_array[:, above + start : above + end, here : here + count]
            to_array[:, start:end, there : there + count] = rows
    return taps


def _on_side(part: Tensor) -> bool:
    """Whether columns follow each other in memory instead of rows."""
    return part.stride(1) < part.stride(2)


def _empty_like(part: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Room for a clip of this shape whose rows and columns follow each other in memory as those of the part do."""
    if not _on_side(part):
        return part.new_empty(shape)
    frames, rows, columns, channels = shape
    return part.new_empty((frames, columns, rows, channels)).transpose(1, 2)


OPERATIONS = (*_OF_PIXEL, *_OF_FRAME, "Sharpness", *_MATRICES)
