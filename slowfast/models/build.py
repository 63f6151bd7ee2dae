"""From the config to a model: the only file of this package that reads cfg."""

from fvcore.common.config import CfgNode
from fvcore.common.registry import Registry
from torch import nn

from slowfast.models import uniformer

MODEL_REGISTRY = Registry("MODEL")
MODEL_REGISTRY.__doc__ = """Models by name (MODEL.MODEL_NAME): callables that map a cfg to a module.

The module maps clips, a float tensor (B, C, T, H, W) or a list whose first element is one, to logits (B, K).
"""


@MODEL_REGISTRY.register()
def Uniformer(cfg: CfgNode) -> uniformer.Uniformer:
    """UniFormer S or B, from the sections MODEL, UNIFORMER and DATA.INPUT_CHANNEL_NUM."""
    model, family = cfg.MODEL, cfg.UNIFORMER
    return uniformer.Uniformer(
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
        split=family.SPLIT,
        std=family.STD,
        checkpoint=model.CHECKPOINT_NUM if model.USE_CHECKPOINT else (0, 0, 0, 0),
    )


def build_model(cfg: CfgNode) -> nn.Module:
    """The model that MODEL.MODEL_NAME names, on the CPU, freshly initialised; no file is read.

    Raises ValueError for a name that is not registered.
    """
    name = cfg.MODEL.MODEL_NAME
    if name not in MODEL_REGISTRY:
        known = ", ".join(sorted(known for known, _ in MODEL_REGISTRY))
        raise ValueError(f"MODEL.MODEL_NAME {name!r} is not a model; known: {known}")
    return MODEL_REGISTRY.get(name)(cfg)
