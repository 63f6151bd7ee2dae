"""UniFormer XXS and XS, the lightweight models: convolutional stem, class token, attention among part of the tokens.

In stages 3 and 4 a class token attends to all others, and how much it does, averaged over heads and carried from
block to block, is the score of a token. Blocks with a keep ratio below 1 update the tokens of highest score exactly;
the rest share one update, that of their score-weighted mean, which attends in their place. No token is lost: the
grid is whole again after every block. Source: Li et al., "UniFormer" (2022), appendix on lightweight models, whose
token selection is that of Xu et al., "Evo-ViT" (2021). Attribute names are those of the published weights.

Letters as in layers.py, and k: tokens kept, M: rows of attention, 1 + N or 1 + k + 1.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slowfast.models import ops
from slowfast.models.layers import (
    BLOCK_NORM_EPS,
    Attention,
    BlockOptions,
    CBlock,
    DepthwiseConv,
    Dropout,
    DropPath,
    Linear,
    Mlp,
    PatchConv,
    ScaledBlock,
)
from slowfast.models.uniformer import (
    NUM_STAGES,
    UniformerBase,
    check_heads,
    check_stages,
    make_head,
    one_per_stage,
)

PUBLISHED_KEEP_RATIO = 0.5  # of all blocks but the first of stage 3; the rate of the scores is the same


class LightState(NamedTuple):
    """What blocks of stages 3 and 4 hand on besides tokens.

    class_token: (B, 1, C). score: (B, N) float32, of the tokens in order of the grid; None before the first block.
    """

    class_token: Tensor
    score: Tensor | None


class ConvStem(nn.Module):
    """Two strided 3x3x3 convolutions: (B, T, H, W, C_in) to (B, T/2, H/4, W/4, C), sizes rounded up."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            PatchConv(in_channels, channels // 2, 3, stride=(1, 2, 2), padding=1),
            nn.BatchNorm3d(channels // 2),
            nn.GELU(),
            PatchConv(channels // 2, channels, 3, stride=(2, 2, 2), padding=1),
            nn.BatchNorm3d(channels),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        conv1, norm1, activation, conv2, norm2 = self.proj
        tokens = activation(ops.batch_norm(conv1(tokens), norm1))
        return ops.batch_norm(conv2(tokens), norm2)


class ScoringAttention(Attention):
    """Self-attention over rows (B, M, C) that also says how the first of them, the class token, sees all.

    fp32: products and softmax are computed in float32 also under autocast. The published models of that name only
    leave autocast and go on with what it made, which is half precision.
    """

    def __init__(self, channels: int, options: BlockOptions, fp32: bool) -> None:
        super().__init__(channels, options)
        self.fp32 = fp32

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (B, M, C), and the weights of the first row, the mean over heads, (B, M) float32."""
        given = self.split_heads(rows)
        qkv = given.float() if self.fp32 else given
        with ops.without_autocast(rows.device) if self.fp32 else nullcontext():
            mixed = self.mix(qkv)
        query, key, _ = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        seen = ops.first_attention_row(query, key, self.scale).mean(dim=1)
        return self.merge_heads(mixed.to(given.dtype)), seen


class EvoSABlock(ScaledBlock):
    """Attention block with a class token, for all tokens or for a share of them (stages 3 and 4).

    keep_ratio: share of tokens updated exactly, int(keep_ratio * N) of them; 1 for all and no representative.
    trade_off: weight of this block's attention in the running score, against 1 - trade_off of the score so far.
    """

    def __init__(
        self, channels: int, options: BlockOptions, keep_ratio: float, trade_off: float, fp32: bool
    ) -> None:
        super().__init__((channels,), options.layer_scale)
        self.keep_ratio = keep_ratio
        self.trade_off = trade_off
        self.pos_embed = DepthwiseConv(channels, 3)
        self.norm1 = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.attn = ScoringAttention(channels, options, fp32)
        self.drop_path = DropPath(options.drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.mlp = Mlp(channels, options, Linear)

    def extra_repr(self) -> str:
        return f"keep_ratio={self.keep_ratio:g}, trade_off={self.trade_off:g}"

    def forward(self, tokens: Tensor, state: LightState) -> tuple[Tensor, LightState]:
        tokens = tokens + self.pos_embed(tokens)
        update = self._update_all if self.keep_ratio == 1 else self._update_kept
        rows, state = update(tokens.flatten(1, 3), state)
        return rows.view_as(tokens), state

    def _update_all(self, rows: Tensor, state: LightState) -> tuple[Tensor, LightState]:
        """The block for rows (B, N, C), all of which attend."""
        mixed, _, seen = self._attend(torch.cat([state.class_token, rows], dim=1))
        seen = seen[:, 1:]
        score = seen if state.score is None else self._blend(state.score, seen)
        return mixed[:, 1:].contiguous(), LightState(mixed[:, :1], score)

    def _update_kept(self, rows: Tensor, state: LightState) -> tuple[Tensor, LightState]:
        """The block for rows (B, N, C) of which those of highest score attend, and one row for the rest."""
        score = state.score
        kept, weights = self.choose(score)
        places = kept[..., None].expand(-1, -1, rows.shape[-1])  # of the rows kept, (B, k, C)
        representative = (weights[..., None] * rows).sum(dim=1, keepdim=True).to(rows.dtype)
        chosen = torch.cat([state.class_token, rows.gather(1, places), representative], dim=1)
        mixed, change, seen = self._attend(chosen)

        blended = self._blend(score.gather(1, kept), seen[:, 1:-1])
        # The shared update is not under drop path, as published.
        rows = (rows + change[:, -1:]).scatter(1, places, mixed[:, 1:-1])
        return rows, LightState(mixed[:, :1], score.scatter(1, kept, blended))

    def choose(self, score: Tensor) -> tuple[Tensor, Tensor]:
        """Of scores (B, N): the tokens kept, (B, k) int64, the highest first, and how the one row for the rest is made.

        That row is the mean of all tokens by weights (B, N), which are 0 for those kept.
        """
        num_kept = int(self.keep_ratio * score.shape[1])
        # Stable: among equal scores, as of a still clip, the same tokens are kept on every device.
        kept = score.detach().argsort(dim=1, descending=True, stable=True)[:, :num_kept]
        weights = score.scatter(1, kept, 0.0)
        return kept, weights / weights.sum(dim=1, keepdim=True)

    def _attend(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attention and MLP for rows (B, M, C): the rows after, what was added before drop path, the scores (B, M)."""
        attended, seen = self.attn(self.norm1(rows))
        attended = self.scaled(attended, self.gamma_1)
        rows = rows + self.drop_path(attended, 0)
        expanded = self.scaled(self.mlp(self.norm2(rows)), self.gamma_2)
        return rows + self.drop_path(expanded, 1), attended + expanded, seen

    def _blend(self, score: Tensor, seen: Tensor) -> Tensor:
        return (1 - self.trade_off) * score + self.trade_off * seen


class UniformerLight(UniformerBase):
    """UniFormer XXS (the defaults) or XS.

    prune_ratio: keep ratios of the blocks, a list for each stage, those of stages 1 and 2 empty; above 0 to 1, the
    first of stage 3 is 1. trade_off: likewise the weight of each block's attention in the scores, 0 to 1. None for
    the published ones: 1 for the first block of stage 3, then 0.5. fp32_attention: see `ScoringAttention`.
    layer_scale: start of the factors of all branches, None for no layer scale. average_heads: in evaluation give
    the mean of the logits of both heads, instead of those of the first as published. The other arguments are those
    of `Uniformer`; of several `mlp_ratio` each stage has its own (published code reads the fourth for stage 3 too,
    which shows in no published model: all are equal there).

    Weights come from torch's default stream; `initialise` draws them again from a generator.
    Raises ValueError where the numbers contradict each other.
    """

    HEADS = ("head", "head_cls")
    ENTRY_STAGES = {"cls_token": 3, "cls_upsample": 4}

    def __init__(
        self,
        num_classes: int,
        depth: Sequence[int] = (2, 5, 8, 2),
        embed_dim: Sequence[int] = (56, 112, 224, 448),
        head_dim: int = 28,
        mlp_ratio: float | Sequence[float] = 3,
        in_channels: int = 3,
        qkv_bias: bool = True,
        qkv_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        head_dropout: float = 0.0,
        std: bool = False,
        checkpoint: Sequence[int] = (0, 0, 0, 0),
        prune_ratio: Sequence[Sequence[float]] | None = None,
        trade_off: Sequence[Sequence[float]] | None = None,
        fp32_attention: bool = False,
        layer_scale: float | None = None,
        average_heads: bool = False,
    ) -> None:
        super().__init__(in_channels, checkpoint)
        ratios = one_per_stage(mlp_ratio)
        check_stages(depth=depth, embed_dim=embed_dim, mlp_ratio=ratios)
        check_heads(embed_dim[2:], head_dim)
        prune_ratio = published_rule(depth) if prune_ratio is None else prune_ratio
        trade_off = published_rule(depth) if trade_off is None else trade_off
        _check_rules(depth, prune_ratio, trade_off)
        self.average_heads = average_heads

        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim[2]))
        self.add_patch_embeds(ConvStem(in_channels, embed_dim[0]), embed_dim, std)
        self.pos_drop = Dropout(dropout)
        self.cls_upsample = nn.Linear(embed_dim[2], embed_dim[3])

        def make(stage: int, index: int, options: BlockOptions) -> nn.Module:
            if stage < 2:
                return CBlock(embed_dim[stage], options)
            rules = (prune_ratio[stage][index], trade_off[stage][index])
            return EvoSABlock(embed_dim[stage], options, *rules, fp32_attention)

        options = [
            BlockOptions(head_dim, qkv_bias, qkv_scale, attention_dropout, ratio, dropout, layer_scale)
            for ratio in ratios
        ]
        self.add_blocks(depth, drop_path, options, make)

        self.norm = nn.BatchNorm3d(embed_dim[-1])
        self.norm_cls = nn.LayerNorm(embed_dim[-1])
        self.head_drop = Dropout(head_dropout)
        self.head_cls_drop = Dropout(head_dropout)
        self.head = make_head(embed_dim[-1], num_classes)
        self.head_cls = make_head(embed_dim[-1], num_classes)
        self.initialise()

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """Logits (B, K) of clips: float (B, C, T, H, W), any strides; of a list its first element is used.

        In training two of them, of the mean token and of the class token, each with a loss of its own.
        A block's output, for forward hooks, is (tokens, state): tokens (B, T', H', W', C), state None in stages 1
        and 2, a `LightState` after.
        """
        tokens = ops.channels_last(self.clips_in(x))
        for stage in (1, 2):
            tokens, _ = self.run_blocks(stage, self.embed(stage, tokens), None)

        tokens = self.embed(3, tokens)
        state = LightState(self.cls_token.expand(tokens.shape[0], -1, -1), None)
        tokens, state = self.run_blocks(3, tokens, state)

        score = _pooled(state.score, tokens.shape[1:4])
        tokens = self.embed(4, tokens)
        tokens, state = self.run_blocks(4, tokens, LightState(self.cls_upsample(state.class_token), score))

        mean = ops.batch_norm(tokens, self.norm).mean(dim=(1, 2, 3))
        logits = self.head(self.head_drop(mean))
        if not (self.training or self.average_heads):
            return logits
        class_token = self.norm_cls(state.class_token.squeeze(1))
        logits_cls = self.head_cls(self.head_cls_drop(class_token))
        return (logits, logits_cls) if self.training else (logits + logits_cls) / 2

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """As `UniformerBase.initialise`, and a class token of 0."""
        super().initialise(generator)
        nn.init.zeros_(self.cls_token)


def published_rule(depth: Sequence[int]) -> list[list[float]]:
    """The published keep ratios, and rates of the score, for any depth: 1 for the first block of stage 3, then 0.5."""
    third = [1.0] + [PUBLISHED_KEEP_RATIO] * (depth[2] - 1)
    return [[], [], third, [PUBLISHED_KEEP_RATIO] * depth[3]]


def _pooled(score: Tensor, grid: Sequence[int]) -> Tensor:
    """Scores (B, N) of the tokens of a grid (T, H, W) for the next stage, of half its height and width.

    Means over 2x2 tokens, scaled to the same sum.
    """
    maps = nn.functional.avg_pool3d(score.unflatten(1, tuple(grid)), (1, 2, 2)).flatten(1)
    return maps * (score.sum(dim=1, keepdim=True) / maps.sum(dim=1, keepdim=True))


def _check_rules(
    depth: Sequence[int], prune_ratio: Sequence[Sequence[float]], trade_off: Sequence[Sequence[float]]
) -> None:
    wanted = [0, 0, *depth[2:]]
    for name, lists in (("prune_ratio", prune_ratio), ("trade_off", trade_off)):
        lengths = [len(values) for values in lists]
        if lengths != wanted:
            raise ValueError(
                f"{name} needs a list for each of {NUM_STAGES} stages, of {wanted} numbers (none for stages 1 and 2, "
                f"then one for each block), got lists of {lengths}; published: {published_rule(depth)}"
            )
    ratios = [*prune_ratio[2], *prune_ratio[3]]
    if not all(0 < ratio <= 1 for ratio in ratios):
        raise ValueError(f"the keep ratios in prune_ratio must be above 0, to 1, got {list(ratios)}")
    if list(prune_ratio[2][:1]) != [1]:
        raise ValueError(
            f"the first keep ratio of stage 3 must be 1, got {list(prune_ratio[2])}: no block before it scored the "
            "tokens"
        )
    rates = [*trade_off[2], *trade_off[3]]
    if not all(0 <= rate <= 1 for rate in rates):
        raise ValueError(f"the numbers in trade_off must be from 0 to 1, got {list(rates)}")
