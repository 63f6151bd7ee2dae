"""MODEL.CHECKPOINT auto: what a step may take decides how much is recomputed, and nothing else changes."""

import logging
import re
import shutil
from functools import partial

import pytest
import torch
from torch import nn

from slowfast.benchmarking import model as benchmark
from slowfast.engine import memory
from slowfast.engine import optimizer as optimizers
from slowfast.engine.train import train
from slowfast.models import tuning
from slowfast.models.build import MODEL_REGISTRY
from slowfast.models.uniformer import Uniformer
from slowfast.utils import checkpoint, environment

CPU = torch.device("cpu")
TINY = {"num_classes": 5, "depth": (1, 2, 2, 1), "embed_dim": (16, 32, 64, 64), "head_dim": 16}
SHAPE = (16, 3, 4, 64, 64)
LOG = logging.getLogger("memory")


def chosen(gib, model=None, optimizer=None):
    model = model or Uniformer(**TINY)
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), fused=True)
    memory.choose(model, optimizer, SHAPE, None, CPU, LOG, gib)
    return model.checkpoint


def messages(caplog, level=logging.INFO):
    return [record.getMessage() for record in caplog.records if record.levelno == level]


def test_less_memory_means_more_blocks_and_too_little_is_said(caplog):
    caplog.set_level(logging.INFO)
    assert chosen(1.0) == (0, 0, 0, 0)
    (line,) = messages(caplog)
    assert "may take 1.000 GiB; predicted 0.0" in line and "[0, 0, 0, 0] of [1, 2, 2, 1] blocks (0 %" in line
    without = float(re.search(r"predicted (\S+) GiB without", line)[1])
    few, more = chosen(0.95 * without), chosen(0.85 * without)
    assert 0 < sum(few) < sum(more) < 6
    assert not messages(caplog, logging.WARNING)
    assert chosen(0.001) == (1, 2, 2, 1)
    (warning,) = messages(caplog, logging.WARNING)
    assert "all blocks recomputed, more than the 0.001 GiB it may" in warning
    assert "lower TRAIN.BATCH_SIZE and raise TRAIN.ACCUMULATION_STEPS" in warning


def test_less_is_held_at_the_peak():
    """In fresh processes, as the benchmark measures; the blocks are most of what this model takes."""
    model = {"num_classes": 5, "depth": (4, 4, 2, 1), "embed_dim": (32, 64, 64, 64), "head_dim": 32}
    shape = (16, 3, 8, 64, 64)
    cases = tuning.cases(Uniformer(**model), shape, torch.float32, CPU, True).values()
    forced = {"depthwise": "channels_last", "linear": "native", "attention": "fused"}
    plan, _ = tuning.complete({}, list(cases), CPU, forced)
    kept, recomputed = (
        benchmark.memory(partial(Uniformer, **model, checkpoint=counts), shape, CPU, "fp32", True, plan)
        for counts in ((0, 0, 0, 0), (4, 4, 2, 1))
    )
    assert recomputed < 0.75 * kept


def test_without_a_number_it_is_what_is_free_but_for_a_tenth(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    model = Uniformer(**TINY)
    held = sum(value.nbytes for value in (*model.parameters(), *model.buffers()))
    monkeypatch.setattr(environment, "free_memory", lambda device, processes: 10 * 2**30)
    chosen(0.0, model)
    assert f"may take {9 + held / 2**30:.3f} GiB" in messages(caplog)[0]
    monkeypatch.setattr(environment, "free_memory", lambda device, processes: None)
    with pytest.raises(ValueError, match="write the GiB .* as MODEL.CHECKPOINT_GB"):
        chosen(0.0)


def test_the_process_with_least_memory_decides(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(memory.distributed, "all_gather_objects", lambda limit: [limit, 2**20, limit])
    assert chosen(1.0) == (1, 2, 2, 1)
    assert "may take 0.001 GiB" in messages(caplog)[0]


@pytest.mark.parametrize(("method", "copies"), [("adamw", 2), ("adam", 2), ("sgd", 1)])
def test_state_of_the_optimizer_is_known_before_the_first_step(method, copies):
    model = nn.Linear(8, 4)
    made = optimizers.build([{"params": list(model.parameters()), "lr_scale": 1.0}], method, lr=0.1)
    expected = copies * 4 * (32 + 4)
    assert optimizers.state_bytes(made) == expected
    model(torch.ones(2, 8)).sum().backward()
    made.step()
    counters = 4 * 2 if copies == 2 else 0  # the number of steps, for each parameter
    assert optimizers.state_bytes_now(made) == expected + counters


def weights(result):
    return checkpoint.load(result["checkpoint"])["model_state"]


def test_a_run_that_fits_itself_computes_the_same_bits_and_may_go_on_otherwise(debug_cfg, tmp_path):
    def run(name, *pairs):
        cfg = debug_cfg("OUTPUT_DIR", str(tmp_path / name), "TRAIN.EVAL_PERIOD", "0", *pairs)
        return weights(train(cfg)), (tmp_path / name / "log.txt").read_text()

    auto = ("MODEL.CHECKPOINT", "auto", "MODEL.CHECKPOINT_GB")
    plain, log = run("plain")
    assert "recomputation:" not in log
    fitted, log = run("fitted", *auto, "0.001")
    assert "[1, 1, 1, 1] of [1, 1, 1, 1] blocks (100 %" in log and "may run out of memory" in log
    (tmp_path / "resumed" / "checkpoints").mkdir(parents=True)
    first = "checkpoints/checkpoint_epoch_00001.pyth"
    shutil.copy(tmp_path / "fitted" / first, tmp_path / "resumed" / first)
    resumed, log = run("resumed", *auto, "0")
    assert "resuming" in log and "[0, 0, 0, 0] of [1, 1, 1, 1] blocks (0 %" in log
    for other in (fitted, resumed):
        assert plain.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in plain.items())


def test_a_model_from_elsewhere_has_nothing_to_recompute(debug_cfg, tmp_path):
    @MODEL_REGISTRY.register()
    def FlatColours(cfg) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, cfg.MODEL.NUM_CLASSES))

    train(debug_cfg("MODEL.MODEL_NAME", "FlatColours", "MODEL.CHECKPOINT", "auto", "SOLVER.MAX_EPOCH", "1",
                    "SOLVER.WARMUP_EPOCHS", "0", "TRAIN.EVAL_PERIOD", "0"))  # fmt: skip
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "MODEL.CHECKPOINT auto: Sequential has no blocks to recompute" in log
