"""Sheets show every frame once a row, in its place, and no text runs over its room."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from slowfast.inference.explaining.pictures import CELL, Row, captioned, sheet, write


def frames(count, side):
    """Frames that tell themselves apart by their grey."""
    return np.stack([np.full((side, side, 3), 10 + 10 * number, dtype=np.uint8) for number in range(count)])


@pytest.mark.parametrize(("count", "columns", "bands"), [(3, 3, 1), (8, 8, 1), (10, 8, 2)])
def test_all_frames_are_there(count, columns, bands):
    rows = [Row("a", frames(count, 40), {}), Row("b\nc", 255 - frames(count, 40), {})]
    picture = sheet(["title", "more"], rows, [f"{number} s" for number in range(count)])
    assert picture.width == 116 + columns * (CELL + 6)
    pixels = np.asarray(picture)
    for number in range(count):
        for shade in (10 + 10 * number, 245 - 10 * number):
            same = (pixels == shade).all(axis=-1)
            assert same.sum() >= 0.99 * CELL**2, (number, shade)
            left = 116 + number % 8 * (CELL + 6)
            assert same[:, left : left + CELL].sum() >= 0.99 * CELL**2


def test_large_frames_are_shown_as_they_are():
    assert sheet(["t"], [Row("a", frames(2, 224), {})], ["", ""]).width == 116 + 2 * (224 + 6)


def test_a_mark_is_drawn_on_its_frame_alone():
    row = Row("a", frames(2, 40), {1: (10.0, 20.0, 20.0, 30.0)})
    pixels = np.asarray(sheet(["t"], [row], ["", ""]))
    y, x = np.nonzero((pixels == (90, 255, 90)).all(axis=-1))
    left, top = 116 + CELL + 6, 6 + 22
    assert (x.min(), x.max()) == (left + 40, left + 79) and (y.min(), y.max()) == (top + 80, top + 119)


def test_a_scale_adds_a_bar():
    plain, with_bar = (
        sheet(["t"], [Row("a", frames(1, 40), {})], [""], scale=scale) for scale in ("", "heat")
    )
    assert with_bar.height == plain.height + 28
    assert (np.asarray(with_bar)[-28:] == (255, 241, 107)).all(axis=-1).any()


def test_long_text_is_cut_and_the_empty_is_empty():
    picture = Image.new("RGB", (300, 30), "white")
    write(ImageDraw.Draw(picture), (5, 5), "a very long name of a class " * 9, 100, (0, 0, 0))
    columns = np.nonzero((np.asarray(picture) < 128).any(axis=(0, 2)))[0]
    assert 60 < columns.max() <= 105
    write(ImageDraw.Draw(picture), (200, 5), "", 50, (0, 0, 0))


def test_names_in_other_scripts_are_no_error():
    write(ImageDraw.Draw(Image.new("RGB", (99, 30))), (5, 5), "Häkeln 編み物", 80, (255, 255, 255))


def test_a_captioned_frame_is_enlarged_and_has_even_sides():
    shown = captioned(np.full((33, 33, 3), 77, dtype=np.uint8), ["one", "two"], 5)
    assert shown.shape == (166 + 44, 166, 3) and shown.dtype == np.uint8
    assert (shown[:166] == 77).all() and (shown[166:] < 128).any()
