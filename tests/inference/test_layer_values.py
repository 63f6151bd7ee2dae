"""What named layers give: of the model as it was trained, whichever norms were folded; others are refused with help."""

import pytest
import torch
from torch import nn

from slowfast.inference.layer_values import HEAD_INPUT, check_layer, layer_names, layer_values
from slowfast.models.folding import fold
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

TINY = dict(num_classes=7, depth=(1, 2, 2, 1), embed_dim=(8, 16, 16, 32), head_dim=8)
CLIPS = torch.randn(2, 3, 4, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=[Uniformer, UniformerLight])
def model(request):
    torch.manual_seed(0)
    made = request.param(**TINY).eval().requires_grad_(False)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 1.5)
    return made


def test_the_input_of_the_head_is_that_of_the_trained_model(model):
    with torch.no_grad():
        logits = model(CLIPS)
        fold(model, head=False)
        values = layer_values(model, HEAD_INPUT, False, lambda: model(CLIPS))
    assert values.shape == (2, 32)
    torch.testing.assert_close(model.head(values), logits, rtol=1e-4, atol=1e-5)


def test_dense_values_have_the_pooled_ones_as_their_mean(model):
    with torch.no_grad():
        for layer, shape in {
            HEAD_INPUT: (2, 2, 2, 2, 32), "blocks3.1": (2, 2, 4, 4, 16), "blocks1.0": (2, 2, 16, 16, 8),
            "blocks1.0.mlp": (2, 2, 16, 16, 8), "patch_embed1": (2, 2, 16, 16, 8), "norm": (2, 2, 2, 2, 32),
        }.items():  # fmt: skip
            dense = layer_values(model, layer, True, lambda: model(CLIPS))
            pooled = layer_values(model, layer, False, lambda: model(CLIPS))
            assert dense.shape == shape, layer
            torch.testing.assert_close(pooled, dense.mean(dim=(1, 2, 3)), rtol=1e-5, atol=1e-6)


def test_rows_of_attention_and_logits_are_layers_too(model):
    with torch.no_grad():
        assert layer_values(model, "blocks3.0.attn", False, lambda: model(CLIPS)).shape == (2, 16)
        logits = layer_values(model, "head", True, lambda: model(CLIPS))
        assert torch.equal(logits, model(CLIPS))


def test_no_hook_stays(model):
    layer_values(model, "blocks3.0", False, lambda: model(CLIPS))
    with pytest.raises(RuntimeError):
        layer_values(model, HEAD_INPUT, False, _fail)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def _fail():
    raise RuntimeError


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("block3.1", "unknown in this model; near it are blocks3.1"),
        ("zzz", "there are head_input, patch_embed1"),
        ("", "is unknown"),
        ("blocks2", "not called by itself in a pass: take blocks2.0 or blocks2.1"),
        ("blocks2.0.mlp.fc1", "take blocks2.0.mlp"),
        ("blocks2.0.norm1", "batch norms and layer scales are folded.*Take blocks2.0"),
    ],
)
def test_layers_that_give_nothing_are_refused_with_others(model, layer, said):
    fold(model, head=False)
    with pytest.raises(ValueError, match=said), torch.no_grad():
        layer_values(model, layer, False, lambda: model(CLIPS))


def test_models_of_others_may_lack_a_head_or_give_no_vectors():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    assert layer_names(model) == [HEAD_INPUT, "0", "1"]
    with pytest.raises(ValueError, match="the model has no head; name a layer instead of head_input: 0, 1"):
        check_layer(model, HEAD_INPUT)
    model = nn.Sequential(nn.Flatten(0))
    with pytest.raises(ValueError, match="gives no vectors"):
        layer_values(model, "0", False, lambda: model(torch.zeros(3)))
    model = nn.ModuleDict({"head": nn.Linear(3, 2)})
    with pytest.raises(ValueError, match="one vector a clip in this model"):
        layer_values(model, HEAD_INPUT, True, lambda: model["head"](torch.zeros(1, 3)))
