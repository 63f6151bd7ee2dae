"""One optimizer step, from batches of views to updated weights, without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from slowfast.datasets import mixup
from slowfast.datasets.loader import Batch
from slowfast.engine import metrics, precision
from slowfast.engine import optimizer as optimizers
from slowfast.engine.guard import NonFiniteGuard
from slowfast.engine.recent_steps import RecentSteps
from slowfast.models.layers import set_step_seed
from slowfast.utils import distributed, seeds
from slowfast.utils.device_copy import DeviceCopy


@dataclass(frozen=True)
class Mixing:
    """Settings of mixup and cutmix; see slowfast.datasets.mixup.draw_mix."""

    alpha: float
    cutmix_alpha: float
    probability: float
    switch_probability: float
    smoothing: float


@dataclass(frozen=True)
class StillBackground:
    """Settings of still backgrounds; see slowfast.datasets.mixup.draw_background."""

    probability: float
    max_share: float


@dataclass(frozen=True)
class StepResult:
    """Scalars on the device: loss, top-1 and top-5 error in percent (None for several labels), gradient norm."""

    loss: torch.Tensor
    top1_err: torch.Tensor | None
    top5_err: torch.Tensor | None
    grad_norm: torch.Tensor


@dataclass
class TrainStep:
    """Everything that stays the same from step to step.

    ``model`` gives logits (B, K), or a tuple of them, one for each head: then the loss is the mean over the heads,
    as in the published lightweight models, and the errors are those of the first head.

    ``prepare`` turns views on the device into model input. All randomness of a pass (mixing, drop path, dropout)
    is a function of (seed, passes before it, rank), so a checkpoint needs no random state.

    ``recent`` knows what the last ``num_recent`` steps were made of.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    guard: NonFiniteGuard
    prepare: Callable[..., torch.Tensor]
    device: torch.device
    num_classes: int
    seed: int
    dtype: torch.dtype | None = None
    mixing: Mixing | None = None
    background: StillBackground | None = None
    max_grad_norm: float | None = None
    max_grad_value: float | None = None
    num_recent: int = 1

    def __post_init__(self) -> None:
        self.recent = RecentSteps(distributed.unwrap(self.model), self.num_recent)
        self._copy = DeviceCopy(self.device)

    def __call__(self, batches: Sequence[Batch], global_step: int) -> StepResult:
        """Forward and backward for each batch, then clip and step once, with the mean of their gradients.

        Each batch holds at least one view. Processes exchange gradients in the last backward pass alone; what
        comes back are means over the batches.
        """
        self.guard.before_forward()
        self.optimizer.zero_grad(set_to_none=True)
        parts = []
        for number, batch in enumerate(batches):
            with distributed.local_gradients(self.model, number + 1 < len(batches)):
                parts.append(self._backward(batch, global_step * len(batches) + number, 1 / len(batches)))
        self.scaler.unscale_(self.optimizer)
        norms = self.recent.gradient_norms()
        norm = optimizers.clip(self.model.parameters(), self.max_grad_norm, self.max_grad_value)
        self.guard.step(self.optimizer, norm)
        self.scaler.update()
        result = StepResult(*map(_mean, zip(*parts, strict=True)), norm)
        lr = max(group["lr"] for group in self.optimizer.param_groups)  # layers far from the end have less
        self.recent.add(global_step + 1, lr, batches, result.loss, norm, norms)
        return result

    def _backward(self, batch: Batch, number: int, share: float):
        """Add ``share`` of the gradients of pass ``number`` of the run; returns its loss and errors."""
        rank = distributed.rank()
        set_step_seed(distributed.unwrap(self.model), seeds.derive(self.seed, "model", number, rank))
        clips, labels = self._copy(batch.clips, batch.labels)
        clips = self.prepare(clips, batch.erase_boxes, batch.noise_seeds)
        clips = self._with_background(clips, number, rank)
        clips, targets = self._mix(clips, labels, number, rank)
        with precision.autocast(self.device, self.dtype):
            outputs = self.model(clips)
        heads = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = self.guard.poison(self._loss(heads, targets))
        self.scaler.scale(loss * share).backward()
        return loss.detach(), *self._errors(heads[0].detach(), labels, targets)

    def _with_background(self, clips: torch.Tensor, number: int, rank: int) -> torch.Tensor:
        if self.background is None:
            return clips
        background = mixup.draw_background(
            seeds.numpy_generator(self.seed, "background", number, rank),
            num_clips=clips.shape[0],
            num_frames=clips.shape[2],
            prob=self.background.probability,
            max_share=self.background.max_share,
        )
        return mixup.apply_background(clips, background)

    def _mix(self, clips: torch.Tensor, labels: torch.Tensor, number: int, rank: int):
        if self.mixing is None:
            return clips, labels
        mix = mixup.draw_mix(
            seeds.numpy_generator(self.seed, "mix", number, rank),
            alpha=self.mixing.alpha,
            cutmix_alpha=self.mixing.cutmix_alpha,
            prob=self.mixing.probability,
            switch_prob=self.mixing.switch_probability,
            height=clips.shape[-2],
            width=clips.shape[-1],
        )
        targets = mixup.mix_targets(labels, self.num_classes, mix.lam, self.mixing.smoothing)
        return mixup.apply_mix(clips, mix), targets

    def _loss(self, heads: Sequence[torch.Tensor], targets: torch.Tensor) -> torch.Tensor:
        return sum(self.loss(logits.float(), targets) for logits in heads) / len(heads)

    @torch.no_grad()
    def _errors(self, logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor):
        if labels.dim() == 2:
            return None, None
        if targets.dim() == 2:
            hits = metrics.mixed_topk(logits, targets, (1, 5))
        else:
            hits = metrics.topk_correct(logits, labels, (1, 5))
        return tuple(100.0 * (1.0 - hits[k] / len(logits)) for k in (1, 5))


def _mean(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    return None if values[0] is None else torch.stack(list(values)).mean()
