"""From the config to a model: the only file of this package that reads cfg."""

from collections.abc import Sequence
from typing import Any

from fvcore.common.config import CfgNode
from fvcore.common.registry import Registry
from torch import nn

from slowfast.models import uniformer, uniformer_light
from slowfast.models.freezing import freeze

MODEL_REGISTRY = Registry("MODEL")
MODEL_REGISTRY.__doc__ = """Models by name (MODEL.MODEL_NAME): callables that map a cfg to a module.

The module maps clips, a float tensor (B, C, T, H, W) or a list whose first element is one, to logits (B, K). In
training it may give a tuple of them, one for each of its heads: the loss is the mean over heads.
"""


@MODEL_REGISTRY.register()
def Uniformer(cfg: CfgNode) -> uniformer.Uniformer:
    """UniFormer S or B, from the sections MODEL, UNIFORMER and DATA.INPUT_CHANNEL_NUM."""
    return uniformer.Uniformer(**_shared(cfg), split=cfg.UNIFORMER.SPLIT)


@MODEL_REGISTRY.register()
def Uniformer_light(cfg: CfgNode) -> uniformer_light.UniformerLight:
    """UniFormer XXS or XS with two heads, from the same sections; UNIFORMER.SPLIT is not for it."""
    return _light(cfg)


@MODEL_REGISTRY.register()
def Uniformer_light_fp32(cfg: CfgNode) -> uniformer_light.UniformerLight:
    """The same with attention in float32 also in mixed precision."""
    return _light(cfg, fp32_attention=True)


@MODEL_REGISTRY.register()
def Uniformer_light_ls_fp32(cfg: CfgNode) -> uniformer_light.UniformerLight:
    """The same with layer scale besides, which starts at UNIFORMER.INIT_VALUE."""
    return _light(cfg, fp32_attention=True, layer_scale=cfg.UNIFORMER.INIT_VALUE)


def _light(cfg: CfgNode, **variant: Any) -> uniformer_light.UniformerLight:
    return uniformer_light.UniformerLight(
        **_shared(cfg),
        prune_ratio=cfg.UNIFORMER.PRUNE_RATIO,
        trade_off=cfg.UNIFORMER.TRADE_OFF,
        average_heads=cfg.UNIFORMER.AVERAGE_HEADS,
        **variant,
    )


def _shared(cfg: CfgNode) -> dict[str, Any]:
    """Arguments that all variants have."""
    model, family = cfg.MODEL, cfg.UNIFORMER
    return dict(
        num_classes=model.NUM_CLASSES,
        depth=family.DEPTH,
        embed_dim=family.EMBED_DIM,
        head_dim=family.HEAD_DIM,
        mlp_ratio=family.MLP_RATIO,
        in_channels=cfg.DATA.INPUT_CHANNEL_NUM[0],
        qkv_bias=family.QKV_BIAS,
        qkv_scale=family.QKV_SCALE,
        dropout=family.DROPOUT_RATE,
        attention_dropout=family.ATTENTION_DROPOUT_RATE,
        drop_path=family.DROP_DEPTH_RATE,
        head_dropout=family.HEAD_DROPOUT_RATE,
        std=family.STD,
        checkpoint=_checkpoint(cfg),
    )


def _checkpoint(cfg: CfgNode) -> Sequence[int]:
    """Blocks to recompute; none for MODEL.CHECKPOINT auto, which training decides."""
    how = cfg.MODEL.CHECKPOINT or ("list" if cfg.MODEL.USE_CHECKPOINT else "none")
    return cfg.MODEL.CHECKPOINT_NUM if how == "list" else (0,) * uniformer.NUM_STAGES


def build_model(cfg: CfgNode) -> nn.Module:
    """The model that MODEL.MODEL_NAME names, on the CPU, freshly initialised; no file is read.

    What MODEL.FREEZE names is not trained. Raises ValueError for a name that is not registered, or a pattern that
    matches nothing.
    """
    name = cfg.MODEL.MODEL_NAME
    if name not in MODEL_REGISTRY:
        known = ", ".join(sorted(known for known, _ in MODEL_REGISTRY))
        raise ValueError(f"MODEL.MODEL_NAME {name!r} is not a model; known: {known}")
    model = MODEL_REGISTRY.get(name)(cfg)
    if cfg.MODEL.FREEZE:
        freeze(model, cfg.MODEL.FREEZE)
    return model
