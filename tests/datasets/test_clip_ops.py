"""Operations on whole clips against Pillow on each frame, and a box of the result against the whole of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from slowfast.benchmarking import loader as plain
from slowfast.datasets import clip_geometry, rand_augment
from slowfast.datasets.clip_ops import OPERATIONS, Operation, apply_operations
from slowfast.datasets.transforms import crop

GEOMETRIC = tuple(clip_geometry.MATRICES)
POLICY = rand_augment.parse_policy("rand-m7-n4-mstd0.5-inc1", "random")


def photo_clip(num_frames=3, height=45, width=62, seed=0):
    """A texture like that of photographs, panned."""
    return torch.from_numpy(np.stack(list(plain.made_up_frames(num_frames, height, width, seed))))


def by_pillow(clip, operations):
    images = plain.augment_images([Image.fromarray(frame.numpy()) for frame in clip], operations)
    return torch.from_numpy(np.stack([np.asarray(image) for image in images]))


def drawn_arguments(name, seed):
    """Eight operations of one name as training draws them, from both tables, with both filters."""
    rng = np.random.default_rng(seed)
    for table in (rand_augment.ARGUMENTS, rand_augment.ARGUMENTS_INCREASING):
        for interpolation in ("bilinear", "bicubic"):
            for level in (rng.uniform(0, 10), 10.0):
                yield Operation(name, table[name](level, rng), interpolation)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_those_of_pillow(name):
    clip = photo_clip()
    for operation in drawn_arguments(name, seed=OPERATIONS.index(name)):
        difference = (apply_operations(clip, [operation]).int() - by_pillow(clip, [operation]).int()).abs()
        assert difference.max() <= (1 if name in GEOMETRIC else 0), operation
        # Bilinear weights with two decimals often give whole numbers, which float64 rounds by chance.
        assert difference.bool().float().mean() <= 0.02, operation


@pytest.mark.parametrize("value", [0, 255, 37])
@pytest.mark.parametrize("name", OPERATIONS)
def test_clips_of_one_grey_are_exactly_those_of_pillow(name, value):
    clip = torch.full((2, 17, 23, 3), value, dtype=torch.uint8)
    for operation in drawn_arguments(name, seed=1):
        assert torch.equal(apply_operations(clip, [operation]), by_pillow(clip, [operation])), operation


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (3, 2), (5, 1)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_small_frames(name, height, width):
    generator = torch.Generator().manual_seed(0)
    clip = torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8, generator=generator)
    for operation in drawn_arguments(name, seed=2):
        difference = apply_operations(clip, [operation]).int() - by_pillow(clip, [operation]).int()
        assert difference.abs().max() <= 1, operation


@pytest.mark.parametrize("seed", range(40))
def test_a_box_is_that_part_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    clip = photo_clip(seed=seed)
    operations = rand_augment.draw_rand_augment(POLICY, rng)
    height, width = int(rng.integers(1, 46)), int(rng.integers(1, 63))
    box = int(rng.integers(0, 46 - height)), int(rng.integers(0, 63 - width)), height, width
    whole = apply_operations(clip, operations)
    assert torch.equal(apply_operations(clip, operations, box), crop(whole, box)), operations


def test_a_box_that_sees_nothing_of_the_frame_is_grey():
    clip = photo_clip()
    for name, box in (("TranslateXRel", (0, 40, 45, 20)), ("TranslateYRel", (30, 0, 10, 62))):
        out = apply_operations(clip, [Operation(name, 0.9, "bicubic")], box)
        assert out.shape == (3, *box[2:], 3) and (out == 128).all()


def test_statistics_are_those_of_each_frame():
    clip = torch.cat([photo_clip(seed=1) // 2, 255 - photo_clip(seed=2) // 3])
    for name, argument in (("AutoContrast", None), ("Equalize", None), ("Contrast", 1.5)):
        operation = Operation(name, argument, "bicubic")
        alone = [apply_operations(frame[None], [operation]) for frame in clip]
        assert torch.equal(apply_operations(clip, [operation]), torch.cat(alone))


def test_one_filter_for_all_frames():
    """Published: with "random", drawn for each frame. Ours: for each operation, so that equal frames stay equal."""
    rng, policy = np.random.default_rng(0), rand_augment.parse_policy("rand-n8", "random")
    drawn = [operation for _ in range(200) for operation in rand_augment.draw_rand_augment(policy, rng)]
    share = np.mean([operation.interpolation == "bilinear" for operation in drawn])
    assert abs(share - 0.5) < 0.06
    assert {operation.interpolation for operation in drawn} == {"bilinear", "bicubic"}
    frame = photo_clip(num_frames=1)
    for name, argument in (("Rotate", 20.0), ("ShearX", 0.2), ("ShearY", -0.2), ("TranslateXRel", 0.3)):
        bilinear, bicubic = (
            apply_operations(torch.cat([frame, frame]), [Operation(name, argument, how)])
            for how in ("bilinear", "bicubic")
        )
        assert torch.equal(bilinear[0], bilinear[1])
        assert not torch.equal(bilinear, bicubic)


@pytest.mark.parametrize("name", OPERATIONS)
def test_application_leaves_the_clip_alone(name):
    clip = photo_clip()
    before = clip.clone()
    part = clip[:, 1:9, 2:10]  # not contiguous
    for operation in drawn_arguments(name, seed=3):
        out = apply_operations(clip, [operation])
        assert out.shape == clip.shape and out.dtype == torch.uint8
        assert torch.equal(
            apply_operations(part, [operation]), apply_operations(part.contiguous(), [operation])
        )
        assert torch.equal(clip, before)


def test_without_operations_nothing_is_copied():
    clip = photo_clip()
    assert apply_operations(clip, []) is clip
    assert apply_operations(clip, [], (1, 2, 3, 4)).data_ptr() == clip[:, 1, 2].data_ptr()


def test_posterize_to_no_bits_is_black():
    assert apply_operations(photo_clip(), [Operation("Posterize", 0, "bicubic")]).max() == 0
