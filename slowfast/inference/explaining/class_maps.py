"""Which tokens of a block speak for a class: Grad-CAM over space and time.

Source: Selvaraju et al., "Grad-CAM", 2017, here of a volume of tokens instead of a picture. The gradient of the class's
logit, averaged over all tokens, says how much each channel counts; a token speaks for the class by the sum of
its channels so weighted. What speaks against the class is negative, and cut off where a map is shown.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.explaining.blocks import block_named, default_block, grid_of
from slowfast.inference.explaining.grids import TokenGrid


@dataclass(frozen=True)
class ClassMap:
    """How much each token of one clip speaks for a class.

    values: float32 (T', H', W'), on the CPU, below 0 where it speaks against. grid: where tokens lie. block,
    class_number: what it is a map of. logits: float32 (K,) of the clip, on the CPU.
    """

    values: Tensor
    grid: TokenGrid
    block: str
    class_number: int
    logits: Tensor

    @property
    def peak(self) -> tuple[int, int, int]:
        """The token (t, y, x) that speaks most for the class."""
        return tuple(int(place) for place in torch.unravel_index(self.values.argmax(), self.values.shape))

    @property
    def heat(self) -> Tensor:
        """Values from 0, nothing for the class, to 1, the peak; all 0 if nothing speaks for it."""
        positive = self.values.clamp(min=0)
        return positive / positive.max().clamp(min=torch.finfo(torch.float32).tiny)


def grad_cam(
    classifier: VideoClassifier, clip: Tensor, class_number: int | None = None, block: str = ""
) -> ClassMap:
    """The map of one clip, uint8 (T, S, S, 3) RGB, such as `classifier.views` gives, for a class.

    class_number: None for the class of highest score. block: a name such as blocks3.7, "" for `default_block`. Computed
    in float32 whatever the classifier scores in. Raises ValueError for an unknown block or class.
    """
    model = classifier.model
    name = block or default_block(model, min(clip.shape[1:3]))
    module = block_named(model, name)
    if class_number is not None and not 0 <= class_number < len(classifier.class_names):
        raise ValueError(f"class {class_number} is none of 0 to {len(classifier.class_names) - 1}")
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        tokens, logits = tokens_and_logits(model, module, classifier.model_input(clip[None]))
        number = int(logits.argmax()) if class_number is None else class_number
        (gradients,) = torch.autograd.grad(logits[0, number], tokens)
    values = weighted_sum(tokens.detach()[0], gradients[0])
    return ClassMap(values.cpu(), grid_of(model, name, tokens), name, number, logits.detach()[0].cpu())


def tokens_and_logits(model: nn.Module, block: nn.Module, clips: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens that a block gives for clips (B, C, T, H, W), and logits (B, K) that can be derived by them.

    What comes before the block keeps nothing for a gradient.
    """
    found: list[Tensor] = []

    def cut(_, __, output):
        tokens, state = output
        found.append(tokens.detach().requires_grad_())
        return found[0], state

    hook = block.register_forward_hook(cut)
    try:
        logits = model(clips)
    finally:
        hook.remove()
    return found[0], logits


def weighted_sum(tokens: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM (T', H', W') of tokens (T', H', W', C) and gradients of the same shape."""
    return tokens @ gradients.mean(dim=(0, 1, 2))
