"""Parameters and multiply-accumulates of the published rows."""

import json
from pathlib import Path

import pytest
import torch

from slowfast.models.complexity import count
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

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


XS = {"depth": (3, 5, 9, 3), "embed_dim": (64, 128, 256, 512), "head_dim": 32}
LIGHT_PARAMETERS = {
    ("XXS", False): 9_833_896,
    ("XXS", True): 9_840_616,
    ("XS", False): 16_099_552,
}


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row["class_name"] != "Uniformer"],
    ids=lambda row: row["recipe"].removeprefix("exp_light/"),
)
def test_published_light_rows(row: dict) -> None:
    scaled = row["class_name"] == "Uniformer_light_ls_fp32"
    with torch.device("meta"):
        model = UniformerLight(
            row["num_classes"],
            **XS if row["model"] == "XS" else {},
            fp32_attention=row["class_name"] != "Uniformer_light",
            layer_scale=0.1 if scaled else None,
        )
    cost = count(model, (1, 3, row["frames"], row["crop"], row["crop"]))
    assert cost == {
        "macs": sum(row["by_op"].values()),
        "parameters": LIGHT_PARAMETERS[row["model"], scaled],
    }


def test_counting_leaves_the_model_alone() -> None:
    model = Uniformer(5, depth=(1, 1, 1, 1), embed_dim=(8, 8, 16, 16), head_dim=8).train()
    weight = model.head.weight
    count(model, (2, 3, 4, 32, 32))
    assert model.training and model.head.weight is weight and weight.device.type == "cpu"
    assert model.norm.num_batches_tracked.item() == 0 and torch.isfinite(weight).all()
