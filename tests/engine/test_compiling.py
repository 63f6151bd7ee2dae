"""Compiled and plain passes give the same numbers, nothing is compiled twice, and what fails is said and goes on."""

import copy
import json
import logging
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.parallel import DistributedDataParallel

from slowfast.config import load_cfg
from slowfast.engine import build
from slowfast.engine.compiling import compile_forward, is_compiled
from slowfast.engine.test import test as run_test
from slowfast.engine.train import train
from slowfast.models import complexity, ops
from slowfast.models.folding import fold
from slowfast.models.layers import Attention, DepthwiseConv, Tunable, set_step_seed
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight
from slowfast.utils import checkpoint, distributed
from slowfast.utils.launch import launch

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
    """A backend that runs what it is given as it is, or gives it to another one, and counts."""

    def __init__(self, other=lambda graph, inputs: graph.forward):
        self.graphs, self.other = 0, other

    def __call__(self, graph, inputs):
        self.graphs += 1
        return self.other(graph, inputs)


def failing(graph, inputs):
    raise NotImplementedError("no such operator\nand a long trace")


def tiny(kind=Uniformer, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(**TINY, **options).train()


def clips(num=3):
    return torch.randn(num, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def gradients(model, called, seed, dtype=None):
    """Logits, and all gradients as one vector, of a pass whose masks follow from the seed."""
    model.zero_grad()
    set_step_seed(model, seed)
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        heads = called(clips())
    logits = torch.stack(heads if isinstance(heads, tuple) else (heads,)).float()
    logits.logsumexp(2).sum().backward()
    return logits.detach(), torch.cat([value.grad.flatten() for value in model.parameters()])


def assert_close(one, other, tolerance=1e-4):
    assert (one - other).norm() <= tolerance * other.norm()


def assert_same_passes(model, plain, called, dtype=None):
    tolerance = 1e-4 if dtype is None else 2e-2  # compilers may round to half precision elsewhere
    for seed in (1, 2):
        passes = gradients(model, called, seed, dtype), gradients(plain, plain, seed, dtype)
        for one, other in zip(*passes, strict=True):
            assert_close(one, other, tolerance)
    for one, other in zip(model.buffers(), plain.buffers(), strict=True):
        # Statistics of batch norms, each batch counted once.
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_the_whole_model_is_one_graph_that_serves_all_steps(caplog):
    model, backend = tiny(**RANDOM), Counting()
    keys = list(model.state_dict())
    compile_forward(model, LOG, backend)
    outputs = [gradients(model, model, seed)[0] for seed in range(5)]
    assert backend.graphs == 1 and is_compiled(model) and not said(caplog)
    assert list(model.state_dict()) == keys
    assert not torch.equal(outputs[0], outputs[1])  # each step has masks of its own
    torch.testing.assert_close(gradients(model, model, 0)[0], outputs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "recomputed", "dtype"),
    [
        (Uniformer, (0, 0, 0, 0), None),
        (Uniformer, (1, 0, 1, 1), torch.bfloat16),
        (UniformerLight, (0, 0, 0, 0), torch.bfloat16),
        (UniformerLight, (1, 0, 1, 1), None),
    ],
)
def test_compiled_gradients_are_those_of_the_plain_model(kind, recomputed, dtype):
    model = tiny(kind, **RANDOM, checkpoint=recomputed)
    plain = copy.deepcopy(model)
    compile_forward(model, LOG, "aot_eager")
    assert_same_passes(model, plain, model, dtype)
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


@pytest.mark.parametrize("way", ["folded", "channels_last"])
def test_the_graph_computes_by_the_ways_chosen(way):
    model, found = tiny(), []

    def look(graph, inputs):
        nodes = [node for node in graph.graph.nodes if node.target == torch.ops.aten.convolution.default]
        found.extend(node.args[1].meta["val"].dim() for node in nodes if node.args[-1] > 1)  # groups
        return make_boxed_func(graph.forward)

    for layer in model.modules():
        if isinstance(layer, DepthwiseConv):
            layer.ways = {True: ops.DepthwiseWay(way, way, "band")}
    compile_forward(model, LOG, aot_autograd(fw_compiler=look))
    gradients(model, model, 1)
    depthwise = sum(isinstance(layer, DepthwiseConv) for layer in model.modules())
    folded = way == "folded"
    assert len([dims for dims in found if dims == (4 if folded else 5)]) >= 2 * depthwise and is_compiled(model)
    assert not folded or 5 not in found


@pytest.mark.parametrize(("first_bucket", "several"), [(2**20, False), (2**10, True)])
def test_it_goes_with_replicas_that_recompute(tmp_path, monkeypatch, first_bucket, several):
    """Replicas are compiled in parts, one for each bucket of gradients that they exchange at once."""
    monkeypatch.setattr(torch.distributed, "_DEFAULT_FIRST_BUCKET_BYTES", first_bucket)
    model, backend = tiny(**RANDOM, checkpoint=(1, 0, 1, 0)), Counting(aot_eager)
    plain = copy.deepcopy(model)
    distributed.init("gloo", f"file://{tmp_path}/store", 1, 0)
    try:
        replica = DistributedDataParallel(model)
        compile_forward(model, LOG, backend)
        assert_same_passes(model, plain, replica)
        assert is_compiled(model) and (backend.graphs > 1) == several
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


def unchanged(graph, inputs):
    return make_boxed_func(graph.forward)


@pytest.mark.parametrize("varying", [False, True])
def test_a_backward_that_cannot_be_compiled_is_met_like_a_forward(caplog, varying):
    """Also where it is compiled anew, for batches of another size."""
    broken = iter([unchanged, failing] if varying else [failing])
    backend = aot_autograd(fw_compiler=unchanged, bw_compiler=lambda *given: next(broken)(*given))
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))
    plain = copy.deepcopy(model)
    compile_forward(model, LOG, backend)
    for num in (3, 2) if varying else (3,):
        for one in (model, plain):
            one.zero_grad()
            one(clips(num)[:, 0, 0, 0, :4]).logsumexp(1).sum().backward()
    assert not is_compiled(model) and len(said(caplog)) == 1 and "NotImplementedError" in said(caplog)[0][1]
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-6)


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


def use_backends(monkeypatch, *backends):
    """Let runs be compiled by these, one after the other."""
    following = iter(backends)
    monkeypatch.setattr(
        build, "compile_forward", lambda model, log: compile_forward(model, log, next(following))
    )


def test_a_run_trains_and_tests_whether_it_can_be_compiled_or_not(debug_cfg, tmp_path, monkeypatch):
    use_backends(monkeypatch, "aot_eager", failing)
    cfg = debug_cfg("MODEL.COMPILE", "True", "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0")
    assert train(cfg)["steps"] == 3
    log = tmp_path / "run" / "log.txt"
    assert "runs uncompiled" not in log.read_text()
    assert run_test(cfg)["compiled"] is False
    assert log.read_text().count("runs uncompiled, for compiling failed: NotImplementedError") == 1


LIST = ("MODEL.CHECKPOINT", "list", "MODEL.CHECKPOINT_NUM", "[1, 0, 1, 0]", "TRAIN.MIXED_PRECISION", "bf16")
AUTO = ("MODEL.CHECKPOINT", "auto", "MODEL.CHECKPOINT_GB", "0.001")
ACCUMULATED = ("TRAIN.BATCH_SIZE", "4", "TRAIN.ACCUMULATION_STEPS", "2")


@pytest.mark.parametrize("recomputation", [LIST, AUTO], ids=["list-bf16", "auto-fp32"])
def test_a_run_that_recomputes_is_compiled_resumed_and_tested(
    debug_cfg, tmp_path, monkeypatch, recomputation
):
    """With two passes a step; the checkpoint has the names of a plain run's, from which the compiled one goes on."""

    def run(name, compiled, *pairs):
        monkeypatch.chdir(tmp_path)
        words = (*ACCUMULATED, *recomputation, "MODEL.COMPILE", compiled, "OUTPUT_DIR", name, *pairs)
        cfg = debug_cfg(*words, "TRAIN.EVAL_PERIOD", "0")
        return cfg, checkpoint.load(train(cfg)["checkpoint"])

    use_backends(monkeypatch, *["aot_eager"] * 3)
    _, plain = run("plain", "False")
    cfg, compiled = run("compiled", "True")
    (tmp_path / "resumed" / "checkpoints").mkdir(parents=True)
    shutil.copy("plain/checkpoints/checkpoint_epoch_00001.pyth", "resumed/checkpoints")
    _, resumed = run("resumed", "True")
    for other in (compiled, resumed):
        assert list(other["model_state"]) == list(plain["model_state"]) and other["global_step"] == 6
        for name, value in plain["model_state"].items():
            assert_close(
                other["model_state"][name].float(), value.float(), 2e-3
            )  # Adam divides by small numbers
    results = run_test(cfg)
    assert results["compiled"] is True
    assert json.loads(Path("compiled/results.json").read_text())["compiled"] is True
    assert "runs uncompiled" not in "".join(path.read_text() for path in tmp_path.glob("*/log.txt"))
    if recomputation is AUTO:
        assert "recomputing [1, 1, 1, 1] of [1, 1, 1, 1] blocks" in Path("compiled/log.txt").read_text()


def train_in_one_of_two_processes(recipe, data, folder):
    """Two runs: compiled, and one that cannot be."""
    where = ["DATA.PATH_TO_DATA_DIR", data, "DATA.PATH_PREFIX", data, "NUM_THREADS", "1", "NUM_SHARDS", "2"]
    short = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0"]
    for name, backend in (("compiled", "aot_eager"), ("failing", failing)):
        build.compile_forward = partial(compile_forward, backend=backend)
        switch = ["MODEL.COMPILE", "True", "OUTPUT_DIR", f"{folder}/{name}"]
        cfg = load_cfg(recipe, [*where, *short, *ACCUMULATED, *LIST, *switch])
        train(cfg)
        run_test(cfg)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_processes_are_compiled_or_not_and_agree(debug_data, tmp_path):
    """In bfloat16, with two passes a step and recomputed blocks; the test then shares its videos among both."""
    url = f"tcp://127.0.0.1:{free_port()}"
    recipe = Path(__file__).parents[2] / "configs" / "debug" / "uniformer_debug.yaml"
    words = [sys.executable, __file__, str(recipe), str(debug_data), str(tmp_path), url]
    started = [
        subprocess.Popen([*words, str(shard)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for shard in range(2)
    ]
    for process in started:
        _, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
    folders = [tmp_path / name for name in ("compiled", "failing")]
    results = [json.loads((folder / "results.json").read_text()) for folder in folders]
    assert [(one["compiled"], one["num_scored"]) for one in results] == [(True, 16), (False, 16)]
    said = "MODEL.COMPILE: the model runs uncompiled, for compiling failed: NotImplementedError: no such operator"
    counts = [(folder / "log.txt").read_text().count(said) for folder in folders]
    assert counts == [0, 2]  # once in training and once in testing
    one, other = (
        checkpoint.load(checkpoint.newest(folder / "checkpoints"))["model_state"] for folder in folders
    )
    assert list(one) == list(other)
    for name, value in one.items():
        assert_close(value.float(), other[name].float(), 2e-3)


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


if __name__ == "__main__":
    launch(
        train_in_one_of_two_processes,
        tuple(sys.argv[1:4]),
        processes_per_shard=0,
        num_shards=2,
        shard_id=int(sys.argv[5]),
        init_method=sys.argv[4],
        backend="gloo",
    )
