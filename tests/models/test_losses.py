"""Losses against the reference implementation, and the targets they refuse."""

import json
from pathlib import Path

import pytest
import torch

from slowfast.models.losses import balanced_weights, get_loss

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses_metrics.json").read_text())["losses"]
LOGITS = torch.tensor(GOLDEN["logits"])
LABELS = torch.tensor(GOLDEN["labels"])
SOFT = torch.tensor(GOLDEN["soft_targets"])


@pytest.mark.parametrize(
    ("name", "targets", "golden"),
    [
        ("cross_entropy", LABELS, "cross_entropy"),
        ("soft_cross_entropy", SOFT, "soft_cross_entropy_mean"),
        ("soft_cross_entropy", LABELS, "cross_entropy"),
        ("soft_cross_entropy", torch.eye(6)[LABELS], "cross_entropy"),
        ("bce_logit", SOFT, "bce_logit"),
    ],
)
def test_values_of_the_reference(name: str, targets: torch.Tensor, golden: str) -> None:
    assert get_loss(name)(LOGITS, targets).item() == pytest.approx(GOLDEN["values"][golden], rel=1e-6)


def test_targets_need_not_sum_to_one() -> None:
    assert get_loss("soft_cross_entropy")(LOGITS, 2 * SOFT).item() == pytest.approx(
        2 * GOLDEN["values"]["soft_cross_entropy_mean"], rel=1e-6
    )


@pytest.mark.parametrize("name", ["cross_entropy", "soft_cross_entropy", "bce_logit"])
def test_half_precision_logits_are_averaged_in_float32(name: str) -> None:
    targets = LABELS if name == "cross_entropy" else SOFT
    loss = get_loss(name)(LOGITS.bfloat16(), targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, get_loss(name)(LOGITS.bfloat16().float(), targets))


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("cross_entropy", SOFT),
        ("soft_cross_entropy", SOFT[:, :5]),
        ("soft_cross_entropy", SOFT[0]),
        ("bce_logit", LABELS),
    ],
)
def test_targets_that_would_be_broadcast_are_refused(name: str, targets: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=name):
        get_loss(name)(LOGITS, targets)


def test_an_unknown_loss_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'bce' is not a loss; known: bce_logit, cross_entropy, soft_cross"):
        get_loss("bce")


def test_weights_multiply_the_part_of_each_class() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    weights, labels = torch.tensor([0.5, 1.0, 3.0]), torch.tensor([0, 2, 2, 1])
    each = -logits.log_softmax(1)[range(4), labels]
    expected = (weights[labels] * each).mean()
    for name in ("cross_entropy", "soft_cross_entropy"):
        torch.testing.assert_close(get_loss(name, weights)(logits, labels), expected)
    targets = torch.tensor([[0.9, 0.1, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6], [0.0, 1.0, 0.0]])
    expected = -(weights * targets * logits.log_softmax(1)).sum() / 4
    torch.testing.assert_close(get_loss("soft_cross_entropy", weights)(logits, targets), expected)
    hot = (targets > 0.3).float()
    binary = -(hot * logits.sigmoid().log() + (1 - hot) * (1 - logits.sigmoid()).log())
    torch.testing.assert_close(get_loss("bce_logit", weights)(logits, hot), (weights * binary).mean())
    with pytest.raises(ValueError, match="integer labels"):
        get_loss("cross_entropy", weights)(logits, targets)


def test_balanced_weights_are_one_over_the_count_and_one_on_average() -> None:
    weights = balanced_weights(torch.tensor([10, 30, 0, 60]))
    torch.testing.assert_close(weights, torch.tensor([100 / 30, 100 / 90, 0.0, 100 / 180]))
    assert float(weights @ torch.tensor([10.0, 30.0, 0.0, 60.0])) == pytest.approx(100)
