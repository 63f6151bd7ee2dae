"""Where windows lie, by arithmetic that can be done by hand."""

import numpy as np
import pytest

from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frames import UnreadableVideo
from slowfast.inference.windows import Windows, in_frames, plan

DENSE = ClipSampler(num_frames=4, sampling_rate=3, num_clips=2)
SPARSE = ClipSampler(num_frames=8, sampling_rate=1, num_clips=1, rule="segments")


def windows(length, stride, taken=(0,)):
    return Windows(length, stride, np.array([taken]), np.array([0]))


def test_a_window_is_what_a_clip_spans_and_overlaps_by_half():
    found = plan(DENSE, 25.0, None, None)
    assert (found.length, found.stride) == (12, 6)
    # linspace from 0 to 11 in 4 steps, cut to whole numbers; both clips of so short a video are the same one
    assert found.clips.tolist() == [[0, 3, 7, 11]] and found.which.tolist() == [0, 0]


def test_a_longer_window_has_the_clips_of_a_video_of_that_length():
    found = plan(DENSE, 25.0, "1", "0.4")
    assert (found.length, found.stride) == (25, 10)
    assert found.clips.tolist() == [[0, 3, 7, 11], [13, 16, 20, 24]]


def test_models_that_look_at_whole_videos_get_four_seconds():
    assert plan(SPARSE, 12.0, None, None).length == 48
    assert plan(SPARSE, None, None, None).length == 32  # every 4th frame where no rate is known
    assert plan(SPARSE, 12.0, None, None).clips.shape == (1, 8)


def test_clips_measured_in_seconds_follow_the_rate():
    sampler = ClipSampler(num_frames=4, sampling_rate=3, num_clips=1, unit="seconds", target_fps=30)
    assert plan(sampler, 60.0, None, None).length == 24 and plan(sampler, 12.0, None, None).length == 5
    with pytest.raises(UnreadableVideo, match="no frame rate, which DATA.SAMPLING_UNIT seconds needs"):
        plan(sampler, None, None, None)


@pytest.mark.parametrize(
    ("extent", "fps", "frames"),
    [("2.5", 30.0, 75), (2, 25.0, 50), ("64f", None, 64), (" 0.01 ", 25.0, 1), (".5", 10, 5), ("1f", 9, 1)],
)
def test_lengths_in_seconds_and_in_frames(extent, fps, frames):
    assert in_frames(extent, fps, "--window") == frames


@pytest.mark.parametrize(
    "extent", ["", "0", "0f", "-1", "2.5f", "64 frames", "1e3", "f", float("nan"), float("inf")]
)
def test_what_is_no_length_is_refused(extent):
    with pytest.raises(
        ValueError, match="--window is .*; write seconds above 0, such as 2.5, or frames, such as 64f"
    ):
        in_frames(extent, 25.0, "--window")


def test_seconds_of_a_video_without_rate_are_refused():
    with pytest.raises(UnreadableVideo, match="no frame rate, which --stride in seconds needs: write frames"):
        in_frames("2", None, "--stride")


@pytest.mark.parametrize("stride", [1, 3, 8, 11])
@pytest.mark.parametrize("taken", [(0, 7), (2, 3, 5), (4,)])
def test_which_window_ends_with_a_frame_and_which_takes_it_last(stride, taken):
    found = windows(8, stride, taken)
    for frame in range(60):
        ending = [window for window in range(60) if window * stride + 7 == frame]
        taking = [window for window in range(60) if frame - window * stride in taken]
        assert found.ending_with(frame) == (ending[0] if ending else None)
        assert found.last_taking(frame) == (taking[-1] if taking else None)


@pytest.mark.parametrize(
    ("length", "stride", "num_frames", "window"),
    [
        (10, 5, 20, None),  # windows at 0, 5, 10 end with the video
        (10, 5, 21, 3),  # that at 15 has 6 of its 10 frames, of which 1 is in no other
        (10, 10, 24, None),  # that at 20 has 4 of 10: too few
        (10, 10, 25, 2),
        (10, 5, 3, 0),  # the only one is scored however short
        (10, 5, 10, None),
        (10, 30, 25, None),  # between two windows
        (10, 30, 36, 1),
        (10, 30, 33, None),
    ],
)
def test_the_end_of_a_video_cuts_a_window_short(length, stride, num_frames, window):
    assert windows(length, stride).cut_short(num_frames) == window
