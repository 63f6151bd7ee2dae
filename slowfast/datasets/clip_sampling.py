"""Affine maps, crop, resize and flip of a whole uint8 clip as one bilinear sampling, rounded once.

A grid says which place of a frame every row and column of the result shows; the matrices of operations, as in
`clip_geometry`, lead from there to the place of the frames that were given. Places are in pixels, whose centres lie at
halves. What an operation uncovers is grey, also where a later operation brings it back into the frame: a place is
looked up through each operation in turn and seen only if all of them find it in the frame.

Of doing one step after the other the result differs by what each of these steps loses: a grey level after the point for
each operation, half a level for the resize, the blur of every filter but one, and half-grey pixels along the edges of
what is uncovered. Where an operation asks for the bicubic filter, the bilinear one of the resize takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from slowfast.datasets.clip_geometry import FILL, Matrix, reached
from slowfast.datasets.transforms import Box


class Grid(NamedTuple):
    """The places that the result shows: the same for all frames (N = 1), or of each frame (N = T)."""

    rows: Tensor
    """float64 (N, height of the result)"""
    columns: Tensor
    """float64 (N, width of the result)"""

    def mirrored(self) -> Grid:
        """The same from right to left."""
        return Grid(self.rows, self.columns.flip(-1))


def grid_of_boxes(boxes: Sequence[Box], size: int) -> Grid:
    """A box resized to size x size as `transforms.crop_and_resize` does: one for all frames, or one for each."""
    return Grid(
        torch.stack([_spread(top, height, size) for top, _, height, _ in boxes]),
        torch.stack([_spread(left, width, size) for _, left, _, width in boxes]),
    )


def grid_of_resized_crop(height: int, width: int, to_height: int, to_width: int, box: Box) -> Grid:
    """The box of frames of height x width after they are resized to to_height x to_width."""
    top, left, box_height, box_width = box
    rows, columns = _spread(0, height, to_height), _spread(0, width, to_width)
    return Grid(rows[None, top : top + box_height], columns[None, left : left + box_width])


def _spread(start: int, length: int, count: int) -> Tensor:
    """Centres of `count` pixels spread over those from start to start + length; none beyond the outermost centres."""
    steps = (torch.arange(count, dtype=torch.float64) + 0.5) * (length / count)
    return start + steps.clamp_(0.5, length - 0.5)


class Places(NamedTuple):
    """Where in the given frames every pixel of the result looks, each (N, height, width); N as in the grid."""

    x: Tensor
    y: Tensor
    uncovered: Tensor
    """bool: an operation looks past the frame, so grey is seen"""

    def box(self, height: int, width: int) -> Box:
        """The part of frames of height x width that is looked at; at least one pixel."""
        top, num_rows = reached([self.y.min().item(), self.y.max().item()], height)
        left, num_columns = reached([self.x.min().item(), self.x.max().item()], width)
        return top, left, num_rows, num_columns


def look_up(grid: Grid, matrices: Sequence[Matrix], height: int, width: int) -> Places:
    """The places of the grid in frames of height x width as they were before operations with these matrices."""
    y, x = torch.broadcast_tensors(grid.rows[:, :, None], grid.columns[:, None, :])
    uncovered = torch.zeros(x.shape, dtype=torch.bool)
    for a, b, c, d, e, f in reversed(matrices):
        x, y = a * x + b * y + c, d * x + e * y + f
        uncovered |= (x < 0) | (x >= width) | (y < 0) | (y >= height)
    return Places(x, y, uncovered)


def sample(part: Tensor, source: Box, places: Places) -> Tensor:
    """The result, uint8 (T, height, width, C), of the frames' part (T, h, w, C) that lies in the source box.

    The box is that of the places; beyond the edge of a frame its pixels are repeated.
    """
    top, left, height, width = source
    # Of the part: -1 is its left or upper border, 1 the other one.
    grids = torch.stack([(places.x - left) * (2 / width) - 1, (places.y - top) * (2 / height) - 1], dim=-1)
    grids = grids.float().expand(len(part), -1, -1, -1)
    out = part.new_empty((*grids.shape[:3], part.shape[3]))
    # One frame at a time, so that never more than one is held as float.
    for frame, grid, result in zip(part, grids, out, strict=True):
        values = functional.grid_sample(
            frame.permute(2, 0, 1)[None].float(), grid[None], padding_mode="border", align_corners=False
        )
        result.copy_(values[0].round_().permute(1, 2, 0))
    if places.uncovered.any():
        out.masked_fill_(places.uncovered[..., None], FILL)
    return out
