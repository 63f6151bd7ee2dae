"""Whole uint8 clips seen through an affine map, with the filters of Pillow and grey where it looks past the frame.

A matrix (a, b, c, d, e, f) says that output (x, y) shows input (a x + b y + c, d x + e y + f); pixel centres lie at
halves. A box is (top, left, height, width). `affine` makes one box of the result, `seen_through` which box of the
frames it takes for that; both are boxes of the whole frame.

All frames are seen through the same map, so that places and weights are computed once. Results lose what is after the
point, as in Pillow. They are sums of float32 products instead of float64 ones, so a result close to a whole number may
be one grey level apart from Pillow's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slowfast.datasets.transforms import Box

FILL = 128
"""Grey level of what a rotation, shear or shift uncovers."""

Matrix = tuple[float, float, float, float, float, float]

# First pixel that counts, from the one before the place on; and, for each, its weight as a polynomial of the distance
# from that one: 1, d, d^2, d^3. Cubic convolution has slope -1 at distance 1 in Pillow.
_KERNELS = {
    "bilinear": (0, ((1.0, -1.0), (0.0, 1.0))),
    "bicubic": (
        -1,
        ((0.0, -1.0, 2.0, -1.0), (1.0, 0.0, -2.0, 1.0), (0.0, 1.0, 1.0, -1.0), (0.0, 0.0, -1.0, 1.0)),
    ),
}
_REACH = 3  # pixels beside a place that a filter may look at, and one more for rounding
_NUDGE = 2.0**-12  # keeps whole numbers that came out a rounding error too small
_ROWS_AT_A_TIME = 16  # so that what is computed from them stays in the processor's cache


def rotation(degrees: float, height: int, width: int) -> Matrix:
    """Counterclockwise about the centre of the frame; sines rounded as in Pillow."""
    angle = -np.radians(degrees)
    cosine, sine = round(float(np.cos(angle)), 15), round(float(np.sin(angle)), 15)
    x, y = width / 2, height / 2
    return cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y


# Argument (degrees, shear, or part of the frame's side), height and width of the frame -> matrix.
MATRICES: dict[str, Callable[[float, int, int], Matrix]] = {
    "Rotate": rotation,
    "ShearX": lambda shear, height, width: (1, shear, 0, 0, 1, 0),
    "ShearY": lambda shear, height, width: (1, 0, 0, shear, 1, 0),
    "TranslateXRel": lambda part, height, width: (1, 0, part * width, 0, 1, 0),
    "TranslateYRel": lambda part, height, width: (1, 0, 0, 0, 1, part * height),
}


def seen_through(matrix: Matrix, box: Box, height: int, width: int) -> Box:
    """The part of a frame that the filters look at to give the box of the result; at least one pixel."""
    a, b, c, d, e, f = matrix
    top, left, box_height, box_width = box
    corners = [(x, y) for x in (left, left + box_width) for y in (top, top + box_height)]
    rows, num_rows = reached([d * x + e * y + f for x, y in corners], height)
    columns, num_columns = reached([a * x + b * y + c for x, y in corners], width)
    return rows, columns, num_rows, num_columns


def reached(places: list[float], size: int) -> tuple[int, int]:
    """First pixel and number of pixels in 0..size - 1 from the least place to the greatest, with those that a filter
    may look at beside them; the nearest if none is."""
    first = min(max(math.floor(min(places)) - _REACH, 0), size - 1)
    return first, min(max(math.ceil(max(places)) + _REACH, first + 1), size) - first


def affine(
    part: Tensor, source: Box, target: Box, size: tuple[int, int], matrix: Matrix, interpolation: str
) -> Tensor:
    """The target box of the frames seen through the matrix, uint8 (T, height, width, C).

    part: what lies in the source box, which is `seen_through` the matrix. size: height and width of a frame.
    """
    a, b, c, d, e, f = matrix
    if (a, d, e, f) == (1, 0, 1, 0):  # every row moves by itself
        return _shift(part, source, target, size, b, c, interpolation)
    if (a, b, c, e) == (1, 0, 0, 1):  # every column does: rows of the frames on their side
        turned = part.transpose(1, 2), _transposed(source), _transposed(target), size[::-1]
        return _shift(*turned, d, f, interpolation).transpose(1, 2)
    return _gather(part, source, target, size, matrix, interpolation)


def _transposed(box: Box) -> Box:
    top, left, height, width = box
    return left, top, width, height


def _weights(distance: Tensor, interpolation: str) -> Tensor:
    """Distances (N,) from the pixel before, 0..1 -> float32 weights (N, taps) of the pixels that count."""
    _, polynomials = _KERNELS[interpolation]
    powers = torch.stack([distance**power for power in range(len(polynomials[0]))], dim=1)
    return powers.float() @ torch.tensor(polynomials).T


# ----------------------------------------------------------------------------------------------------------
# Any map
# ----------------------------------------------------------------------------------------------------------
def _gather(
    part: Tensor, source: Box, target: Box, size: tuple[int, int], matrix: Matrix, interpolation: str
) -> Tensor:
    """A table holds in each row one pixel of all frames; a pixel of the result is a weighted sum of rows."""
    num_frames, height, width, channels = part.shape
    table = torch.full((height * width + 1, num_frames * channels), float(FILL))
    table[:-1].view(height, width, num_frames, channels).copy_(part.permute(1, 2, 0, 3))
    top, left, out_height, out_width = target
    out = torch.empty((num_frames, out_height, out_width, channels), dtype=torch.uint8)
    for first in range(0, out_height, _ROWS_AT_A_TIME):
        rows = out[:, first : first + _ROWS_AT_A_TIME]
        box = top + first, left, rows.shape[1], out_width
        places, weights = _taps(matrix, box, source, size, interpolation)
        sums = functional.embedding_bag(places, table, per_sample_weights=weights, mode="sum")
        values = sums.add_(_NUDGE).clamp_(0.0, 255.0).to(torch.uint8)
        rows.copy_(values.view(*box[2:], num_frames, channels).permute(2, 0, 1, 3))
    return out


def _taps(
    matrix: Matrix, box: Box, source: Box, size: tuple[int, int], interpolation: str
) -> tuple[Tensor, Tensor]:
    """For every pixel of the box, which pixels of the source make it and with what weights: (pixels, taps), twice.

    int64 numbers of pixels, row by row, one more than the last for a pixel outside of the frame; float32 weights.
    """
    a, b, c, d, e, f = matrix
    top, left, height, width = box
    x = torch.arange(left, left + width, dtype=torch.float64) + 0.5
    y = torch.arange(top, top + height, dtype=torch.float64)[:, None] + 0.5
    columns, rows = (a * x + b * y + c).flatten(), (d * x + e * y + f).flatten()
    outside = (columns < 0) | (columns >= size[1]) | (rows < 0) | (rows >= size[0])
    columns, column_weights = _filter(columns, interpolation)
    rows, row_weights = _filter(rows, interpolation)
    columns = (columns - source[1]).clamp_(0, source[3] - 1)  # beyond its edge a frame repeats it
    rows = (rows - source[0]).clamp_(0, source[2] - 1).mul_(source[3])
    # Every row with every column. As products, because loops over four numbers are slow; exact, as each has one term.
    each_row = torch.eye(rows.shape[1]).repeat_interleave(columns.shape[1], dim=1)
    each_column = torch.eye(columns.shape[1]).repeat(1, rows.shape[1])
    places = (rows @ each_row.double()).add_(columns @ each_column.double()).long()
    places.masked_fill_(outside[:, None], source[2] * source[3])
    return places, (row_weights @ each_row).mul_(column_weights @ each_column)


def _filter(positions: Tensor, interpolation: str) -> tuple[Tensor, Tensor]:
    """Positions (N,) -> pixels that count, float64 whole numbers, and their float32 weights: (N, taps), twice."""
    before = (positions - 0.5).floor()
    first, taps = _KERNELS[interpolation]
    pixels = torch.stack([before + (first + tap) for tap in range(len(taps))], dim=1)
    return pixels, _weights(positions - 0.5 - before, interpolation)


# ----------------------------------------------------------------------------------------------------------
# Rows that move by themselves: a filter in one direction is all that it takes
# ----------------------------------------------------------------------------------------------------------
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

    The memory order of the result is that of the part.
    """
    top, left, num_rows, num_columns = target
    shifts = slope * (np.arange(top, top + num_rows) + 0.5) + offset
    before = np.floor(shifts).astype(np.int64)
    weights = _weights(torch.from_numpy(shifts - before), interpolation).T
    moved = _moved(part, source, target, before + _KERNELS[interpolation][0], len(weights))
    # Spelled out along what follows in memory, so that each product is one long loop.
    weights = weights[..., None, None].expand(-1, -1, 1, 3 if _on_side(part) else 1).contiguous()
    out = _empty_like(part, (len(part), num_rows, num_columns, 3))
    for frame, result in zip(moved, out, strict=True):
        values = frame.float()
        total = values[:, :num_columns] * weights[0]
        for tap in range(1, len(weights)):
            total.addcmul_(values[:, tap : tap + num_columns], weights[tap])
        result.copy_(total.add_(_NUDGE).clamp_(0.0, 255.0))
    places = np.arange(left, left + num_columns) + 0.5 + shifts[:, None]
    outside = torch.from_numpy((places < 0) | (places >= size[1]))
    if outside.any():
        mask = _empty_like(part, (1, num_rows, num_columns, 3)).copy_(outside[..., None]).neg_()
        out.bitwise_and_(mask.bitwise_not()).bitwise_or_(mask.bitwise_and_(FILL))
    return out


def _moved(part: Tensor, source: Box, target: Box, shifts: np.ndarray, num_taps: int) -> Tensor:
    """Rows of the part, each moved by its shift: column k of the result holds column left + k + shift of the frame.

    Has num_taps - 1 columns more than the target. What lies up to _REACH columns beyond the part repeats its edge;
    what lies further is left as it comes, because nothing inside a frame is made of it.
    """
    num_frames, num_rows, num_columns, _ = part.shape
    padded = _empty_like(part, (num_frames, num_rows, num_columns + 2 * _REACH, 3))
    padded[:, :, :_REACH] = part[:, :, :1]
    padded[:, :, _REACH:-_REACH] = part
    padded[:, :, -_REACH:] = part[:, :, -1:]
    moved = _empty_like(part, (num_frames, target[2], target[3] + num_taps - 1, 3))
    from_array, to_array = padded.numpy(), moved.numpy()  # numpy copies small pieces faster
    firsts = target[1] - source[1] + _REACH + shifts
    bounds = [0, *(np.flatnonzero(np.diff(firsts)) + 1).tolist(), target[2]]
    above = target[0] - source[0]
    for start, end in zip(bounds, bounds[1:], strict=False):  # rows one after the other with one shift
        first = int(firsts[start])
        here, there = max(first, 0), max(-first, 0)
        count = min(padded.shape[2] - here, moved.shape[2] - there)
        if count > 0:
            rows = from_array[:, above + start : above + end, here : here + count]
            to_array[:, start:end, there : there + count] = rows
    return moved


def _on_side(part: Tensor) -> bool:
    """Whether columns follow each other in memory instead of rows."""
    return part.stride(1) < part.stride(2)


def _empty_like(part: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Room for a clip of this shape whose rows and columns follow each other in memory as those of the part do."""
    if not _on_side(part):
        return part.new_empty(shape)
    frames, rows, columns, channels = shape
    return part.new_empty((frames, columns, rows, channels)).transpose(1, 2)
