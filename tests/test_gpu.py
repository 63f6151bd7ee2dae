"""What only a CUDA device shows; reported as not run where there is none."""

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from slowfast import cli
from slowfast.engine import precision
from slowfast.engine.compiling import compile_forward, is_compiled
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.optimizer import clip
from slowfast.engine.train import train
from slowfast.models import ops
from slowfast.models.layers import DepthwiseConv
from slowfast.models.ops.depthwise import takes_triton
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sizes", [(2, 8, 14, 14, 64), (1, 5, 9, 7, 56), (2, 3, 6, 6, 70), (1, 1, 7, 7, 512)])
@pytest.mark.parametrize("side", [3, 5])
def test_kernels_agree_with_double_precision(no_tf32, side, sizes, dtype):
    shapes = sizes, (sizes[-1], 1, side, side, side), (sizes[-1],)
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(shape, generator=generator).to(dtype).cuda().requires_grad_() for shape in shapes]
    exact = [value.detach().double().requires_grad_() for value in given]
    assert takes_triton(given[0], shapes[1][2:])
    output = ops.depthwise_conv3d(*given, ops.DepthwiseWay("triton", "triton", "triton"))
    expected = ops.depthwise_conv3d(*exact, ops.DepthwiseWay("native", "native", "native"))
    upstream = torch.randn(sizes, generator=generator).to(dtype).cuda()
    found = [output, *torch.autograd.grad(output, given, upstream)]
    truths = [expected, *torch.autograd.grad(expected, exact, upstream.double())]
    for value, truth in zip(found, truths, strict=True):
        assert (value.double() - truth).norm() < (1e-5 if dtype == torch.float32 else 1e-2) * truth.norm()
    again = ops.depthwise_conv3d(*given, ops.DepthwiseWay("triton", "triton", "triton"))
    for one, other in zip(found, [again, *torch.autograd.grad(again, given, upstream)], strict=True):
        assert torch.equal(one, other)


def test_a_compiled_step_computes_by_the_ways_chosen():
    model = Uniformer(5, (1, 1, 1, 1), (16, 32, 64, 64), head_dim=16).train().cuda()
    for layer in model.modules():
        if isinstance(layer, DepthwiseConv):
            layer.ways = {True: ops.DepthwiseWay("triton", "triton", "triton")}
    plain = copy.deepcopy(model)
    compile_forward(model, logging.getLogger("test_gpu"))
    clips = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(0)).cuda()
    gradients = []
    for called in (plain, model):
        called(clips).logsumexp(1).sum().backward()
        gradients.append(torch.cat([value.grad.flatten() for value in called.parameters()]))
    assert is_compiled(model)
    assert (gradients[1] - gradients[0]).norm() < 1e-2 * gradients[0].norm()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiled:
        model(clips).logsumexp(1).sum().backward()
    kernels = {event.key: event.count for event in profiled.key_averages()}
    depthwise = sum(isinstance(layer, DepthwiseConv) for layer in model.modules())
    assert kernels["_convolve"] == 2 * depthwise and kernels["_kernel_gradient"] == depthwise


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_processes_over_nccl(debug_options, tmp_path):
    recipe = Path(__file__).resolve().parents[1] / "configs" / "debug" / "uniformer_debug.yaml"
    assert cli.main(["run", "--cfg", str(recipe), *debug_options, "NUM_GPUS", "2"]) == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())["num_scored"] == 16
