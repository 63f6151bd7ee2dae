"""Random boxes and coins of training: every function draws from a numpy Generator and computes nothing else.

What is drawn is applied by `slowfast.datasets.transforms`. One draw serves all frames of a clip. Draws come
in the order of the published UniFormer and PySlowFast code, so that its random numbers give its boxes; the
distributions are the published ones. A box is (top, left, height, width) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slowfast.datasets.sampling import linspace_float32
from slowfast.datasets.transforms import COLOUR_CHANGES, Box, short_side_size


# ----------------------------------------------------------------------------------------------------------
# Crops
# ----------------------------------------------------------------------------------------------------------
def draw_resized_crop_box(
    height: int, width: int, scale: Sequence[float], ratio: Sequence[float], rng: np.random.Generator
) -> Box:
    """A box of random area and shape somewhere in the frame, to be resized to the training crop (Inception
    crop).

    scale: range of its share of the frame's area, uniform. ratio: range of width / height, log-uniform. After
    ten boxes that do not fit, the centre of the frame, as large as the range of ratios allows.
    """
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    for _ in range(10):
        area = rng.uniform(*scale) * height * width
        aspect = math.exp(rng.uniform(*log_ratio))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            return _place(height, width, box_height, box_width, rng)
    if width / height < min(ratio):
        box_height, box_width = round(width / min(ratio)), width
    elif width / height > max(ratio):
        box_height, box_width = height, round(height * max(ratio))
    else:
        box_height, box_width = height, width
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def draw_moving_crop_boxes(
    height: int,
    width: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    num_frames: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """One box for each frame, int64 (num_frames, 4), moving evenly between two of `draw_resized_crop_box`."""
    first = draw_resized_crop_box(height, width, scale, ratio, rng)
    last = draw_resized_crop_box(height, width, scale, ratio, rng)
    edges = [linspace_float32(start, end, num_frames) for start, end in zip(first, last, strict=True)]
    return np.stack(edges, axis=1).astype(np.int64)


class JitteredCrop(NamedTuple):
    """Resize the frame to height x width, then cut `box` out of it."""

    height: int
    width: int
    box: Box


def draw_jittered_crop(
    height: int, width: int, min_size: int, max_size: int, crop: int, inverse: bool, rng: np.random.Generator
) -> JitteredCrop:
    """Random short side, then a random crop x crop box (VGG-style scale jitter).

    The short side is uniform from min_size to max_size, or with `inverse` one over a uniform number, and
    rounded. Two published faults are not repeated: the last row and column are reached, and a short side
    below `crop` is raised to it where the published code returns a smaller clip.
    """
    if inverse:
        size = round(1.0 / rng.uniform(1.0 / max_size, 1.0 / min_size))
    else:
        size = round(rng.uniform(min_size, max_size))
    height, width = short_side_size(height, width, max(size, crop))
    return JitteredCrop(height, width, _place(height, width, crop, crop, rng))


class ColourJitter(NamedTuple):
    """Factors around 1, in the order in which they are applied; see transforms.jitter_colours."""

    names: tuple[str, ...]
    factors: tuple[float, ...]


def draw_colour_jitter(strengths: Sequence[float], rng: np.random.Generator) -> ColourJitter:
    """Factors of brightness, contrast and saturation, uniform within 1 +- their strength, in a random order.

    Source: the colour jitter of PySlowFast's self-supervised training (DATA.SSL_COLOR_BRI_CON_SAT).
    """
    order = rng.permutation(len(COLOUR_CHANGES))
    factors = [float(rng.uniform(1 - strengths[i], 1 + strengths[i])) for i in order]
    return ColourJitter(tuple(COLOUR_CHANGES[i] for i in order), tuple(factors))


def draw_flip(rng: np.random.Generator) -> bool:
    """Whether to mirror the clip: one time in two."""
    return bool(rng.random() < 0.5)


def _place(height: int, width: int, box_height: int, box_width: int, rng: np.random.Generator) -> Box:
    """The box anywhere in the frame; every offset that fits is equally likely."""
    top = int(rng.integers(0, height - box_height, endpoint=True))
    left = int(rng.integers(0, width - box_width, endpoint=True))
    return top, left, box_height, box_width


# ----------------------------------------------------------------------------------------------------------
# Erasing
# ----------------------------------------------------------------------------------------------------------
def draw_erase_boxes(
    height: int, width: int, probability: float, max_boxes: int, rng: np.random.Generator
) -> np.ndarray:
    """Boxes for `transforms.erase_` on a clip of height x width: int64 (max_boxes, 4), unused rows zero.

    With the given probability 1 to max_boxes boxes, uniform, of 2 % to 33 % of the area divided by their
    number, with height / width log-uniform from 0.3 to 1 / 0.3. A box that does not fit strictly inside is
    drawn again, up to 100 times, then left out. Source: random erasing (Zhong et al. 2020) with the ranges of
    PySlowFast.
    """
    boxes = np.zeros((max_boxes, 4), dtype=np.int64)
    if rng.random() > probability:
        return boxes
    count = 1 if max_boxes == 1 else int(rng.integers(1, max_boxes, endpoint=True))
    for number in range(count):
        for _ in range(100):
            area = rng.uniform(0.02, 1 / 3) * height * width / count
            aspect = math.exp(rng.uniform(math.log(0.3), math.log(1 / 0.3)))
            box_height, box_width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < box_height < height and 0 < box_width < width:
                boxes[number] = _place(height, width, box_height, box_width, rng)
                break
    return boxes
