"""Equal steps of heat look alike, and no heat leaves a frame grey."""

import numpy as np
import pytest

from slowfast.inference.explaining.colours import ANCHORS, coloured, darkened, overlaid


def lightness(rgb):
    """CIELAB L* of sRGB 0..255."""
    values = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(luminance > (6 / 29) ** 3, 116 * np.cbrt(luminance) - 16, luminance * (29 / 3) ** 3)


def test_lightness_rises_evenly():
    steps = np.diff(lightness(ANCHORS))
    assert steps.min() > 10 and steps.max() < 11.5  # 86 in 8 steps
    fine = lightness(coloured(np.linspace(0, 1, 256)))
    assert (np.diff(fine) > -0.5).all() and fine[0] < 9 and fine[-1] > 93


def test_values_are_between_the_colours_of_the_table():
    assert coloured(np.array([0.0, 1.0, 0.125])).tolist() == ANCHORS[[0, 8, 1]].astype(int).tolist()
    assert coloured(np.array([1 / 16])).tolist() == [[24, 23, 90]]  # halves of 49 and 179 round to even
    assert coloured(np.array([-1.0, 7.0])).tolist() == ANCHORS[[0, 8]].astype(int).tolist()


def test_no_heat_is_grey_and_full_heat_mostly_its_colour():
    frames = np.full((1, 2, 2, 3), (200, 100, 0), dtype=np.uint8)
    heat = np.array([[[0.0, 1.0], [0.0, 0.5]]])
    shown = overlaid(frames, heat)
    grey = 0.299 * 200 + 0.587 * 100
    assert shown[0, 0, 0].tolist() == [round(grey)] * 3
    assert shown[0, 0, 1] == pytest.approx(0.25 * grey + 0.75 * ANCHORS[8], abs=0.51)
    assert shown.dtype == np.uint8 and shown.shape == frames.shape


def test_what_is_not_kept_is_dark():
    frames = np.full((1, 1, 2, 3), 200, dtype=np.uint8)
    assert darkened(frames, np.array([[[True, False]]])).tolist() == [[[[200] * 3, [50] * 3]]]
