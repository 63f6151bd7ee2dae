"""Which arithmetic a mode means on which device."""

import pytest
import torch

from slowfast.engine import precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_auto_is_off_on_a_cpu_and_bf16_only_where_the_gpu_has_it(monkeypatch):
    assert precision.resolve("auto", CPU) is None
    for native, expected in ((True, torch.bfloat16), (False, torch.float16)):
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, native=native: including_emulation or native,
        )
        assert precision.resolve("auto", GPU) is expected


def test_named_modes_mean_the_same_everywhere():
    assert precision.resolve("bf16", CPU) is precision.resolve("bf16", GPU) is torch.bfloat16
    assert precision.resolve("fp16", GPU) is torch.float16
    assert precision.resolve("off", GPU) is None


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'fp8'; allowed: auto, bf16, fp16, off"):
        precision.resolve("fp8", CPU)
