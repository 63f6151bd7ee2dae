"""Mixed batches and soft labels against the published ones (golden/losses_metrics.json), and the draws."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets import mixup
from slowfast.datasets.mixup import Mix

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses_metrics.json").read_text())
BATCHES, TARGETS = GOLDEN["mixed_batches"], GOLDEN["mixup_targets"]


class LegacyStream:
    """numpy's legacy stream behind the names of a Generator: replays the published draws."""

    def __init__(self, seed):
        self.stream = np.random.RandomState(seed)

    def random(self):
        return self.stream.rand()

    def beta(self, a, b):
        return self.stream.beta(a, b)

    def integers(self, low, high):
        return self.stream.randint(low, high)


def draw(rng, *, alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5, height=224, width=224):
    return mixup.draw_mix(
        rng,
        alpha=alpha,
        cutmix_alpha=cutmix_alpha,
        prob=prob,
        switch_prob=switch_prob,
        height=height,
        width=width,
    )


def published_mix(case):
    if case["kind"] == "mixup":
        return Mix(case["lam"])
    box = mixup.draw_cutmix_box(case["lam"], 6, 8, LegacyStream(case["numpy_seed"]))
    top, bottom, left, right = case["box_yl_yh_xl_xh"]
    assert box == (top, left, bottom - top, right - left)
    return Mix(case["lam_corrected"], box)


@pytest.mark.parametrize("case", BATCHES["cases"], ids=lambda case: f"{case['kind']}-{case['lam']}")
@pytest.mark.parametrize("channels_last", [False, True])
def test_mixed_batches_equal_published(case, channels_last):
    clips = torch.tensor(BATCHES["input"])
    if channels_last:
        clips = clips.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
    before, mix = clips.clone(), published_mix(case)
    mixed = mixup.apply_mix(clips, mix)
    torch.testing.assert_close(mixed, torch.tensor(case["output"]), rtol=1e-6, atol=1e-6)
    assert mixed.stride() == clips.stride()
    assert torch.equal(clips, before)
    targets = mixup.mix_targets(
        torch.tensor(BATCHES["labels"]), BATCHES["num_classes"], mix.lam, BATCHES["label_smoothing"]
    )
    torch.testing.assert_close(targets, torch.tensor(case["target"]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("case", TARGETS["cases"], ids=lambda case: f"{case['smoothing']}-{case['lam']}")
def test_targets_equal_published(case):
    labels = torch.tensor(TARGETS["labels"])
    ours = mixup.mix_targets(labels, TARGETS["num_classes"], case["lam"], case["smoothing"])
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, torch.tensor(case["target"]), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "case", GOLDEN["mixup_params_by_seed"]["cases"], ids=lambda c: f"{c['numpy_seed']}-{c['args']}"
)
def test_draws_equal_published_for_the_same_stream(case):
    args = case["args"]
    args = {name.removeprefix("mix_").replace("mixup_", ""): value for name, value in args.items()}
    seed = case["numpy_seed"]
    mix = draw(LegacyStream(seed), **args)
    assert (mix.box is not None) is case["use_cutmix"]
    if not case["use_cutmix"]:
        assert mix.lam == case["lam"]
        return
    replay = LegacyStream(seed)  # the numbers before the box, then the box of the published share
    replay.stream.rand(2 if args["alpha"] > 0 else 1)
    assert replay.beta(args["cutmix_alpha"], args["cutmix_alpha"]) == case["lam"]
    assert mix.box == mixup.draw_cutmix_box(case["lam"], 224, 224, replay)
    assert mix.lam == 1 - mix.box[2] * mix.box[3] / 224**2


def test_targets_by_hand():
    ours = mixup.mix_targets(torch.tensor([0, 1]), 4, 0.7, 0.1)
    expected = torch.tensor([[0.655, 0.295, 0.025, 0.025], [0.295, 0.655, 0.025, 0.025]])
    torch.testing.assert_close(ours, expected)


# Distributions -----
def test_probabilities():
    rng = np.random.default_rng(0)
    mixes = [draw(rng, prob=0.6, switch_prob=0.25) for _ in range(4000)]
    mixed = [mix for mix in mixes if mix != Mix()]
    assert abs(len(mixed) / 4000 - 0.6) < 0.03
    assert abs(np.mean([mix.box is not None for mix in mixed]) - 0.25) < 0.03


def test_shares_follow_their_beta_distribution():
    rng = np.random.default_rng(0)
    for alpha in (0.8, 4.0):
        shares = np.array([draw(rng, alpha=alpha, cutmix_alpha=0).lam for _ in range(4000)])
        assert abs(shares.mean() - 0.5) < 0.02
        assert abs(shares.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_cutmix_boxes_lie_in_the_frame_and_match_their_share():
    rng = np.random.default_rng(0)
    for _ in range(500):
        mix = draw(rng, alpha=0, height=40, width=64)
        top, left, height, width = mix.box
        assert 0 <= top <= top + height <= 40
        assert 0 <= left <= left + width <= 64
        assert mix.lam == 1 - height * width / (40 * 64)


# Edges -----
def test_no_mixing_changes_no_clip_but_smooths_labels():
    clips = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    mix = draw(np.random.default_rng(0), prob=0.0, alpha=0.0, cutmix_alpha=0.0)
    assert mix == Mix(1.0, None)
    assert mixup.apply_mix(clips, mix) is clips
    targets = mixup.mix_targets(torch.tensor([0, 1]), 2, mix.lam, 0.2)
    torch.testing.assert_close(targets, torch.tensor([[0.9, 0.1], [0.1, 0.9]]))


def test_a_batch_of_one_is_mixed_with_itself():
    """Published: an assertion fails. Ours: the clip and its label stay what they are."""
    assert GOLDEN["mixup_single_sample"]["type"] == "AssertionError"
    clip = torch.full((1, 3, 2, 4, 4), 0.75)
    for mix in (Mix(0.25), Mix(0.75, (0, 0, 2, 2))):
        torch.testing.assert_close(mixup.apply_mix(clip, mix), clip)
        assert mixup.mix_targets(torch.tensor([1]), 3, mix.lam, 0.0).tolist() == [[0, 1, 0]]


def test_an_empty_box_changes_nothing():
    clips = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    box = mixup.draw_cutmix_box(1.0, 4, 4, np.random.default_rng(0))
    assert box[2:] == (0, 0)
    assert torch.equal(mixup.apply_mix(clips, Mix(1.0, box)), clips)


def test_refusals():
    with pytest.raises(ValueError, match="needs MIXUP.ALPHA or MIXUP.CUTMIX_ALPHA above 0"):
        draw(np.random.default_rng(0), alpha=0.0, cutmix_alpha=0.0)
    with pytest.raises(ValueError, match="one class number a clip is needed"):
        mixup.mix_targets(torch.zeros(2, 5), 5, 0.5, 0.1)


def test_a_still_frame_of_the_partner_is_blended_into_all_frames():
    clips = torch.arange(2 * 3 * 4 * 2 * 2, dtype=torch.float32).view(2, 4, 2, 2, 3).permute(0, 4, 1, 2, 3)
    background = mixup.Background(np.array([1, 0]), np.array([2, 0]), np.array([0.25, 0.0], np.float32))
    mixed = mixup.apply_background(clips, background)
    expected = 0.75 * clips[0] + 0.25 * clips[1][:, 2:3]
    assert torch.allclose(mixed[0], expected) and torch.equal(mixed[1], clips[1])
    assert mixed.stride() == clips.stride()


def test_backgrounds_are_drawn_for_the_share_of_clips_asked_for():
    drawn = mixup.draw_background(
        np.random.default_rng(0), num_clips=4000, num_frames=8, prob=0.3, max_share=0.5
    )
    chosen = drawn.shares[drawn.shares > 0]
    assert len(chosen) == pytest.approx(1200, abs=120) and chosen.max() <= 0.5
    assert chosen.mean() == pytest.approx(0.25, abs=0.02)
    assert set(drawn.frames) == set(range(8))
    assert 0 <= drawn.partners.min() < 40 and 3960 <= drawn.partners.max() < 4000
