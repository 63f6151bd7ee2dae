"""Heat as colour: a map of our own from 0 to 1, and frames with heat over them.

The colours go from dark blue through red to light yellow. Their lightness (CIELAB) rises evenly from 8 to 94, so that
equal steps of a value look alike, in grey and to colour-blind eyes too; the hue turns evenly from 285 to 460 degrees.
"""

from __future__ import annotations

import numpy as np

ANCHORS = np.array(
    [
        [2, 23, 55],
        [47, 23, 124],
        [126, 9, 124],
        [180, 19, 114],
        [220, 58, 100],
        [247, 103, 86],
        [253, 153, 91],
        [254, 198, 113],
        [255, 241, 107],
    ],
    dtype=np.float32,
)
COVER = 0.75  # how much of a frame the strongest heat hides
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def coloured(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1, any shape, as uint8 RGB (..., 3); what lies outside counts as 0 or 1."""
    places = np.clip(values, 0, 1).astype(np.float32) * (len(ANCHORS) - 1)
    below = np.minimum(places.astype(int), len(ANCHORS) - 2)
    share = (places - below)[..., None]
    return np.rint((1 - share) * ANCHORS[below] + share * ANCHORS[below + 1]).astype(np.uint8)


def overlaid(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Frames uint8 (T, H, W, 3) RGB under heat (T, H, W) from 0 to 1: grey where there is none, else its colour."""
    heat = np.clip(heat, 0, 1).astype(np.float32)[..., None]
    grey = frames.astype(np.float32) @ _LUMA
    mixed = (1 - COVER * heat) * grey[..., None] + COVER * heat * coloured(heat[..., 0])
    return np.rint(mixed).astype(np.uint8)


def darkened(frames: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Frames uint8 (T, H, W, 3), dark where ``kept`` (T, H, W), bool, is False."""
    return np.where(kept[..., None], frames, frames // 4)
