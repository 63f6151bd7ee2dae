"""The benchmark of learning: its recipes load and build, its table says what the runs did."""

import importlib.util
from pathlib import Path

import pytest
import torch

from slowfast.config import load_cfg
from slowfast.models import MODEL_REGISTRY, build_model

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("learning", ROOT / "benchmarks" / "learning.py")
learning = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(learning)


@pytest.mark.parametrize("recipe", learning.RECIPES)
@pytest.mark.parametrize("name", sorted(learning.BASES))
def test_recipes_load_and_give_logits(name, recipe):
    cfg = load_cfg(str(learning.BASES[name]), learning.changes(name, recipe))
    if recipe == "cnn":
        assert cfg.MODEL.MODEL_NAME == "Plain3D" and "Plain3D" not in MODEL_REGISTRY
        model = learning.Plain3D(cfg.MODEL.NUM_CLASSES)
    else:
        assert cfg.TEST.DATASET == ("kinetics_sparse" if recipe.endswith("sparse") else "kinetics")
        model = build_model(cfg)
    side = cfg.DATA.TEST_CROP_SIZE
    with torch.inference_mode():
        logits = model.eval()(torch.zeros(1, 3, cfg.DATA.NUM_FRAMES, side, side))
    assert logits.shape == (1, cfg.MODEL.NUM_CLASSES)


def test_the_table_has_mean_spread_and_every_seed():
    runs = [
        {
            "top1": top1,
            "reversed_top1": 5.0,
            "train_seconds": 60.4,
            "val_curve": [(1, 10.0), (2, top1)],
        }
        for top1 in (90.0, 100.0)
    ]
    line = learning.table({"gestures": {"sparse": runs}}).splitlines()[2]
    assert line == "| gestures | sparse | 95.0 | 7.1 | 90.0, 100.0 | 5.0, 5.0 | 60, 60 |"


def test_curves_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    run = {"val_curve": [(20, 30.0), (40, 80.0)]}
    learning.draw({"gestures": {"sparse": [run], "cnn": [run]}}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_recipes_measured_earlier_stay_in_the_table(tmp_path):
    assert learning.earlier(tmp_path / "learning.json") == {}
    (tmp_path / "learning.json").write_text('{"gestures": {"cnn": []}}')
    assert learning.earlier(tmp_path / "learning.json") == {"gestures": {"cnn": []}}
