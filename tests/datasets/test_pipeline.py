"""The order of steps: uint8 in the worker and floats on the device give what the published float chain gives."""

import numpy as np
import pytest
import torch

from slowfast.datasets import augment, clip_ops, rand_augment, transforms
from slowfast.datasets.pipeline import DeviceStage, EvalViews, TrainViews
from slowfast.utils import seeds

MEAN, STD = (0.45, 0.40, 0.35), (0.225, 0.25, 0.2)


def random_clip(clips=1, frames=4, height=40, width=56):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (clips, frames, height, width, 3), dtype=torch.uint8, generator=generator)


def to_device(views, **options):
    return DeviceStage(MEAN, STD, **options)(views.clips, views.erase_boxes, views.noise_seeds)


def test_training_views_match_the_published_float_chain_within_half_a_grey_level():
    clips = random_clip()
    policy = rand_augment.parse_policy("rand-m5-n2-mstd0.25")
    views = TrainViews(
        crop_size=32, policy=policy, area=(0.3, 1.0), aspect=(0.75, 1.3333), erase_probability=0.0
    )
    for seed in range(6):
        made = to_device(views(clips, [np.random.default_rng(seed)]))[0]
        rng = np.random.default_rng(seed)
        frames = clip_ops.apply_operations(clips[0], rand_augment.draw_rand_augment(policy, rng))
        frames = transforms.normalise(frames, MEAN, STD)  # published: normalise, then crop and flip
        frames = transforms.crop_and_resize(
            frames, augment.draw_resized_crop_box(40, 56, (0.3, 1.0), (0.75, 1.3333), rng), 32
        )
        if augment.draw_flip(rng):
            frames = transforms.flip(frames)
        difference = (made.permute(1, 2, 3, 0) - frames).abs().amax(dim=(0, 1, 2))
        assert (difference <= 0.5001 / 255 / torch.tensor(STD)).all()


def test_every_copy_draws_its_own_augmentation():
    views = TrainViews(crop_size=32, area=(0.1, 1.0), aspect=(0.75, 1.3333), random_flip=False)
    made = views(
        random_clip(), [np.random.default_rng(1), np.random.default_rng(2), np.random.default_rng(1)]
    )
    assert torch.equal(made.clips[0], made.clips[2]) and not torch.equal(made.clips[0], made.clips[1])
    assert made.view_ids.tolist() == [0, 1, 2]


def test_without_area_ranges_the_short_side_is_jittered():
    views = TrainViews(crop_size=32, jitter=(32, 32), random_flip=False)
    made = views(random_clip(height=32, width=32), [np.random.default_rng(0)])
    assert torch.equal(
        made.clips[0], random_clip(height=32, width=32)[0]
    )  # exact-size frames: published code fails


def test_motion_shift_moves_the_crop():
    still = TrainViews(crop_size=32, area=(0.1, 1.0), aspect=(0.75, 1.3333), random_flip=False)
    moving = TrainViews(**{**still.__dict__, "motion_shift": True})
    clips = random_clip()[:, :1].expand(1, 4, 40, 56, 3)  # four times the same frame
    assert (still(clips, [np.random.default_rng(0)]).clips[0].float().std(dim=0) == 0).all()
    assert (moving(clips, [np.random.default_rng(0)]).clips[0].float().std(dim=0) > 0).any()


@pytest.mark.parametrize(("height", "width"), [(40, 56), (56, 40), (40, 40)])
def test_evaluation_views_are_crops_of_the_resized_clip(height, width):
    clips = random_clip(clips=2, height=height, width=width)
    views = EvalViews(scale=36, crop_size=32, num_crops=3)(clips, [])
    assert views.clips.shape == (6, 4, 32, 32, 3) and views.clips.dtype == torch.uint8
    for view in range(6):
        clip, crop = divmod(view, 3)
        frames = transforms.resize_short_side(clips[clip], 36)
        box = transforms.uniform_crop_box(*frames.shape[1:3], 32, crop)
        assert torch.equal(views.clips[view], transforms.crop(frames, box))
    centre = EvalViews(scale=36, crop_size=32, num_crops=1)(clips, [])
    assert torch.equal(centre.clips, views.clips[1::3])


def test_the_whole_frame_is_squeezed_into_the_square_and_antialiased_on_request():
    clips = random_clip(clips=2, height=64, width=96)
    views = EvalViews(scale=99, crop_size=32, num_crops=1, whole_frame=True)(clips, [])
    assert torch.equal(views.clips[1], transforms.resize(clips[1], 32, 32))
    smooth = EvalViews(scale=99, crop_size=32, num_crops=1, whole_frame=True, antialias=True)(clips, [])
    assert torch.equal(smooth.clips[1], transforms.resize(clips[1], 32, 32, antialias=True))
    assert smooth.clips.float().std() < 0.8 * views.clips.float().std()


def test_training_views_are_antialiased_on_request():
    plain = TrainViews(crop_size=32, area=(0.9, 1.0), aspect=(1.0, 1.0), random_flip=False)
    clips = random_clip(height=160, width=160)
    rough, smooth = (
        TrainViews(**{**plain.__dict__, "antialias": antialias})(clips, [np.random.default_rng(0)]).clips
        for antialias in (False, True)
    )
    assert smooth.float().std() < 0.5 * rough.float().std()


def test_crops_that_coincide_are_computed_once():
    clips = random_clip(clips=2, height=40, width=40)
    views = EvalViews(scale=32, crop_size=32, num_crops=3)(clips, [])
    assert views.view_ids.tolist() == list(range(6)) and views.rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.equal(views.clips, EvalViews(scale=32, crop_size=32, num_crops=1)(clips, []).clips)


def test_views_of_repeated_clips_share_their_pixels():
    views = EvalViews(scale=32, crop_size=32, num_crops=3)(random_clip(clips=2), []).repeated([0, 1, 0])
    assert len(views.clips) == 6
    assert views.view_ids.tolist() == list(range(9))
    assert views.rows.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]


def test_the_model_gets_a_channels_last_view_in_memory_order_t_h_w_c():
    views = EvalViews(scale=32, crop_size=32, num_crops=1)(random_clip(), [])
    made = to_device(views)
    assert made.shape == (1, 3, 4, 32, 32)
    assert made.is_contiguous(memory_format=torch.channels_last_3d)


def test_erasing_follows_the_boxes_and_the_seeds_alone():
    clips = random_clip(height=32, width=32).expand(2, 4, 32, 32, 3)
    boxes = torch.tensor([[[4, 6, 8, 10]], [[0, 0, 0, 0]]])
    stage = DeviceStage(MEAN, STD)
    plain = stage(clips, torch.zeros(2, 0, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    made, again, other = (
        stage(clips, boxes, torch.tensor([seed, seed]))
        for seed in (seeds.derive(1), seeds.derive(1), seeds.derive(2))
    )
    assert torch.equal(made, again) and torch.equal(made[1], plain[1])
    changed = (made != plain)[0].all(dim=0).all(dim=0)  # (S, S): every channel and frame
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[4:12, 6:16] = True
    assert torch.equal(changed, expected)
    assert not torch.equal(made[0], other[0])


def test_channels_are_reversed_last():
    views = EvalViews(scale=32, crop_size=32, num_crops=1)(random_clip(), [])
    assert torch.equal(to_device(views, reverse_channels=True), to_device(views).flip(1))


def test_colours_are_changed_alike_in_all_frames_of_a_copy():
    views = TrainViews(crop_size=32, area=(1.0, 1.0), aspect=(1.0, 1.0), random_flip=False)
    coloured = TrainViews(**{**views.__dict__, "colour_strengths": (0.5, 0.0, 0.0)})
    clips = random_clip(height=32, width=32) // 2
    plain, changed = (make(clips, [np.random.default_rng(3)]).clips[0].float() for make in (views, coloured))
    factors = (changed / plain.clamp(min=1))[plain > 40]
    assert factors.std() < 0.01 and abs(factors.mean() - 1) > 0.02
