"""Frame numbers against the published sampling (golden/sampling.json), and the rules that differ from it."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast.datasets import sampling

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "sampling.json").read_text())


class PythonStream:
    """Python's `random`, which made the published random cases, behind the names of a numpy Generator."""

    def __init__(self, seed):
        self.stream = random.Random(seed)

    def uniform(self, low, high):
        return self.stream.uniform(low, high)

    def integers(self, low, high, endpoint):
        assert endpoint
        return [self.stream.randint(a, b) for a, b in zip(low, high, strict=True)]


def rows(*keys):
    part = GOLDEN
    for key in keys:
        part = part[key]
    assert part["rows"]
    return part["rows"]


def test_clip_start_equals_published():
    for length, span, num_clips, use_offset, expected in rows("start_end"):
        starts = [sampling.clip_start(length, span, clip, num_clips, use_offset) for clip in range(num_clips)]
        assert [[start, start + span - 1] for start in starts] == expected


def test_random_start_equals_published_for_the_same_draws():
    for seed, length, span, (start, _) in rows("start_end", "random"):
        assert sampling.random_start(length, span, PythonStream(seed)) == start


def test_dense_indices_equal_published():
    for length, num_frames, rate, num_clips, use_offset, clip, expected in rows("dense_decord"):
        span = sampling.clip_span(num_frames, rate)
        start = sampling.clip_start(length, span, clip, num_clips, use_offset)
        assert sampling.dense_indices(start, span, num_frames, length).tolist() == expected


def test_random_dense_indices_equal_published_for_the_same_draws():
    for seed, length, num_frames, rate, expected in rows("dense_decord_train"):
        span = sampling.clip_span(num_frames, rate)
        start = sampling.random_start(length, span, PythonStream(seed))
        assert sampling.dense_indices(start, span, num_frames, length).tolist() == expected


def test_sampling_in_seconds_equals_published_where_it_sees_the_whole_video():
    """The published PyAV route decodes around the clip first and samples a second time; where the file does
    not state its duration it samples the whole video once, as we always do. Elsewhere the second rounding
    moves frames.
    """
    for length, (
        num,
        den,
    ), _, duration_known, num_frames, rate, target, num_clips, offset, clip, expected in rows("dense_pyav"):
        span = sampling.clip_span(num_frames, rate, unit="seconds", fps=num / den, target_fps=target)
        start = sampling.clip_start(length, span, clip, num_clips, offset)
        ours = sampling.dense_indices(start, span, num_frames, length)
        if duration_known:
            assert np.abs(ours - expected).max() <= 1
        else:
            assert ours.tolist() == expected


def test_dense_indices_from_given_start_equal_published():
    for length, start, end, num_frames, expected in rows("temporal_sampling"):
        assert sampling.dense_indices(start, end - start + 1, num_frames, length).tolist() == expected


def test_linspace_rounds_like_torch():
    draws = np.random.default_rng(0)
    for _ in range(500):
        num, start, span = int(draws.integers(1, 40)), draws.uniform(0, 400), draws.uniform(1, 300)
        ours = sampling.linspace_float32(start, start + span - 1, num)
        assert ours.dtype == np.float32
        np.testing.assert_allclose(
            ours, torch.linspace(start, start + span - 1, num).numpy(), rtol=3e-7, atol=0
        )


def test_segments_equal_published():
    for length, num_frames, num_clips, clip, expected in rows("segments_test"):
        assert (sampling.segment_indices(length, num_frames, clip, num_clips) + 1).tolist() == expected
    for length, num_frames, num_clips, clip, expected in rows("sparse_video", "test"):
        assert sampling.segment_indices(length, num_frames, clip, num_clips).tolist() == expected


def test_a_stretch_is_evenly_spread_and_anywhere_in_the_video():
    rng = np.random.default_rng(0)
    drawn = [sampling.stretch_indices_random(160, 16, 0.5, rng) for _ in range(500)]
    for indices in drawn:
        steps = np.diff(indices)
        assert len(indices) == 16 and steps.max() - steps.min() <= 1  # rounding alone
        assert 4 <= steps.min() and steps.max() <= 10 and 0 <= indices[0] and indices[-1] < 160
    firsts = [indices[0] for indices in drawn]
    assert min(firsts) <= 2 and max(firsts) >= 60 and max(indices[-1] for indices in drawn) == 159
    whole = [sampling.stretch_indices_random(160, 16, 1.0, rng) for _ in range(50)]
    assert {int(indices[0]) for indices in whole} <= set(range(10))
    assert sampling.stretch_indices_random(3, 8, 0.5, rng).max() <= 2


def test_validation_segments_do_not_depend_on_the_number_of_test_views():
    """Published: validation takes temporal index 0 of TEST.NUM_ENSEMBLE_VIEWS clips. Ours: the middle of each
    segment, which is the published choice for one view."""
    differ = 0
    for length, num_frames, num_views, expected in rows("segments_val"):
        assert (sampling.segment_indices(length, num_frames, 0, num_views) + 1).tolist() == expected
        differ += (sampling.segment_indices(length, num_frames, 0, 1) + 1).tolist() != expected
    assert differ


def test_random_segments_equal_published_for_the_same_draws():
    for seed, length, num_frames, expected in rows("segments_train"):
        ours = sampling.segment_indices_random(length, num_frames, PythonStream(seed))
        assert (ours + 1).tolist() == expected
    for seed, length, num_frames, expected in rows("sparse_video", "train"):
        assert sampling.segment_indices_random(length, num_frames, PythonStream(seed)).tolist() == expected


def test_frames_of_whole_published_data_sets():
    """Three Kinetics test sets of the reference, item by item: clip, crop and frame numbers of each view."""
    for case in GOLDEN["kinetics_dataset_test"]["cases"]:
        num_clips, num_crops = case["NUM_ENSEMBLE_VIEWS"], case["NUM_SPATIAL_CROPS"]
        span = sampling.clip_span(case["NUM_FRAMES"], case["SAMPLING_RATE"])
        for item in case["items"]:
            video, view = divmod(item["item"], num_clips * num_crops)
            clip, crop = divmod(view, num_crops)
            clips = sampling.all_clips(
                case["video_frames"][video], span, case["NUM_FRAMES"], num_clips, case["USE_OFFSET_SAMPLING"]
            )
            assert clips[clip].tolist() == item["frame_indices"]
            assert sampling.crop_position(crop, num_crops) == item["spatial_idx"]


# Values by hand -----
def test_eight_by_eight_has_spacing_nine():
    assert sampling.dense_indices(0, 64, 8, 300).tolist() == [0, 9, 18, 27, 36, 45, 54, 63]


@pytest.mark.parametrize("length", [1, 2, 7])
def test_short_video_repeats_its_last_frame(length):
    clips = sampling.all_clips(length, 64, 8, 4, use_offset=True)
    assert clips.shape == (4, 8)
    assert clips.dtype == np.int64
    assert (clips == clips[0]).all()
    assert clips[0].tolist() == [min(9 * k, length - 1) for k in range(8)]


def test_one_frame_clip():
    assert sampling.dense_indices(18.7, 8, 1, 100).tolist() == [18]
    assert sampling.segment_indices(9, 1, 0, 1).tolist() == [4]


def test_span_in_seconds():
    assert sampling.clip_span(8, 8) == 64
    assert sampling.clip_span(8, 8, unit="seconds", fps=15, target_fps=30) == 32
    assert sampling.clip_span(1, 1, unit="seconds", fps=5, target_fps=30) == 1


def test_random_start_is_uniform_over_the_free_stretch():
    rng = np.random.default_rng(3)
    starts = np.array([sampling.random_start(164, 64, rng) for _ in range(2000)])
    assert 0 <= starts.min() < 1
    assert 99 < starts.max() <= 100
    assert abs(starts.mean() - 50) < 2


def test_random_segments_stay_in_their_segment_and_reach_its_ends():
    rng = np.random.default_rng(4)
    drawn = np.stack([sampling.segment_indices_random(42, 8, rng) for _ in range(500)])
    assert drawn.min(axis=0).tolist() == [0, 5, 10, 15, 20, 26, 31, 36]
    assert drawn.max(axis=0).tolist() == [5, 10, 15, 20, 26, 31, 36, 41]


def test_three_crops_are_left_centre_right():
    assert [sampling.crop_position(crop, 3) for crop in range(3)] == [0, 1, 2]


def test_a_single_crop_is_the_centre_also_for_frame_folders():
    """Published: frame folders take v mod 1 = 0, the left or top crop. Ours: the centre for all data sets."""
    assert sampling.crop_position(0, 1) == 1


def test_frame_order():
    indices = np.array([[0, 4, 8, 12], [1, 5, 9, 13]])
    rng = np.random.default_rng(0)
    assert sampling.frame_order(indices, "forward", rng).tolist() == indices.tolist()
    assert sampling.frame_order(indices, "reversed", rng).tolist() == [[12, 8, 4, 0], [13, 9, 5, 1]]
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
    shuffled = sampling.frame_order(indices, "shuffled", rng)
    assert sorted(shuffled[0]) == indices[0].tolist()
    assert (shuffled[1] == shuffled[0] + 1).all()


def test_views_of_several_numbers_of_clips_stand_one_after_the_other():
    counts = sampling.clip_counts(4, [1, 2, 4, 1])
    assert counts == (4, 1, 2)
    assert sampling.view_ranges(counts, 3) == {4: range(0, 12), 1: range(12, 15), 2: range(15, 21)}
    assert sampling.view_ranges(sampling.clip_counts(10, []), 1) == {10: range(10)}


def test_distinct_clips_keep_the_order_in_which_they_come():
    clips = np.array([[5, 6], [1, 2], [5, 6], [0, 9], [1, 2]])
    different, which = sampling.distinct_clips(clips)
    assert different.tolist() == [[5, 6], [1, 2], [0, 9]]
    assert which.tolist() == [0, 1, 0, 2, 1]


# Refusals -----
def test_refusals():
    with pytest.raises(ValueError, match="'minutes' is unknown; write one of frames, seconds"):
        sampling.clip_span(8, 8, unit="minutes")
    for fps in (None, 0, float("nan")):
        with pytest.raises(ValueError, match="no usable frame rate"):
            sampling.clip_span(8, 8, unit="seconds", fps=fps)
    with pytest.raises(ValueError, match="'random' is unknown; write one of forward, reversed, shuffled"):
        sampling.frame_order(np.arange(3), "random", np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 spatial crops .* 1 .centre. or 3"):
        sampling.crop_position(0, 2)
    for sample in (
        lambda: sampling.dense_indices(0, 64, 8, 0),
        lambda: sampling.segment_indices(0, 8, 0, 1),
        lambda: sampling.segment_indices_random(0, 8, np.random.default_rng(0)),
    ):
        with pytest.raises(ValueError, match="a video of 0 frames"):
            sample()


def test_importing_it_needs_no_torch():
    check = "import sys, slowfast.datasets.sampling; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
