"""The kernels for GPUs as triton's interpreter computes them on a CPU; on a GPU they are compiled, see test_gpu.py."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from slowfast.models import ops, tuning
from slowfast.models.ops import depthwise

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="needs triton, which comes with torch on Linux")

SIZES = [  # B, T, H, W, C, side of the kernel
    (2, 4, 6, 7, 8, 5),
    (2, 4, 6, 7, 8, 3),
    (1, 1, 5, 5, 3, 5),  # fewer frames than taps, odd channels
    (2, 5, 3, 2, 70, 3),  # frames that are no multiple of those of a program; more channels than those of one
    (1, 7, 9, 9, 66, 5),  # more places than those of a program
    (1, 6, 2, 3, 4, 1),
]
SCRIPT = """
import json, sys, torch
import torch.nn.functional as F
from slowfast.models.ops import depthwise_triton

def error(ours, truth):
    return ((ours.double() - truth).norm() / truth.norm()).item()

for *sizes, side, dtype in json.loads(sys.argv[1]):
    generator = torch.Generator().manual_seed(0)
    def draw(*shape):
        return torch.randn(shape, generator=generator).to(getattr(torch, dtype))
    channels = sizes[-1]
    tokens, grad, bias = draw(*sizes), draw(*sizes), draw(channels)
    weight = draw(channels, 1, side, side, side)
    exact = tokens.double(), weight.double().requires_grad_(), bias.double()
    expected = F.conv3d(exact[0].permute(0, 4, 1, 2, 3), *exact[1:], padding=side // 2, groups=channels)
    expected = expected.permute(0, 2, 3, 4, 1)
    truth, = torch.autograd.grad(expected, exact[1], grad.double())
    expected = expected.detach()
    errors = [
        error(depthwise_triton.convolve(tokens, weight, bias), expected),
        error(depthwise_triton.convolve(tokens, weight, None), expected - exact[2]),
        error(depthwise_triton.kernel_gradient(tokens, grad, weight.shape), truth),
    ]
    print(json.dumps(errors))
    if sizes[-1] == 8:  # what compilers are told of shapes and strides is so
        checks = "test_schema", "test_faketensor"
        torch.library.opcheck(depthwise_triton.convolve, (tokens, weight, bias), test_utils=checks)
        torch.library.opcheck(depthwise_triton.kernel_gradient, (tokens, grad, weight.shape), test_utils=checks)
"""


@needs_triton
def test_kernels_compute_the_convolution_and_its_kernel_gradient() -> None:
    asked = [*((*sizes, "float32") for sizes in SIZES), (*SIZES[0], "bfloat16"), (*SIZES[3], "float16")]
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(asked)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(found) == len(asked)
    for case, errors in zip(asked, found, strict=True):
        assert max(errors) < (1e-6 if case[-1] == "float32" else 1e-2), case


@needs_triton
def test_double_precision_and_large_kernels_are_not_taken() -> None:
    from slowfast.models.ops import depthwise_triton

    assert depthwise_triton.takes(torch.bfloat16, (3, 5, 5))
    assert not depthwise_triton.takes(torch.float64, (3, 3, 3)) and not depthwise_triton.takes(torch.float32, (3, 7, 7))


def test_trials_hold_the_kernels_where_they_apply(monkeypatch) -> None:
    case, seen = "depthwise 1x2x4x4x8 k3x3x3 float32 cpu-1 train", []
    monkeypatch.setattr(tuning, "fastest", lambda ways, device: seen.append(set(ways)) or next(iter(ways)))
    tuning.complete({}, [case], torch.device("cpu"), {})
    assert len(seen) == 3 and not any("triton" in ways for ways in seen)
    monkeypatch.setattr(tuning, "takes_triton", lambda tokens, kernel: True)
    tuning.complete({}, [case], torch.device("cpu"), {})
    assert all("triton" in ways for ways in seen[3:]) and len(seen) == 6


def test_forced_where_they_do_not_apply_another_way_is_taken() -> None:
    """A checkpoint of a GPU names them, and is tested on a CPU."""
    tokens = torch.randn(1, 2, 4, 4, 8, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(8, 1, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    plan, _ = tuning.complete(
        {}, ["depthwise 1x2x4x4x8 k3x3x3 float32 cpu-1 train"], torch.device("cpu"), {"depthwise": "triton"}
    )
    assert set(plan.values()) == {"triton/triton/triton"} and not depthwise.takes_triton(tokens, (3, 3, 3))
    forced = ops.depthwise_conv3d(tokens, weight, None, ops.DepthwiseWay("triton", "triton", "triton"))
    assert torch.equal(forced, ops.depthwise_conv3d(tokens, weight, None))
