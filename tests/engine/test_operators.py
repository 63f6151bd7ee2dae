"""MODEL.DWCONV, LINEAR and ATTENTION reach the layers, in training and evaluation, and the plan says so."""

import logging
from types import SimpleNamespace

import pytest
import torch

from slowfast.engine.build import choose_operators
from slowfast.models import ops, tuning
from slowfast.models.build import build_model
from slowfast.models.layers import Tunable

KINDS = {"MODEL.DWCONV": "depthwise", "MODEL.LINEAR": "linear", "MODEL.ATTENTION": "attention"}
FORCED = [
    *(("MODEL.DWCONV", way) for way in ops.CONVOLUTION_WAYS),
    *(("MODEL.LINEAR", way) for way in ops.LINEAR_WAYS),
    *(("MODEL.ATTENTION", way) for way in ops.ATTENTION_WAYS),
]


@pytest.mark.parametrize("precision", ["off", "bf16"])
@pytest.mark.parametrize(("key", "way"), FORCED)
def test_a_switch_forces_its_layers_and_no_other(debug_cfg, key, way, precision):
    cfg = debug_cfg(key, way, "TRAIN.MIXED_PRECISION", precision)
    cfg, _ = cfg.resolved()
    facts = {"versions": {"torch": torch.__version__}, "hardware": {}}
    session = SimpleNamespace(device=torch.device("cpu"), log=logging.getLogger("operators"), facts=facts)
    model = build_model(cfg)
    plan = choose_operators(cfg, session, model, {}, "train", "eval")
    expected = {"depthwise": "channels_last", "linear": "native", "attention": "fused", KINDS[key]: way}
    expected["mlp"] = expected["linear"]
    for case, chosen in plan.items():
        assert set(chosen.split("/")[:2]) == {expected[case.split()[0]]}, case
    dtype = "bfloat16" if precision == "bf16" else "float32"
    assert all(f" {dtype} " in case for case in plan if case.endswith(" train"))
    for name, layer in model.named_modules():
        if isinstance(layer, Tunable) and ".mlp.fc" not in name:  # an MLP computes with its own way
            kind = next(kind for known, kind in tuning.KINDS.items() if isinstance(layer, known))
            for training in (True, False):
                found = layer.ways[training]
                assert (found.forward if kind == "depthwise" else found) == expected[kind]
