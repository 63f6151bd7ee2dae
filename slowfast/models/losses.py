"""Losses on logits (B, K): a float32 scalar, the mean over the batch."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean of -log softmax(logits)[label]; labels (B,) are integers."""
    if labels.is_floating_point():
        raise ValueError(
            f"cross_entropy takes integer labels (B,), got {labels.dtype} {tuple(labels.shape)}: "
            "for mixed or smoothed targets write MODEL.LOSS_FUNC soft_cross_entropy"
        )
    return F.cross_entropy(logits.float(), labels)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over the batch of -sum(target * log softmax(logits)).

    Targets are distributions (B, K), taken as they are, or integer labels (B,). Raises ValueError for targets
    of any other shape: the published code would silently broadcast them.
    """
    if targets.ndim == 1 and not targets.is_floating_point():
        return F.cross_entropy(logits.float(), targets)
    _check_same_shape("soft_cross_entropy", "distributions (B, K) or integer labels (B,)", logits, targets)
    return F.cross_entropy(logits.float(), targets.float())


def bce_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of every class by itself, mean over batch and classes; targets (B, K) in 0..1."""
    _check_same_shape("bce_logit", "one value for each class (B, K)", logits, targets)
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float())


LOSSES: dict[str, Loss] = {loss.__name__: loss for loss in (cross_entropy, soft_cross_entropy, bce_logit)}


def get_loss(name: str, class_weights: Tensor | None = None) -> Loss:
    """The loss that MODEL.LOSS_FUNC names, with a weight (K,) for each class where they are given.

    A weight multiplies the part that its class has in the loss of a sample; the mean is over samples, whatever their
    weights. Raises ValueError, listing the known ones, for any other name.
    """
    if name not in LOSSES:
        raise ValueError(f"MODEL.LOSS_FUNC {name!r} is not a loss; known: {', '.join(sorted(LOSSES))}")
    return LOSSES[name] if class_weights is None else partial(_weighted, LOSSES[name], class_weights)


def balanced_weights(counts: Tensor) -> Tensor:
    """float32 (K,) from int (K,) samples of each class: inversely proportional, 1 on average over the samples.

    A class without samples has weight 0.
    """
    present = counts > 0
    return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 0.0).float()


def _weighted(loss: Loss, weights: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    loss(logits, targets)  # raises for what does not fit
    weights = weights.to(logits.device)
    if loss is bce_logit:
        return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), weights)
    if targets.ndim == 1:
        targets = F.one_hot(targets, logits.shape[1])
    return -(weights * targets.float() * logits.float().log_softmax(dim=1)).sum(dim=1).mean()


def _check_same_shape(name: str, wanted: str, logits: Tensor, targets: Tensor) -> None:
    if targets.shape != logits.shape:
        raise ValueError(
            f"{name} takes {wanted}; got targets {tuple(targets.shape)} for logits {tuple(logits.shape)}"
        )
