"""UniFormer S and B for video (Li et al., "UniFormer", ICLR 2022): a clip in, class scores out.

Stages 1 and 2 are convolution blocks, stages 3 and 4 attention blocks. A patch embedding in front of each
stage halves height and width; the first divides them by 4 and halves time. There is no positional table: any
number of frames and any size from 32x32 on run with the same weights. Attribute names are those of the
published weights.
"""

from collections.abc import Callable, Sequence
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
    ScaledBlock,
    SplitSABlock,
    recomputed,
)

NUM_STAGES = 4
MIN_SIZE = 32  # pixels: below it the last stage has no token left
LINEAR_STD = 0.02


class UniformerBase(nn.Module):
    """What the variants share: clips, four stages of blocks, new heads and new weights.

    A variant calls `add_patch_embeds` and `add_blocks` and makes pos_drop, norm and the heads named in HEADS, in the
    order of its published weights.
    """

    HEADS = ("head",)
    ENTRY_STAGES: dict[str, int] = {}  # parameters outside of blocks that enter with a stage 1..4

    def __init__(self, in_channels: int, checkpoint: Sequence[int]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.recompute(checkpoint)

    def recompute(self, checkpoint: Sequence[int]) -> None:
        """Recompute the first blocks of each stage in backward, this many; the values computed stay the same.

        Raises ValueError unless there is a number of 0 or more for each stage.
        """
        check_stages(checkpoint=checkpoint)
        if min(checkpoint) < 0:
            raise ValueError(f"checkpoint must be numbers of blocks, 0 or more, got {list(checkpoint)}")
        self.checkpoint = tuple(checkpoint)

    def add_patch_embeds(self, stem: nn.Module, embed_dim: Sequence[int], std: bool) -> None:
        """Add patch_embed1, the stem, and the later ones; `std`: they mix three neighbouring frames."""
        self.patch_embed1 = stem
        kernel, stride = (3 if std else 1, 2, 2), (1, 2, 2)
        for stage in range(2, NUM_STAGES + 1):
            embed = PatchEmbed(embed_dim[stage - 2], embed_dim[stage - 1], kernel, stride)
            self.add_module(f"patch_embed{stage}", embed)

    def add_blocks(
        self,
        depth: Sequence[int],
        drop_path: float,
        options: Sequence[BlockOptions],
        make: Callable[[int, int, BlockOptions], nn.Module],
    ) -> None:
        """Add the blocks: make(stage 0..3, index in the stage, options of the stage with the block's drop rate)."""
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        for stage in range(NUM_STAGES):
            blocks = [
                make(stage, index, replace(options[stage], drop_path=next(rates)))
                for index in range(depth[stage])
            ]
            self.add_module(f"blocks{stage + 1}", nn.ModuleList(blocks))

    def clips_in(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """Clips (B, C, T, H, W) of a model's input: of a list its first element. Raises ValueError for misfits."""
        clips = x[0] if isinstance(x, list | tuple) else x
        _check_clips(clips, self.in_channels)
        return clips

    def embed(self, stage: int, tokens: Tensor) -> Tensor:
        """Tokens at the entry of stage 1..4."""
        tokens = getattr(self, f"patch_embed{stage}")(tokens)
        return self.pos_drop(tokens) if stage == 1 else tokens

    def run_blocks(self, stage: int, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """All blocks of stage 1..4, the first of them recomputed in backward where `checkpoint` says so."""
        num_recomputed = self.checkpoint[stage - 1] if self.training else 0
        for index, block in enumerate(getattr(self, f"blocks{stage}")):
            if index < num_recomputed:
                tokens, state = recomputed(block, tokens, state)
            else:
                tokens, state = block(tokens, state)
        return tokens, state

    @property
    def num_blocks(self) -> int:
        """Blocks of all stages together."""
        return sum(len(getattr(self, f"blocks{stage}")) for stage in range(1, NUM_STAGES + 1))

    def layer_of(self, name: str) -> int:
        """How deep a parameter lies: 0 the first patch embedding, n the n-th block, num_blocks + 1 what follows it.

        A later patch embedding, and what else enters with its stage, counts with the first block of the stage.
        """
        part, *rest = name.split(".")
        starts = [1]
        for stage in range(1, NUM_STAGES):
            starts.append(starts[-1] + len(getattr(self, f"blocks{stage}")))
        if part == "patch_embed1":
            return 0
        if part.startswith("blocks"):
            return starts[int(part.removeprefix("blocks")) - 1] + int(rest[0])
        if part.startswith("patch_embed"):
            return starts[int(part.removeprefix("patch_embed")) - 1]
        return starts[self.ENTRY_STAGES[part] - 1] if part in self.ENTRY_STAGES else self.num_blocks + 1

    def reset_head(self, num_classes: int, generator: torch.Generator | None = None) -> None:
        """Put freshly drawn heads for `num_classes` (0: none) in place of the old ones."""
        for name in self.HEADS:
            head = make_head(self.norm.num_features, num_classes).to(self.norm.weight)
            _initialise_linear(head, generator)
            setattr(self, name, head)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew, in order of modules, from a generator (None: torch's default stream).

        Linear: normal with deviation 0.02, bias 0. Convolutions: the framework's rule. Norms: 1 and 0,
        statistics reset. Layer scale: its start. Temporal attention of split blocks gives 0 at first (qkv 0,
        proj 1 and bias 0): a split model starts as a model of single frames.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                _initialise_conv(module, generator)
            elif isinstance(module, nn.LayerNorm | nn.BatchNorm3d):
                module.reset_parameters()
            elif isinstance(module, ScaledBlock):
                module.reset_scales()
            else:
                _initialise_linear(module, generator)
        for block in self.modules():
            if isinstance(block, SplitSABlock):
                nn.init.zeros_(block.t_attn.qkv.weight)
                nn.init.ones_(block.t_attn.proj.weight)


class Uniformer(UniformerBase):
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
        super().__init__(in_channels, checkpoint)
        ratios = one_per_stage(mlp_ratio)
        check_stages(depth=depth, embed_dim=embed_dim, mlp_ratio=ratios)
        check_heads(embed_dim[2:], head_dim)

        stem = PatchEmbed(in_channels, embed_dim[0], (3, 4, 4), (2, 4, 4))
        self.add_patch_embeds(stem, embed_dim, std)
        self.pos_drop = Dropout(dropout)

        options = [
            BlockOptions(head_dim, qkv_bias, qkv_scale, attention_dropout, ratio, dropout) for ratio in ratios
        ]
        attention_block = SplitSABlock if split else SABlock
        kinds = (CBlock, CBlock, attention_block, attention_block)
        self.add_blocks(
            depth, drop_path, options, lambda stage, index, chosen: kinds[stage](embed_dim[stage], chosen)
        )

        self.norm = nn.BatchNorm3d(embed_dim[-1])
        self.head_drop = Dropout(head_dropout)
        self.head = make_head(embed_dim[-1], num_classes)
        self.initialise()

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """Logits (B, K) of clips: float (B, C, T, H, W), any strides; of a list its first element is used.

        A block's output, for forward hooks, is (tokens, state) with tokens (B, T', H', W', C).
        """
        tokens, state = ops.channels_last(self.clips_in(x)), None
        for stage in range(1, NUM_STAGES + 1):
            tokens, state = self.run_blocks(stage, self.embed(stage, tokens), state)
        tokens = ops.batch_norm(tokens, self.norm)
        return self.head(self.head_drop(tokens.mean(dim=(1, 2, 3))))


def drop_path_rates(last: float, num_blocks: int) -> list[float]:
    """Rates of all blocks in order: 0 for the first, `last` for the last, linear between."""
    return torch.linspace(0, last, num_blocks, device="cpu").tolist()


def one_per_stage(value: float | Sequence[float]) -> list[float]:
    """A number for all stages, or a list of one for each, as a list."""
    return [value] * NUM_STAGES if isinstance(value, int | float) else list(value)


def make_head(width: int, num_classes: int) -> nn.Module:
    """A linear layer to `num_classes`, or for 0 a layer that hands features on."""
    return nn.Linear(width, num_classes) if num_classes else nn.Identity()


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


def check_stages(**lists: Sequence[float]) -> None:
    """Raise ValueError for a list, named by its keyword, that has not one number for each stage."""
    for name, values in lists.items():
        if len(values) != NUM_STAGES:
            raise ValueError(f"{name} needs one number for each of {NUM_STAGES} stages, got {list(values)}")


def check_heads(widths: Sequence[int], head_dim: int) -> None:
    """Raise ValueError unless `head_dim` divides all `widths` of attention stages."""
    for width in widths:
        if head_dim < 1 or width % head_dim:
            raise ValueError(
                f"head_dim {head_dim} does not divide the attention width {width}: "
                f"give a divisor of both widths {list(widths)} (published: 64 for S and B, 32 for XS, 28 for XXS)"
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
