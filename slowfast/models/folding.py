"""Batch norms and layer scales as parts of their neighbours, for models that are only evaluated from now on.

In evaluation a batch norm multiplies and shifts each channel by fixed numbers, and a layer scale multiplies it: a
linear layer or convolution beside it can do that with other weights of its own. Exact up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from slowfast.models.layers import CBlock, ScaledBlock
from slowfast.models.uniformer import UniformerBase
from slowfast.models.uniformer_light import ConvStem, EvoSABlock


@torch.no_grad()
def fold(model: nn.Module, *, head: bool = True) -> int:
    """Fold what can be folded in all UniFormers inside `model`, in place; how many norms and scales that were.

    head: also the norm before the head, without which the head is no longer given the features of the trained model.
    The model is in eval mode afterwards. Its state dict no longer fits the model it was built as.
    """
    model.eval()
    count = 0
    for module in list(model.modules()):
        if isinstance(module, ConvStem):
            count += _stem(module)
        elif isinstance(module, CBlock):
            count += _convolution_block(module)
        elif isinstance(module, EvoSABlock):
            count += _scales(module, module.attn.proj, module.mlp.fc2)
        elif head and isinstance(module, UniformerBase) and isinstance(module.head, nn.Linear):
            count += _norm(module, "norm", module.head)  # the mean over tokens between them changes nothing
    return count


def _stem(stem: ConvStem) -> int:
    count = 0
    for index in (0, 3):
        if isinstance(norm := stem.proj[index + 1], nn.BatchNorm3d):
            scale, shift = _affine(norm)
            _multiply_outputs(stem.proj[index], scale)
            stem.proj[index].bias += shift
            stem.proj[index + 1] = nn.Identity()
            count += 1
    return count


def _convolution_block(block: CBlock) -> int:
    norms = _norm(block, "norm1", block.conv1) + _norm(block, "norm2", block.mlp.fc1)
    return norms + _scales(block, block.conv2, block.mlp.fc2)


def _norm(owner: nn.Module, name: str, layer: nn.Module) -> int:
    """The norm of that name into the linear layer or 1x1x1 convolution that follows it."""
    norm = getattr(owner, name)
    if not isinstance(norm, nn.BatchNorm3d):
        return 0
    scale, shift = _affine(norm)
    weight = layer.weight.double().flatten(1)
    layer.bias.copy_(layer.bias.double() + weight @ shift)
    layer.weight.copy_((weight * scale).view_as(layer.weight))
    setattr(owner, name, nn.Identity())
    return 1


def _scales(block: ScaledBlock, first: nn.Module, second: nn.Module) -> int:
    """The factors of both branches into the last layers of these."""
    if block.gamma_1 is None:
        return 0
    _multiply_outputs(first, block.gamma_1.flatten())
    _multiply_outputs(second, block.gamma_2.flatten())
    block.gamma_1 = block.gamma_2 = None
    return 2


def _affine(norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Factor and shift of each channel, in float64 so that they are rounded once."""
    scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def _multiply_outputs(layer: nn.Module, scale: Tensor) -> None:
    shape = (-1,) + (1,) * (layer.weight.dim() - 1)
    layer.weight.copy_(layer.weight.double() * scale.double().view(shape))
    layer.bias.copy_(layer.bias.double() * scale.double())
