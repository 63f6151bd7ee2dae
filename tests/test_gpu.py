"""What only a CUDA device shows; reported as not run where there is none."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast import cli
from slowfast.engine import precision
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.optimizer import clip
from slowfast.engine.train import train
from slowfast.models.uniformer import Uniformer

pytestmark = pytest.mark.gpu

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def no_tf32():
    """Full float32 products, as the goldens were made with."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("name", ["joint", "split", "std"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
def test_forward_goldens_without_tf32(no_tf32, name, memory_format):
    with np.load(GOLDEN / f"forward_tiny_{name}.npz") as golden:
        weights = {key[2:]: torch.from_numpy(golden[key]) for key in golden.files if key.startswith("w/")}
        clips, expected = torch.from_numpy(golden["input"]), torch.from_numpy(golden["eval/logits"])
    model = Uniformer(
        5, (1, 1, 2, 1), (16, 32, 64, 64), head_dim=16, split=name == "split", std=name == "std"
    )  # fmt: skip
    model.load_state_dict(weights)
    with torch.inference_mode():
        logits = model.eval().cuda()(clips.cuda().contiguous(memory_format=memory_format)).cpu()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["fp16", "bf16", "off"])
def test_training_in_each_precision(debug_cfg, mode):
    result = train(debug_cfg("NUM_GPUS", "1", "TRAIN.MIXED_PRECISION", mode))
    assert result["steps"] == 6 and result["skipped_steps"] <= (3 if mode == "fp16" else 0)


def test_training_fits_itself_into_what_is_free(debug_cfg, tmp_path):
    train(debug_cfg("NUM_GPUS", "1", "TRAIN.MIXED_PRECISION", "bf16", "MODEL.CHECKPOINT", "auto"))
    assert "recomputing [0, 0, 0, 0] of [1, 1, 1, 1] blocks" in (tmp_path / "run" / "log.txt").read_text()


def test_fp16_overflow_is_skipped_and_the_scale_lowered():
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**40)
    weight = torch.nn.Parameter(torch.ones(4, device="cuda"))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    with precision.autocast(torch.device("cuda"), torch.float16):
        loss = (weight.half() * 1e3).sum()
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    NonFiniteGuard(torch.nn.ParameterList([weight]), weight.device, 5).step(optimizer, clip([weight], 20.0))
    scaler.update()
    assert torch.equal(weight.detach().cpu(), torch.ones(4))
    assert scaler.get_scale() == 2.0**39


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_processes_over_nccl(debug_options, tmp_path):
    recipe = Path(__file__).resolve().parents[1] / "configs" / "debug" / "uniformer_debug.yaml"
    assert cli.main(["run", "--cfg", str(recipe), *debug_options, "NUM_GPUS", "2"]) == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["num_scored"] == 16
