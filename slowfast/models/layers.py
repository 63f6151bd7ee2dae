"""Blocks of the UniFormer family: patch embedding, convolution block, attention blocks, drop path.

Letters: B batch, T frames, H W height and width of the token grid, C channels, N = T*H*W tokens, h heads.
Tokens are contiguous float tensors (B, T, H, W, C). Every block maps (tokens, state) to (tokens, state),
tokens of the same shape; state is what a block hands to the next besides tokens (None for UniFormer S and B).
Attribute names follow the published weights. Source: UniFormer (Li et al., 2022), sections 3.2 to 3.4.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slowfast.models import ops
from slowfast.utils.seeds import derive

BLOCK_NORM_EPS = 1e-6  # the published blocks; patch embeddings and batch norms keep the framework's 1e-5


class Stochastic(nn.Module):
    """A layer that draws random numbers in training, from a stream of its own.

    With a step seed (see `set_step_seed`) a draw is a function of the seed, the layer and the number of the
    draw, so recomputing a block repeats it. Without one the draw comes from torch's default stream.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"a drop rate must be in [0, 1), got {rate}")
        self.rate = rate
        self.step_seed: Tensor | None = None  # int64 (), on the CPU

    def extra_repr(self) -> str:
        return f"rate={self.rate:.4g}"

    def keep_mask(self, shape: Sequence[int], like: Tensor, draw: int = 0) -> Tensor:
        """A mask of `shape`: 1 where kept, 0 where dropped; dtype and device of `like`."""
        if self.step_seed is not None:
            return ops.seeded_mask(self.step_seed, draw, shape, self.rate, like.dtype, like.device)
        uniform = torch.rand(shape, generator=None, device=like.device)  # None: the default stream, on purpose
        return (uniform >= self.rate).to(like.dtype)


class Dropout(Stochastic):
    """Dropout of single values."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        return x / (1.0 - self.rate) * self.keep_mask(x.shape, x)


class DropPath(Stochastic):
    """Stochastic depth: drops a whole residual branch for some samples of the batch (dimension 0).

    `branch` numbers the branches of a block, which draw independently. In split blocks the mask is per sample
    too, where the published code draws one per place or frame (its published rows do not use split blocks).
    """

    def forward(self, x: Tensor, branch: int = 0) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        # Dividing the values, not the mask: 1 / (1 - rate) is off by up to 0.2 % in half precision.
        return x / (1.0 - self.rate) * self.keep_mask((x.shape[0],) + (1,) * (x.ndim - 1), x, branch)


def set_step_seed(model: nn.Module, seed: int) -> None:
    """Make all masks of the coming forward pass a function of `seed` and of a layer's place in the model."""
    layers = (module for module in model.modules() if isinstance(module, Stochastic))
    for index, layer in enumerate(layers):
        layer.step_seed = torch.tensor(derive(seed, index), device="cpu")


class Tunable(nn.Module):
    """A layer with several exact formulations. ways: which it uses, by whether it is in training mode."""

    ways: Mapping[bool, Any] = {True: None, False: None}

    @property
    def way(self) -> Any:
        return self.ways[self.training]


class PointwiseConv(Tunable, nn.Conv3d):
    """1x1x1 convolution on tokens, one of `ops.LINEAR_WAYS`."""

    ways = {True: "native", False: "native"}

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        return ops.pointwise(tokens, self.weight, self.bias, self.way)


class Linear(Tunable, nn.Linear):
    """Linear layer on rows, one of `ops.LINEAR_WAYS`."""

    ways = {True: "native", False: "native"}

    def forward(self, rows: Tensor) -> Tensor:
        return ops.linear(rows, self.weight, self.bias, self.way)


class DepthwiseConv(Tunable, nn.Conv3d):
    """Depth-wise convolution on tokens, size-preserving; `kernel` is odd. Its ways are `ops.DepthwiseWay`."""

    ways = {True: ops.DepthwiseWay(), False: ops.DepthwiseWay()}

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return ops.depthwise_conv3d(tokens, self.weight, self.bias, self.way)


class PatchConv(nn.Conv3d):
    """Strided convolution on tokens."""

    def forward(self, tokens: Tensor) -> Tensor:
        return ops.patch_conv3d(tokens, self.weight, self.bias, self.stride, self.padding)


class PatchEmbed(nn.Module):
    """Strided convolution, then LayerNorm: (B, T, H, W, C_in) to (B, T', H', W', C_out).

    Patches do not overlap in space, and what is left over at the border is dropped: H' = floor(H / stride).
    A kernel of 3 frames is centred, with zeros before the first and after the last frame:
    T' = floor((T - 1) / stride) + 1.
    """

    def __init__(
        self, in_channels: int, channels: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.proj = PatchConv(in_channels, channels, kernel, stride, padding=(kernel[0] // 2, 0, 0))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(self.proj(tokens))


@dataclass(frozen=True)
class BlockOptions:
    """What blocks are made with besides their width; convolution blocks read the last four alone.

    layer_scale: start of the factors of a `ScaledBlock`, None for none; the other blocks do not read it.
    """

    head_dim: int
    qkv_bias: bool
    qkv_scale: float | None
    attention_dropout: float
    mlp_ratio: float
    dropout: float
    layer_scale: float | None = None
    drop_path: float = 0.0


class Mlp(Tunable):
    """Two linear layers with GELU between; `linear` is their class, made from (channels in, channels out).

    One of `ops.MLP_WAYS`.
    """

    ways = {True: "native", False: "native"}

    def __init__(
        self, channels: int, options: BlockOptions, linear: type[Linear] | type[PointwiseConv]
    ) -> None:
        super().__init__()
        hidden = int(channels * options.mlp_ratio)
        self.fc1 = linear(channels, hidden)
        self.fc2 = linear(hidden, channels)
        self.drop1 = Dropout(options.dropout)
        self.drop2 = Dropout(options.dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        if self.training and self.drop1.rate > 0.0:
            return self.drop2(self.fc2(self.drop1(F.gelu(self.fc1(tokens)))))
        weights = (self.fc1.weight.flatten(1), self.fc1.bias, self.fc2.weight.flatten(1), self.fc2.bias)
        return ops.mlp(tokens, *weights, self.way)


class Attention(Tunable):
    """Multi-head self-attention over rows (R, N, C): every token of a row sees all tokens of that row.

    One of `ops.ATTENTION_WAYS`.
    """

    ways = {True: "fused", False: "fused"}

    def __init__(self, channels: int, options: BlockOptions) -> None:
        super().__init__()
        self.num_heads = channels // options.head_dim
        self.scale = options.qkv_scale or options.head_dim**-0.5
        self.qkv = Linear(channels, 3 * channels, bias=options.qkv_bias)
        self.proj = Linear(channels, channels)
        self.attn_drop = Dropout(options.attention_dropout)
        self.proj_drop = Dropout(options.dropout)

    def forward(self, rows: Tensor) -> Tensor:
        return self.merge_heads(self.mix(self.split_heads(rows)))

    def split_heads(self, rows: Tensor) -> Tensor:
        """Query, key and value of all heads, (R, N, 3, h, C/h)."""
        return self.qkv(rows).view(*rows.shape[:2], 3, self.num_heads, -1)

    def mix(self, qkv: Tensor) -> Tensor:
        """Values as the queries see them, (R, N, h, C/h)."""
        if self.training and self.attn_drop.rate > 0.0:
            query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            weights = self.attn_drop(ops.attention_weights(query, key, self.scale))
            return (weights @ value).transpose(1, 2)
        return ops.attention(qkv, self.scale, self.way)

    def merge_heads(self, mixed: Tensor) -> Tensor:
        """(R, N, h, C/h) to rows (R, N, C)."""
        return self.proj_drop(self.proj(mixed.flatten(2)))


class ScaledBlock(nn.Module):
    """A block whose two branches may be multiplied by learned factors, one per channel (layer scale).

    shape: that of the factors in published weights; their C values lie in one dimension. Source: Touvron et
    al., "Going deeper with image transformers", 2021.
    """

    def __init__(self, shape: Sequence[int], layer_scale: float | None) -> None:
        super().__init__()
        self.layer_scale = layer_scale
        for name in ("gamma_1", "gamma_2"):
            gamma = None if layer_scale is None else nn.Parameter(torch.full(tuple(shape), layer_scale))
            self.register_parameter(name, gamma)

    def reset_scales(self) -> None:
        """Set the factors to their start."""
        for gamma in (self.gamma_1, self.gamma_2):
            if gamma is not None:
                nn.init.constant_(gamma, self.layer_scale)

    @staticmethod
    def scaled(branch: Tensor, gamma: Tensor | None) -> Tensor:
        """Branch (..., C) times its factors, or as it is."""
        return branch if gamma is None else branch * gamma.flatten()


class CBlock(ScaledBlock):
    """Convolution block: local relations through a 5x5x5 depth-wise convolution (stages 1 and 2)."""

    def __init__(self, channels: int, options: BlockOptions) -> None:
        super().__init__((1, channels, 1, 1, 1), options.layer_scale)
        self.pos_embed = DepthwiseConv(channels, 3)
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = PointwiseConv(channels, channels)
        self.conv2 = PointwiseConv(channels, channels)
        self.attn = DepthwiseConv(channels, 5)
        self.drop_path = DropPath(options.drop_path)
        self.norm2 = nn.BatchNorm3d(channels)
        self.mlp = Mlp(channels, options, PointwiseConv)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        tokens = tokens + self.pos_embed(tokens)
        local = self.conv2(self.attn(self.conv1(ops.batch_norm(tokens, self.norm1))))
        tokens = tokens + self.drop_path(self.scaled(local, self.gamma_1), 0)
        mixed = self.mlp(ops.batch_norm(tokens, self.norm2))
        tokens = tokens + self.drop_path(self.scaled(mixed, self.gamma_2), 1)
        return tokens, state


class SABlock(nn.Module):
    """Attention block: every token sees every token of the clip (stages 3 and 4)."""

    def __init__(self, channels: int, options: BlockOptions) -> None:
        super().__init__()
        self.pos_embed = DepthwiseConv(channels, 3)
        self.norm1 = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.attn = Attention(channels, options)
        self.drop_path = DropPath(options.drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.mlp = Mlp(channels, options, Linear)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        tokens = tokens + self.pos_embed(tokens)
        rows = self.norm1(tokens).flatten(1, 3)  # (B, N, C)
        tokens = tokens + self.drop_path(self.attn(rows), 0).view_as(tokens)
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)), 1)
        return tokens, state


class SplitSABlock(nn.Module):
    """Attention first over time at each place, then over space in each frame.

    The residual of the spatial step is the block's input, not the temporal result: what time contributes
    passes through the spatial attention. Odd, but published weights expect it.
    """

    def __init__(self, channels: int, options: BlockOptions) -> None:
        super().__init__()
        self.pos_embed = DepthwiseConv(channels, 3)
        self.t_norm = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.t_attn = Attention(channels, options)
        self.norm1 = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.attn = Attention(channels, options)
        self.drop_path = DropPath(options.drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=BLOCK_NORM_EPS)
        self.mlp = Mlp(channels, options, Linear)

    def forward(self, tokens: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        tokens = tokens + self.pos_embed(tokens)
        timed = tokens + self.drop_path(self._over_time(self.t_norm(tokens)), 0)
        tokens = tokens + self.drop_path(self._over_space(self.norm1(timed)), 1)
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)), 2)
        return tokens, state

    def _over_time(self, tokens: Tensor) -> Tensor:
        batch, frames, height, width, channels = tokens.shape
        rows = tokens.permute(0, 2, 3, 1, 4).reshape(-1, frames, channels)  # (B*H*W, T, C)
        mixed = self.t_attn(rows).view(batch, height, width, frames, channels)
        return mixed.permute(0, 3, 1, 2, 4)

    def _over_space(self, tokens: Tensor) -> Tensor:
        rows = tokens.flatten(2, 3).flatten(0, 1)  # (B*T, H*W, C)
        return self.attn(rows).view_as(tokens)


@contextlib.contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """Inside, batch norms write their running statistics to copies that are thrown away at the end."""
    norms = [norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    kept = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    try:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)


def recomputed(block: nn.Module, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
    """Run a block without keeping its activations: backward runs it again, with the same masks.

    The second run leaves batch-norm statistics alone (the published code updates them twice in such blocks).
    """
    if torch.compiler.is_compiling():  # compilers know no such contexts, and repeat no writing to buffers
        return checkpoint(block, tokens, state, use_reentrant=False)
    stochastic = [module for module in block.modules() if isinstance(module, Stochastic)]
    return checkpoint(
        block,
        tokens,
        state,
        use_reentrant=False,
        preserve_rng_state=any(module.step_seed is None for module in stochastic),
        context_fn=lambda: (contextlib.nullcontext(), statistics_kept(block)),
    )
