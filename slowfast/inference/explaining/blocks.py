"""The blocks of a UniFormer by name, where their tokens lie, and what they are given in a pass of the model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.inference.explaining.grids import TokenGrid
from slowfast.models.layers import CBlock
from slowfast.models.uniformer import NUM_STAGES, UniformerBase
from slowfast.models.uniformer_light import ConvStem

FIRST_PATCH = 4  # pixels a side that the stem makes a token of; each later stage doubles it
# The centre of a token of the convolutional stem is half a pixel from the corner, not two: both of its convolutions
# are centred on the first of the two pixels that they stride.
CONV_STEM_OFFSET = -1.5
MIN_TOKENS = 8  # to a side, for a map that tells places apart


def blocks_of(model: nn.Module) -> dict[str, nn.Module]:
    """The blocks in their order, by their names in the weights: blocks1.0, blocks1.1, ...

    Raises ValueError for a model that is no UniFormer.
    """
    if not isinstance(model, UniformerBase):
        raise ValueError(
            f"the model is a {type(model).__name__}; explained are UniFormers, whose blocks are known here"
        )
    return {
        f"blocks{stage}.{index}": block
        for stage in range(1, NUM_STAGES + 1)
        for index, block in enumerate(getattr(model, f"blocks{stage}"))
    }


def block_named(model: nn.Module, name: str) -> nn.Module:
    """The block of that name; raises ValueError for another one, listing those that exist."""
    known = blocks_of(model)
    if name not in known:
        raise ValueError(f"the model has no block {name!r}; it has {', '.join(known)}")
    return known[name]


def default_block(model: nn.Module, side: int) -> str:
    """The block for maps of clips of ``side`` pixels: the deepest whose map has 8 tokens or more to a side.

    The deeper a block, the nearer its tokens are to the decision, but the larger the square that each stands for, and
    the more it has taken in from elsewhere: that is the end of stage 3 for 128 and 224 pixels, where the last stage has
    4 and 7 tokens to a side. Clips too small for it get the end of stage 1. On made-up clips of 96 pixels, maps of the
    demo's stage 2 (12 tokens) peaked on the moving object in 83 %, those of stage 3 (6 tokens) in 53 %.
    """
    names = list(blocks_of(model))
    fine = [name for name in names if side // patch_of(name) >= MIN_TOKENS]
    return fine[-1] if fine else last_of_stage(model, 1)


def last_of_stage(model: nn.Module, stage: int) -> str:
    """The name of the last block of stage 1..4."""
    return [name for name in blocks_of(model) if stage_of(name) == stage][-1]


def is_local(block: nn.Module) -> bool:
    """Whether tokens of the block draw from their neighbours alone."""
    return isinstance(block, CBlock)


def stage_of(name: str) -> int:
    """3 for blocks3.7."""
    return int(name.removeprefix("blocks").partition(".")[0])


def patch_of(name: str) -> int:
    """Pixels a side that a token of the block stands for."""
    return FIRST_PATCH * 2 ** (stage_of(name) - 1)


def grid_of(model: nn.Module, name: str, tokens: Tensor) -> TokenGrid:
    """Where the tokens (B, T', H', W', C) of a block lie."""
    offset = CONV_STEM_OFFSET if isinstance(model.patch_embed1, ConvStem) else 0.0
    return TokenGrid(tuple(tokens.shape[1:4]), patch_of(name), offset)


def inputs_of(
    model: nn.Module, modules: Mapping[str, nn.Module], clips: Tensor
) -> dict[str, tuple[Any, ...]]:
    """What modules inside a model are given while it scores clips (B, C, T, H, W), by the names given here."""
    given: dict[str, tuple[Any, ...]] = {}

    def keep(name: str):
        return lambda _, inputs: given.__setitem__(name, inputs)

    with ExitStack() as hooks, torch.no_grad():
        for name, module in modules.items():
            hooks.callback(module.register_forward_pre_hook(keep(name)).remove)
        model(clips)
    return given
