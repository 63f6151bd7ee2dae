"""Which arithmetic the forward pass uses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

MODES = ("auto", "bf16", "fp16", "off")


def resolve(mode: str, device: torch.device) -> torch.dtype | None:
    """The autocast type for a mode, None for plain float32.

    ``auto`` is bfloat16 on GPUs that have it and float16 on others, bfloat16 on CPUs that have AMX and off on others.
    """
    if mode not in MODES:
        raise ValueError(f"unknown precision {mode!r}; allowed: {', '.join(MODES)}")
    if mode == "auto":
        return _auto(device)[0]
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[mode]


def describe(mode: str, device: torch.device) -> str:
    """What a mode means here, for the log: the type, and for ``auto`` the reason."""
    name = str(resolve(mode, device) or torch.float32).removeprefix("torch.")
    return f"{name} (auto: {_auto(device)[1]})" if mode == "auto" else name


def has_amx() -> bool:
    """Whether this CPU multiplies tiles of bfloat16 (AMX); False where the framework cannot tell."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # not in every version of torch from 2.4 on
    return bool(capabilities.get("amx_tile") and capabilities.get("amx_bf16"))


def _auto(device: torch.device) -> tuple[torch.dtype | None, str]:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "this GPU has it"
        return torch.float16, "this GPU has no bfloat16"
    return (torch.bfloat16, "this CPU has AMX") if has_amx() else (None, "this CPU has no AMX")


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """Autocast to ``dtype``, or nothing for None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
