"""Compiled and plain passes give the same numbers, nothing is compiled twice, and what fails is said and goes on."""

import copy
import logging
import shutil

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from slowfast.engine.compiling import compile_forward, is_compiled
from slowfast.engine.test import test as run_test
from slowfast.engine.train import train
from slowfast.models import complexity, ops
from slowfast.models.folding import fold
from slowfast.models.layers import Attention, DepthwiseConv, Tunable, set_step_seed
from slowfast.models.uniformer import Uniformer
from slowfast.utils import distributed

LOG = logging.getLogger("test_compiling")
TINY = dict(num_classes=5, depth=(1, 1, 1, 1), embed_dim=(8, 8, 16, 16), head_dim=8)
RANDOM = dict(drop_path=0.4, dropout=0.2)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def said(caplog):
    """Level and text of what came to our log; the framework writes to its own."""
    return [(entry.levelname, entry.getMessage()) for entry in caplog.records if entry.name == LOG.name]


class Counting:
    """A backend that runs what it is given as it is, and counts."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


def failing(graph, inputs):
    raise NotImplementedError("no such operator\nand a long trace")


def tiny(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Uniformer(**TINY, **options).train()


def clips(num=3):
    return torch.randn(num, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(model, called, seed):
    """Logits, and all gradients as one vector, of a pass whose masks follow from the seed."""
    model.zero_grad()
    set_step_seed(model, seed)
    logits = called(clips())
    logits.logsumexp(1).sum().backward()
    return logits.detach(), torch.cat([value.grad.flatten() for value in model.parameters()])


def assert_close(one, other, tolerance=1e-4):
    assert (one - other).norm() <= tolerance * other.norm()


def assert_same_passes(model, plain, called):
    for seed in (1, 2):
        for one, other in zip(gradients(model, called, seed), gradients(plain, plain, seed), strict=True):
            assert_close(one, other)
    for one, other in zip(model.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)  # statistics of batch norms, each batch counted once


def test_the_whole_model_is_one_graph_that_serves_all_steps(caplog):
    model, backend = tiny(**RANDOM), Counting()
    keys = list(model.state_dict())
    compile_forward(model, LOG, backend)
    outputs = [gradients(model, model, seed)[0] for seed in range(5)]
    assert backend.graphs == 1 and is_compiled(model) and not said(caplog)
    assert list(model.state_dict()) == keys
    assert not torch.equal(outputs[0], outputs[1])  # each step has masks of its own
    torch.testing.assert_close(gradients(model, model, 0)[0], outputs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("checkpoint", [(0, 0, 0, 0), (1, 0, 1, 0)])
def test_compiled_gradients_are_those_of_the_plain_model(checkpoint):
    model = tiny(**RANDOM, checkpoint=checkpoint)
    plain = copy.deepcopy(model)
    compile_forward(model, LOG, "aot_eager")
    assert_same_passes(model, plain, model)
    assert is_compiled(model)


def test_ways_of_operators_may_be_any():
    model = tiny()
    for layer in model.modules():
        if isinstance(layer, Tunable):
            way = "chunked" if isinstance(layer, Attention) else "onednn"
            way = ops.DepthwiseWay("folded", "summed", "band") if isinstance(layer, DepthwiseConv) else way
            layer.ways = {True: way, False: way}
    plain = copy.deepcopy(model)
    compile_forward(model, LOG, "aot_eager")
    assert_same_passes(model, plain, model)
    assert is_compiled(model)


def test_it_goes_with_replicas_that_recompute(tmp_path):
    model = tiny(**RANDOM, checkpoint=(1, 0, 1, 0))
    plain = copy.deepcopy(model)
    distributed.init("gloo", f"file://{tmp_path}/store", 1, 0)
    try:
        replica = DistributedDataParallel(model)
        compile_forward(model, LOG, "aot_eager")
        assert_same_passes(model, plain, replica)
        assert is_compiled(model)
    finally:
        distributed.shutdown()


def test_batches_of_any_size_are_compiled_twice_at_most():
    model, backend = tiny(), Counting()
    fold(model)
    plain = copy.deepcopy(model)
    compile_forward(model, LOG, backend)
    with torch.inference_mode():
        for num in (5, 4, 3, 2):
            assert_close(model(clips(num)), plain(clips(num)))
    assert backend.graphs == 2


def test_copies_are_plain_and_their_own():
    model = tiny()
    compile_forward(model, LOG, failing)
    other = copy.deepcopy(model)
    assert not is_compiled(other) and other.forward.__self__ is other
    assert complexity.count(model, (1, 3, 4, 32, 32))["macs"] > 0 and is_compiled(model)


def test_what_cannot_be_compiled_runs_plainly_and_the_log_says_why_once(caplog):
    model = tiny(**RANDOM)
    plain = copy.deepcopy(model)
    compile_forward(model, LOG, failing)
    assert_same_passes(model, plain, model)
    assert not is_compiled(model)
    assert said(caplog) == [
        (
            "WARNING",
            "MODEL.COMPILE: the model runs uncompiled, for compiling failed: NotImplementedError: no such operator",
        )
    ]


def test_a_system_that_cannot_compile_is_said_at_once(caplog, monkeypatch):
    def refuse(*args, **options):
        raise RuntimeError("not supported on this system")

    monkeypatch.setattr(torch, "compile", refuse)
    model = tiny()
    compile_forward(model, LOG)
    assert not is_compiled(model) and "RuntimeError: not supported on this system" in caplog.text
    assert model(clips()).shape == (3, 5)


class Misshapen(nn.Module):
    def forward(self, values):
        return values @ values


def test_errors_of_the_model_surface_as_they_are(caplog):
    model = tiny()
    compile_forward(model, LOG, "aot_eager")
    with pytest.raises(ValueError, match="clips must be a float tensor"):
        model(torch.zeros(1, 3, 32, 32))
    other, values = Misshapen(), torch.zeros(2, 3)
    with pytest.raises(RuntimeError) as plain:
        other(values)
    compile_forward(other, LOG, "aot_eager")
    with pytest.raises(RuntimeError) as compiled:
        other(values)
    assert type(compiled.value) is type(plain.value) and str(compiled.value) == str(plain.value)
    assert compiled.value.__context__ is None and not said(caplog)


def test_a_run_trains_and_tests_whether_it_can_be_compiled_or_not(debug_cfg, tmp_path, monkeypatch):
    from slowfast.engine import build

    backends = iter(["aot_eager", failing])
    monkeypatch.setattr(
        build, "compile_forward", lambda model, log: compile_forward(model, log, next(backends))
    )
    cfg = debug_cfg("MODEL.COMPILE", "True", "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0")
    assert train(cfg)["steps"] == 3
    log = tmp_path / "run" / "log.txt"
    assert "runs uncompiled" not in log.read_text()
    assert run_test(cfg)["compiled"] is False
    assert log.read_text().count("runs uncompiled, for compiling failed: NotImplementedError") == 1


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("c++")), reason="not run: no C++ compiler is found"
)
def test_the_default_backend_gives_the_same_numbers():
    model = tiny(**RANDOM, checkpoint=(0, 1, 0, 0))
    plain = copy.deepcopy(model)
    compile_forward(model, LOG)
    assert_same_passes(model, plain, model)
    assert is_compiled(model)
