"""From which tokens one token draws in a block: the weights of its relation aggregator (UniFormer, section 3.2).

Local blocks (stages 1 and 2) have learned one weight for each place around a token and each channel, whatever
the clip shows: a 5x5x5 kernel. Shown is the share of each place in the sum of absolute weights of a channel, the mean
over channels; every channel is a head of its own. What lies outside the clip is missing from the map.

Global blocks compare tokens: the weights of a token are its row of attention, after softmax, as the mean over heads.
Blocks that attend over time and then over space give the product of both. Blocks of light models compare only the
tokens kept, one that stands for the rest, and the class token: the weight of the one is shared out among the rest as
they make it up, a token that was not kept draws as that one does, and what goes to the class token is told apart.
The token itself also goes on past the block (residual), which no weight shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.explaining.blocks import block_named, grid_of, inputs_of, is_local
from slowfast.inference.explaining.grids import Place, TokenGrid
from slowfast.models import ops
from slowfast.models.layers import Attention, SABlock, SplitSABlock
from slowfast.models.uniformer_light import EvoSABlock, LightState

Token = tuple[int, int, int]
"""t, y, x in the grid of a block."""


@dataclass(frozen=True)
class Relation:
    """What a token draws from in a block.

    weights: float32 (T', H', W'), on the CPU, shares from 0 to 1 that sum to at most 1. head: None for the mean of
    all. local: a block of learned weights, which are the same for every clip. class_token: the share that is drawn from
    the class token of a light model.
    """

    block: str
    token: Token
    weights: Tensor
    grid: TokenGrid
    head: int | None
    local: bool
    class_token: float = 0.0


def relations(
    classifier: VideoClassifier, clip: Tensor, blocks: Sequence[str], place: Place, head: int | None = None
) -> list[Relation]:
    """For each block named, what the token at a place of the clip, uint8 (T, S, S, 3) RGB, draws from.

    head: one of a block's heads, None for their mean. Computed in float32. Raises ValueError for an unknown block, a
    head that one of them lacks, and a model that is no UniFormer.
    """
    model = classifier.model
    modules = {name: block_named(model, name) for name in blocks}
    for name, block in modules.items():
        _check_head(name, block, head)
    watched = dict(modules)
    for name, block in modules.items():
        watched |= {
            f"{name}.{part}": getattr(block, part) for part in ("attn", "t_attn") if hasattr(block, part)
        }
    given = inputs_of(model, watched, classifier.model_input(clip[None]))
    with torch.no_grad():
        return [_relation(model, name, block, given, place, head) for name, block in modules.items()]


def _check_head(name: str, block: nn.Module, head: int | None) -> None:
    number = block.attn.out_channels if is_local(block) else block.attn.num_heads
    if head is not None and not 0 <= head < number:
        raise ValueError(f"{name} has no head {head}: its heads are 0 to {number - 1}")


def _relation(
    model: nn.Module, name: str, block: nn.Module, given: dict, place: Place, head: int | None
) -> Relation:
    tokens = given[name][0]
    grid = grid_of(model, name, tokens)
    token = grid.token_at(place)
    if is_local(block):
        return Relation(
            name, token, local_weights(block.attn.weight, grid.shape, token, head).cpu(), grid, head, True
        )
    weigh, from_class = _WEIGHERS[type(block)], 0.0
    weights = weigh(block, name, given, grid.shape, token, head)
    if isinstance(block, EvoSABlock):
        weights, from_class = weights[1:], float(weights[0])
    return Relation(name, token, weights.view(grid.shape).cpu(), grid, head, False, from_class)


def local_weights(kernel: Tensor, shape: Sequence[int], token: Token, head: int | None = None) -> Tensor:
    """Shares (T', H', W') that a depth-wise kernel (C, 1, k, k, k) gives to the tokens around one of `shape`."""
    sizes = kernel[:, 0].detach().float().abs()
    sizes = sizes / sizes.sum(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    shares = sizes.mean(dim=0) if head is None else sizes[head]
    weights = shares.new_zeros(tuple(shape))
    inside, seen = [], []
    for at, length, taps in zip(token, shape, shares.shape, strict=True):
        start = at - taps // 2
        first, last = max(0, start), min(length, start + taps)
        inside.append(slice(first, last))
        seen.append(slice(first - start, last - start))
    weights[tuple(inside)] = shares[tuple(seen)]
    return weights


def attention_row(attention: Attention, rows: Tensor, query: int, head: int | None) -> Tensor:
    """Weights (N,), summing to 1, of one token of rows (N, C), as its number `query` sees all: a head, or the mean."""
    query_of, key, _ = (
        attention.split_heads(rows[None].float()).permute(2, 0, 3, 1, 4).unbind(0)
    )  # (1, h, N, d)
    weights = ops.attention_weights(query_of[:, :, query : query + 1], key, attention.scale)[
        0, :, 0
    ]  # (h, N)
    return weights.mean(dim=0) if head is None else weights[head]


def _joint(block: SABlock, name: str, given: dict, shape: Token, token: Token, head: int | None) -> Tensor:
    (rows,) = given[f"{name}.attn"]  # (1, N, C)
    return attention_row(block.attn, rows[0], _number(token, shape), head)


def _split(
    block: SplitSABlock, name: str, given: dict, shape: Token, token: Token, head: int | None
) -> Tensor:
    """Weight of the place in the token's frame times that of the time at this place."""
    (over_time,), (over_space,) = given[f"{name}.t_attn"], given[f"{name}.attn"]  # (H*W, T, C), (T, H*W, C)
    time, row, column = token
    places = attention_row(block.attn, over_space[time], row * shape[2] + column, head)
    times = [attention_row(block.t_attn, rows, time, head) for rows in over_time]
    return torch.stack(times, dim=1) * places  # (T, H*W)


def _kept(block: EvoSABlock, name: str, given: dict, shape: Token, token: Token, head: int | None) -> Tensor:
    """(1 + N,): the share of the class token, then those of all tokens at their places in the grid."""
    state: LightState = given[name][1]
    (rows,) = given[f"{name}.attn"]  # (1, M, C)
    number = _number(token, shape)
    if block.keep_ratio == 1:
        return attention_row(block.attn, rows[0], 1 + number, head)
    kept, rest = block.choose(state.score)
    kept = kept[0]
    found = (kept == number).nonzero().flatten().tolist()
    query = 1 + found[0] if found else len(kept) + 1
    return put_back(attention_row(block.attn, rows[0], query, head), kept, rest[0])


def put_back(weights: Tensor, kept: Tensor, rest: Tensor) -> Tensor:
    """Weights (1 + k + 1,) of the class token, tokens kept and the one for the rest, as (1 + N,) at their places.

    kept: the places, int64 (k,). rest: how the one is made up of all N, 0 for those kept, sum 1.
    """
    placed = (weights[-1] * rest).scatter(0, kept, weights[1:-1])
    return torch.cat([weights[:1], placed])


def _number(token: Token, shape: Token) -> int:
    time, row, column = token
    return (time * shape[1] + row) * shape[2] + column


_WEIGHERS: dict[type[nn.Module], Callable[..., Tensor]] = {
    SABlock: _joint,
    SplitSABlock: _split,
    EvoSABlock: _kept,
}
