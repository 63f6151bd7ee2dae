"""Accuracy by number of views: sets of clips, and the last point is the accuracy of the test."""

import math

import numpy as np
import pytest
import torch

from slowfast.engine import evaluator, metrics
from slowfast.reporting import views


def test_all_sets_of_clips_where_there_are_few_else_different_drawn_ones():
    assert views.subsets(4, 2) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    drawn = views.subsets(10, 5)
    assert len(set(drawn)) == len(drawn) == views.MAX_SUBSETS and drawn == views.subsets(10, 5)
    assert all(len(set(one)) == 5 and max(one) < 10 for one in drawn)
    assert views.subsets(10, 3, most=1) == [(0, 1, 2)]


def test_sets_of_crops():
    assert views.crop_sets(1) == {"one crop": (0,)}
    assert views.crop_sets(3) == {"centre crop": (1,), "all 3 crops": (0, 1, 2)}


def test_points_by_hand():
    """Two videos of label 0, two clips: of the first one clip is right and outweighs the other, of the second none."""
    logits = np.array([[[3, 0], [0, 1]], [[0, 1], [0, 1]]], np.float32)
    points = views.top1_by_views(logits, np.array([0, 0]), clips=2, crops=1, method="sum")
    assert [(one.clips, one.mean, one.low, one.high, one.num_subsets) for one in points] == [
        (1, 25.0, 0.0, 50.0, 2),
        (2, 50.0, 50.0, 50.0, 1),
    ]


@pytest.mark.parametrize("method", metrics.ENSEMBLE_METHODS)
def test_with_all_views_it_is_the_accuracy_of_the_test(method):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 6, 4)).astype(np.float32), rng.integers(4, size=300)
    points = views.top1_by_views(logits, labels, clips=2, crops=3, method=method)
    scores = metrics.merge_views(torch.from_numpy(logits), method).numpy()
    expected = evaluator.measure(scores, labels.tolist(), multi_label=False)["top1"]
    assert points[-1].crops == "all 3 crops" and points[-1].mean == pytest.approx(expected)
    centre = metrics.merge_views(torch.from_numpy(logits[:, [1, 4]]), method).numpy()
    expected = evaluator.measure(centre, labels.tolist(), multi_label=False)["top1"]
    assert points[1].crops == "centre crop" and points[1].mean == pytest.approx(expected)


def test_several_labels_have_a_mean_average_precision_of_the_first_clips():
    rng = np.random.default_rng(1)
    logits, hot = (
        rng.normal(size=(30, 4, 3)).astype(np.float32),
        (rng.random((30, 3)) < 0.4).astype(np.float32),
    )
    points = views.map_by_views(logits, hot, clips=2, crops=2, method="sum")
    assert [one.clips for one in points] == [1, 2]
    scores = torch.from_numpy(logits[:, :2].sum(axis=1))
    assert points[0].mean == pytest.approx(metrics.mean_average_precision(scores, torch.from_numpy(hot)))
    assert not math.isnan(points[1].mean)
