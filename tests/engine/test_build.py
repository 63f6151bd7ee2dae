"""Rates for another batch than the recipe's, in the words of the log; the published rule beside it. Class weights."""

import pytest
import torch

from slowfast.config import get_cfg, resolve
from slowfast.datasets.build import build_loader
from slowfast.engine.build import build_step, describe_cost, describe_rate, learning_rate
from slowfast.models.build import build_model

RATES = ["SOLVER.BASE_LR", "4e-4", "SOLVER.WARMUP_START_LR", "1e-6", "SOLVER.COSINE_END_LR", "2e-6"]


def cfg_of(*pairs):
    cfg = get_cfg()
    cfg.merge_from_list([*RATES, "SOLVER.WARMUP_EPOCHS", "10", "NUM_GPUS", "1", *map(str, pairs)])
    return resolve(cfg)


def rates(cfg):
    """The three rates as used: at the start, at the top, at the end."""
    return [learning_rate(cfg, epoch) for epoch in (0.0, 10.0, float(cfg.SOLVER.MAX_EPOCH))]


@pytest.mark.parametrize(
    ("pairs", "factor", "said"),
    [
        (("TRAIN.BATCH_SIZE", 8), 1 / 16, "4e-4 @ 128 -> 2.5e-5 @ 8"),
        (("TRAIN.BATCH_SIZE", 128), 1, "4e-4 @ 128 -> 4e-4 @ 128"),
        (("TRAIN.BATCH_SIZE", 8, "TRAIN.ACCUMULATION_STEPS", 4), 1 / 4, "4e-4 @ 128 -> 1e-4 @ 32"),
        (("TRAIN.BATCH_SIZE", 8, "NUM_SHARDS", 32), 2, "4e-4 @ 128 -> 8e-4 @ 256"),
        (("TRAIN.BATCH_SIZE", 8, "SOLVER.SCALE_LR", False), 1, "4e-4 @ 128 -> 4e-4 @ 8"),
    ],
)
def test_all_rates_follow_the_videos_of_a_step(pairs, factor, said):
    cfg = cfg_of("SOLVER.COSINE_AFTER_WARMUP", True, "SOLVER.REFERENCE_BATCH", 128, *pairs)
    assert rates(cfg) == pytest.approx([1e-6 * factor, 4e-4 * factor, 2e-6 * factor], rel=1e-9)
    assert describe_rate(cfg) == said


def test_without_a_reference_the_rate_is_as_written_and_shards_count_as_published():
    assert describe_rate(cfg_of("TRAIN.BATCH_SIZE", 8, "NUM_SHARDS", 4)) == "4e-4 @ 32"
    shards = ("SOLVER.BASE_LR_SCALE_NUM_SHARDS", True, "NUM_SHARDS", 4)
    assert describe_rate(cfg_of("TRAIN.BATCH_SIZE", 8, *shards)) == "1.6e-3 @ 32"


def test_both_rules_give_the_published_rates_of_four_machines_and_are_not_applied_twice():
    row = ("SOLVER.BASE_LR", "1e-4", "TRAIN.BATCH_SIZE", 32, "NUM_SHARDS", 4, "SOLVER.REFERENCE_BATCH", 32)
    published = ("SOLVER.BASE_LR_SCALE_NUM_SHARDS", True)
    both = cfg_of(*row, *published)
    assert describe_rate(both) == "1e-4 @ 32 -> 4e-4 @ 128"
    for one in (cfg_of(*row), cfg_of(*row, *published, "SOLVER.SCALE_LR", False)):
        assert rates(one) == rates(both)


def test_a_rule_that_adds_nothing_is_named():
    cfg = get_cfg()
    cfg.merge_from_list(
        ["NUM_SHARDS", 2, "SOLVER.REFERENCE_BATCH", 64, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True]
    )
    notes = []
    resolve(cfg, notes)
    assert any("BASE_LR_SCALE_NUM_SHARDS adds nothing" in note for note in notes)


def test_rare_classes_weigh_more_in_the_loss_and_come_more_often(debug_cfg, debug_data, tmp_path):
    """Of three videos of each class in the training list, one of class 0 is left."""
    lines = (debug_data / "train.csv").read_text().splitlines()
    kept = [line for line in lines if not line.endswith(" 0")]
    kept += [line for line in lines if line.endswith(" 0")][:1]
    (tmp_path / "train.csv").write_text("\n".join(kept) + "\n")
    balanced = ("MODEL.CLASS_WEIGHTS", "balanced", "DATA.SAMPLER", "balanced")
    cfg = debug_cfg(*balanced, "DATA.PATH_TO_DATA_DIR", str(tmp_path), "TRAIN.BATCH_SIZE", "2")
    loader = build_loader(cfg, "train")
    step = build_step(cfg, torch.device("cpu"), build_model(cfg), loader.dataset)
    rare, common = (step.loss(torch.zeros(1, 8), torch.tensor([label])).item() for label in (0, 1))
    assert rare == pytest.approx(3 * common)
    order = [index for batch in loader.order for _, index in batch]
    assert len(order) == 22 and order.count(21) >= 2


def test_a_model_whose_cost_cannot_be_counted_stops_no_run():
    class Untraceable(torch.nn.Module):
        def forward(self, clips):
            raise RuntimeError("336 pixels are too many")

    assert describe_cost(get_cfg(), Untraceable()) == "cost not counted (336 pixels are too many)"
    small = cfg_of("DATA.TRAIN_CROP_SIZE", 64, "DATA.NUM_FRAMES", 4)
    assert describe_cost(small, build_model(small)).startswith("21.400 M parameters, ")
