"""Which tokens each block of a light model keeps: those that it updates one by one, while the rest share an update."""

from __future__ import annotations

import torch
from torch import Tensor

from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.explaining.blocks import blocks_of, grid_of, inputs_of
from slowfast.inference.explaining.grids import TokenGrid
from slowfast.models.uniformer_light import EvoSABlock


def kept_tokens(classifier: VideoClassifier, clip: Tensor) -> dict[str, tuple[Tensor, TokenGrid]]:
    """By block that keeps a share: bool (T', H', W'), on the CPU, True where kept, and where its tokens lie.

    clip: uint8 (T, S, S, 3) RGB. Empty for models that keep all tokens everywhere. Raises ValueError for a model that
    is no UniFormer.
    """
    model = classifier.model
    blocks = {
        name: block
        for name, block in blocks_of(model).items()
        if isinstance(block, EvoSABlock) and block.keep_ratio < 1
    }
    if not blocks:
        return {}
    given = inputs_of(model, blocks, classifier.model_input(clip[None]))
    found = {}
    for name, (tokens, state) in given.items():
        grid = grid_of(model, name, tokens)
        kept, _ = blocks[name].choose(state.score)
        found[name] = marked(kept[0], grid.shape).cpu(), grid
    return found


def marked(places: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """bool (T', H', W'), True at places: int64 (k,), numbers of tokens in order of the grid."""
    marks = torch.zeros(shape, dtype=torch.bool, device=places.device)
    marks.view(-1)[places] = True
    return marks
