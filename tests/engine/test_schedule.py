"""Learning rates of the reference at fractional epochs, and what is refused."""

import json
from pathlib import Path

import pytest

from slowfast.engine.schedule import learning_rate

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "lr_curves.json").read_text())
COSINE = {
    "policy": "cosine",
    "base": 0.1,
    "end": 0.0,
    "warmup_start": 0.01,
    "warmup_epochs": 10,
    "max_epoch": 100,
    "cosine_after_warmup": True,
}
STEPS = {
    **COSINE,
    "policy": "steps_with_relative_lrs",
    "warmup_epochs": 0,
    "steps": [0, 40, 80],
    "lrs": [1, 0.1, 0.01],
}


def from_solver(solver: dict) -> dict:
    return {
        "policy": solver["LR_POLICY"],
        "base": solver["BASE_LR"],
        "end": solver["COSINE_END_LR"],
        "warmup_start": solver["WARMUP_START_LR"],
        "warmup_epochs": solver["WARMUP_EPOCHS"],
        "max_epoch": solver["MAX_EPOCH"],
        "cosine_after_warmup": solver["COSINE_AFTER_WARMUP"],
        "steps": solver["STEPS"],
        "lrs": solver["LRS"],
    }


@pytest.mark.parametrize("curve", GOLDEN["curves"], ids=lambda curve: curve["name"])
def test_reference_curves(curve):
    settings = from_solver(curve["SOLVER"])
    for epoch, expected in curve["points"]:
        assert learning_rate(epoch, **settings) == pytest.approx(expected, rel=1e-9, abs=0)


def test_values_that_can_be_derived():
    assert learning_rate(0, **COSINE) == 0.01
    assert learning_rate(5, **COSINE) == pytest.approx(0.055)
    assert learning_rate(10, **COSINE) == 0.1
    assert learning_rate(55, **COSINE) == pytest.approx(0.05)
    assert learning_rate(100, **COSINE) == pytest.approx(0.0, abs=1e-17)
    assert [learning_rate(epoch, **STEPS) for epoch in (0, 39.99, 40, 80, 99)] == [
        0.1,
        0.1,
        0.1 * 0.1,
        0.001,
        0.001,
    ]


@pytest.mark.parametrize("max_epoch", [1, 10])
def test_a_run_may_end_within_the_warmup(max_epoch):
    settings = {**COSINE, "max_epoch": max_epoch}
    assert learning_rate(0.5, **settings) == pytest.approx(0.01 + 0.09 * 0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"policy": "linear"}, "unknown LR_POLICY 'linear'; write one of cosine, steps_with_relative_lrs"),
        ({"policy": "cosine", "end": 0.1}, "COSINE_END_LR is 0.1; it must be below BASE_LR, which is 0.1"),
        ({"steps": [10, 40, 80]}, r"STEPS is \[10, 40, 80\]; its first entry must be 0"),
        ({"steps": []}, r"STEPS is \[\]; its first entry must be 0"),
        ({"steps": [0, 80, 40]}, "rising order"),
        ({"lrs": [1, 0.1]}, "STEPS has 3 entries, SOLVER.LRS 2"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        learning_rate(0.0, **{**STEPS, **change})
