"""A map finds what moves: the demo's model on made-up clips of one moving object among still ones of its kind."""

import dataclasses

import numpy as np
import pytest
import torch

import slowfast
from slowfast.datasets.synthetic import CLASS_NAMES, Objects, draw_scene, render_scene
from slowfast.datasets.synthetic_boxes import object_boxes
from slowfast.inference.explaining.class_maps import grad_cam

SIDE, NUM_FRAMES, NUM_STILL, NUM_CLIPS = 48, 16, 2, 96


def chosen(objects, rows, centre):
    """Some of the objects, at other places."""
    values = {field.name: getattr(objects, field.name)[rows] for field in dataclasses.fields(objects)}
    return Objects(**{**values, "centre": centre})


def apart(rng, radius):
    """Centres (N, 2) from the middle of the picture, inside of it and clear of each other."""
    while True:
        centre = rng.uniform(-1, 1, size=(len(radius), 2)) * (SIDE / 2 - 1 - 1.1 * radius)[:, None]
        distance = np.linalg.norm(centre[:, None] - centre, axis=-1)
        clear = distance > 1.15 * (radius[:, None] + radius)
        if (clear | np.eye(len(radius), dtype=bool)).all():
            return centre


def moving_among_still(number):
    """A clip uint8 (8, S, S, 3) as the demo samples it, and the box of its moving object in each frame, (8, 4)."""
    rng = np.random.default_rng(number)
    label = number % len(CLASS_NAMES)
    scene = draw_scene(rng, SIDE, SIDE, NUM_FRAMES)
    rows = rng.choice(len(scene.objects.radius), size=1 + NUM_STILL, replace=False)
    centre = apart(rng, scene.objects.radius[rows])
    scene = dataclasses.replace(
        scene,
        objects=chosen(scene.objects, rows[:1], centre[:1]),
        clutter=chosen(scene.objects, rows[1:], centre[1:]),
        drift=(0.0, 0.0),
    )
    frames = render_scene(scene, label, NUM_FRAMES)
    frames += 2.0 * rng.standard_normal((NUM_FRAMES, 1, SIDE, SIDE), dtype=np.float32)
    pixels = np.clip(np.rint(frames), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return torch.from_numpy(pixels[::2].copy()), object_boxes(scene, label, NUM_FRAMES)[0, ::2]


def within(boxes, row, column, margin):
    """Which boxes (N, 4) hold a point, when they are larger by a margin on every side."""
    left, top, right, bottom = boxes.T
    return (
        (left - margin <= column)
        & (column <= right + margin)
        & (top - margin <= row)
        & (row <= bottom + margin)
    )


@pytest.mark.slow
def test_maps_find_the_moving_object_more_often_than_the_centre_does(demo_run, record_property):
    """Peaks of default maps of the predicted class, in the box of the object grown by half a token, against the centre.

    With checkpoints of two trainings of the demo maps hit in 77.1 and 78.1 % of 96 clips, the centre in 27.0 % (mean
    over frames).
    """
    classifier = slowfast.load(demo_run / "best.pyth", device="cpu")
    hits, centres = [], []
    for number in range(NUM_CLIPS):
        clip, boxes = moving_among_still(number)
        found = grad_cam(classifier, clip)
        frame, row, column = found.grid.centre(found.peak)
        hits.append(within(boxes[int(frame)][None], row, column, found.grid.patch / 2)[0])
        centres.append(within(boxes, SIDE / 2, SIDE / 2, found.grid.patch / 2).mean())  # at every time
    rates = {"map": np.mean(hits), "centre": np.mean(centres)}
    print(
        f"of {NUM_CLIPS} clips the moving object is hit by",
        {name: f"{rate:.1%}" for name, rate in rates.items()},
    )
    for name, rate in rates.items():
        record_property(name, float(rate))
    assert rates["map"] > 0.5 > rates["centre"] + 0.1, rates
