"""Losses on logits (B, K): a float32 scalar, the mean over the batch."""

from collections.abc import Callable

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


def get_loss(name: str) -> Loss:
    """The loss that MODEL.LOSS_FUNC names; raises ValueError, listing the known ones, for any other name."""
    if name not in LOSSES:
        raise ValueError(f"MODEL.LOSS_FUNC {name!r} is not a loss; known: {', '.join(sorted(LOSSES))}")
    return LOSSES[name]


def _check_same_shape(name: str, wanted: str, logits: Tensor, targets: Tensor) -> None:
    if targets.shape != logits.shape:
        raise ValueError(
            f"{name} takes {wanted}; got targets {tuple(targets.shape)} for logits {tuple(logits.shape)}"
        )
