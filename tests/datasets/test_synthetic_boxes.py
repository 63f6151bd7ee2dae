"""Boxes hold what is drawn of an object, and little more."""

import dataclasses

import numpy as np
import pytest

from slowfast.datasets.synthetic import CLASS_NAMES, Objects, draw_scene, render_scene
from slowfast.datasets.synthetic_boxes import object_boxes


@pytest.mark.parametrize("label", range(8))
@pytest.mark.parametrize("shape", range(4))
def test_a_box_is_as_large_as_what_is_drawn(label, shape):
    scene = draw_scene(np.random.default_rng(10 * label + shape), 96, 128, 9)
    none = {field.name: getattr(scene.clutter, field.name)[:0] for field in dataclasses.fields(Objects)}
    one = {field.name: getattr(scene.objects, field.name)[:1] for field in dataclasses.fields(Objects)}
    one |= {
        "centre": np.array([[14.0, -6.0]]),
        "colour": np.full((1, 2, 3), 255.0),
        "shape": np.array([shape]),
    }
    scene = dataclasses.replace(
        scene, corners=np.zeros((2, 2, 3)), clutter=Objects(**none), objects=Objects(**one), size_phase=0.0
    )
    (boxes,) = object_boxes(scene, label, 9)
    for frame, (left, top, right, bottom) in zip(render_scene(scene, label, 9)[:, 0], boxes, strict=True):
        y, x = np.nonzero(frame > 64)
        drawn = [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert drawn == pytest.approx([left, top, right, bottom], abs=1.6)  # corners of turned parts are thin


def test_every_object_and_frame_has_one():
    scene = draw_scene(np.random.default_rng(0), 32, 40, 6)
    assert object_boxes(scene, 0, 6).shape == (len(scene.objects.radius), 6, 4)
    with pytest.raises(ValueError, match=f"label must be 0..{len(CLASS_NAMES) - 1}"):
        object_boxes(scene, 8, 6)
