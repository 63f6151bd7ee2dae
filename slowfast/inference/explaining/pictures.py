"""Contact sheets: rows of small frames with a word beside each row and a time below each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from slowfast.inference.explaining.colours import coloured

CELL = 160  # pixels a side of a frame in a sheet, at least
COLUMNS = 8
_GAP, _LINE, _SIDE = 6, 22, 116
_PAPER, _INK, _FAINT = (255, 255, 255), (20, 20, 20), (110, 110, 110)
_MARK = (90, 255, 90)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Row:
    """Frames uint8 (T, H, W, 3) of equal size. name: a word or two, lines apart. marks: frame number -> box in it.

    A box is left, top, right, bottom in pixels of the frame.
    """

    name: str
    frames: np.ndarray
    marks: dict[int, Box]


def sheet(title: Sequence[str], rows: Sequence[Row], times: Sequence[str], *, scale: str = "") -> Image.Image:
    """A picture of rows that show the same T times, 8 columns wide; where T is larger they go on below.

    title: lines on top, cut at the edge. times: what stands below each frame. scale: what the colours mean, for a bar
    at the bottom; "" for none.
    """
    height, width = _cell(rows[0].frames)
    columns = min(COLUMNS, len(times))
    bands = [range(start, min(start + columns, len(times))) for start in range(0, len(times), columns)]
    band_height = len(rows) * (height + _GAP) + _LINE
    top = _GAP + _LINE * len(title)
    size = (
        _SIDE + columns * (width + _GAP),
        top + len(bands) * band_height + (_LINE + _GAP if scale else 0) + _GAP,
    )
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(title):
        write(draw, (_GAP, _GAP + _LINE * number), line, size[0] - 2 * _GAP, _FAINT if number else _INK)
    for number, band in enumerate(bands):
        _band(picture, draw, top + number * band_height, rows, band, times, (height, width))
    if scale:
        _bar(picture, draw, (_SIDE, size[1] - _LINE - _GAP), scale)
    return picture


def captioned(frame: np.ndarray, lines: Sequence[str], factor: int) -> np.ndarray:
    """A frame uint8 (H, W, 3), enlarged, above lines of text: uint8 of even height and width."""
    height, width = (factor * side + factor * side % 2 for side in frame.shape[:2])
    picture = Image.new("RGB", (width, height + _LINE * len(lines) + len(lines) * _LINE % 2), _PAPER)
    picture.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        write(draw, (_GAP, height + _LINE * number + 3), line, width - 2 * _GAP, _INK)
    return np.asarray(picture)


def write(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, colour: tuple) -> None:
    """One line of text, cut with dots where it is longer than ``width`` pixels."""
    font = ImageFont.load_default(size=14)
    if draw.textlength(text, font) > width:
        while text and draw.textlength(f"{text}...", font) > width:
            text = text[:-1]
        text += "..."
    draw.text(at, text, colour, font)


def _cell(frames: np.ndarray) -> tuple[int, int]:
    """Height and width that frames are shown in: theirs, doubled, tripled, ... until both reach the least."""
    factor = -(-CELL // min(frames.shape[1:3]))
    return factor * frames.shape[1], factor * frames.shape[2]


def _band(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    top: int,
    rows: Sequence[Row],
    band: range,
    times: Sequence[str],
    cell: tuple[int, int],
) -> None:
    height, width = cell
    for row in rows:
        for number, line in enumerate(row.name.splitlines()):
            write(draw, (_GAP, top + _LINE * number), line, _SIDE - 2 * _GAP, _INK)
        for column, place in enumerate(band):
            left = _SIDE + column * (width + _GAP)
            _cell_of(picture, draw, (left, top), row, place, cell)
        top += height + _GAP
    for column, place in enumerate(band):
        write(draw, (_SIDE + column * (width + _GAP), top - 4), times[place], width, _FAINT)


def _cell_of(
    picture: Image.Image,
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    row: Row,
    place: int,
    cell: tuple[int, int],
) -> None:
    frame = row.frames[place]
    picture.paste(Image.fromarray(frame).resize(cell[::-1], Image.Resampling.NEAREST), at)
    if place in row.marks:
        factor = cell[0] / frame.shape[0]
        left, top, right, bottom = (factor * side for side in row.marks[place])
        box = (at[0] + left, at[1] + top, at[0] + right - 1, at[1] + bottom - 1)
        draw.rectangle(box, outline=_MARK, width=2)


def _bar(picture: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], scale: str) -> None:
    colours = coloured(np.tile(np.linspace(0, 1, 160), (_LINE - 8, 1)))
    picture.paste(Image.fromarray(colours), (at[0], at[1] + 4))
    write(draw, (at[0] + 160 + _GAP, at[1] + 2), scale, picture.width - at[0] - 160 - 2 * _GAP, _FAINT)
