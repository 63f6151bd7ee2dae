"""Pixels and boxes against the published ones (golden/spatial.*), uint8 against float, and refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets import sampling, transforms

FOLDER = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((FOLDER / "spatial.json").read_text())
SAMPLING = json.loads((FOLDER / "sampling.json").read_text())
ARRAYS = np.load(FOLDER / "spatial.npz")


def golden_clip(name):
    """A stored C x T x H x W array as a T x H x W x C clip."""
    return torch.from_numpy(ARRAYS[name]).permute(1, 2, 3, 0).contiguous()


def assert_close(ours, expected, tolerance=1e-5):
    assert ours.shape == expected.shape
    assert (ours.double() - expected.double()).abs().max() <= tolerance


def random_clip(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


# Sizes and boxes -----
def test_short_side_size_equals_published():
    for height, width, size, expected in GOLDEN["short_side_scale"]["rows"]:
        assert list(transforms.short_side_size(height, width, size)) == expected


def test_uniform_crop_box_equals_published():
    for height, width, size, position, expected in GOLDEN["uniform_crop"]["rows"]:
        assert list(transforms.uniform_crop_box(height, width, size, position)) == expected


def test_uniform_crop_refuses_a_frame_that_is_too_small():
    """Published: negative offsets, and an output of 12 x 224 for a frame of 200 x 300. Ours: an error."""
    with pytest.raises(ValueError, match="crop of 224x224 does not fit in a frame of 300x200; resize"):
        transforms.uniform_crop_box(200, 300, 224, 1)


@pytest.mark.parametrize("box", [(-1, 0, 4, 4), (0, 5, 4, 4), (0, 0, 7, 4), (0, 0, 0, 4), (2, 2, 3, 0)])
def test_crop_refuses_boxes_outside_the_frame(box):
    with pytest.raises(ValueError, match="does not lie in a frame of 8x6"):
        transforms.crop(torch.zeros(2, 6, 8, 3), box)


def test_crop_is_a_view():
    clip = random_clip(2, 6, 8, 3)
    part = transforms.crop(clip, (1, 2, 3, 4))
    assert torch.equal(part, clip[:, 1:4, 2:6])
    assert part.untyped_storage().data_ptr() == clip.untyped_storage().data_ptr()


# Pixels -----
@pytest.mark.parametrize(
    "case", GOLDEN["spatial_sampling_test"]["cases"], ids=lambda c: f"{c['name']}/{c['spatial_idx']}"
)
def test_test_crops_equal_published(case):
    clip = transforms.resize_short_side(golden_clip(f"{case['name']}/input"), case["crop_size"])
    box = transforms.uniform_crop_box(clip.shape[1], clip.shape[2], case["crop_size"], case["spatial_idx"])
    assert_close(transforms.crop(clip, box), golden_clip(f"{case['name']}/output_{case['spatial_idx']}"))


def made_up_frames(numbers, height, width):
    """uint8 (T, H, W, 3): frames of the reference's made-up videos, by the `pixel_rule` of sampling.json."""
    f, y, x, c = np.meshgrid(numbers, np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    return torch.from_numpy(((7 * f + 3 * y + 5 * x + 11 * c + (f * y * x) % 13) % 256).astype(np.uint8))


def assert_checksum(clip, expected):
    """Compares a T x H x W x C clip with sums over, and values of, a published C x T x H x W one."""
    flat = clip.permute(3, 0, 1, 2).reshape(-1).double()
    assert [clip.shape[3], *clip.shape[:3]] == expected["shape"]
    wave = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    assert flat.sum().item() == pytest.approx(expected["sum"], abs=1e-5 * len(flat))
    assert flat.abs().sum().item() == pytest.approx(expected["abs_sum"], abs=1e-5 * len(flat))
    assert (flat * wave).sum().item() == pytest.approx(expected["cos_weighted_sum"], abs=1e-5 * len(flat))
    assert_close(flat[:4], torch.tensor(expected["first"]))
    assert_close(flat[-4:], torch.tensor(expected["last"]))


def published_items():
    """(configuration, item, number of its first frame) for each item of the published test sets."""
    for case in SAMPLING["kinetics_dataset_test"]["cases"]:
        yield from ((case, item, 0) for item in case["items"])
    for name in ("hmdb_dataset_test", "sth_dataset_test"):
        yield from ((SAMPLING[name], item, 1) for item in SAMPLING[name]["items"])


def test_whole_published_test_sets():
    """From pixels to the normalised clip. Published code normalises before it resizes, ours afterwards."""
    for case, item, first_number in published_items():
        frames = made_up_frames(np.array(item["frame_indices"]) - first_number, *case["frame_height_width"])
        size = case["TEST_CROP_SIZE"]
        clip = transforms.resize_short_side(frames / 255, size)
        position = sampling.crop_position(item["item"] % case["NUM_SPATIAL_CROPS"], case["NUM_SPATIAL_CROPS"])
        clip = transforms.crop(
            clip, transforms.uniform_crop_box(clip.shape[1], clip.shape[2], size, position)
        )
        assert_checksum(transforms.normalise(clip, [0.45] * 3, [0.225] * 3), item["output"])


def test_normalise_equals_published():
    golden = GOLDEN["normalise"]
    clip = torch.tensor(golden["input_uint8"], dtype=torch.uint8)
    expected = torch.tensor(golden["output"])
    before = clip.clone()
    assert_close(transforms.normalise(clip, golden["mean"], golden["std"]), expected, 1e-6)
    unit = clip / 255
    kept = unit.clone()
    assert_close(transforms.normalise(unit, torch.tensor(golden["mean"]), golden["std"]), expected, 1e-6)
    assert torch.equal(clip, before)
    assert torch.equal(unit, kept)


def test_normalise_uses_the_numbers_of_each_channel_and_takes_batches():
    batch = torch.full((2, 1, 3, 4, 5, 3), 51, dtype=torch.uint8)
    out = transforms.normalise(batch, [0.0, 0.1, 0.2], [1.0, 0.5, 0.25])
    assert out.dtype == torch.float32
    assert_close(out, torch.tensor([0.2, 0.2, 0.0]).expand(2, 1, 3, 4, 5, 3), 1e-6)
    by_columns = transforms.normalise(batch.transpose(3, 4), [0.0, 0.1, 0.2], [1.0, 0.5, 0.25])
    assert by_columns.is_contiguous()
    assert torch.equal(by_columns, out.transpose(3, 4))
    half = transforms.normalise(torch.full((1, 2, 2, 3), 0.5, dtype=torch.bfloat16), [0.25] * 3, [0.5] * 3)
    assert half.dtype == torch.bfloat16
    assert half.float().mean() == 0.5


def test_normalise_refuses_other_numbers_of_channels():
    with pytest.raises(ValueError, match="3 channels needs 3 numbers in each of DATA.MEAN and DATA.STD"):
        transforms.normalise(random_clip(1, 2, 2, 3), [0.45], [0.225] * 3)


def test_reverse_channels_equals_published():
    _, expected = GOLDEN["pack_pathway"]["reverse_input_channel"]
    assert transforms.reverse_channels(torch.tensor([0.0, 1.0, 2.0])).tolist() == expected


def test_flip_mirrors_columns():
    clip = random_clip(2, 3, 4, 3)
    assert torch.equal(transforms.flip(clip)[:, :, 0], clip[:, :, -1])
    assert torch.equal(transforms.flip(transforms.flip(clip)), clip)


# uint8 against float -----
@pytest.mark.parametrize("num_frames", [1, 3])
@pytest.mark.parametrize("box", [(0, 0, 40, 56), (3, 5, 17, 31), (10, 40, 30, 7), (39, 55, 1, 1)])
@pytest.mark.parametrize("size", [24, 61])
def test_uint8_path_is_within_half_a_grey_level_of_the_float_path(num_frames, box, size):
    clip = random_clip(num_frames, 40, 56, 3)
    as_float = transforms.flip(transforms.crop_and_resize(clip.float(), box, size))
    as_double = transforms.flip(transforms.crop_and_resize(clip.double(), box, size))
    ours = transforms.flip(transforms.crop_and_resize(clip, box, size))
    assert ours.dtype == torch.uint8
    assert ours.shape == (num_frames, size, size, 3)
    assert_close(ours, as_float, 0.5)
    assert_close(ours, as_double, 0.501)


def test_resize_averages_neighbours_by_hand():
    """Halving takes means of 2 x 2; at a third each new centre is an old one, as nothing is antialiased."""
    clip = torch.arange(16, dtype=torch.uint8).reshape(1, 4, 4, 1) * 2
    assert transforms.resize(clip, 2, 2).flatten().tolist() == [5, 9, 21, 25]
    row = torch.tensor([0.0, 0, 0, 90, 0, 0, 0, 0, 0]).reshape(1, 1, 9, 1)
    assert transforms.resize(row, 1, 3).flatten().tolist() == [0, 0, 0]


def test_antialiasing_weighs_all_pixels_that_one_covers():
    """Four to one: the triangle filter reaches 4 pixels to both sides of 1.5, cut at the border and normed."""
    row = torch.tensor([8.0, 0, 0, 0, 0, 0, 0, 0]).view(1, 1, 8, 1)
    weights = [4 - abs(place - 1.5) for place in range(8) if abs(place - 1.5) < 4]
    smooth = transforms.resize(row, 1, 2, antialias=True).flatten()
    assert smooth[0] == pytest.approx(8 * weights[0] / sum(weights), abs=1e-5)
    assert transforms.resize(row, 1, 2).flatten()[0] == 0


def test_resizing_to_the_same_size_copies_nothing():
    clip = random_clip(2, 5, 7, 3)
    assert transforms.resize(clip, 5, 7) is clip
    assert transforms.resize_short_side(clip, 5) is clip


def test_memory_order_stays_time_rows_columns_channels():
    for clip in (random_clip(4, 20, 30, 3), random_clip(4, 20, 30, 3).float(), random_clip(1, 20, 30, 3)):
        assert transforms.crop_and_resize(clip, (2, 3, 10, 20), 16).is_contiguous()


# Moving crops -----
def test_moving_crop_cuts_each_frame_at_its_box():
    clip = random_clip(3, 20, 30, 3)
    boxes = np.array([(0, 0, 10, 10), (2, 4, 12, 14), (5, 9, 15, 21)])
    ours = transforms.crop_and_resize_moving(clip, boxes, 8)
    for t, box in enumerate(boxes.tolist()):
        assert torch.equal(ours[t], transforms.crop_and_resize(clip, tuple(box), 8)[t])
    with pytest.raises(ValueError, match="2 boxes were given for 3 frames"):
        transforms.crop_and_resize_moving(clip, boxes[:2], 8)


# Erasing -----
def erased(mode, boxes, seed=0, shape=(3, 16, 20, 3)):
    clip = torch.full(shape, 9.0)
    assert transforms.erase_(clip, boxes, mode, torch.Generator().manual_seed(seed)) is clip
    return clip


@pytest.mark.parametrize("mode", transforms.ERASE_MODES)
def test_erasing_fills_the_box_and_nothing_else(mode):
    clip = erased(mode, [(2, 1, 13, 7)])
    inside = torch.zeros(16, 20, dtype=torch.bool)
    inside[2:15, 1:8] = True
    assert (clip[:, ~inside] == 9).all()
    assert (clip[:, inside] != 9).all()
    assert torch.equal(clip, erased(mode, [(2, 1, 13, 7)]))


def test_erasing_with_a_constant_equals_published():
    for case in GOLDEN["random_erasing"]["cases"]:
        if case["mode"] == "const":
            box = case["erased_bounding_box_per_frame"][0]
            boxes = [] if box is None else [(box[0], box[1], box[2] - box[0], box[3] - box[1])]
            assert_checksum(erased("const", boxes), {**case["output"], "shape": [3, 3, 16, 20]})


def test_noise_is_fresh_for_each_frame():
    pixels = erased("pixel", [(0, 0, 16, 20)], shape=(4, 16, 20, 3))
    assert abs(pixels.mean()) < 0.05
    assert abs(pixels.std() - 1) < 0.05
    assert len({frame.sum().item() for frame in pixels}) == 4
    colours = erased("rand", [(0, 0, 16, 20)], shape=(4, 16, 20, 3))
    assert (colours == colours[:, :1, :1]).all()
    assert len(colours[:, 0, 0].unique()) == 12


def test_several_boxes_spare_no_frame():
    """Published: with up to 2 boxes the first half of the frames is left alone. Ours: all are erased."""
    published = [
        c["erased_bounding_box_per_frame"] for c in GOLDEN["random_erasing"]["cases"] if c["num_splits"] == 2
    ]
    assert published
    assert all(frames[0] is None for frames in published)
    clip = erased("const", np.array([(0, 0, 4, 4), (8, 8, 4, 4)]))
    assert (clip == 0).sum(dim=(1, 2, 3)).tolist() == [96, 96, 96]


def test_empty_boxes_are_skipped():
    assert (erased("pixel", np.zeros((2, 4), dtype=np.int64)) == 9).all()


def test_erasing_refuses_unknown_modes_and_boxes_outside():
    with pytest.raises(
        ValueError, match="'noise' is unknown; write one of pixel, rand, const in AUG.RE_MODE"
    ):
        erased("noise", [(0, 0, 2, 2)])
    with pytest.raises(ValueError, match="does not lie in a frame of 20x16"):
        erased("const", [(10, 0, 7, 2)])


# Colours
def colours(dtype=torch.uint8):
    clip = torch.tensor([[[[200, 100, 0], [40, 40, 40]]]], dtype=torch.uint8)
    return clip if dtype is torch.uint8 else clip.to(dtype) / 255


@pytest.mark.parametrize(
    ("name", "factor", "expected"),
    [
        ("brightness", 0.5, [[100, 50, 0], [20, 20, 20]]),
        ("brightness", 2.0, [[255, 200, 0], [80, 80, 80]]),  # cut at white
        ("contrast", 0.0, [[79, 79, 79], [79, 79, 79]]),  # greys 118.5 and 40, mean 79.25
        ("saturation", 0.0, [[118, 118, 118], [40, 40, 40]]),
        ("saturation", 1.0, [[200, 100, 0], [40, 40, 40]]),
    ],
)
def test_colours_are_blended_with_black_mean_grey_or_own_grey(name, factor, expected):
    changed = transforms.jitter_colours(colours(), [name], [factor])
    assert changed.dtype is torch.uint8
    assert (changed[0, 0].int() - torch.tensor(expected)).abs().max() <= 1
    floats = transforms.jitter_colours(colours(torch.float32), [name], [factor])
    assert (changed.float() / 255 - floats).abs().max() <= 0.5001 / 255


def test_colour_changes_are_applied_in_the_order_given():
    one = transforms.jitter_colours(colours(), ["brightness", "contrast"], [1.5, 0.5])
    other = transforms.jitter_colours(colours(), ["contrast", "brightness"], [0.5, 1.5])
    assert not torch.equal(one, other)
