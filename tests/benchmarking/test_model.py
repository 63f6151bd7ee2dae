"""The benchmark of the model: what it times is the model, and what it prints is what it measured."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from slowfast import cli
from slowfast.benchmarking import command, loader, model
from slowfast.models.uniformer import Uniformer
from slowfast.models.uniformer_light import UniformerLight

DEBUG = str(Path(__file__).parents[2] / "configs" / "debug" / "uniformer_debug.yaml")
CPU = torch.device("cpu")
TINY = dict(num_classes=7, depth=(1, 1, 2, 1), embed_dim=(8, 16, 16, 32), head_dim=8)
SHAPE = (2, 3, 4, 64, 64)
SMALL = ["DATA.NUM_FRAMES", "4", "DATA.TRAIN_CROP_SIZE", "64", "DATA.TEST_CROP_SIZE", "64", "MODEL.NUM_CLASSES", "5"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [Uniformer, UniformerLight])
def test_all_ways_are_timed_with_shares_and_groups(kind, training):
    result = model.run(partial(kind, **TINY), SHAPE, CPU, training, rounds=1)
    assert list(result["ways"]) == ["plain", "fp32", "bf16"]  # plain_bf16 on GPUs only
    assert set(result["peak_gflops"]) == {"float32", "bfloat16"} and min(result["peak_gflops"].values()) > 1
    for way, numbers in result["ways"].items():
        peak = 1e9 * result["peak_gflops"]["bfloat16" if way == "bf16" else "float32"]
        assert numbers["clips_per_second"] == pytest.approx(2e3 / numbers["median_ms"])
        flops = 2e9 * result["gmacs"] * (3 if training else 1)
        assert numbers["share_of_peak"] == pytest.approx(flops * 1e3 / numbers["median_ms"] / peak)
        assert numbers["by_group_ms"]["convolutions"] > 0
        assert (numbers["by_group_ms"]["optimizer"] > 0) == training
    assert all((" train" in case) == training for case in result["operators"])


def test_a_step_changes_the_weights_and_a_pass_does_not():
    built = []

    def build():
        torch.manual_seed(0)
        built.append(Uniformer(**TINY))
        return built[-1]

    for training in (True, False):
        call = model.subject(build, SHAPE, CPU, "plain", training, {})
        before = {name: value.clone() for name, value in built[-1].state_dict().items()}
        call()
        changed = {name for name, value in built[-1].state_dict().items() if not torch.equal(value, before[name])}
        assert (set(before) == changed) if training else not changed


def test_peak_memory_holds_the_activations():
    """Keeping all of them takes more than a forward pass, by any way."""
    plan = model.run(partial(Uniformer, **TINY), SHAPE, CPU, True, rounds=1)["operators"]
    large = (16, *SHAPE[1:])
    step = model.memory(partial(Uniformer, **TINY), large, CPU, "plain", True, plan)
    alone = model.memory(partial(Uniformer, **TINY), large, CPU, "plain", False, plan)
    assert step > 1.5 * alone > 0


def test_operators_are_held_against_the_plain_ones(monkeypatch):
    cases = ["linear 64x8x8 float32 cpu-1 train", "attention 1x16x2x4 float32 cpu-1 eval"]
    outcome = model.operators(cases, CPU, rounds=3)
    assert list(outcome) == cases
    times = {"plain": [1.0, 1.1, 1.0], "native": [1.2, 1.2, 1.2]}
    monkeypatch.setattr(model, "take_turns", lambda ways, rounds: times)
    monkeypatch.setattr(model.tuning, "complete", lambda *given: ({cases[0]: "native"}, 1))
    slow = model.operators(cases[:1], CPU, rounds=3)
    assert slow[cases[0]]["slower"] and "SLOWER" in model.operator_table(slow)
    times["native"] = [1.05, 1.3, 1.2]  # slower, but not clearly apart
    times["plain"] = [1.0, 1.4, 1.3]
    assert not model.operators(cases[:1], CPU, rounds=3)[cases[0]]["slower"]


@pytest.mark.parametrize("what", ["model", "step"])
def test_the_command_prints_tables_and_writes_json(what, tmp_path, capsys):
    out = tmp_path / "numbers.json"
    words = ["benchmark", what, "--cfg", DEBUG, "--rounds", "1", "--threads", "1", "--no-memory", "--out", str(out)]
    assert cli.main([*words, *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "| debug/uniformer_debug 1 x 4 x 64 | bf16 |" in printed and "matrix products" in printed
    written = json.loads(out.read_text())
    assert written["what"] == what and written["measured"][what]["threads"] == 1 and "hardware" in written


def test_all_is_the_whole_table_from_one_command(monkeypatch, tmp_path, capsys):
    """Each part is measured as by its own command, and one slower operator is the status of all."""
    asked = []
    monkeypatch.setattr(model, "operators", lambda cases, device, rounds: {"a": {"slower": True}})
    monkeypatch.setattr(model, "operator_table", lambda results: "one operator")
    monkeypatch.setattr(loader, "write_videos", lambda folder: [])
    monkeypatch.setattr(loader, "run", lambda what, _, __, recipe, *rest: asked.append((what, recipe.name)) or {})
    out = tmp_path / "numbers.json"
    words = ["benchmark", "all", "--cfg", DEBUG, "--rounds", "1", "--memory-clips", "1", "--out", str(out)]
    assert cli.main([*words, *SMALL]) == 1
    printed = capsys.readouterr().out
    assert printed.count("| debug/uniformer_debug 1 x 4 x 64 | plain |") == 4  # times and profiles, pass and step
    assert "(1, 100%)" in printed and "1 operators, 1 slower than the plain way" in printed
    assert asked == [("test", "uniformer_debug.yaml"), ("train", "uniformer_debug.yaml")]
    measured = json.loads(out.read_text())["measured"]
    assert list(measured) == list(command.WHAT) and measured["train"]["threads"] == 1
    assert all(recipe.exists() for recipe in command.SIZES)


def test_without_recipes_nothing_is_called_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "RECIPES", tmp_path)
    assert cli.main(["benchmark", "operators", "--threads", "1"]) == 2
    assert "there are no recipes in" in capsys.readouterr().err


def test_operators_are_measured_in_each_dtype_asked_for(monkeypatch, tmp_path, capsys):
    asked = []
    monkeypatch.setattr(model, "operators", lambda cases, device, rounds: asked.extend(cases) or {})
    words = ["benchmark", "operators", "--cfg", DEBUG, "--threads", "1", *SMALL]
    assert cli.main([*words, "--dtype", "bfloat16"]) == 0
    halves = list(asked)
    assert "depthwise 1x2x16x16x8 k5x5x5 bfloat16 cpu-1 train" in halves and "float32" not in " ".join(halves)
    asked.clear()
    assert cli.main([*words, "--dtype", "float32", "bfloat16"]) == 0
    assert {case.replace(" float32 ", " bfloat16 ") for case in asked} == set(halves)
    assert len(asked) == 2 * len(halves)


def test_a_case_in_half_precision_has_a_row_of_its_own():
    trained = ("depthwise 1x2x8x8x8 k3x3x3", "linear 64x8x8", "mlp 64x8x16")
    cases = [*(f"{sizes} bfloat16 cpu-1 train" for sizes in trained), "attention 1x16x2x4 bfloat16 cpu-1 eval"]
    outcome = model.operators(cases, CPU, rounds=1)
    rows = model.operator_table(outcome).splitlines()[2:]
    assert len(rows) == 4 and all(" bfloat16 " in row for row in rows)
    assert all(one[name]["median_ms"] > 0 for one in outcome.values() for name in ("plain", "ours"))


def test_an_unknown_dtype_is_refused(capsys):
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "operators", "--dtype", "int8"])
    assert "choose from" in (said := capsys.readouterr().err) and "bfloat16" in said


def test_the_command_looks_at_operators_one_by_one(capsys):
    status = cli.main(["benchmark", "operators", "--cfg", DEBUG, "--rounds", "3", "--threads", "1", *SMALL])
    printed = capsys.readouterr().out
    assert "| depthwise 1x2x16x16x8 k5x5x5 float32 cpu-1 train |" in printed
    assert (status == 0) == (", 0 slower" in printed)
