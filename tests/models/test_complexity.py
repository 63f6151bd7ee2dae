"""Parameters and multiply-accumulates of the published rows of UniFormer S and B."""

import json
from pathlib import Path

import pytest
import torch

from slowfast.models.complexity import count
from slowfast.models.uniformer import Uniformer

ROWS = json.loads((Path(__file__).parents[1] / "golden" / "flops.json").read_text())["rows"]
DEPTH = {"S": (3, 4, 8, 3), "B": (5, 8, 20, 7)}
CASES = {
    (row["model"], row["frames"], row["crop"], row["num_classes"]): row["gmacs_per_view"]
    for row in ROWS
    if row["class_name"] == "Uniformer"
}


@pytest.mark.parametrize(("size", "parameters"), [("S", 21_400_400), ("B", 49_813_200)])
def test_published_rows(size: str, parameters: int) -> None:
    with torch.device("meta"):
        model = Uniformer(400, depth=DEPTH[size])
    cases = [case for case in CASES if case[0] == size]
    assert cases
    for _, frames, crop, num_classes in cases:
        model.reset_head(num_classes)
        cost = count(model, (1, 3, frames, crop, crop))
        assert cost["macs"] / 1e9 == pytest.approx(CASES[size, frames, crop, num_classes], abs=1e-9)
        assert cost["parameters"] == parameters + (num_classes - 400) * 513


def test_counting_leaves_the_model_alone() -> None:
    model = Uniformer(5, depth=(1, 1, 1, 1), embed_dim=(8, 8, 16, 16), head_dim=8).train()
    weight = model.head.weight
    count(model, (2, 3, 4, 32, 32))
    assert model.training and model.head.weight is weight and weight.device.type == "cpu"
    assert model.norm.num_batches_tracked.item() == 0 and torch.isfinite(weight).all()
