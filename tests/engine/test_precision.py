"""Which arithmetic a mode means on which device."""

import pytest
import torch

from slowfast.engine import precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("native", "dtype", "said"),
    [
        (True, torch.bfloat16, "bfloat16 (auto: this GPU has it)"),
        (False, torch.float16, "float16 (auto: this GPU has no bfloat16)"),
    ],
)
def test_auto_is_bf16_only_where_the_gpu_has_it(monkeypatch, native, dtype, said):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or native
    )
    assert precision.resolve("auto", GPU) is dtype
    assert precision.describe("auto", GPU) == said


@pytest.mark.parametrize(
    ("capabilities", "dtype", "said"),
    [
        ({"amx_tile": True, "amx_bf16": True}, torch.bfloat16, "bfloat16 (auto: this CPU has AMX)"),
        ({"amx_tile": True, "amx_bf16": False}, None, "float32 (auto: this CPU has no AMX)"),
        ({"avx512_bf16": True}, None, "float32 (auto: this CPU has no AMX)"),
        ({"architecture": "aarch64", "bf16": True}, None, "float32 (auto: this CPU has no AMX)"),
    ],
)
def test_auto_is_bf16_on_a_cpu_with_amx_and_off_on_others(monkeypatch, capabilities, dtype, said):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert precision.resolve("auto", CPU) is dtype
    assert precision.describe("auto", CPU) == said


def test_a_framework_that_cannot_tell_amx_means_none(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert not precision.has_amx()


def test_named_modes_mean_the_same_everywhere():
    assert precision.resolve("bf16", CPU) is precision.resolve("bf16", GPU) is torch.bfloat16
    assert precision.resolve("fp16", GPU) is torch.float16
    assert precision.resolve("off", GPU) is None
    assert [precision.describe(mode, CPU) for mode in ("bf16", "off")] == ["bfloat16", "float32"]


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="'fp8'; allowed: auto, bf16, fp16, off"):
        precision.resolve("fp8", CPU)
