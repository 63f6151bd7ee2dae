"""From a config to a model."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from slowfast.models import MODEL_REGISTRY, build_model
from slowfast.models.uniformer import Uniformer

STATE_KEYS = Path(__file__).parents[1] / "golden" / "state_keys"


def config(**changes: object) -> SimpleNamespace:
    """Only what build_model may read: any other key would be an AttributeError."""
    family = {
        "DEPTH": [3, 4, 8, 3],
        "EMBED_DIM": [64, 128, 320, 512],
        "HEAD_DIM": 64,
        "MLP_RATIO": 4,
        "SPLIT": False,
        "STD": False,
        "QKV_BIAS": True,
        "QKV_SCALE": None,
        "DROPOUT_RATE": 0.0,
        "ATTENTION_DROPOUT_RATE": 0.0,
        "DROP_DEPTH_RATE": 0.1,
        "HEAD_DROPOUT_RATE": 0.0,
        "PRUNE_RATIO": [[], [], [1, 0.5], [0.5]],
        "TRADE_OFF": [[], [], [1, 0.25], [0.75]],
        "INIT_VALUE": 0.1,
        "AVERAGE_HEADS": False,
    }
    model = {
        "MODEL_NAME": "Uniformer",
        "NUM_CLASSES": 400,
        "USE_CHECKPOINT": False,
        "FREEZE": [],
        "CHECKPOINT_NUM": [0, 0, 4, 0],
        "CHECKPOINT": "",
    }
    family |= {key: value for key, value in changes.items() if key in family}
    model |= {key: value for key, value in changes.items() if key in model}
    return SimpleNamespace(
        MODEL=SimpleNamespace(**model),
        UNIFORMER=SimpleNamespace(**family),
        BN=SimpleNamespace(NORM_TYPE="batchnorm"),
        DATA=SimpleNamespace(INPUT_CHANNEL_NUM=[3], TRAIN_CROP_SIZE=224, NUM_FRAMES=8),
    )


@pytest.mark.parametrize("name", ["uniformer_s", "uniformer_b", "uniformer_s_split", "uniformer_s_std"])
def test_state_dict_and_drop_path_are_the_published_ones(name: str) -> None:
    golden = json.loads((STATE_KEYS / f"{name}.json").read_text())
    keys = ("DEPTH", "EMBED_DIM", "HEAD_DIM", "MLP_RATIO", "QKV_BIAS", "SPLIT", "STD", "DROP_DEPTH_RATE")
    model = build_model(
        config(**{key: golden["config"][key] for key in keys}, NUM_CLASSES=golden["config"]["NUM_CLASSES"])
    )
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == golden["keys"]
    assert [key for key, _ in model.named_buffers()] == golden["buffers"]
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["num_parameters"]
    for path, rate, _ in golden["drop_path"]:
        assert model.get_submodule(path).rate == rate


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("Uniformer_light_fp32", "uniformer_xxs"),
        ("Uniformer_light", "uniformer_xxs"),
        ("Uniformer_light_ls_fp32", "uniformer_xxs_ls"),
        ("Uniformer_light_fp32", "uniformer_xs"),
    ],
)
def test_light_state_dicts_and_drop_path_are_the_published_ones(name: str, file: str) -> None:
    golden = json.loads((STATE_KEYS / f"{file}.json").read_text())
    settings = {
        key: value
        for key, value in golden["config"].items()
        if key not in ("SPLIT", "PRUNE_RATIO", "TRADE_OFF")
    }
    rules = [
        values[:depth]
        for values, depth in zip(golden["config"]["PRUNE_RATIO"], settings["DEPTH"], strict=True)
    ]
    model = build_model(config(MODEL_NAME=name, PRUNE_RATIO=rules, TRADE_OFF=rules, **settings))
    assert [[key, list(value.shape)] for key, value in model.state_dict().items()] == golden["keys"]
    assert [key for key, _ in model.named_buffers()] == golden["buffers"]
    assert sum(parameter.numel() for parameter in model.parameters()) == golden["num_parameters"]
    for path, rate, _ in golden["drop_path"]:
        assert model.get_submodule(path).rate == rate


@pytest.mark.parametrize(
    ("name", "fp32", "layer_scale"),
    [
        ("Uniformer_light", False, None),
        ("Uniformer_light_fp32", True, None),
        ("Uniformer_light_ls_fp32", True, 0.3),
    ],
)
def test_light_names_are_arguments_of_one_class(name: str, fp32: bool, layer_scale: float | None) -> None:
    changes = {"DEPTH": [1, 1, 2, 1], "EMBED_DIM": [8, 8, 16, 16], "HEAD_DIM": 8, "MLP_RATIO": [1, 2, 3, 4]}
    model = build_model(
        config(MODEL_NAME=name, **changes, INIT_VALUE=0.3, USE_CHECKPOINT=True, AVERAGE_HEADS=True)
    )
    blocks = [*model.blocks3, *model.blocks4]
    assert [(block.keep_ratio, block.trade_off) for block in blocks] == [(1, 1), (0.5, 0.25), (0.5, 0.75)]
    assert all(block.attn.fp32 is fp32 and block.layer_scale == layer_scale for block in blocks)
    assert model.blocks1[0].layer_scale == layer_scale
    assert [block.mlp.fc1.out_features for block in blocks] == [48, 48, 64]
    assert model.checkpoint == (0, 0, 4, 0) and model.average_heads


def test_gradient_checkpointing_needs_its_switch() -> None:
    assert build_model(config()).checkpoint == (0, 0, 0, 0)
    assert build_model(config(USE_CHECKPOINT=True)).checkpoint == (0, 0, 4, 0)
    assert build_model(config(CHECKPOINT="list")).checkpoint == (0, 0, 4, 0)


@pytest.mark.parametrize("how", ["none", "auto"])
def test_training_decides_what_auto_recomputes(how: str) -> None:
    assert build_model(config(CHECKPOINT=how)).checkpoint == (0, 0, 0, 0)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"MODEL.MODEL_NAME 'Unifromer' is not a model; known: .*Uniformer"):
        build_model(config(MODEL_NAME="Unifromer"))


def test_the_registry_is_open() -> None:
    @MODEL_REGISTRY.register()
    def MeanOfColours(cfg: SimpleNamespace) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, cfg.MODEL.NUM_CLASSES))

    model = build_model(config(MODEL_NAME="MeanOfColours", NUM_CLASSES=7))
    assert model(torch.zeros(2, 3, 4, 8, 8)).shape == (2, 7)
    assert isinstance(build_model(config(DEPTH=[1, 1, 1, 1])), Uniformer)
