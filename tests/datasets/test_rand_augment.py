"""RandAugment against the published one (golden/randaug.json, randaug_images.npz): arguments, policies,
pixels.
"""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch

from slowfast.datasets import clip_geometry, rand_augment
from slowfast.datasets.clip_ops import OPERATIONS, Operation, apply_operations
from slowfast.datasets.rand_augment import (
    RandAugmentPolicy,
    draw_rand_augment,
    parse_policy,
)

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "randaug.json").read_text())
IMAGES = np.load(FOLDER / "randaug_images.npz")
GREY_LEVELS = 0 if GOLDEN["versions"]["pillow"] == PIL.__version__ else 2

# Operations of the published table that no policy uses; ours has none of them.
UNUSED = {"PosterizeOriginal", "TranslateX", "TranslateY"}
USED = {name: entry for name, entry in GOLDEN["ops"].items() if name not in UNUSED}


class PublishedStreams:
    """The reference's streams, Python's `random` and legacy numpy, behind the names of a Generator."""

    def __init__(self, seed):
        self.python, self.legacy = random.Random(seed), np.random.RandomState(seed)

    def choice(self, count, size, replace, p):
        return self.legacy.choice(count, size, replace=replace, p=p)

    def normal(self, mean, deviation):
        return self.python.gauss(mean, deviation)

    def random(self):
        return self.python.random()


class Sign:
    """A generator whose coin keeps (0.0) or turns (1.0) the sign."""

    def __init__(self, value):
        self.value = value

    def random(self):
        return self.value


def base_name(published):
    return published.removesuffix("Increasing")


def argument(published, level, sign):
    table = rand_augment.ARGUMENTS_INCREASING if published.endswith("Increasing") else rand_augment.ARGUMENTS
    return table[base_name(published)](level, Sign(sign))


def clip_of(*images):
    return torch.from_numpy(np.stack(images))


def assert_images(ours, expected, names):
    """Exactly with the same Pillow; after a rotation, shear or shift some values round the other way."""
    difference = (ours.int() - torch.from_numpy(expected).int()).abs()
    moved = not clip_geometry.MATRICES.keys().isdisjoint(names)
    assert difference.max() <= max(GREY_LEVELS, int(moved))
    assert GREY_LEVELS or difference.bool().float().mean() <= 0.02


# Arguments and pixels -----
@pytest.mark.parametrize("name", USED)
def test_arguments_equal_published(name):
    entry = USED[name]
    if entry["args"] == "none":
        assert argument(name, 7, 0.0) is None
        return
    for sign, key in ((0.0, "args"), (1.0, "args_when_negated")):
        expected = entry.get(key, entry["args"])
        ours = [argument(name, level, sign) for level in GOLDEN["magnitudes"]]
        assert ours == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", USED)
@pytest.mark.parametrize("level", [5, 7])
@pytest.mark.parametrize(("sign", "side"), [(0.0, "pos"), (1.0, "neg")])
def test_images_equal_published(name, level, sign, side):
    image = IMAGES["image"]
    operation = Operation(base_name(name), argument(name, level, sign), "bicubic")
    ours = apply_operations(clip_of(image, image[::-1]), [operation])
    assert_images(ours, IMAGES[f"{name}/m{level}_{side}"], [base_name(name)])


@pytest.mark.parametrize(
    "case", GOLDEN["policy_by_seed"]["cases"], ids=lambda c: f"{c['policy']}/{c['seed']}"
)
def test_drawn_policies_and_their_images_equal_published_for_the_same_draws(case):
    drawn = draw_rand_augment(parse_policy(case["policy"]), PublishedStreams(case["seed"]))
    assert [operation.name for operation in drawn] == [base_name(name) for name, _, _ in case["applied"]]
    for operation, (_, _, arguments) in zip(drawn, case["applied"], strict=True):
        expected = arguments[0] if arguments else None
        assert operation.argument == (expected if expected is None else pytest.approx(expected, abs=1e-12))
    image = IMAGES["image"]
    ours = apply_operations(clip_of(image, image[:, ::-1]), drawn)
    assert_images(ours, IMAGES[f"policy/{case['policy']}/{case['seed']}"], [name for name, _, _ in drawn])


# Policies -----
@pytest.mark.parametrize("text", GOLDEN["policies"])
def test_policies_are_read_as_published(text):
    expected, policy = GOLDEN["policies"][text], parse_policy(text)
    assert policy.num_ops == expected["num_layers"]
    assert policy.magnitude == expected["magnitude"]
    assert policy.magnitude_std == expected["magnitude_std"]
    assert policy.weighted is (expected["choice_weights"] is not None) is False
    assert policy.interpolation == expected["interpolation"]
    assert (clip_geometry.FILL,) * 3 == tuple(expected["fill"])
    names = [base_name(name) for name in expected["ops"]]
    assert list(rand_augment.ARGUMENTS) == list(rand_augment.ARGUMENTS_INCREASING) == names
    assert set(OPERATIONS) == set(names)
    assert policy.increasing is any(name.endswith("Increasing") for name in expected["ops"])


def test_items_in_any_order_and_defaults():
    assert parse_policy("rand") == RandAugmentPolicy(10, 2, 0.0, False, False, "bicubic")
    expected = RandAugmentPolicy(3, 5, 0.5, True, True, "random")
    assert parse_policy("rand-inc1-w0-n5-mstd0.5-m3", "random") == expected


def test_inc0_is_the_plain_set():
    """Published: inc0 switches the increasing set on. Ours: off."""
    assert parse_policy("rand-m5-inc0").increasing is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it must start with 'rand', not ''"),
        ("augmix-m3", "it must start with 'rand', not 'augmix'"),
        ("rand-m7.5", "'m7.5' is not understood"),
        ("rand-m11", "'m11' is not understood"),
        ("rand-m-1", "'m' is not understood"),
        ("rand-n0", "'n0' is not understood"),
        ("rand-mstdx", "'mstdx' is not understood"),
        ("rand-mstdnan", "'mstdnan' is not understood"),
        ("rand-inc2", "'inc2' is not understood"),
        ("rand-w1", "'w1' is not understood"),
        ("rand-p0.3", "'p0.3' is not understood"),
        ("rand-m7-", "'' is not understood"),
        ("rand-m7-n2-m8", "'m8' sets magnitude a second time"),
        ("rand-w0-n14", "w0 chooses without replacement from 13 operations"),
    ],
)
def test_other_policies_are_refused(text, reason):
    """Published: items that are not known are ignored."""
    with pytest.raises(ValueError) as caught:
        parse_policy(text)
    assert str(caught.value).startswith(f"AUG.AA_TYPE {text!r}: {reason}; write 'rand' and then")


def test_other_interpolations_are_refused():
    """Published: lanczos fails in Pillow, anything unknown is bilinear."""
    with pytest.raises(
        ValueError, match="AUG.INTERPOLATION 'lanczos' is unknown; write one of bilinear, bicubic, random"
    ):
        parse_policy("rand", "lanczos")


# Distributions -----
def test_each_operation_is_as_likely_and_applied_half_the_time():
    rng, policy = np.random.default_rng(0), parse_policy("rand-m7-n4-mstd0.5-inc1")
    drawn = [draw_rand_augment(policy, rng) for _ in range(6000)]
    number = Counter(len(operations) for operations in drawn)
    for count, expected in enumerate([1, 4, 6, 4, 1]):
        assert abs(number[count] / 6000 - expected / 16) < 0.02
    names = Counter(operation.name for operations in drawn for operation in operations)
    assert set(names) == set(rand_augment.ARGUMENTS)
    for count in names.values():
        assert abs(count / 12000 - 1 / 15) < 0.01


def test_magnitude_noise_and_sign():
    rng = np.random.default_rng(0)
    angles = [
        operation.argument
        for _ in range(8000)
        for operation in draw_rand_augment(parse_policy("rand-m7-n4-mstd0.5-inc1"), rng)
        if operation.name == "Rotate"
    ]
    magnitudes = np.abs(angles) / 3
    assert abs(magnitudes.mean() - 7) < 0.1
    assert abs(magnitudes.std() - 0.5) < 0.05
    assert abs(np.mean(np.array(angles) < 0) - 0.5) < 0.06


def test_magnitude_stays_between_0_and_10():
    rng, policy = np.random.default_rng(0), parse_policy("rand-m10-mstd50")
    drawn = [operation for _ in range(2000) for operation in draw_rand_augment(policy, rng)]
    thresholds = {operation.argument for operation in drawn if operation.name == "Solarize"}
    assert {0, 256} <= thresholds
    assert min(thresholds) == 0
    assert max(thresholds) == 256


def test_weights():
    rng, policy = np.random.default_rng(0), parse_policy("rand-w0-n1")
    names = Counter(operation.name for _ in range(4000) for operation in draw_rand_augment(policy, rng))
    assert abs(names["Rotate"] / names.total() - 0.3 / 0.925) < 0.03  # the published weights add up to 0.925
    assert "Invert" not in names
    assert all(
        len({o.name for o in draw}) == len(draw)
        for draw in (draw_rand_augment(policy, rng) for _ in range(50))
    )
