"""What the last training steps were made of, for the day when something is wrong with them: videos, loss, gradients.

Nothing is read from the device before somebody asks.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from slowfast.datasets.loader import Batch
from slowfast.utils import distributed


class _Step(NamedTuple):
    number: int
    lr: float
    videos: list[tuple[int, int]]  # list indices: asked for, and read, which differs for a replaced one
    loss: torch.Tensor
    grad_norm: torch.Tensor
    norms: torch.Tensor


class RecentSteps:
    """The last ``most`` steps of a model's training in this process."""

    def __init__(self, model: nn.Module, most: int) -> None:
        self._trained = [
            (name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad
        ]
        self._steps: deque[_Step] = deque(maxlen=most)

    @torch.no_grad()
    def gradient_norms(self) -> torch.Tensor:
        """L2 norm of the gradient of each trained parameter, float32 (P,) on their device, unread; 0 without one."""
        gradients = [p.new_zeros(()) if p.grad is None else p.grad for _, p in self._trained]
        return torch.stack([norm.float() for norm in torch._foreach_norm(gradients)])

    def add(
        self,
        number: int,
        lr: float,
        batches: Sequence[Batch],
        loss: torch.Tensor,
        grad_norm: torch.Tensor,
        norms: torch.Tensor,
    ) -> None:
        """Step ``number``, from 1: the learning rate, what it was given, and what `gradient_norms` said of it.

        ``loss`` () is this process's mean, ``grad_norm`` () that of all gradients.
        """
        reports = (report for batch in batches for report in batch.reports if report.readable)
        videos = [(report.index, report.source) for report in reports]
        self._steps.append(_Step(number, lr, videos, loss, grad_norm, norms))

    def clear(self) -> None:
        """Forget all, since a run goes on from another state."""
        self._steps.clear()

    def skipped(self) -> list[int]:
        """Numbers of the steps whose gradient was not finite, and of the one before them, if it is still known."""
        numbers = [step.number for step in self._steps if not math.isfinite(step.grad_norm)]
        before = [step.number for step in self._steps if numbers and step.number == numbers[0] - 1]
        return before + numbers

    def tell(self, numbers: Sequence[int], name_of: Callable[[int], str]) -> list[dict[str, Any]]:
        """The steps of these numbers as far as they are known, as plain values; a collective, alike on all ranks.

        Gradients are told for each block (see `block_of`); loss and videos for each rank: the list index, the path
        as ``name_of`` gives it, and, of one that replaced another, the path of that.
        """
        wanted = [step for step in self._steps if step.number in set(numbers)]
        mine = [{"loss": float(step.loss), "videos": _named(step.videos, name_of)} for step in wanted]
        ranks = distributed.all_gather_objects(mine)
        return [
            {
                "global_step": step.number,
                "learning_rate": step.lr,
                "grad_norm": float(step.grad_norm),
                "block_grad_norms": self._by_block(step.norms),
                "ranks": [{"rank": rank, **parts[place]} for rank, parts in enumerate(ranks)],
            }
            for place, step in enumerate(wanted)
        ]

    def _by_block(self, norms: torch.Tensor) -> dict[str, float]:
        squares: dict[str, float] = {}
        for (name, _), norm in zip(self._trained, norms.tolist(), strict=True):
            squares[block_of(name)] = squares.get(block_of(name), 0.0) + norm * norm
        return {name: math.sqrt(square) for name, square in squares.items()}


def block_of(name: str) -> str:
    """The block that a parameter belongs to: its name up to the first number, or the outermost module without any.

    ``blocks3.5.attn.qkv.weight`` -> ``blocks3.5``, ``patch_embed1.proj.weight`` -> ``patch_embed1``.
    """
    words = name.split(".")
    numbers = [place for place, word in enumerate(words) if word.isdigit()]
    return ".".join(words[: numbers[0] + 1] if numbers else words[:1])


def _named(videos: Sequence[tuple[int, int]], name_of: Callable[[int], str]) -> list[dict[str, Any]]:
    named: list[dict[str, Any]] = []
    for asked, read in videos:
        replaced = {} if asked == read else {"in_place_of": name_of(asked)}
        named.append({"index": read, "name": name_of(read), **replaced})
    return named
