"""Published against measured: the interval, what fails a reproduction, and what is blamed for it."""

import random
from dataclasses import replace

import pytest

from slowfast.engine import verdict
from slowfast.engine.verdict import Published, judge, proves_little, relabel, tolerance, wilson

ROW = Published(top1=57.2, dataset="ssv1", input_frames=16, crops=3, clips=1, num_test_videos=1000)


def results(**changes):
    base = {
        "video": {"top1": 57.0},
        "num_scored": 1000,
        "num_total": 1000,
        "views": "16x3x1",
        "unreadable": [],
        "damaged": [],
        "median_num_frames": 50.0,
        "class_order": {"kind": "same", "said": "same classes"},
    }
    return base | changes


def decide(precision="off", overrides=(), predictions=((0, 0), (1, 1)), **changes):
    return judge(ROW, results(**changes), list(predictions), precision=precision, overrides=dict(overrides))


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [(0, 10, 0.0, 0.27753), (5, 10, 0.23659, 0.76341), (81, 263, 0.25529, 0.36621)],
)
def test_wilson_intervals(hits, total, low, high):  # the last one is Newcombe 1998, table I
    assert wilson(hits, total) == pytest.approx((low, high), abs=6e-5)
    assert wilson(total - hits, total) == pytest.approx((1 - high, 1 - low), abs=6e-5)


def test_the_tolerance_narrows_with_the_videos_to_the_last_digit():
    low, high = tolerance(78.4, 19787)
    assert (low, high) == pytest.approx((77.72, 79.07), abs=0.01)
    assert tolerance(78.4, 10**12) == pytest.approx((78.3, 78.5), abs=1e-3)
    assert tolerance(100.0, 50)[1] == 100.0


def test_of_few_videos_a_pass_proves_little():
    # Half of the Wilson interval of 78.4 % is 0.57 points for 19787 videos, 2.06 for 1530, each 0.1 wider here
    assert not proves_little(78.4, 19787) and proves_little(78.4, 1530)
    assert not proves_little(98.3, 1530)  # a high share varies less
    assert [proves_little(50.0, count) for count in (2, 2600, 2700)] == [True, True, False]
    found = decide()
    low, high = tolerance(57.2, 1000)
    assert found.half_width == pytest.approx((high - low) / 2)


def test_a_score_within_passes_and_blames_nothing():
    found = decide(precision="auto")
    assert found.passed and found.word == "PASS" and found.causes() == []


@pytest.mark.parametrize(("top1", "side"), [(53.0, "below"), (61.0, "above")])
def test_a_score_outside_fails_on_either_side(top1, side):
    found = decide(video={"top1": top1})
    assert not found.passed and side in found.reasons[0]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"num_scored": 979, "num_total": 979}, "videos"),
        ({"num_scored": 1021, "num_total": 1021}, "videos"),
        ({"views": "16x1x1"}, "views"),
        ({"views": "8x3x1"}, "views"),
    ],
)
def test_another_test_is_no_reproduction_whatever_its_score(changes, name):
    found = decide(**changes)
    assert not found.passed
    assert [check.name for check in found.causes()] == [name]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"damaged": [{}] * 11}, "decoder"),
        ({"median_num_frames": 21.0}, "frame rate"),
        ({"median_num_frames": 62.0}, "frame rate"),
        ({"precision": "bf16"}, "precision"),
        ({"overrides": {"DATA.TEST_SCALE": 256}}, "overrides"),
    ],
)
def test_what_is_odd_is_blamed_for_a_low_score_only(changes, name):
    assert [check.name for check in decide(video={"top1": 30.0}, **changes).causes()] == [name]
    assert decide(**changes).passed


def test_small_deviations_are_not_blamed():
    found = decide(video={"top1": 30.0}, num_scored=985, damaged=[{}] * 9, median_num_frames=52.0)
    assert found.causes() == [] and len(found.checks) == 7


def test_lists_of_video_files_have_no_frame_counts():
    (check,) = [
        check
        for check in decide(video={"top1": 1.0}, median_num_frames=None).checks
        if check.name == "frame rate"
    ]
    assert check.likely is None and "no numbers of extracted frames are known of this list" in check.said


def test_a_data_set_without_known_frame_counts_is_not_checked():
    found = judge(replace(ROW, dataset="toy"), results(), [], precision="off", overrides={})
    assert found.check("frame rate").likely is None
    assert "of the published lists of toy" in found.check("frame rate").said


def test_what_extracted_frames_hide_of_the_decoder_is_not_checked():
    frames, videos = decide(), decide(median_num_frames=None)
    assert frames.check("decoder").likely is None
    assert "cannot be seen from here" in frames.check("decoder").said
    assert videos.check("decoder").likely is False
    unreadable = [{"path": "a", "reason": "no such folder"}] * 21
    assert decide(video={"top1": 1.0}, unreadable=unreadable).check("decoder").likely


@pytest.mark.parametrize(("kind", "likely"), [("unknown", None), ("same", False), ("reordered", False)])
def test_class_order_that_neither_names_nor_numbers_tell_is_not_checked(kind, likely):
    one_of_each = [(label, (label + 1) % 50) for label in range(50)]
    order = {"kind": kind, "said": "as said"}
    check = verdict._class_order(ROW, results(class_order=order), one_of_each)
    assert check.likely is likely
    assert check.said.startswith("as said; too few videos of a class to see")


def test_numbers_tell_the_class_order_without_names():
    rng = random.Random(0)
    order = {"kind": "unknown", "said": "no names"}
    guesses = [(label, rng.randrange(50)) for label in range(50) for _ in range(20)]
    check = verdict._class_order(ROW, results(class_order=order), guesses)
    assert check.likely is False and check.said == "no names; no other numbering of the classes fits better"
    # A score that is not below the published one shows it too, however few the videos.
    right = [(label, label) for label in range(50)]
    assert verdict._class_order(ROW, results(class_order=order), right).likely is False
    # 50 of 100 hit and 57.2 published: their intervals overlap, so a few classes may have changed places unseen.
    near = [(number % 4, number % 4 if number < 50 else 4) for number in range(100)]
    assert verdict._class_order(ROW, results(class_order=order), near).likely is None


def test_a_renumbering_is_found_and_described():
    order = {0: 2, 1: 0, 2: 1, 3: 3}
    pairs = [(order[number % 4], number % 4) for number in range(40)]
    pairs[3] = (0, 0)
    found = relabel(pairs)
    assert found.label_of == order and found.hits == 39
    assert found.describe() == "class 1 of the weights is class 0 of the list, for example"
    assert "-1" in relabel([(number % 5, number % 5 + 1) for number in range(50)]).describe()


def test_noise_is_not_taken_for_a_renumbering():
    rng = random.Random(0)
    for num_classes in (8, 50, 400):
        guesses = [(rng.randrange(num_classes), rng.randrange(num_classes)) for _ in range(400)]
        assert not verdict._class_order(ROW, results(), guesses).likely
    weak = [
        (label, label if rng.random() < 0.3 else rng.randrange(50)) for label in range(50) for _ in range(8)
    ]
    rng.shuffle(weak)
    assert not verdict._class_order(ROW, results(), weak).likely


def test_a_renumbering_of_half_of_the_classes_is_found():
    rng = random.Random(0)  # as with names sorted with brackets instead of without
    swapped = {label: label ^ 1 if label < 20 else label for label in range(40)}
    truth = list(range(40)) * 20
    pairs = [(swapped[label], label if rng.random() < 0.7 else rng.randrange(40)) for label in truth]
    assert verdict._class_order(ROW, results(), pairs).likely
