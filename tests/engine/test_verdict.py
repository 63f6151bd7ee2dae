"""Published against measured: the interval, what fails a reproduction, and what is blamed for it."""

import random

import pytest

from slowfast.engine import verdict
from slowfast.engine.verdict import Published, judge, relabel, tolerance, wilson

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
    assert "not checked" in check.said and not check.likely


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
        assert not verdict._class_order(results(), guesses).likely
    weak = [
        (label, label if rng.random() < 0.3 else rng.randrange(50)) for label in range(50) for _ in range(8)
    ]
    rng.shuffle(weak)
    assert not verdict._class_order(results(), weak).likely


def test_a_renumbering_of_half_of_the_classes_is_found():
    rng = random.Random(0)  # as with names sorted with brackets instead of without
    swapped = {label: label ^ 1 if label < 20 else label for label in range(40)}
    truth = list(range(40)) * 20
    pairs = [(swapped[label], label if rng.random() < 0.7 else rng.randrange(40)) for label in truth]
    assert verdict._class_order(results(), pairs).likely
