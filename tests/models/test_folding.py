"""Folded models give the same logits, and fold everything that is there."""

import pytest
import torch
from torch import nn

from slowfast.models.folding import fold
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

TINY = dict(num_classes=7, depth=(1, 2, 2, 1), embed_dim=(8, 16, 16, 32), head_dim=8)
CLIPS = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(1))
MODELS = {
    "joint": (Uniformer, {}, 7),  # two norms in each of three convolution blocks, and the last one
    "split": (Uniformer, {"split": True}, 7),
    "light": (UniformerLight, {"average_heads": True}, 9),  # and two in the stem
    "scaled": (UniformerLight, {"layer_scale": 0.3}, 21),  # and two scales in each of six blocks
}


def made(name):
    """With statistics, affine parameters and scales that are not those of a fresh model."""
    kind, changes, _ = MODELS[name]
    torch.manual_seed(0)
    model = kind(**TINY, **changes)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm3d):
                for values in (module.weight, module.running_var):
                    values.uniform_(0.5, 1.5)
                for values in (module.bias, module.running_mean):
                    values.uniform_(-1.0, 1.5)
        for name, parameter in model.named_parameters():
            if "gamma" in name:
                parameter.uniform_(0.2, 0.8)
    return model.eval()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_stay_and_nothing_is_left_to_fold(name):
    model = made(name)
    expected = model(CLIPS)
    assert fold(model) == MODELS[name][2]
    assert not any(isinstance(module, nn.BatchNorm3d) for module in model.modules())
    assert not any("gamma" in key for key in model.state_dict())
    torch.testing.assert_close(model(CLIPS), expected, rtol=1e-4, atol=1e-5)
    assert fold(model) == 0


@torch.no_grad()
def test_features_keep_their_norm():
    """Without a head there is nothing that the last norm could become part of."""
    model = Uniformer(**{**TINY, "num_classes": 0}).eval()
    expected = model(CLIPS)
    assert fold(model) == 6 and isinstance(model.norm, nn.BatchNorm3d)
    torch.testing.assert_close(model(CLIPS), expected, rtol=1e-4, atol=1e-5)


def test_a_model_that_is_no_uniformer_is_left_alone():
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4))
    assert fold(model) == 0 and isinstance(model[1], nn.BatchNorm3d)


@pytest.mark.parametrize("name", ["joint", "light"])
@torch.no_grad()
def test_the_norm_before_the_head_may_stay(name):
    model = made(name)
    expected = model(CLIPS)
    assert fold(model, head=False) == MODELS[name][2] - 1
    assert [key for key, module in model.named_modules() if isinstance(module, nn.BatchNorm3d)] == ["norm"]
    torch.testing.assert_close(model(CLIPS), expected, rtol=1e-4, atol=1e-5)
    assert fold(model) == 1
