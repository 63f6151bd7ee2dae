"""A probe of 3D convolution, two seconds long: right values, and memory in proportion.

Releases of torch and cuDNN have computed it wrongly, or with many times the memory, in half precision (pytorch issues
163539 and 166643). The probe finds what it finds; the table says what is known of the versions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from slowfast.diagnosis.finding import Finding
from slowfast.engine import precision
from slowfast.utils import environment

SHAPE = (2, 32, 8, 28, 28)
KERNELS = {"dense 3x3x3": (32, 3, 1), "depth-wise 5x5x5": (32, 5, 32), "patch embedding 3x4x4": (32, 4, 1)}
TOLERANCE = {None: 1e-3, torch.bfloat16: 3e-2, torch.float16: 5e-3}  # relative, by norm; float32 may be TF32
MOST_MEMORY = 12  # times the tensors of the call, above which something is wrong

# (torch from, torch below, cuDNN from, cuDNN below, what is known): versions as numbers.
KNOWN_BAD = (
    ((2, 9, 0), (2, 9, 1), (0,), (91500,), "3D convolutions in half precision take many times their memory"),
    ((0,), (99,), (90800,), (91100,), "3D convolutions in half precision may give wrong values"),
)


def probe(device: torch.device, dtype: torch.dtype | None) -> list[Finding]:
    """A finding for values and memory of each kind of convolution, forward and backward."""
    findings = []
    for name, (channels, size, groups) in KERNELS.items():
        error, times = _run(device, dtype, channels, size, groups)
        spelled = str(dtype or torch.float32).removeprefix("torch.")
        said = f"{name} in {spelled}, error {error:.1e}" + (
            "" if times is None else f", {times:.1f} x its tensors"
        )
        to_do = ""
        if not error <= TOLERANCE[dtype]:
            to_do = (
                "the values are wrong: use another release of torch or cuDNN, or TRAIN.MIXED_PRECISION off; "
                "MODEL.DWCONV folded computes depth-wise ones by other kernels"
            )
        elif times is not None and times > MOST_MEMORY:
            to_do = "far too much memory: use another release of torch or cuDNN, or TRAIN.MIXED_PRECISION off"
        findings.append(Finding("3D convolution", said, to_do))
    return findings


def _run(
    device: torch.device, dtype: torch.dtype | None, channels: int, size: int, groups: int
) -> tuple[float, float | None]:
    """Largest relative error of output and gradients, and peak memory over that of the tensors."""
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(SHAPE, generator=generator)]
    given.append(torch.randn(channels, SHAPE[1] // groups, *(size,) * 3, generator=generator) / size**2)
    upstream = None
    results = []
    for where, autocast, kind in ((torch.device("cpu"), None, torch.float64), (device, dtype, torch.float32)):
        values = [value.to(where, kind).requires_grad_() for value in given]
        peak = None

        def call(values=values, autocast=autocast, where=where, kind=kind) -> None:
            nonlocal upstream
            with precision.autocast(where, autocast):
                output = F.conv3d(*values, padding=size // 2, groups=groups)
            if upstream is None:
                upstream = torch.randn(output.shape, generator=generator, dtype=torch.float64)
            output.backward(upstream.to(where, output.dtype))
            results.append([output.detach(), *(value.grad for value in values)])

        peak = environment.peak_of(call, where)
    errors = [
        ((found.cpu().double() - truth).norm() / truth.norm()).item()
        for truth, found in zip(*results, strict=True)
    ]
    held = sum(value.nbytes for value in results[1])
    return max(errors), None if peak is None or device.type == "cpu" else peak / held


def known(torch_version: str, cudnn: int | None) -> Finding | None:
    """What is known against a pair of versions; None if nothing is, or without cuDNN."""
    if cudnn is None:
        return None
    version = tuple(int(part) for part in torch_version.split("+")[0].split(".")[:3] if part.isdigit())
    for low, high, cudnn_low, cudnn_high, what in KNOWN_BAD:
        if low <= version < high and cudnn_low <= (cudnn,) < cudnn_high:
            return Finding(
                "torch and cuDNN",
                f"torch {torch_version} with cuDNN {cudnn}",
                f"{what}: install another pair",
            )
    return Finding("torch and cuDNN", f"torch {torch_version} with cuDNN {cudnn}, nothing known against them")
