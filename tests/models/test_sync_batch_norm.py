"""Several processes with a synchronised norm compute what one does with the joined batch; here they are threads."""

import threading
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from slowfast.engine import optimizer as optimizers
from slowfast.engine import precise_bn
from slowfast.models import tuning
from slowfast.models.build import build_model
from slowfast.models.folding import fold
from slowfast.models.layers import recomputed
from slowfast.models.sync_batch_norm import SyncBatchNorm3d, is_synchronised, synchronise
from slowfast.models.uniformer import Uniformer
from slowfast.utils import distributed

TINY = {"num_classes": 5, "depth": (1, 1, 1, 1), "embed_dim": (8, 16, 16, 16), "head_dim": 8}


@pytest.fixture
def together(monkeypatch):
    """A function that calls another for each rank of a world at once; returns what the calls gave."""

    def run(function, world_size):
        here = threading.local()
        meeting = threading.Barrier(world_size, timeout=60)
        parts, found = {}, {}

        def all_reduce(tensor, op="sum"):
            assert op == "sum"
            parts[here.rank] = tensor.detach().clone()
            meeting.wait()
            total = sum(parts[rank] for rank in range(world_size))
            meeting.wait()
            return tensor.copy_(total)

        def body(rank):
            here.rank = rank
            try:
                found[rank] = function(rank)
            except BaseException:
                meeting.abort()
                raise

        monkeypatch.setattr(distributed, "rank", lambda: here.rank)
        monkeypatch.setattr(distributed, "world_size", lambda: world_size)
        monkeypatch.setattr(distributed, "all_reduce", all_reduce)
        threads = [threading.Thread(target=body, args=(rank,)) for rank in range(world_size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        monkeypatch.undo()
        return [found[rank] for rank in range(world_size)]

    return run


def values(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(shape, generator=generator, dtype=torch.float64) + 7).to(dtype)


def plain_norm(kind=nn.BatchNorm3d, dtype=torch.float64):
    norm = kind(4).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0, 1.5]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, -3.0, 0.0]))
    return norm


def passed(norm, inputs, upstream):
    """Output, gradients of input, weight and bias, and buffers after one pass."""
    inputs = inputs.clone().requires_grad_()
    outputs = norm(inputs)
    gradients = torch.autograd.grad(outputs, (inputs, norm.weight, norm.bias), upstream)
    return outputs.detach(), *gradients, *(buffer.clone() for buffer in norm.buffers())


@pytest.mark.parametrize(
    ("kind", "shape"),
    [(nn.BatchNorm1d, ()), (nn.BatchNorm1d, (5,)), (nn.BatchNorm2d, (3, 2)), (nn.BatchNorm3d, (2, 3, 2))],
)
@pytest.mark.parametrize("shares", [(3, 3), (1, 5), (2, 0, 4)], ids=str)
def test_it_is_the_norm_of_the_joined_batch(together, kind, shape, shares):
    joined, upstream = values(6, 4, *shape), values(6, 4, *shape, seed=1)
    expected = passed(plain_norm(kind), joined, upstream)

    def one(rank):
        (norm,) = synchronise(nn.Sequential(plain_norm(kind)))
        return passed(norm, joined.split(shares)[rank], upstream.split(shares)[rank])

    found = together(one, len(shares))
    for place in (0, 1):  # outputs and gradients of inputs, each of its share
        torch.testing.assert_close(torch.cat([part[place] for part in found]), expected[place])
    for place in (2, 3):  # of weight and bias, the sum over processes
        torch.testing.assert_close(sum(part[place] for part in found), expected[place])
    for part in found:
        for number, buffer in enumerate(part[4:], start=4):
            torch.testing.assert_close(buffer, expected[number])
            assert torch.equal(buffer, found[0][number])  # to the bit, on every process


def test_half_precision_is_computed_in_float32(together):
    joined, upstream = values(6, 4, 2, 3, 2, dtype=torch.bfloat16), values(6, 4, 2, 3, 2, seed=1)
    exact = passed(plain_norm(), joined.double(), upstream)

    def one(rank):
        (norm,) = synchronise(nn.Sequential(plain_norm(dtype=torch.float32)))
        return passed(norm, joined.split(3)[rank], upstream.split(3)[rank].bfloat16())

    found = together(one, 2)
    assert [value.dtype for value in found[0][:4]] == [torch.bfloat16] * 2 + [torch.float32] * 2
    outputs = torch.cat([part[0] for part in found]).double()
    torch.testing.assert_close(outputs, exact[0], rtol=2**-8, atol=2**-8)
    torch.testing.assert_close(found[0][4].double(), exact[4], rtol=1e-6, atol=1e-6)  # running mean


def test_a_block_that_is_recomputed_counts_a_batch_once(together):
    joined = values(4, 2, 4, 4, 8)  # tokens

    plain = Uniformer(**TINY).blocks1[0].double().train()

    def gradients(block, tokens, run):
        tokens = tokens.clone().requires_grad_()
        run(block, tokens)[0].square().sum().backward()
        return [
            tokens.grad,
            block.norm1.weight.grad,
            block.norm1.running_var,
            block.norm1.num_batches_tracked,
        ]

    expected = gradients(deepcopy(plain), joined, lambda block, tokens: block(tokens))
    found = together(
        lambda rank: gradients(
            synchronise(deepcopy(plain)),
            joined.split(2)[rank],
            lambda block, tokens: recomputed(block, tokens, None),
        ),
        2,
    )
    torch.testing.assert_close(torch.cat([part[0] for part in found]), expected[0])
    torch.testing.assert_close(found[0][1] + found[1][1], expected[1])
    torch.testing.assert_close(found[0][2], expected[2])
    assert found[0][3] == 1


@pytest.mark.parametrize("training", [True, False])
def test_one_process_gets_the_plain_norm_to_the_bit(training):
    joined, upstream = values(3, 4, 2, 3, 2, dtype=torch.float32), torch.ones(3, 4, 2, 3, 2)
    plain = plain_norm(dtype=torch.float32).train(training)
    (norm,) = synchronise(nn.Sequential(deepcopy(plain)))
    assert norm.training is training
    for one, other in zip(passed(plain, joined, upstream), passed(norm, joined, upstream), strict=True):
        assert torch.equal(one, other)


def test_evaluation_asks_nobody(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: pytest.fail("it asked"))
    model = synchronise(Uniformer(**TINY)).eval()
    assert model(torch.zeros(1, 3, 2, 32, 32)).shape == (1, 5)
    # Shapes alone are followed on one process, in training mode too.
    assert tuning.cases(model, (2, 3, 2, 32, 32), torch.float32, torch.device("cpu"), training=True)


def test_a_model_keeps_its_names_weights_groups_and_folds(debug_cfg):
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        plain = build_model(debug_cfg())
        torch.default_generator.manual_seed(0)
        model = build_model(debug_cfg("BN.NORM_TYPE", "sync_batchnorm"))
    assert not any(map(is_synchronised, plain.modules()))
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    assert len(norms) == 5 and all(isinstance(norm, SyncBatchNorm3d) for norm in norms)
    state, other = plain.state_dict(), model.state_dict()
    assert list(state) == list(other) and all(torch.equal(state[name], other[name]) for name in state)
    decay = {"weight_decay": 1.0, "bn_weight_decay": 0.0, "zero_wd_1d": True}
    sizes = [
        {group["name"]: len(group["params"]) for group in optimizers.param_groups(one, **decay)}
        for one in (plain, model)
    ]
    assert sizes[0] == sizes[1] and sizes[0]["batch_norm"] == 10
    clips = torch.rand(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = plain.eval()(clips)
    assert torch.equal(model.eval()(clips), expected)
    assert fold(model) == fold(plain) == 5
    torch.testing.assert_close(model(clips), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"affine": False}, {"track_running_stats": False}, {"momentum": None}])
def test_other_norms_are_refused_with_what_to_write(options):
    with pytest.raises(
        ValueError, match=r"BatchNorm3d.* cannot be synchronised.*write BN.NORM_TYPE batchnorm"
    ):
        synchronise(nn.Sequential(nn.BatchNorm3d(4, **options)))


def test_precise_statistics_are_those_of_all_values(together):
    """Two norms, the second of which sees what the first, training, makes of a batch."""
    batches = [values(6, 4, 2, 3, 2, seed=seed) * (seed + 1) for seed in range(3)]

    def statistics(kind, part):
        model = kind(nn.Sequential(plain_norm(), plain_norm()))
        precise_bn.measure(model, (part(batch) for batch in batches), 2)
        assert model[0].momentum == 0.1
        return [buffer.clone() for norm in model for buffer in (norm.running_mean, norm.running_var)]

    expected = statistics(lambda model: model, lambda batch: batch)
    population = torch.cat(batches[:2]).transpose(0, 1).flatten(1)
    torch.testing.assert_close(expected[0], population.mean(1))
    torch.testing.assert_close(expected[1], population.var(1, correction=0))
    for found in together(lambda rank: statistics(synchronise, lambda batch: batch.split((1, 5))[rank]), 2):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
