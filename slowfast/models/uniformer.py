"""UniFormer S and B for video (Li et al., "UniFormer", ICLR 2022): a clip in, class scores out.

Stages 1 and 2 are convolution blocks, stages 3 and 4 attention blocks. A patch embedding in front of each
stage halves height and width; the first divides them by 4 and halves time. There is no positional table: any
number of frames and any size from 32x32 on run with the same weights. Attribute names are those of the
published weights.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.models import ops
from slowfast.models.layers import (
    BlockOptions,
    CBlock,
    Dropout,
    PatchEmbed,
    SABlock,
    SplitSABlock,
    recomputed,
)

NUM_STAGES = 4
MIN_SIZE = 32  # pixels: below it the last stage has no token left
LINEAR_STD = 0.02


class Uniformer(nn.Module):
    """UniFormer with joint or split space-time attention.

    num_classes: 0 for no head, features (B, C) come out. depth, embed_dim: blocks and channels of the four
    stages. head_dim: channels of one attention head, a divisor of the widths of stages 3 and 4. mlp_ratio:
    hidden width of an MLP over its width, one number or one for each stage. qkv_scale: factor of the
    attention logits, None for head_dim ** -0.5. drop_path: rate of the last block, growing linearly from 0 at
    the first. split: attention over time, then over space. std: patch embeddings 2 to 4 mix three
    neighbouring frames. checkpoint: how many of the first blocks of each stage recompute their activations in
    backward instead of keeping them.

    Weights come from torch's default stream; `initialise` draws them again from a generator.
    Raises ValueError where the numbers contradict each other.
    """

    def __init__(
        self,
        num_classes: int,
        depth: Sequence[int] = (3, 4, 8, 3),
        embed_dim: Sequence[int] = (64, 128, 320, 512),
        head_dim: int = 64,
        mlp_ratio: float | Sequence[float] = 4,
        in_channels: int = 3,
        qkv_bias: bool = True,
        qkv_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path: float = 0.0,
        head_dropout: float = 0.0,
        split: bool = False,
        std: bool = False,
        checkpoint: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        super().__init__()
        ratios = [mlp_ratio] * NUM_STAGES if isinstance(mlp_ratio, int | float) else list(mlp_ratio)
        _check_stages(depth=depth, embed_dim=embed_dim, mlp_ratio=ratios, checkpoint=checkpoint)
        _check_heads(embed_dim[2:], head_dim)
        self.in_channels = in_channels
        self.checkpoint = tuple(checkpoint)

        time_kernel = 3 if std else 1
        self.patch_embed1 = PatchEmbed(in_channels, embed_dim[0], (3, 4, 4), (2, 4, 4))
        self.patch_embed2 = PatchEmbed(embed_dim[0], embed_dim[1], (time_kernel, 2, 2), (1, 2, 2))
        self.patch_embed3 = PatchEmbed(embed_dim[1], embed_dim[2], (time_kernel, 2, 2), (1, 2, 2))
        self.patch_embed4 = PatchEmbed(embed_dim[2], embed_dim[3], (time_kernel, 2, 2), (1, 2, 2))
        self.pos_drop = Dropout(dropout)

        rates = iter(drop_path_rates(drop_path, sum(depth)))
        attention_block = SplitSABlock if split else SABlock
        for stage, block in enumerate((CBlock, CBlock, attention_block, attention_block)):
            options = BlockOptions(
                head_dim=head_dim,
                qkv_bias=qkv_bias,
                qkv_scale=qkv_scale,
                attention_dropout=attention_dropout,
                mlp_ratio=ratios[stage],
                dropout=dropout,
            )
            blocks = [
                block(embed_dim[stage], replace(options, drop_path=next(rates))) for _ in range(depth[stage])
            ]
            self.add_module(f"blocks{stage + 1}", nn.ModuleList(blocks))

        self.norm = nn.BatchNorm3d(embed_dim[-1])
        self.head_drop = Dropout(head_dropout)
        self.head = nn.Linear(embed_dim[-1], num_classes) if num_classes else nn.Identity()
        self.initialise()

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """Logits (B, K) of clips: float (B, C, T, H, W), any strides; of a list its first element is used.

        A block's output, for forward hooks, is (tokens, state) with tokens (B, T', H', W', C).
        """
        clips = x[0] if isinstance(x, list | tuple) else x
        _check_clips(clips, self.in_channels)
        tokens, state = ops.channels_last(clips), None
        for stage in range(1, NUM_STAGES + 1):
            tokens, state = self._stage(stage, tokens, state)
        tokens = ops.batch_norm(tokens, self.norm)
        return self.head(self.head_drop(tokens.mean(dim=(1, 2, 3))))

    def _stage(self, stage: int, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        tokens = getattr(self, f"patch_embed{stage}")(tokens)
        if stage == 1:
            tokens = self.pos_drop(tokens)
        num_recomputed = self.checkpoint[stage - 1] if self.training else 0
        for index, block in enumerate(getattr(self, f"blocks{stage}")):
            if index < num_recomputed:
                tokens, state = recomputed(block, tokens, state)
            else:
                tokens, state = block(tokens, state)
        return tokens, state

    def reset_head(self, num_classes: int, generator: torch.Generator | None = None) -> None:
        """Put a new, freshly drawn head for `num_classes` (0: none) in place of the old one."""
        width = self.norm.num_features
        self.head = nn.Linear(width, num_classes).to(self.norm.weight) if num_classes else nn.Identity()
        _initialise_linear(self.head, generator)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, in order of modules, from a generator (None: torch's default stream).

        Linear: normal with deviation 0.02, bias 0. Convolutions: the framework's rule. Norms: 1 and 0,
        statistics reset. Temporal attention of split blocks gives 0 at first (qkv 0, proj 1 and bias 0): a
        split model starts as a model of single frames.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                _initialise_conv(module, generator)
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm3d):
                module.reset_parameters()
            else:
                _initialise_linear(module, generator)
        for block in self.modules():
            if isinstance(block, SplitSABlock):
                nn.init.zeros_(block.t_attn.qkv.weight)
                nn.init.ones_(block.t_attn.proj.weight)


def drop_path_rates(last: float, num_blocks: int) -> list[float]:
    """Rates of all blocks in order: 0 for the first, `last` for the last, linear between."""
    return torch.linspace(0, last, num_blocks, device="cpu").tolist()


def _initialise_linear(module: nn.Module, generator: torch.Generator | None) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=LINEAR_STD, generator=generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _initialise_conv(module: nn.Conv3d, generator: torch.Generator | None) -> None:
    """What the framework does: weight and bias uniform in +-1 / sqrt(inputs of one output)."""
    bound = module.weight[0].numel() ** -0.5
    nn.init.uniform_(module.weight, -bound, bound, generator=generator)
    nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def _check_stages(**lists: Sequence[float]) -> None:
    for name, values in lists.items():
        if len(values) != NUM_STAGES:
            raise ValueError(f"{name} needs one number for each of {NUM_STAGES} stages, got {list(values)}")


def _check_heads(widths: Sequence[int], head_dim: int) -> None:
    for width in widths:
        if head_dim < 1 or width % head_dim:
            raise ValueError(
                f"head_dim {head_dim} does not divide the attention width {width}: "
                f"give a divisor of both widths {list(widths)} (published S and B: 64)"
            )


def _check_clips(clips: Tensor, in_channels: int) -> None:
    shape = tuple(clips.shape)
    if clips.ndim != 5 or shape[1] != in_channels or not clips.is_floating_point():
        raise ValueError(
            f"clips must be a float tensor (batch, {in_channels}, frames, height, width), "
            f"got {clips.dtype} {shape}"
        )
    if shape[2] < 1 or min(shape[3:]) < MIN_SIZE:
        raise ValueError(f"clips need at least 1 frame of {MIN_SIZE}x{MIN_SIZE} pixels, got {shape}")
