"""One sampling for several steps: against float64, against the steps one by one, and where it must not be used."""

import math

import numpy as np
import pytest
import torch

from slowfast.benchmarking.loader import made_up_frames
from slowfast.datasets import augment, clip_sampling, rand_augment, transforms
from slowfast.datasets.clip_geometry import MATRICES
from slowfast.datasets.clip_ops import OPERATIONS, Operation, apply_and_sample, apply_operations
from slowfast.datasets.pipeline import TrainViews

HEIGHT, WIDTH, SIZE = 45, 62, 32
POLICY = rand_augment.parse_policy("rand-m7-n4-mstd0.5-inc1", "random")
AREAS = {"area": (0.08, 1.0), "aspect": (0.75, 1.3333)}
CROPS = {
    "resized": AREAS,
    "moving": {**AREAS, "motion_shift": True},
    "jittered": {"jitter": (SIZE, 60)},
    "inverse": {"jitter": (SIZE, 60), "inverse_jitter": True},
}
GEOMETRIC = {
    "Rotate": (-21.3, 30.0),
    "ShearX": (-0.21, 0.3),
    "ShearY": (0.17, -0.3),
    "TranslateXRel": (0.31, -0.45),
    "TranslateYRel": (-0.217, 0.4),
}


def photo_clip(num_frames=3, height=HEIGHT, width=WIDTH, seed=0):
    return torch.from_numpy(np.stack(list(made_up_frames(num_frames, height, width, seed))))


def operations_of(*pairs):
    return [Operation(name, argument, "bicubic") for name, argument in pairs]


def reference(clip, operations, box, size, mirrored):
    """In float64: positions as vectors (x, y, 1), matrices as in Pillow, grey where any of them leads out."""
    top, left, box_height, box_width = box
    _, height, width, _ = clip.shape
    frames = clip.numpy().astype(np.float64)
    out = np.empty((len(clip), size, size, 3))
    for row in range(size):
        for column in range(size):
            across = size - 1 - column if mirrored else column
            x = left + np.clip((across + 0.5) * box_width / size, 0.5, box_width - 0.5)
            y = top + np.clip((row + 0.5) * box_height / size, 0.5, box_height - 0.5)
            place, inside = np.array([x, y, 1.0]), True
            for name, argument, _ in reversed(operations):
                matrix = np.reshape([*MATRICES[name](argument, height, width), 0, 0, 1], (3, 3))
                place = matrix @ place
                inside &= bool(0 <= place[0] < width and 0 <= place[1] < height)
            if not inside:
                out[:, row, column] = 128
                continue
            x, y = np.clip(place[0] - 0.5, 0, width - 1), np.clip(place[1] - 0.5, 0, height - 1)
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            upper = frames[:, y0, x0] + (x - x0) * (frames[:, y0, x1] - frames[:, y0, x0])
            lower = frames[:, y1, x0] + (x - x0) * (frames[:, y1, x1] - frames[:, y1, x0])
            out[:, row, column] = upper + (y - y0) * (lower - upper)
    return torch.from_numpy(out)


SEQUENCES = [
    *(((name, argument),) for name, arguments in GEOMETRIC.items() for argument in arguments),
    (("Rotate", 17.0), ("ShearX", 0.2)),
    (("TranslateXRel", 0.4), ("TranslateXRel", -0.4)),
    (("ShearY", -0.25), ("TranslateYRel", 0.3), ("Rotate", -28.0), ("ShearX", 0.11)),
]


@pytest.mark.parametrize("sequence", SEQUENCES, ids=lambda pairs: "-".join(name for name, _ in pairs))
@pytest.mark.parametrize(
    ("box", "mirrored"), [((0, 0, HEIGHT, WIDTH), False), ((9, 20, 13, 17), True), ((0, 31, 45, 31), False)]
)
def test_one_sampling_is_the_composition_in_float64(sequence, box, mirrored):
    """At most half a grey level for rounding, and what float32 places (1e-5 pixels) make of 255 levels a pixel."""
    clip, operations = photo_clip(2), operations_of(*sequence)
    made = apply_and_sample(clip, operations, clip_sampling.grid_of_boxes([box], SIZE), mirrored)
    assert made.shape == (2, SIZE, SIZE, 3) and made.dtype == torch.uint8
    difference = (made.double() - reference(clip, operations, box, SIZE, mirrored)).abs()
    assert difference.max() <= 0.5 + 0.01


def wave(period=48.0, amplitude=50.0, height=120, width=160):
    """A smooth clip before rounding, float64 (1, H, W, 1) -> three channels."""
    y, x = np.mgrid[:height, :width] + 0.5
    values = 128 + amplitude / 2 * (np.sin(2 * math.pi * x / period) + np.sin(2 * math.pi * y / period))
    return torch.from_numpy(np.repeat(values[None, ..., None], 3, axis=3)).round().to(torch.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "pairs",
    [
        (("Rotate", 8.0),),
        (("ShearX", 0.13),),
        (("ShearY", -0.13),),
        (("TranslateXRel", 0.07),),
        (("TranslateYRel", -0.07),),
        (("Rotate", -8.0), ("ShearX", 0.1), ("TranslateYRel", 0.05)),
    ],
)
def test_smooth_clips_come_out_as_step_by_step(pairs, interpolation):
    """Where nothing grey is in sight, both are the same function but for what each step loses.

    A linear interpolation is off by at most M / 8 in each direction, M the second derivative: amplitude / 2 times
    (2 pi / period)^2; so by E = M / 4, and for what a shear by s has stretched by 1 + s^2 of that. k operations and a
    resize, step by step: (k + 1) E, what is behind the point k times (0 to 1 each, half a level in the mean), once
    rounded (1/2; a quarter in the mean). At once: E and once rounded. The clip itself is rounded (1/2), which every
    step averages. In the mean the fractions are taken as uniform. The cubic filter, exact for polynomials of second
    degree, is no worse; its negative weights stretch the 1/2 to at most (5/4)^2 of it in each operation (their absolute
    sum is 1.25 in each direction, halfway between two pixels).
    """
    count = len(pairs)
    error = 1.02 * 25 * (2 * math.pi / 48) ** 2 / 4
    operations = [Operation(name, argument, interpolation) for name, argument in pairs]
    box = (40, 55, 40, 50)
    steps = transforms.resize(apply_operations(wave(), operations, box), SIZE, SIZE)
    at_once = apply_and_sample(wave(), operations, clip_sampling.grid_of_boxes([box], SIZE))
    difference = (at_once.double() - steps.double()).abs()
    clip_rounding = 0.5 + 0.5 * (1 if interpolation == "bilinear" else 1.5625**count)
    assert difference.max() <= (count + 2) * error + count + 1 + clip_rounding
    assert difference.mean() <= (count + 2) * error + count / 2 + 0.5


@pytest.mark.parametrize("kind", CROPS)
@pytest.mark.parametrize("seed", range(4))
def test_crop_resize_and_flip_alone_are_within_a_grey_level(kind, seed):
    plain = TrainViews(crop_size=SIZE, **CROPS[kind])
    fused = TrainViews(crop_size=SIZE, fused=True, **CROPS[kind])
    steps, at_once = (
        make(photo_clip()[None], [np.random.default_rng(seed)]).clips for make in (plain, fused)
    )
    assert (steps.int() - at_once.int()).abs().max() <= 1
    if "area" in CROPS[kind]:  # one step already
        assert torch.equal(steps, at_once)


@pytest.mark.parametrize("kind", CROPS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_grids_are_the_places_that_resizing_shows(kind, mirrored):
    """Also those of kinds whose steps are not replaced where nothing geometric comes before."""
    rng, clip = np.random.default_rng(3), photo_clip()
    if kind in ("jittered", "inverse"):
        cut = augment.draw_jittered_crop(HEIGHT, WIDTH, SIZE, 60, SIZE, kind == "inverse", rng)
        grid = clip_sampling.grid_of_resized_crop(HEIGHT, WIDTH, *cut)
        expected = transforms.crop(transforms.resize(clip, cut.height, cut.width), cut.box)
    else:
        boxes = augment.draw_moving_crop_boxes(HEIGHT, WIDTH, (0.08, 1.0), (0.75, 1.33), 3, rng).tolist()
        boxes = boxes if kind == "moving" else boxes[:1]
        grid = clip_sampling.grid_of_boxes(boxes, SIZE)
        expected = transforms.crop_and_resize_moving(clip, boxes if len(boxes) == 3 else 3 * boxes, SIZE)
    expected = transforms.flip(expected) if mirrored else expected
    assert (apply_and_sample(clip, [], grid, mirrored).int() - expected.int()).abs().max() <= 1


def test_frames_that_are_only_copied_stay_as_they_are():
    clip = photo_clip()
    grid = clip_sampling.grid_of_boxes([(3, 5, SIZE, SIZE)], SIZE)
    assert torch.equal(apply_and_sample(clip, [], grid), clip[:, 3 : 3 + SIZE, 5 : 5 + SIZE])


class Recorder:
    """A generator that notes every draw."""

    def __init__(self, seed):
        self._rng, self.calls = np.random.default_rng(seed), []

    def __getattr__(self, name):
        def draw(*args, **kwargs):
            value = getattr(self._rng, name)(*args, **kwargs)
            self.calls.append((name, args, str(value)))
            return value

        return draw


@pytest.mark.parametrize("kind", CROPS)
def test_draws_are_those_of_the_steps(kind):
    options = {**CROPS[kind], "policy": POLICY, "colour_strengths": (0.4, 0.4, 0.4), "erase_probability": 0.5}
    for seed in range(8):
        made = {}
        for fused in (False, True):
            rng = Recorder(seed)
            views = TrainViews(crop_size=SIZE, fused=fused, **options)(photo_clip()[None], [rng])
            made[fused] = rng.calls, views.erase_boxes.tolist()
        assert made[False] == made[True] and made[True][0]


@pytest.mark.parametrize("last", [name for name in OPERATIONS if name not in MATRICES])
def test_what_another_operation_must_see_is_done_step_by_step(last):
    """Geometric operations before any other one stay where they are: without one at the end nothing changes at all."""
    argument = {"Posterize": 3, "Solarize": 90, "SolarizeAdd": 60}.get(last, 1.5)
    operations = operations_of(("Rotate", 25.0), ("ShearX", 0.2), (last, argument))
    box = (5, 8, 30, 40)
    grid = clip_sampling.grid_of_boxes([box], SIZE)
    steps = transforms.resize(apply_operations(photo_clip(), operations, box), SIZE, SIZE)
    assert (apply_and_sample(photo_clip(), operations, grid).int() - steps.int()).abs().max() <= 1
    # With a shift behind it, that one alone is sampled: of what the others make of the frame.
    whole = apply_operations(photo_clip(), operations)
    shift = operations_of(("TranslateXRel", 0.1))
    assert torch.equal(
        apply_and_sample(photo_clip(), operations + shift, grid), apply_and_sample(whole, shift, grid)
    )


def test_what_one_operation_uncovers_stays_grey_when_the_next_brings_it_back():
    clip = torch.full((1, HEIGHT, WIDTH, 3), 10, dtype=torch.uint8)
    operations = operations_of(("TranslateXRel", 0.5), ("TranslateXRel", -0.5))
    grid = clip_sampling.grid_of_boxes([(0, 0, HEIGHT, WIDTH)], WIDTH)
    made = apply_and_sample(clip, operations, grid)
    steps = transforms.resize(apply_operations(clip, operations), WIDTH, WIDTH)
    assert torch.equal(made, steps)
    assert (made[:, :, :31] == 128).all() and (made[:, :, 31:] == 10).all()


def test_a_crop_that_sees_nothing_of_the_frame_is_grey():
    operations = operations_of(("TranslateYRel", 0.45), ("TranslateYRel", 0.45))
    grid = clip_sampling.grid_of_boxes([(30, 0, 15, 20)], SIZE)
    assert (apply_and_sample(photo_clip(), operations, grid) == 128).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (5, 1)])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_small_frames(name, height, width):
    clip = photo_clip(2, height, width)
    operations, box = operations_of((name, GEOMETRIC[name][0])), (0, 0, height, width)
    made = apply_and_sample(clip, operations, clip_sampling.grid_of_boxes([box], 4))
    assert (made.double() - reference(clip, operations, box, 4, False)).abs().max() <= 0.51


def test_a_moving_crop_looks_up_each_frame_by_itself():
    clip = photo_clip()
    boxes = [(0, 0, 20, 30), (5, 8, 25, 30), (20, 31, 25, 31)]
    operations = operations_of(("ShearX", 0.2), ("Rotate", 10.0))
    made = apply_and_sample(clip, operations, clip_sampling.grid_of_boxes(boxes, SIZE), mirrored=True)
    alone = [
        apply_and_sample(frame[None], operations, clip_sampling.grid_of_boxes([box], SIZE), mirrored=True)
        for frame, box in zip(clip, boxes, strict=True)
    ]
    # Each alone is cut to a box of its own before, which moves float32 places by 1e-5 pixels.
    assert (made.int() - torch.cat(alone).int()).abs().max() <= 1


def test_the_clip_is_left_alone():
    clip = photo_clip()
    before = clip.clone()
    apply_and_sample(
        clip, operations_of(("Rotate", 30.0)), clip_sampling.grid_of_boxes([(0, 0, 20, 30)], SIZE)
    )
    assert torch.equal(clip, before)
