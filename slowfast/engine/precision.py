"""Which arithmetic the forward pass uses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

MODES = ("auto", "bf16", "fp16", "off")


def resolve(mode: str, device: torch.device) -> torch.dtype | None:
    """The autocast type for a mode, None for plain float32.

    ``auto`` is bfloat16 on GPUs that have it, float16 on others, and off on a CPU.
    """
    if mode not in MODES:
        raise ValueError(f"unknown precision {mode!r}; allowed: {', '.join(MODES)}")
    if mode == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "off": None}[mode]


def autocast(device: torch.device, dtype: torch.dtype | None) -> AbstractContextManager:
    """Autocast to ``dtype``, or nothing for None."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)
