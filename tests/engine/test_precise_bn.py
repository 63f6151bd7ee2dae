"""Precise statistics are those of fvcore. In several processes: tests/models/test_sync_batch_norm.py."""

from copy import deepcopy

import pytest
import torch
from fvcore.nn.precise_bn import update_bn_stats
from torch import nn

from slowfast.engine import precise_bn
from slowfast.models.uniformer import Uniformer


def batches():
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(size, 3, 2, 32, 64, generator=generator) for size in (4, 1, 3, 4)]


def test_statistics_are_those_of_fvcore():
    model = Uniformer(num_classes=5, depth=(1, 1, 1, 1), embed_dim=(8, 16, 16, 16), head_dim=8)
    other = deepcopy(model)
    precise_bn.measure(model.eval(), iter(batches()), 3)
    update_bn_stats(other.train(), iter(batches()), 3)
    assert model.training
    for name, buffer in other.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), buffer, rtol=1e-5, atol=1e-6)
    assert not any(hook for module in model.modules() for hook in module._forward_pre_hooks)


def test_a_norm_that_no_batch_passes_keeps_its_statistics():
    model = nn.Sequential(nn.BatchNorm3d(3))
    model[0].unused = nn.BatchNorm3d(3)
    precise_bn.measure(model, iter(batches()), 2)
    assert model[0].unused.running_mean.tolist() == [0.0] * 3
    assert model[0].running_mean.tolist() == pytest.approx([0.5] * 3, abs=0.05)
