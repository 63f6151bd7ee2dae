"""Every published size of both families is the same in onnxruntime and as a program of torch.export, on real frames."""

from pathlib import Path

import pytest
import torch
from torch import nn

from slowfast.config import load_cfg
from slowfast.datasets.frames import open_video
from slowfast.datasets.pipeline import EvalViews
from slowfast.inference.exporting import onnx_file, torch_export
from slowfast.inference.exporting.wrapped import Deployed, Normalise, traced
from slowfast.models.build import build_model
from slowfast.models.folding import fold

pytest.importorskip("onnxscript")
CONFIGS = Path(__file__).parents[3] / "configs" / "k400"
# At the smallest clip whose last stage still has tokens to choose from: 4 frames of 64 pixels, 2x2x2 tokens. Nearly all
# of the time goes into tracing, which depends on the depth alone.
SIZES = {
    "S": "uniformer_s16x4",
    "B": "uniformer_b16x4",
    "XXS": "uniformer_xxs16_128",
    "XS": "uniformer_xs32_192",
}
FRAMES, SIDE = 4, 64


@pytest.fixture(scope="module")
def clips(debug_data):
    """uint8 (3, T, S, S, 3) of three videos."""
    views = EvalViews(SIDE, SIDE, 1)
    paths = sorted((debug_data / "clips" / "test").glob("*.mp4"))[:6:2]
    found = []
    for path in paths:
        with open_video(path) as reader:
            found.append(views(torch.from_numpy(reader.read(range(0, 3 * FRAMES, 3)))[None], ()).clips)
    return torch.cat(found)


def drawn(name):
    """A model of the published depth and widths, with statistics of batch norms as training leaves them."""
    cfg = load_cfg(CONFIGS / f"{SIZES[name]}.yaml", ["MODEL.NUM_CLASSES", "11", "NUM_GPUS", "0"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build_model(cfg).eval().requires_grad_(False)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.running_mean.uniform_(-0.5, 0.5)
                module.running_var.uniform_(0.5, 1.5)
            elif isinstance(module, nn.Linear):
                module.weight.mul_(2.0)
    return cfg, model


@pytest.mark.parametrize("name", SIZES)
def test_onnx_and_torch_export_give_the_models_logits(name, clips, tmp_path):
    cfg, model = drawn(name)
    normalise = Normalise(cfg.DATA.MEAN, cfg.DATA.STD, cfg.DATA.REVERSE_INPUT_CHANNEL)
    with torch.inference_mode():
        expected = model(normalise(clips))
    assert expected.std() > 0.1  # there is something to differ
    fold(model)
    assert not any(isinstance(module, nn.BatchNorm3d) for module in model.modules())
    program = traced(Deployed(model, normalise, softmax=False).eval(), clips, batch=0)
    torch_export.write(program, tmp_path / "model.pt2", {})
    onnx_file.write(program, tmp_path / "model.onnx", "logits", {"name": name})
    runners = (
        torch_export.runner(tmp_path / "model.pt2"),
        onnx_file.runner(tmp_path / "model.onnx", threads=1),
    )
    for run in runners:
        for count in (1, 3):  # traced with two
            torch.testing.assert_close(run(clips[:count]), expected[:count], rtol=0, atol=1e-4)
    assert onnx_file.read_metadata(tmp_path / "model.onnx")["name"] == name
