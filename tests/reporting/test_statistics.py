"""Figures of a report against values worked out by hand, or by another way of computing them."""

import math

import numpy as np
import pytest
import torch

from slowfast.engine import metrics
from slowfast.reporting import statistics
from slowfast.reporting.statistics import Bin, RankedClasses


def test_ranks_count_the_classes_before_the_label_and_ties_go_by_number():
    scores = np.array([[3, 1, 2], [1, 1, 1], [0, 5, 5], [0, 5, 5]], np.float32)
    assert statistics.label_ranks(scores, np.array([2, 2, 1, 2])).tolist() == [1, 2, 0, 1]


def test_ranks_agree_with_the_top_k_of_the_engine_across_chunks():
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (3000, 20)).astype(np.float32)  # with many ties
    labels = rng.integers(20, size=3000)
    ranks = statistics.label_ranks(scores, labels)
    hits = metrics.topk_correct(torch.from_numpy(scores), torch.from_numpy(labels), (1, 5))
    assert {k: int((ranks < k).sum()) for k in (1, 5)} == {k: int(hit) for k, hit in hits.items()}


def test_of_several_labels_the_best_scored_one_is_taken():
    scores = np.array([[3, 1, 2], [1, 4, 2]], np.float32)
    assert statistics.best_labels(scores, [(1, 2), (0,)]).tolist() == [2, 0]


def test_a_confusion_matrix_keeps_only_cells_that_are_not_empty():
    found = statistics.confusion(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 0, 2]), 400)
    cells = zip(found.labels.tolist(), found.predicted.tolist(), found.counts.tolist(), strict=True)
    assert list(cells) == [(0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 0, 2), (2, 2, 1)]
    assert found.pairs() == [(2, 0, 2), (0, 1, 1)]


def test_bins_hold_their_upper_edge_and_empty_ones_are_left_out():
    confidence = np.array([0.5, 0.4, 0.9, 1.0, 0.0])
    found = statistics.reliability(confidence, np.array([True, False, True, False, True]), num_bins=2)
    assert [one.count for one in found] == [3, 2]
    assert found[0].confidence == pytest.approx(0.3) and found[0].accuracy == pytest.approx(2 / 3)
    assert len(statistics.reliability(confidence[2:4], np.array([True, True]), num_bins=10)) == 2


def test_calibration_error_by_hand():
    bins = [Bin(0.0, 0.5, 1, 0.4, 1.0), Bin(0.5, 1.0, 3, 0.9, 1 / 3)]
    assert statistics.calibration_error(bins) == pytest.approx(0.25 * 0.6 + 0.75 * (0.9 - 1 / 3))
    assert math.isnan(statistics.calibration_error([]))


def test_negative_log_likelihood_is_that_of_torch():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 7)).astype(np.float32), rng.integers(7, size=50)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits / 2.5), torch.from_numpy(labels))
    assert statistics.negative_log_likelihood(logits, labels, 2.5) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(true):
    rng = np.random.default_rng(2)
    logits = rng.normal(scale=3, size=(20_000, 5)).astype(np.float32)
    chances = statistics.softmax(logits / true)
    labels = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).clip(max=4)
    assert statistics.fit_temperature(logits, labels) == pytest.approx(true, rel=0.05)


def test_the_temperature_of_two_classes_solves_its_equation():
    """Three of four rows with a lead of 1 are right: sigmoid(1 / T) = 3/4, so T = 1 / log 3."""
    logits = np.array([[1, 0]] * 4, np.float32)
    found = statistics.fit_temperature(logits, np.array([0, 0, 0, 1]))
    assert found == pytest.approx(1 / math.log(3), rel=1e-4)


def test_calibration_after_a_temperature_is_of_rows_that_it_has_not_seen():
    """Rows 0, 2, ... are of T 1 / log 3, rows 1, 3, ... of T 1 / log 2 (two of three right); each gets the other's."""
    logits = np.array([[1, 0]] * 24, np.float32)
    labels = np.zeros(24, np.int64)
    labels[[0, 8, 16]] = 1  # 3 of 12 even rows wrong
    labels[[1, 7, 13, 19]] = 1  # 4 of 12 odd rows
    found = statistics.calibrate(logits, labels)
    even, odd = 2 / 3, 3 / 4  # the confidence they get
    expected = -(9 * math.log(even) + 3 * math.log(1 - even) + 8 * math.log(odd) + 4 * math.log(1 - odd)) / 24
    assert found.nll_after == pytest.approx(expected, rel=1e-4)
    assert sum(one.count for one in found.bins_after) == 24 and not found.at_limit
    assert found.error == pytest.approx(1 / (1 + math.exp(-1)) - 17 / 24, abs=1e-5)


def test_where_all_is_right_no_temperature_is_best():
    logits = np.array([[5, 0], [0, 5]] * 3, np.float32)
    found = statistics.calibrate(logits, np.array([0, 1] * 3))
    assert found.at_limit and found.temperature == pytest.approx(statistics.TEMPERATURES[0], rel=0.01)


def test_one_row_has_no_temperature():
    found = statistics.calibrate(np.zeros((1, 3), np.float32), np.array([0]))
    assert found.temperature is None and not found.at_limit and found.nll == pytest.approx(math.log(3))


def test_class_means_leave_out_classes_without_rows():
    counts, means = statistics.class_means(np.array([1.0, 0.0, 1.0]), np.array([0, 0, 2]), 3)
    assert counts.tolist() == [2, 0, 1] and means[[0, 2]].tolist() == [0.5, 1.0] and math.isnan(means[1])


def hits(both, first, second, none=3):
    one = [True] * (both + first) + [False] * (second + none)
    other = [True] * both + [False] * first + [True] * second + [False] * none
    return np.array(one), np.array(other)


@pytest.mark.parametrize(
    ("first", "second", "exact", "mid"),
    [
        (0, 5, 2 / 32, 1 / 32),  # 2 * 1/2^5, and half of its last term less on both sides
        (1, 5, 2 * 7 / 64, 2 * 7 / 64 - 6 / 64),
        (3, 3, 1.0, 1.0),
        (0, 0, 1.0, 1.0),
        (8, 1, 2 * 10 / 512, 2 * 10 / 512 - 9 / 512),
    ],
)
def test_mcnemar_by_counting(first, second, exact, mid):
    found = statistics.mcnemar(*hits(7, first, second))
    assert (found.only_first, found.only_second) == (first, second)
    assert found.exact == pytest.approx(exact) and found.mid_p == pytest.approx(mid)


def test_mcnemar_of_many_rows_nears_the_normal_distribution():
    found = statistics.mcnemar(*hits(10, 5200, 4800))
    normal = math.erfc(400 / math.sqrt(10_000) / math.sqrt(2))
    assert found.mid_p == pytest.approx(normal, rel=1e-2)


def test_a_bootstrap_interval_of_a_mean_has_the_width_of_its_standard_error():
    values = np.random.default_rng(3).normal(size=400)
    low, high = statistics.bootstrap(lambda drawn: drawn @ values / 400, 400, np.random.default_rng(0), 2000)
    assert (high - low) / (2 * 1.96 * values.std() / 20) == pytest.approx(1, rel=0.06)
    assert low < values.mean() < high


def test_a_bootstrap_leaves_out_draws_that_give_nothing():
    seen = []

    def statistic(drawn):
        seen.append(int(drawn.sum()))
        return math.nan if len(seen) % 2 else 1.0

    assert statistics.bootstrap(statistic, 5, np.random.default_rng(0), 10) == (1.0, 1.0)
    assert seen == [5] * 10


def test_average_precision_is_that_of_the_engine_and_weights_are_copies_of_rows():
    rng = np.random.default_rng(4)
    scores, positive = rng.integers(0, 6, (40, 3)).astype(np.float32), rng.random((40, 3)) < 0.3
    positive[:, 2] = False
    ranked = RankedClasses(scores, positive)
    found = ranked.average_precisions(np.ones(40))
    for number in range(2):
        column = slice(number, number + 1)
        parts = torch.from_numpy(scores[:, column]), torch.from_numpy(positive[:, column].astype(np.float32))
        assert found[number] == pytest.approx(metrics.mean_average_precision(*parts))
    assert math.isnan(found[2])
    weights = rng.integers(0, 3, 40)
    rows = np.repeat(np.arange(40), weights)
    expected = RankedClasses(scores[rows], positive[rows]).average_precisions(np.ones(len(rows)))
    assert ranked.average_precisions(weights)[:2] == pytest.approx(expected[:2])
