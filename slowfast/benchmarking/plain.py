"""The plain formulation of the models, to measure ours against: the arithmetic as the published code writes it.

Maps (B, C, T, H, W) in the framework's default memory order, `conv3d` for every convolution, attention with its whole
matrix, batch norms and layer scales on their own. `Plain(model)` runs the weights of a model of ours that way, so both
have one set of parameters and the same results up to rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slowfast.models.layers import Attention, CBlock, PatchEmbed, SABlock
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import ConvStem, EvoSABlock, LightState, UniformerLight, _pooled


class Plain(nn.Module):
    """A UniFormer (joint attention, no dropout) or a lightweight one, computed plainly."""

    def __init__(self, model: Uniformer | UniformerLight) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        model, light = self.model, isinstance(self.model, UniformerLight)
        maps, state, grid = clips, None, ()
        for stage in (1, 2, 3, 4):
            maps = _embed(getattr(model, f"patch_embed{stage}"), maps)
            if light and stage == 3:
                state = LightState(model.cls_token.expand(len(maps), -1, -1), None)
            elif light and stage == 4:
                state = LightState(model.cls_upsample(state.class_token), _pooled(state.score, grid))
            grid = maps.shape[2:]
            for block in getattr(model, f"blocks{stage}"):
                maps, state = _BLOCKS[type(block)](block, maps, state)
        logits = model.head(model.norm(maps).flatten(2).mean(-1))
        if not (light and self.training):
            return logits
        return logits, model.head_cls(model.norm_cls(state.class_token.squeeze(1)))


def _embed(embed: PatchEmbed | ConvStem, maps: Tensor) -> Tensor:
    if isinstance(embed, ConvStem):
        for layer in embed.proj:
            maps = _conv(layer, maps) if isinstance(layer, nn.Conv3d) else layer(maps)
        return maps
    maps = _conv(embed.proj, maps)
    rows = embed.norm(maps.flatten(2).transpose(1, 2))
    return _maps(rows, maps)


def _conv(layer: nn.Conv3d, maps: Tensor) -> Tensor:
    return F.conv3d(maps, layer.weight, layer.bias, layer.stride, layer.padding, groups=layer.groups)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """Rows (B, N, C) as maps."""
    return rows.transpose(1, 2).reshape(like.shape).contiguous()


def _convolution_block(block: CBlock, maps: Tensor, state: None) -> tuple[Tensor, None]:
    maps = maps + _conv(block.pos_embed, maps)
    local = _conv(block.conv2, _conv(block.attn, _conv(block.conv1, block.norm1(maps))))
    maps = maps + block.drop_path(_scaled(local, block.gamma_1), 0)
    mixed = _conv(block.mlp.fc2, F.gelu(_conv(block.mlp.fc1, block.norm2(maps))))
    return maps + block.drop_path(_scaled(mixed, block.gamma_2), 1), state


def _scaled(branch: Tensor, gamma: Tensor | None) -> Tensor:
    return branch if gamma is None else gamma * branch


def _attend(attention: Attention, rows: Tensor) -> tuple[Tensor, Tensor]:
    query, key, value = attention.split_heads(rows).permute(2, 0, 3, 1, 4).unbind(0)
    weights = torch.softmax(query @ key.transpose(-2, -1) * attention.scale, dim=-1)
    return attention.merge_heads((weights @ value).transpose(1, 2)), weights


def _attention_block(block: SABlock, maps: Tensor, state: None) -> tuple[Tensor, None]:
    maps = maps + _conv(block.pos_embed, maps)
    rows = maps.flatten(2).transpose(1, 2)
    rows = rows + block.drop_path(_attend(block.attn, block.norm1(rows))[0], 0)
    rows = rows + block.drop_path(block.mlp(block.norm2(rows)), 1)
    return _maps(rows, maps), state


def _scoring_block(block: EvoSABlock, maps: Tensor, state: LightState) -> tuple[Tensor, LightState]:
    maps = maps + _conv(block.pos_embed, maps)
    update = block._update_all if block.keep_ratio == 1 else block._update_kept
    rows, state = update(maps.flatten(2).transpose(1, 2), state)
    return _maps(rows, maps), state


_BLOCKS = {CBlock: _convolution_block, SABlock: _attention_block, EvoSABlock: _scoring_block}
