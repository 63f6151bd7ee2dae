"""Where the objects of a made-up clip are, frame by frame: what a map of the moving things is held against."""

from __future__ import annotations

import numpy as np

from slowfast.datasets.synthetic import SHAPES, Scene, motion_of, places


def object_boxes(scene: Scene, label: int, num_frames: int) -> np.ndarray:
    """Boxes of the objects of `scene` when it moves as class `label` says, float64 (N, T, 4).

    Of each object and frame: left, top, right and bottom in pixels from the upper left corner of the picture, also
    where that is outside of it. Raises ValueError for an unknown label.
    """
    shift, scale, turn = motion_of(scene, label, num_frames)
    objects = scene.objects
    boxes = np.empty((len(objects.radius), num_frames, 4))
    for number, (centre, radius, angle, shape) in enumerate(
        zip(objects.centre, objects.radius, objects.angle, objects.shape, strict=True)
    ):
        corners = (radius * scale)[:, None, None] * _turned(_corners(SHAPES[shape]), angle + turn)
        corners += places(centre, (scene.width, scene.height), shift, turn)[:, None]
        boxes[number] = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=-1)
    return boxes


def _corners(parts: np.ndarray) -> np.ndarray:
    """Corners (8, 2) of the two rectangles of a shape, in radii and in the object's own axes."""
    signs = np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)])
    return (parts[:, None, :2] + signs * parts[:, None, 2:]).reshape(-1, 2)


def _turned(points: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Points (P, 2) turned by each angle (T,), (T, P, 2)."""
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points.T
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)
