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
    }
    model = {
        "MODEL_NAME": "Uniformer",
        "NUM_CLASSES": 400,
        "USE_CHECKPOINT": False,
        "CHECKPOINT_NUM": [0, 0, 4, 0],
    }
    family |= {key: value for key, value in changes.items() if key in family}
    model |= {key: value for key, value in changes.items() if key in model}
    return SimpleNamespace(
        MODEL=SimpleNamespace(**model),
        UNIFORMER=SimpleNamespace(**family),
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


def test_gradient_checkpointing_needs_its_switch() -> None:
    assert build_model(config()).checkpoint == (0, 0, 0, 0)
    assert build_model(config(USE_CHECKPOINT=True)).checkpoint == (0, 0, 4, 0)


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
