"""Boxes and coins: the published ones for the published random numbers (golden/spatial.*), and their
distributions.
"""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets import augment, transforms

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "spatial.json").read_text())
ARRAYS = np.load(FOLDER / "spatial.npz")
SCALE, RATIO = (0.08, 1.0), (0.75, 1.3333)


class PublishedStreams:
    """The reference's two streams, Python's `random` and the legacy numpy one, behind the names of a
    Generator.

    `crop_attempts`: with each log-ratio also take the numpy number that the published resized crop drops.
    """

    def __init__(self, seed, crop_attempts=False):
        self.python, self.legacy, self.crop_attempts = (
            random.Random(seed),
            np.random.RandomState(seed),
            crop_attempts,
        )

    def uniform(self, low, high):
        if self.crop_attempts and low < 0:
            self.legacy.uniform()
        return self.python.uniform(low, high)

    def integers(self, low, high, endpoint):
        assert endpoint
        return self.python.randint(low, high)

    def random(self):
        return self.python.random()

    def coin(self):
        """A stream for draw_flip, which the published code draws from numpy."""
        return self.legacy.uniform() < 0.5


class PublishedJitter:
    """The numpy stream of the published jittered crop, which never draws the last offset."""

    def __init__(self, seed):
        self.stream = np.random.RandomState(seed)

    def uniform(self, low, high):
        return self.stream.uniform(low, high)

    def integers(self, low, high, endpoint):
        assert endpoint
        return self.stream.randint(low, high) if high > low else low

    def random(self):
        return self.stream.uniform()


class Scripted:
    """Always the listed area fraction and log ratio, and the largest integer."""

    def __init__(self, area, log_ratio):
        self.area, self.log_ratio = area, log_ratio

    def uniform(self, low, high):
        return self.log_ratio if low < 0 else self.area

    def integers(self, low, high, endpoint):
        assert endpoint
        return high


def golden_clip(name):
    return torch.from_numpy(ARRAYS[name]).permute(1, 2, 3, 0).contiguous()


def assert_pixels(clip, name):
    assert (clip - golden_clip(name)).abs().max() <= 1e-5


# Resized crop -----
def test_resized_crop_equals_published_for_scripted_draws():
    for height, width, area, log_ratio, expected, _ in GOLDEN["resized_crop_scripted"]["rows"]:
        box = augment.draw_resized_crop_box(height, width, SCALE, RATIO, Scripted(area, log_ratio))
        assert list(box) == expected


def test_resized_crop_equals_published_for_the_same_draws():
    for seed, height, width, expected in GOLDEN["resized_crop_by_seed"]["rows"]:
        box = augment.draw_resized_crop_box(height, width, SCALE, RATIO, PublishedStreams(seed))
        assert list(box) == expected


def test_resized_crop_covers_its_ranges():
    rng = np.random.default_rng(0)
    height, width = 400, 400
    boxes = np.array([augment.draw_resized_crop_box(height, width, SCALE, RATIO, rng) for _ in range(4000)])
    top, left, box_height, box_width = boxes.T
    area, log_ratio = box_height * box_width / (height * width), np.log(box_width / box_height)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()
    assert 0.079 < area.min() < 0.085
    assert area.max() > 0.97
    # Of areas above 3/4 a share of ln(1 / area) / ln(4 / 3) fits: 0.37 / (0.67 + 0.119) of the boxes are
    # below 0.45.
    assert abs(np.mean(area < 0.45) - 0.469) < 0.025
    assert -0.30 < log_ratio.min() < -0.28
    assert 0.28 < log_ratio.max() < 0.30
    assert abs(log_ratio.mean()) < 0.01
    share = top[box_height < height] / (height - box_height[box_height < height])
    assert abs(share.mean() - 0.5) < 0.02
    assert share.min() == 0
    assert share.max() == 1


@pytest.mark.parametrize("seed", range(4))
def test_published_training_crops(seed):
    """Draw and apply: resized crop, its moving form and jittered crop, each with a flip."""
    clip = golden_clip("train/input")

    streams = PublishedStreams(seed, crop_attempts=True)
    box = augment.draw_resized_crop_box(20, 28, SCALE, RATIO, streams)
    out = transforms.crop_and_resize(clip, box, 12)
    assert_pixels(transforms.flip(out) if streams.coin() else out, f"train/resized_{seed}_0")

    streams = PublishedStreams(seed, crop_attempts=True)
    boxes = augment.draw_moving_crop_boxes(20, 28, SCALE, RATIO, 4, streams)
    out = transforms.crop_and_resize_moving(clip, boxes, 12)
    assert_pixels(transforms.flip(out) if streams.coin() else out, f"train/resized_{seed}_1")

    stream = PublishedJitter(seed)
    drawn = augment.draw_jittered_crop(20, 28, 16, 20, 12, False, stream)
    out = transforms.crop(transforms.resize(clip, drawn.height, drawn.width), drawn.box)
    assert_pixels(transforms.flip(out) if augment.draw_flip(stream) else out, f"train/jitter_{seed}")


def test_moving_boxes_go_from_the_first_to_the_last():
    rng, again = np.random.default_rng(5), np.random.default_rng(5)
    boxes = augment.draw_moving_crop_boxes(200, 300, SCALE, RATIO, 9, rng)
    first = augment.draw_resized_crop_box(200, 300, SCALE, RATIO, again)
    last = augment.draw_resized_crop_box(200, 300, SCALE, RATIO, again)
    assert boxes.shape == (9, 4)
    assert boxes[0].tolist() == list(first)
    assert boxes[-1].tolist() == list(last)
    assert np.abs(boxes[4] - (np.array(first) + last) / 2).max() < 1
    assert augment.draw_moving_crop_boxes(200, 300, SCALE, RATIO, 1, rng).shape == (1, 4)


# Jittered crop -----
def test_jittered_sizes_equal_published_for_the_same_draws():
    for seed, height, width, low, high, inverse, expected in GOLDEN["short_side_jitter"]["rows"]:
        drawn = augment.draw_jittered_crop(height, width, low, high, 8, inverse, PublishedJitter(seed))
        assert [drawn.height, drawn.width] == expected


def test_jittered_crop_reaches_every_offset():
    """Published: row 30 - 24 = 6 and column 40 - 24 = 16 never come up. Ours: every offset that fits does."""
    for seed, height, width, crop, (top, left) in GOLDEN["random_crop"]["rows"]:
        assert top < max(height - crop, 1)
        assert left < max(width - crop, 1)
        stream = PublishedJitter(
            seed
        )  # jitter at a fixed size takes one number first, which random_crop does not
        stream.uniform = lambda low, high: low
        drawn = augment.draw_jittered_crop(
            height, width, min(height, width), min(height, width), crop, False, stream
        )
        assert drawn.box[:2] == (top, left)
    rng = np.random.default_rng(0)
    offsets = np.array(
        [augment.draw_jittered_crop(30, 40, 30, 30, 24, False, rng).box[:2] for _ in range(600)]
    )
    assert set(offsets[:, 0]) == set(range(7))
    assert set(offsets[:, 1]) == set(range(17))


def test_crop_of_the_size_of_the_frame():
    """Published: a tensor instead of a pair, so the caller raises ValueError. Ours: the whole frame."""
    assert GOLDEN["random_crop_same_size"]["spatial_sampling"]["type"] == "ValueError"
    drawn = augment.draw_jittered_crop(24, 24, 24, 24, 24, False, np.random.default_rng(0))
    assert drawn == (24, 24, (0, 0, 24, 24))


def test_frames_smaller_than_the_crop_are_enlarged():
    """Published: an output smaller than the crop. Ours: the short side is raised to the crop."""
    drawn = augment.draw_jittered_crop(100, 150, 120, 120, 160, False, np.random.default_rng(0))
    assert (drawn.height, drawn.width) == (160, 240)
    assert drawn.box[2:] == (160, 160)


def test_flip():
    for seed, expected in GOLDEN["horizontal_flip"]["rows"]:
        assert augment.draw_flip(PublishedJitter(seed)) is expected
    rng = np.random.default_rng(0)
    assert abs(np.mean([augment.draw_flip(rng) for _ in range(2000)]) - 0.5) < 0.03


# Erasing -----
def bounding_box(boxes):
    """[top, left, bottom, right] around all boxes with rows, None without any."""
    boxes = boxes[boxes[:, 2] > 0]
    if not len(boxes):
        return None
    ends = boxes[:, :2] + boxes[:, 2:]
    return [*boxes[:, :2].min(axis=0).tolist(), *ends.max(axis=0).tolist()]


def test_erase_boxes_equal_published_for_the_same_draws():
    for case in GOLDEN["random_erasing"]["cases"]:
        streams = PublishedStreams(case["seed"])
        expected = case["erased_bounding_box_per_frame"]
        if case["cube"]:
            boxes = augment.draw_erase_boxes(16, 20, 0.6, 1, streams)
            assert [bounding_box(boxes)] * 3 == expected
        else:  # published frame by frame, the first one spared; see test_transforms
            drawn = [augment.draw_erase_boxes(16, 20, 0.6, case["max_count"], streams) for _ in expected[1:]]
            assert [None, *map(bounding_box, drawn)] == expected


def test_erase_boxes_are_of_the_promised_size_and_number():
    rng = np.random.default_rng(0)
    drawn = np.stack([augment.draw_erase_boxes(224, 224, 0.25, 3, rng) for _ in range(4000)])
    assert drawn.shape == (4000, 3, 4)
    assert drawn.dtype == np.int64
    number = (drawn[:, :, 2] > 0).sum(axis=1)
    assert abs(np.mean(number > 0) - 0.25) < 0.02
    for count in (1, 2, 3):
        assert abs(np.mean(number[number > 0] == count) - 1 / 3) < 0.05
        top, left, height, width = drawn[number == count, :count].reshape(-1, 4).T
        share = height * width / 224**2 * count
        assert 0.018 < share.min() < 0.03
        assert 0.30 < share.max() < 0.34
        log_ratio = np.log(height / width)
        assert abs(log_ratio).max() < math.log(1 / 0.3) + 0.05
        assert abs(log_ratio.mean()) < 0.1
        assert (top + height <= 224).all()
        assert (left + width <= 224).all()


def test_erase_probability_zero_and_one():
    rng = np.random.default_rng(0)
    assert not any(augment.draw_erase_boxes(64, 64, 0.0, 1, rng).any() for _ in range(100))
    assert all(augment.draw_erase_boxes(64, 64, 1.0, 1, rng).any() for _ in range(100))


# Same generator, same draw -----
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: augment.draw_resized_crop_box(240, 320, SCALE, RATIO, rng),
        lambda rng: augment.draw_jittered_crop(240, 320, 256, 320, 224, True, rng),
        lambda rng: augment.draw_erase_boxes(224, 224, 1.0, 2, rng).tolist(),
    ],
)
def test_draws_depend_on_the_generator_alone(draw):
    random.seed(1)
    np.random.seed(1)
    first = draw(np.random.default_rng(9))
    random.seed(2)
    np.random.seed(2)
    assert draw(np.random.default_rng(9)) == first
    assert draw(np.random.default_rng(10)) != first


def test_colour_factors_are_uniform_around_one_and_their_order_is_random():
    rng = np.random.default_rng(0)
    draws = [augment.draw_colour_jitter((0.4, 0.2, 0.0), rng) for _ in range(600)]
    assert len({jitter.names for jitter in draws}) == 6
    by_name = {name: [dict(zip(*jitter, strict=True))[name] for jitter in draws] for name in draws[0].names}
    for name, strength in (("brightness", 0.4), ("contrast", 0.2)):
        values = np.array(by_name[name])
        assert values.min() >= 1 - strength and values.max() <= 1 + strength
        assert values.mean() == pytest.approx(1, abs=0.02)
        assert values.std() == pytest.approx(strength / np.sqrt(3), rel=0.1)
    assert set(by_name["saturation"]) == {1.0}
