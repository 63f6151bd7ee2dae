"""Ways of operators: found by shape, forced, taken from a plan or measured, and the same results by all of them."""

import logging

import pytest
import torch
import torch.nn.functional as F

from slowfast.benchmarking.plain import Plain
from slowfast.engine.compiling import compile_forward, is_compiled
from slowfast.models import ops, tuning
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

CPU = torch.device("cpu")
TINY = dict(num_classes=7, depth=(1, 1, 2, 1), embed_dim=(8, 16, 16, 32), head_dim=8)
SHAPE = (2, 3, 4, 64, 64)
COMBINATIONS = [
    {"depthwise": "native", "linear": "native", "attention": "fused"},
    {"depthwise": "channels_last", "linear": "onednn", "attention": "chunked"},
    {"depthwise": "folded", "linear": "native", "attention": "explicit"},
    {"depthwise": "summed", "linear": "onednn", "attention": "chunked"},
]


def model(kind=Uniformer, **changes):
    torch.manual_seed(0)
    return kind(**{**TINY, **changes})


def clips(number: int = 0):
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(number))


def tune(built, forced, plan=None):
    plan, measured = dict(plan or {}), 0
    for training in (True, False):
        found = tuning.cases(built, SHAPE, torch.float32, CPU, training)
        made, count = tuning.complete(plan, list(found.values()), CPU, forced)
        tuning.apply(built, found, made)
        plan, measured = {**plan, **made}, measured + count
    return plan, measured


def test_cases_name_each_layer_by_what_it_computes(monkeypatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    found = tuning.cases(model(), SHAPE, torch.float32, CPU, True)
    assert found["blocks1.0.attn"] == "depthwise 2x2x16x16x8 k5x5x5 float32 cpu-3 train"
    assert found["blocks1.0.conv1"] == "linear 1024x8x8 float32 cpu-3 train"
    assert found["blocks2.0.mlp"] == "mlp 256x16x64 float32 cpu-3 train"
    assert found["blocks3.1.attn"] == "attention 2x32x2x8 float32 cpu-3 train"
    assert found["blocks4.0.attn.qkv"] == "linear 16x32x96 float32 cpu-3 train"
    assert "head" not in found and "patch_embed1.proj" not in found


def test_float32_attention_of_light_models_is_a_float32_case() -> None:
    light = model(UniformerLight, fp32_attention=True)
    found = tuning.cases(light, SHAPE, torch.bfloat16, CPU, False)
    assert " float32 " in found["blocks3.0.attn"] and " bfloat16 " in found["blocks3.0.attn.qkv"]


def test_a_model_without_such_layers_has_no_cases() -> None:
    assert tuning.cases(torch.nn.Linear(2, 3), SHAPE, torch.float32, CPU, True) == {}


def test_a_plan_is_taken_and_what_it_lacks_is_measured(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(tuning, "_measured", lambda case, device: asked.append(case) or "native")
    known, new = "linear 4x8x8 float32 cpu-1 train", "linear 5x8x8 float32 cpu-1 train"
    plan, measured = tuning.complete({known: "onednn", "other": "x"}, [known, new, known], CPU, {"linear": "auto"})
    assert plan == {known: "onednn", new: "native"} and measured == 1 and asked == [new]


def test_forced_ways_need_no_trial_and_count_before_a_plan(monkeypatch) -> None:
    monkeypatch.setattr(tuning, "_measured", lambda case, device: pytest.fail("measured"))
    forced = {"depthwise": "folded", "linear": "onednn", "attention": "explicit"}
    plan, measured = tune(built := model(), forced, {"mlp 256x16x64 float32 cpu-1 train": "native"})
    assert measured == 0
    assert built.blocks1[0].attn.ways[True] == ops.DepthwiseWay("folded", "folded", "auto")
    assert built.blocks2[0].mlp.ways == {True: "onednn", False: "onednn"}
    assert built.blocks3[0].attn.way == "explicit"
    plan, _ = tuning.complete({}, ["depthwise 1x1x4x4x8 k3x3x3 float32 cpu-1 train"], CPU, {"depthwise": "native"})
    assert set(plan.values()) == {"native/native/native"}


def test_modes_have_ways_of_their_own() -> None:
    built = model()
    found = tuning.cases(built, SHAPE, torch.float32, CPU, False)
    tuning.apply(built, found, {case: _any_way(case) for case in found.values()})
    assert built.blocks3[0].attn.ways == {True: "fused", False: "explicit"}
    assert built.train().blocks3[0].attn.way == "fused" and built.eval().blocks3[0].attn.way == "explicit"
    assert model().blocks3[0].attn.ways[False] == "fused"  # other models keep theirs


def _any_way(case: str) -> str:
    return {"depthwise": "summed/summed/taps", "attention": "explicit"}.get(case.split()[0], "native")


@pytest.mark.parametrize(
    "seconds, chosen",
    [
        ({"a": [9, 2, 2, 2, 2, 2], "b": [9, 1, 9, 9, 9, 9]}, "b"),  # by the best round
        ({"a": [9, 1.0, 2, 2, 2, 2], "b": [1, 0.99, 1, 1, 1, 1]}, "a"),  # the default, unless clearly beaten
        ({"a": [0, 5, 5, 5, 5, 5], "b": [99, 6, 6, 6, 6, 6]}, "a"),  # the first round only warms up
    ],
)
def test_the_fastest_is_chosen(monkeypatch, seconds, chosen) -> None:
    now = [0.0]
    monkeypatch.setattr(tuning, "_clock", lambda device: lambda: now[0])

    def call(name):
        times = iter(seconds[name])

        def run():
            now[0] += next(times)

        return run

    assert tuning.fastest({name: call(name) for name in seconds}, CPU) == chosen


@pytest.mark.parametrize(("seconds", "runs"), [(1e-4, 21), (0.03, 6), (0.006, 18)])
def test_quick_ways_are_measured_more_often(monkeypatch, seconds, runs) -> None:
    """Up to 20 rounds after the warm-up, and no more than it takes to have measured 0.2 seconds."""
    now, counts = [0.0], {"a": 0, "b": 0}
    monkeypatch.setattr(tuning, "_clock", lambda device: lambda: now[0])

    def call(name):
        def run():
            now[0] += seconds
            counts[name] += 1

        return run

    assert tuning.fastest({name: call(name) for name in counts}, CPU) == "a"
    assert counts == {"a": runs, "b": runs}


def test_a_hopeless_way_is_not_run_again(monkeypatch) -> None:
    now, runs = [0.0], []
    monkeypatch.setattr(tuning, "_clock", lambda device: lambda: now[0])

    def slow():
        now[0] += 100.0
        runs.append(1)

    def quick():
        now[0] += 1.0

    assert tuning.fastest({"slow": slow, "quick": quick}, CPU) == "quick"
    assert len(runs) == 2


def test_every_kind_can_be_measured() -> None:
    plan, measured = tune(model(), {})
    assert measured == len(plan) > 10
    for case, way in plan.items():
        known = {"depthwise": ops.CONVOLUTION_WAYS, "attention": ops.ATTENTION_WAYS}
        assert way.split("/")[0] in known.get(case.split()[0], ops.LINEAR_WAYS), (case, way)
    assert tune(model(), {}, plan) == (plan, 0)


@pytest.mark.parametrize(
    ("rows", "dtype", "mode", "tried"),
    [
        (2**15, "bfloat16", "train", {"native", "kept"}),
        (64, "bfloat16", "train", {"kept"}),
        (64, "bfloat16", "eval", {"native"}),
        (2**15, "float32", "train", set(ops.LINEAR_WAYS) if ops.has_onednn(torch.float32) else {"native"}),
    ],
)
def test_an_mlp_may_keep_more_where_gelu_is_a_large_share(monkeypatch, rows, dtype, mode, tried) -> None:
    seen = []
    monkeypatch.setattr(tuning, "fastest", lambda ways, device: seen.append(set(ways)) or "native")
    tuning.complete({}, [f"mlp {rows}x8x16 {dtype} cpu-1 {mode}"], CPU, {})
    assert seen == [tried]


@pytest.mark.parametrize("has", [True, False])
def test_chunks_of_attention_are_tried_where_their_product_works(monkeypatch, has) -> None:
    seen = []
    monkeypatch.setattr(tuning, "fastest", lambda ways, device: seen.append(set(ways)) or "fused")
    monkeypatch.setattr(tuning.ops, "has_onednn", lambda dtype: has and dtype == torch.bfloat16)
    tuning.complete({}, ["attention 1x8x2x4 bfloat16 cpu-1 eval"], CPU, {})
    assert seen == [{"fused", "explicit", *(["chunked"] if has else [])}]


def results_of(built, training=True):
    built.train(training)
    heads = built(clips())
    heads = heads if isinstance(heads, tuple) else (heads,)
    sum(F.cross_entropy(logits, torch.tensor([1, 4])) for logits in heads).backward()
    gradients = {name: parameter.grad for name, parameter in built.named_parameters() if parameter.grad is not None}
    return {**{f"logits {number}": value.detach() for number, value in enumerate(heads)}, **gradients}


@pytest.mark.parametrize("kind", [Uniformer, UniformerLight])
@pytest.mark.parametrize("forced", COMBINATIONS, ids=lambda forced: "-".join(forced.values()))
def test_all_ways_give_the_plain_results(forced, kind) -> None:
    ours, plain = model(kind), model(kind)
    tune(ours, forced)
    expected = results_of(Plain(plain))
    found = results_of(ours)
    assert {f"model.{name}" if " " not in name else name for name in found} == set(expected)
    for name, value in found.items():
        truth = expected[name if " " in name else f"model.{name}"]
        scale = max(truth.norm().item(), 5e-2)  # gradients of biases before a norm are zero up to rounding
        assert (value - truth).norm() < 2e-5 * scale, name


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("forced", "compiled"),
    [*((forced, False) for forced in COMBINATIONS), (COMBINATIONS[1], True)],
    ids=[*("-".join(forced.values()) for forced in COMBINATIONS), "compiled"],
)
def test_twenty_steps_follow_the_plain_path(forced, compiled, precision) -> None:
    """1e-4 of the loss in float32; in bfloat16 the losses stay within 2 %."""
    losses = {}
    for name in ("ours", "plain"):
        built = model(drop_path=0.1).train()
        if name == "ours":
            tune(built, forced)
            if compiled:
                torch.compiler.reset()
                compile_forward(built, logging.getLogger("test_tuning"), "aot_eager")
        network = built if name == "ours" else Plain(built)
        optimizer = torch.optim.AdamW(built.parameters(), 3e-3, fused=True)
        torch.manual_seed(1)
        losses[name] = []
        for step in range(20):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16 and name == "ours"):
                logits = network(clips(step % 4))
            loss = F.cross_entropy(logits.float(), torch.tensor([step % 4, 4]))
            loss.backward()
            optimizer.step()
            losses[name].append(loss.item())
        assert is_compiled(built) == (compiled and name == "ours")
    assert losses["plain"][-1] < 0.7 * losses["plain"][0]
    assert losses["ours"] == pytest.approx(losses["plain"], rel=1e-4 if precision == torch.float32 else 2e-2)
