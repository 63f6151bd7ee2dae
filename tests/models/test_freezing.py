"""What is frozen stays as it was, to the bit, batch-norm statistics included; the rest is trained."""

import copy

import pytest
import torch
from torch import nn

from slowfast.models.build import build_model
from slowfast.models.freezing import FrozenBatchNorm3d, freeze
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

TINY = {"num_classes": 5, "depth": (1, 1, 2, 1), "embed_dim": (8, 8, 16, 16), "head_dim": 8}
PATTERNS = ["patch_embed1.*", "blocks1.*", "blocks2.0.*"]


def one_step(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], 1e-2)
    heads = model.train()(torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0)))
    heads = heads if isinstance(heads, tuple) else (heads,)
    sum(logits.square().sum() for logits in heads).backward()
    optimizer.step()


@pytest.mark.parametrize("checkpoint", [(0, 0, 0, 0), (1, 1, 1, 1)])
@pytest.mark.parametrize("kind", [Uniformer, UniformerLight])
def test_a_step_changes_what_is_not_frozen_alone(kind, checkpoint):
    model = kind(**TINY, checkpoint=checkpoint)
    keys = list(model.state_dict())
    frozen = freeze(model, PATTERNS)
    assert list(model.state_dict()) == keys
    assert all(name.startswith(("patch_embed1.", "blocks1.", "blocks2.0.")) for name in frozen) and len(frozen) > 20
    before = copy.deepcopy(model.state_dict())
    one_step(model)
    for name, value in model.state_dict().items():
        if name.startswith(("patch_embed1.", "blocks1.", "blocks2.0.")):
            assert torch.equal(value, before[name]), name
    changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
    assert {"norm.running_mean", "head.weight"} <= set(changed)
    assert any(name.startswith("blocks3.1.") for name in changed)


def test_frozen_batch_norms_stay_in_evaluation_whatever_the_model_is_put_in():
    model = Uniformer(**TINY)
    freeze(model, ["blocks1.*"])
    for mode in (True, False, True):
        model.train(mode)
        norms = [module for module in model.modules() if isinstance(module, FrozenBatchNorm3d)]
        assert len(norms) == 2 and not any(norm.training for norm in norms)
        assert model.norm.training == mode
    copied = copy.deepcopy(model).train()
    assert not copied.blocks1[0].norm1.training


def test_a_batch_norm_with_one_free_parameter_is_trained():
    model = Uniformer(**TINY)
    freeze(model, ["blocks1.0.norm1.weight"])
    assert model.train().blocks1[0].norm1.training


@pytest.mark.parametrize(
    ("patterns", "said"),
    [
        (["blokcs1.*"], r"'blokcs1.\*' matches no parameter; parts of this model: patch_embed1\*, .*head\*"),
        (["*"], "freezes all parameters"),
    ],
)
def test_patterns_that_help_nobody_are_refused(patterns, said):
    with pytest.raises(ValueError, match=said):
        freeze(Uniformer(**TINY), patterns)


def test_the_config_freezes(debug_cfg):
    model = build_model(debug_cfg("MODEL.FREEZE", "[blocks1.*, patch_embed*]"))
    assert not model.patch_embed4.proj.weight.requires_grad and model.blocks2[0].attn.weight.requires_grad
    assert not model.train().blocks1[0].norm1.training
