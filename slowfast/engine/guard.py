"""Steps with a non-finite loss or gradient leave no trace, and nobody waits for the device to find out.

The decision is one flag on the device. A non-finite loss poisons its own gradients; gradients are averaged over
processes before their norm is taken; so the norm alone decides, alike on every process, without another message.
The optimizer is told by its ``found_inf`` input, which the fused optimizers of torch honour by doing nothing, and
batch-norm buffers are put back from a copy. The host reads the counters once per logging period.
"""

from __future__ import annotations

import torch
from torch import nn


class NonFiniteSteps(FloatingPointError):
    """Too many steps in a row gave a loss or gradient that is not finite; raised on all processes alike."""


class NonFiniteGuard:
    """Counts and undoes non-finite steps of one model on one device."""

    def __init__(self, model: nn.Module, device: torch.device, max_in_a_row: int) -> None:
        self.max_in_a_row = max_in_a_row
        self._model = model
        self._saved = [buffer.clone() for buffer in model.buffers()]
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)
        self._in_a_row = torch.zeros((), dtype=torch.int64, device=device)
        self._longest = torch.zeros((), dtype=torch.int64, device=device)

    def before_forward(self) -> None:
        """Remember the buffers (batch-norm statistics) that the forward pass is going to change."""
        for saved, buffer in zip(self._saved, self._model.buffers(), strict=True):
            saved.copy_(buffer)

    @staticmethod
    def poison(loss: torch.Tensor) -> torch.Tensor:
        """The loss itself when finite; otherwise NaN, whose gradients are all NaN whatever the model did."""
        return loss * torch.where(torch.isfinite(loss.detach()), 1.0, torch.nan)

    @torch.no_grad()
    def step(self, optimizer: torch.optim.Optimizer, grad_norm: torch.Tensor) -> None:
        """Take the optimizer step if ``grad_norm`` () is finite; else leave weights, state and buffers as they were."""
        bad = ~torch.isfinite(grad_norm)
        optimizer.found_inf = bad.to(torch.float32)
        optimizer.step()
        del optimizer.found_inf
        for saved, buffer in zip(self._saved, self._model.buffers(), strict=True):
            torch.where(bad, saved, buffer, out=buffer)
        self._skipped += bad
        self._in_a_row = torch.where(bad, self._in_a_row + 1, 0)
        self._longest = torch.maximum(self._longest, self._in_a_row)

    def state(self) -> list[int]:
        """The counters, for a checkpoint; reading them waits for the device."""
        return torch.stack([self._skipped, self._in_a_row, self._longest]).tolist()

    def load_state(self, state: list[int]) -> None:
        """Count on from what `state` gave."""
        for counter, value in zip((self._skipped, self._in_a_row, self._longest), state, strict=True):
            counter.fill_(value)

    def check(self, epoch: int, learning_rate: float) -> int:
        """Read the counters (this waits for the device) and return the number of steps skipped so far.

        Raises NonFiniteSteps once ``max_in_a_row`` steps in a row were skipped since the last check.
        """
        skipped, longest = torch.stack([self._skipped, self._longest]).tolist()
        self._longest.copy_(self._in_a_row)
        if longest >= self.max_in_a_row:
            raise NonFiniteSteps(
                f"{longest} steps in a row gave a loss or gradient that is not finite (epoch {epoch + 1}, learning "
                f"rate {learning_rate:g}, {skipped} steps skipped in all)"
            )
        return skipped
