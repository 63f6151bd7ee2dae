"""Tensors to the device, beside what the device is computing."""

from __future__ import annotations

import torch
from torch import Tensor


class DeviceCopy:
    """Copies tensors to a device without waiting for what was started on it before.

    On CUDA the copies have a stream of their own: page-locked tensors travel while earlier kernels still run, and
    kernels started afterwards wait for them. The process that starts the kernels runs ahead of the device, so the next
    batch is there when the device gets to it. On the CPU tensors are handed back as they are.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The tensors on the device, in the order given."""
        if self._stream is None:
            return tuple(tensor.to(self._device) for tensor in tensors)
        with torch.cuda.stream(self._stream):
            copies = tuple(tensor.to(self._device, non_blocking=True) for tensor in tensors)
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for copy in copies:
            copy.record_stream(current)  # made on one stream, used on another: its memory is needed until then
        return copies
