"""Two tests on the same videos: who is better, in which classes, and can it be chance."""

import pytest

from slowfast.reporting import comparing
from slowfast.reporting.comparing import compare, pair
from slowfast.reporting.reading import read_run


@pytest.fixture
def two(made_up):
    """A weak and a strong test of the same 200 videos."""
    return [read_run(made_up(f"skill {skill}").write(200, 8, skill=skill, seed=skill)) for skill in (1, 3)]


def test_figures_are_those_of_the_two_tests_and_the_interval_holds_their_difference(two):
    found = compare(*two)
    figures = {one.name: one for one in found.differences}
    assert list(figures) == ["top-1", "top-5", "mean over classes of top-1"]
    for name, key in (("top-1", "top1"), ("top-5", "top5")):
        one = figures[name]
        assert (one.first, one.second) == pytest.approx([run.results["video"][key] for run in two])
        assert one.low < one.difference < one.high
        assert one.difference == pytest.approx(100 * (one.test.only_second - one.test.only_first) / 200)
    assert figures["top-1"].low > 0 and figures["top-1"].test.mid_p < 1e-6
    assert figures["mean over classes of top-1"].test is None
    assert found.differences == compare(*two).differences


def test_a_test_is_no_better_than_itself(two):
    found = compare(two[0], two[0])
    assert all((one.difference, one.low, one.high) == (0, 0, 0) for one in found.differences)
    assert found.differences[0].test.mid_p == 1 and found.pairing.said() == ""


def test_classes_come_by_how_much_they_changed(two):
    found = compare(*two).classes
    changes = [abs(one.second - one.first) for one in found]
    assert changes == sorted(changes, reverse=True) and sum(one.videos for one in found) == 200
    run, one = two[1], found[0]
    rows = [row for row, (label,) in enumerate(run.labels) if run.class_names[label] == one.name]
    right = [run.scores[row].argmax() == run.labels[row][0] for row in rows]
    assert one.videos == len(rows) and one.second == pytest.approx(100 * sum(right) / len(rows))


def test_videos_are_matched_by_name_and_the_others_counted(made_up):
    paths, labels = ["a", "b", "b", "c", "d"], [0, 1, 2, 3, 4]
    first = read_run(made_up("first").write(5, 6, paths=paths, labels=labels))
    other = read_run(made_up("other").write(5, 6, paths=["d", "b", "x", "b", "a"], labels=[4, 1, 0, 2, 5]))
    found = pair(first, other)
    assert (found.first.tolist(), found.second.tolist()) == ([1, 2, 4], [1, 3, 0])
    assert (found.only_first, found.only_second, found.relabelled) == (1, 1, 1)
    assert found.said() == (
        "1 video in the first run alone, 1 video in the second run alone, 1 video with other labels"
    )


def test_classes_may_be_numbered_in_another_order(made_up):
    """The same labels by name, so the same scores of the same videos."""
    names, labels = [f"class {number}" for number in range(6)], [0, 1, 2, 3, 4, 5] * 5
    first = read_run(made_up("first").write(30, 6, labels=labels, names=names, skill=9))
    turned = [5 - label for label in labels]
    other = read_run(made_up("other").write(30, 6, labels=turned, names=names[::-1], skill=9))
    found = compare(first, other)
    assert found.pairing.said() == "" and found.differences[0].first == found.differences[0].second == 100
    assert {one.name for one in found.classes} == set(names)


def test_several_labels_are_compared_by_their_average_precision(made_up):
    labels = [(row % 6, (row + row // 6 + 1) % 6) for row in range(60)]
    runs = [
        read_run(made_up(f"skill {skill}").write(60, 6, labels=labels, skill=skill, seed=3, **order))
        for skill, order in ((0.5, {}), (4, {}))
    ]
    (one,) = compare(*runs).differences
    assert (one.first, one.second) == pytest.approx([run.results["video"]["map"] for run in runs])
    assert one.low < one.difference < one.high and one.low > 0 and one.test is None


def test_what_cannot_be_compared_is_refused(made_up):
    one = read_run(made_up("one").write(12, 6))
    none = read_run(made_up("none").write(12, 6, unlabelled="all labels are 0"))
    several = read_run(made_up("several").write(12, 6, labels=[(0,)] * 12))
    renamed = read_run(made_up("renamed").write(12, 6, labels=[(0,)] * 12, names=list("abcdef")))
    elsewhere = read_run(made_up("elsewhere").write(12, 6, paths=[f"{number}.webm" for number in range(12)]))
    with pytest.raises(ValueError, match="none has no accuracy to compare: all labels are 0"):
        comparing.check_comparable([one, none])
    with pytest.raises(ValueError, match="several has several labels a video and others one"):
        comparing.check_comparable([one, several])
    with pytest.raises(ValueError, match="the runs have other classes"):
        comparing.check_comparable([several, renamed])
    with pytest.raises(ValueError, match="have no video in common .12 videos in the first run alone"):
        compare(one, elsewhere)


def test_what_is_not_alike_is_told(made_up):
    one = read_run(made_up("one").write(12, 6))
    other = read_run(made_up("other").write(13, 6, clips=2, list="lists/other.csv"))
    assert comparing.warnings([one, one]) == []
    assert comparing.warnings([one, other]) == [
        "the views (frames x crops x clips) differ: 8x3x4, 8x3x2",
        "the lists have other numbers of videos: 12, 13",
        "the lists are other files: lists/test.csv, lists/other.csv",
    ]
