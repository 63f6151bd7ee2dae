"""Where tokens lie in a clip: the frame and the square of pixels that each stands for.

The stem strides two frames with a kernel centred on the first of them, so token t is centred on frame 2 t.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

FRAMES_PER_TOKEN = 2
Place = tuple[float, float, float]
"""A frame of the clip, from 0, and the row and column of a point in it, in pixels from the upper left corner."""


@dataclass(frozen=True)
class TokenGrid:
    """Tokens in ``shape`` (T', H', W'). Each stands for a square of ``patch`` pixels; the first starts at ``offset``.

    ``offset``: in pixels, downwards and to the right of the clip's upper left corner.
    """

    shape: tuple[int, int, int]
    patch: int
    offset: float = 0.0

    def frame(self, time: int) -> int:
        """The frame of the clip that tokens of this time are centred on."""
        return FRAMES_PER_TOKEN * time

    def box(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, in pixels, of the square of a token."""
        left, top = (self.offset + self.patch * place for place in (column, row))
        return left, top, left + self.patch, top + self.patch

    def token_at(self, place: Place) -> tuple[int, int, int]:
        """The token (t, y, x) at a place of the clip; the nearest one where squares do not reach."""
        frame, row, column = place
        return (
            _nearest(frame / FRAMES_PER_TOKEN, self.shape[0]),
            _nearest((row - self.offset) / self.patch - 0.5, self.shape[1]),
            _nearest((column - self.offset) / self.patch - 0.5, self.shape[2]),
        )

    def centre(self, token: tuple[int, int, int]) -> Place:
        """The place in the middle of a token."""
        time, row, column = token
        left, top, right, bottom = self.box(row, column)
        return float(self.frame(time)), (top + bottom) / 2, (left + right) / 2

    def to_pixels(self, values: Tensor, size: tuple[int, int, int], *, smooth: bool = True) -> Tensor:
        """Values (T', H', W') of tokens, float32 as (T, H, W) of ``size``: linear between the centres of tokens.

        Not ``smooth``: that of the nearest token. Beyond the outermost centres values stay as they are.
        """
        frames, rows, columns = (torch.arange(length, dtype=torch.float32) for length in size)
        where = (
            frames / FRAMES_PER_TOKEN,
            (rows + 0.5 - self.offset) / self.patch - 0.5,
            (columns + 0.5 - self.offset) / self.patch - 0.5,
        )
        time, down, across = (
            _blend(places, length, smooth) for places, length in zip(where, self.shape, strict=True)
        )
        return torch.einsum("ta,yb,xc,abc->tyx", time, down, across, values.float())


def _nearest(place: float, length: int) -> int:
    return min(max(int(place + 0.5), 0), length - 1)


def _blend(places: Tensor, length: int, smooth: bool) -> Tensor:
    """Shares (P, length) of values at 0, 1, ..., length - 1 in the value at each of P places; rows sum to 1."""
    places = places.clamp(0, length - 1)
    if not smooth:
        places = (places + 0.5).floor()
    return (1 - (places[:, None] - torch.arange(length)).abs()).clamp(min=0)
