"""Losses against the reference implementation, and the targets they refuse."""

import json
from pathlib import Path

import pytest
import torch

from slowfast.models.losses import get_loss

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
