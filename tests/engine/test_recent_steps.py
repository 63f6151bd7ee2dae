"""What is told of the last steps: their videos by name, and gradients by block."""

import math

import pytest
import torch
from torch import nn

from slowfast.datasets.video_dataset import ItemReport
from slowfast.engine.recent_steps import RecentSteps, block_of


class Listed:
    """Of a batch what is looked at."""

    def __init__(self, *reports: ItemReport) -> None:
        self.reports = reports


def make() -> nn.Module:
    model = nn.ModuleDict(
        {"blocks1": nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)]), "head": nn.Linear(1, 1)}
    )
    for value, parameter in enumerate(model.parameters(), start=1):
        parameter.grad = torch.full_like(parameter, float(value))
    return model


def add(recent: RecentSteps, number: int, grad_norm: float, *reports: ItemReport) -> None:
    norms = recent.gradient_norms()
    recent.add(number, 0.5, [Listed(*reports)], torch.tensor(2.0), torch.tensor(grad_norm), norms)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("blocks3.5.attn.qkv.weight", "blocks3.5"),
        ("patch_embed1.proj.weight", "patch_embed1"),
        ("head.bias", "head"),
        ("pos_embed", "pos_embed"),
        ("0.weight", "0"),
    ],
)
def test_blocks_are_known_by_their_names(name, block):
    assert block_of(name) == block


def test_gradients_are_told_by_block():
    recent = RecentSteps(make(), most=3)
    add(recent, 1, 9.5)
    (told,) = recent.tell([1], str)
    expected = {"blocks1.0": math.hypot(1, 2), "blocks1.1": math.hypot(3, 4), "head": math.hypot(5, 6)}
    assert told["block_grad_norms"] == pytest.approx(expected)
    assert (told["global_step"], told["learning_rate"], told["grad_norm"]) == (1, 0.5, 9.5)


def test_frozen_parameters_are_left_out_and_those_without_gradient_count_as_zero():
    model = make()
    model["head"].requires_grad_(False)
    model["blocks1"][0].weight.grad = None
    assert RecentSteps(model, most=1).gradient_norms().tolist() == [0.0, 2.0, 3.0, 4.0]


def test_videos_are_named_and_a_replacement_with_what_it_replaced():
    recent = RecentSteps(make(), most=3)
    add(
        recent,
        1,
        1.0,
        ItemReport(4, 4),
        ItemReport(5, 8, ((5, "broken"),)),
        ItemReport(6, -1, ((6, "broken"),)),
    )
    (told,) = recent.tell([1], lambda index: f"clip{index}.mp4")
    assert told["ranks"] == [
        {
            "rank": 0,
            "loss": 2.0,
            "videos": [
                {"index": 4, "name": "clip4.mp4"},
                {"index": 8, "name": "clip8.mp4", "in_place_of": "clip5.mp4"},
            ],
        }
    ]


def test_skipped_steps_come_with_the_one_before_them_as_far_as_they_are_known():
    recent = RecentSteps(make(), most=4)
    for number, grad_norm in enumerate([1.0, math.nan, 1.0, 1.0, math.inf, math.nan], start=1):
        add(recent, number, grad_norm)
    assert recent.skipped() == [4, 5, 6]
    assert [told["global_step"] for told in recent.tell([1, 5, 6], str)] == [5, 6]
    recent.clear()
    assert recent.skipped() == [] == recent.tell([6], str)
