"""Counts and averages against the reference and against what a person can derive."""

import json
import math
from pathlib import Path

import pytest
import torch

from slowfast.engine import metrics

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses_metrics.json").read_text())
METER = GOLDEN["test_meter"]
CASES = {case["name"]: case for case in METER["cases"]}


def merged(name: str) -> torch.Tensor:
    """Scores of every video of a meter case, (6, 8), its four views in the order of their ids."""
    case = CASES[name]
    logits = torch.tensor(case["clip_scores"]).unflatten(0, (METER["num_videos"], METER["num_clips"]))
    return metrics.merge_views(logits, case["ensemble_method"])


def accuracies(scores: torch.Tensor, labels: list[int]) -> dict[str, str]:
    hits = metrics.topk_correct(scores, torch.tensor(labels), (1, 5))
    return {f"top{k}_acc": f"{100 * hits[k].item() / len(labels):.2f}" for k in (1, 5)}


# -- top-k --------------------


def test_reference_counts():
    golden = GOLDEN["topk"]
    scores, labels = torch.tensor(golden["scores"]), torch.tensor(golden["labels"])
    hits = metrics.topk_correct(scores, labels, golden["ks"])
    assert [hits[k].item() for k in golden["ks"]] == golden["topks_correct"]
    errors = [100 * (1 - hits[k] / len(labels)).item() for k in golden["ks"]]
    assert errors == pytest.approx(golden["topk_errors"], rel=1e-6)


def test_k_above_the_number_of_classes_counts_every_sample():
    hits = metrics.topk_correct(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([0, 0]), (1, 5))
    assert {k: value.item() for k, value in hits.items()} == {1: 1, 5: 2}


def test_equal_scores_favour_the_lower_class():
    scores = torch.zeros(3, 3)
    hits = metrics.topk_correct(scores, torch.tensor([0, 1, 2]), (1, 2, 3))
    assert [hits[k].item() for k in (1, 2, 3)] == [1, 2, 3]


def test_nan_is_never_a_hit():
    scores = torch.tensor([[math.nan] * 3, [math.nan, 5.0, 1.0], [math.nan, 5.0, 1.0]])
    hits = metrics.topk_correct(scores, torch.tensor([0, 1, 0]), (1, 2))
    assert (hits[1].item(), hits[2].item()) == (0, 1)


def test_nothing_scored():
    hits = metrics.topk_correct(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), (1,))
    assert hits[1].item() == 0


# -- mixed targets --------------------


def one_mixed(scores: list[float], target: list[float], k: int = 1) -> float:
    return metrics.mixed_topk(torch.tensor([scores]), torch.tensor([target]), (k,))[k].item()


def test_each_class_of_a_mixed_sample_counts_by_its_share():
    assert one_mixed([0.0, 2.0, 1.0], [0.0, 0.7, 0.3]) == pytest.approx(0.7)
    assert one_mixed([0.0, 1.0, 2.0], [0.0, 0.7, 0.3]) == pytest.approx(0.3)
    assert one_mixed([0.0, 1.0, 2.0], [0.0, 0.7, 0.3], k=2) == pytest.approx(1.0)
    assert one_mixed([9.0, 1.0, 2.0], [0.0, 0.7, 0.3]) == 0.0


def test_label_smoothing_is_taken_off_the_shares():
    assert one_mixed([0.0, 2.0, 1.0, 0.0], [0.025, 0.655, 0.295, 0.025]) == pytest.approx(0.7)
    assert one_mixed([0.0, 2.0, 1.0], [0.05, 0.9, 0.05]) == pytest.approx(1.0)
    assert one_mixed([2.0, 0.0, 1.0], [0.05, 0.9, 0.05]) == 0.0


def test_guessing_is_right_as_often_as_chance():
    """Unlike with the published merging, where an undecided model is right on nearly every mixed sample."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, 8, generator=generator)
    targets = torch.zeros(4000, 8)
    targets[:, 2], targets[:, 5] = 0.6, 0.4
    assert metrics.mixed_topk(scores, targets, (1,))[1].item() / 4000 == pytest.approx(1 / 8, abs=0.02)


# -- mean average precision --------------------


def test_reference_mean_average_precision():
    golden = GOLDEN["mean_ap"]
    value = metrics.mean_average_precision(torch.tensor(golden["preds"]), torch.tensor(golden["labels"]))
    assert value == pytest.approx(golden["value"], rel=1e-6)


def test_equal_scores_enter_together():
    scores, labels = torch.tensor([[0.9], [0.5], [0.5], [0.1]]), torch.tensor([[1], [1], [0], [0]])
    # Recall 1/2 at precision 1, then recall 1 at precision 2/3, in whatever order the equal ones come.
    assert metrics.mean_average_precision(scores, labels) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert metrics.mean_average_precision(scores[[0, 2, 1, 3]], labels[[0, 2, 1, 3]]) == pytest.approx(5 / 6)


def test_without_positives_there_is_no_value():
    assert math.isnan(metrics.mean_average_precision(torch.rand(3, 2), torch.zeros(3, 2)))


# -- merging of views --------------------


def test_sum_of_logits_as_published():
    case = CASES["sum"]
    torch.testing.assert_close(merged("sum"), torch.tensor(case["video_preds"]), rtol=1e-6, atol=1e-6)
    assert {"split": "test_final", **accuracies(merged("sum"), case["video_labels"])} == case["stats"]


def test_max_agrees_where_the_largest_score_is_positive():
    case = CASES["max"]
    published, ours = torch.tensor(case["video_preds"]), merged("max")
    assert torch.equal(torch.clamp(ours, min=0), published)
    assert {"split": "test_final", **accuracies(ours, case["video_labels"])} == case["stats"]


def test_max_keeps_negative_scores_where_the_published_start_at_zero_loses_them():
    case = CASES["max_all_negative"]
    ours = merged("max_all_negative")
    assert torch.tensor(case["video_preds"]).eq(0).all()
    assert ours.max() < 0
    assert ours[0].tolist() == [max(column) for column in zip(*case["clip_scores"][:4], strict=True)]
    # The same scores, only lowered by 4, as in the case above: the ranking is that of the case above.
    assert accuracies(ours, case["video_labels"]) == {"top1_acc": "66.67", "top5_acc": "83.33"}


def test_sum_with_several_labels_does_not_round():
    """The published sum starts at -1e10, which rounds the scores away: mAP 0.3958 instead of the true one."""
    case = CASES["multi_label_sum"]
    labels = torch.tensor(case["video_labels"])
    assert case["stats"]["map"] == pytest.approx(0.3958333, rel=1e-6)
    published = metrics.mean_average_precision(torch.tensor(case["video_preds"]), labels)
    assert published == pytest.approx(case["stats"]["map"], rel=1e-6)
    ours = metrics.mean_average_precision(merged("multi_label_sum"), labels)
    assert ours == pytest.approx(0.5723958333, rel=1e-6)  # precision summed by hand at each hit


def test_max_with_several_labels():
    case = CASES["multi_label_max"]
    value = metrics.mean_average_precision(merged("multi_label_max"), torch.tensor(case["video_labels"]))
    assert value == pytest.approx(case["stats"]["map"], rel=1e-6)


def test_softmax_averages_probabilities():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]])
    assert metrics.merge_views(logits, "softmax").tolist() == pytest.approx(
        [(0.5 + 0.75) / 2, (0.5 + 0.25) / 2]
    )


def test_unknown_method():
    with pytest.raises(ValueError, match="unknown ensemble method 'mean'; write one of sum, softmax, max"):
        metrics.merge_views(torch.zeros(2, 2), "mean")
