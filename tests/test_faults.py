"""The campaign of faults: it finds what it looks for, tells of it, and a short one passes."""

import importlib
import json
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from slowfast.utils import checkpoint, run_lock

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def faults():
    """The module of faults.py, beside which it imports faulty_run.py by its name."""
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("faults")
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def hit(faults):
    """A function from what is told of a fault to a Hit; unless told, one of SIGKILL that went as promised."""
    usual = {
        "training": 1,
        "phase": "step",
        "where": "engine/step.py:90",
        "kind": faults.KILL,
        "signum": signal.SIGKILL,
        "victim": "rank 1",
        "status": 1,
        "step": 4,
        "lost": 2,
        "compared": 100,
    }
    return lambda **told: faults.Hit(**(usual | told))


def payload(**changed) -> dict:
    usual = {
        "epoch": -1,
        "global_step": 3,
        "batch_in_epoch": 3,
        "so_far": {"loss": [2.0, 1.5, 1.25], "seconds": [0.1, 0.2, 0.3]},
        "model_state": {
            "head.weight": torch.arange(12.0).reshape(3, 4),
            "bn.num_batches_tracked": torch.tensor(3),
        },
        "optimizer_state": {"state": {0: {"exp_avg": torch.ones(2, dtype=torch.bfloat16)}}},
        "best": {"top1": float("nan")},
        "cfg": "OUTPUT_DIR: here",
    }
    return usual | changed


def flip_a_bit(tensor: torch.Tensor) -> torch.Tensor:
    changed = tensor.clone()
    changed.view(-1).view(torch.uint8)[-1] ^= 1
    return changed


# ----------------------------------------------------------------------------------------------------------
# Comparing
# ----------------------------------------------------------------------------------------------------------
def test_equal_states_do_not_differ_whatever_their_times_and_folders(faults):
    one, other = payload(), payload(cfg="OUTPUT_DIR: there")
    other["so_far"] = one["so_far"] | {"seconds": [3.0, 2.0, 1.0]}
    # epoch, global_step, batch_in_epoch, three losses, two tensors of the model, one of the optimizer, the best
    assert faults.compare(one, other) == (10, [])


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("model_state", ("head.weight",)),
        ("model_state", ("bn.num_batches_tracked",)),
        ("optimizer_state", ("state", 0, "exp_avg")),
    ],
)
def test_one_wrong_bit_is_named(faults, section, path):
    one, other = payload(), payload()
    *parents, last = path
    holder = other[section]
    for name in parents:
        holder = holder[name]
    holder[last] = flip_a_bit(holder[last])
    _, differences = faults.compare(one, other)
    assert differences == [".".join([section, *map(str, path)])]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (0.0, -0.0, False),
        (float("nan"), float("nan"), True),
        (1, 1.0, False),
        (1, True, False),
        (None, 0, False),
        (torch.tensor([0.0]), torch.tensor([-0.0]), False),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (torch.zeros(2), torch.zeros(1, 2), False),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32), False),
        (torch.zeros(0), torch.zeros(0), True),
        (torch.tensor(7), torch.tensor(7), True),
        (torch.arange(6).reshape(2, 3).T, torch.arange(6).reshape(2, 3).T.contiguous(), True),
    ],
)
def test_same_means_every_bit(faults, one, other, is_same):
    assert faults.same(one, other) is is_same


def test_what_only_one_of_them_has_differs(faults):
    one, other = payload(), payload(guard=[0, 0, 0])
    del other["best"]
    assert faults.compare(one, other) == (13, ["best.top1", "guard.0", "guard.1", "guard.2"])


def test_checkpoints_are_compared_with_those_after_as_many_steps(faults, tmp_path):
    run, reference = tmp_path / "run", tmp_path / "undisturbed"
    between, after = payload(), payload(epoch=0, global_step=5, batch_in_epoch=0)
    checkpoint.save(between, checkpoint.step_path(reference, 3))
    checkpoint.save(after, checkpoint.epoch_path(reference, 1))
    checkpoint.save(between, checkpoint.step_path(run, 3))
    checkpoint.save(after, checkpoint.best_path(run))
    assert faults.compare_checkpoints(run, reference) == (20, [])
    after["model_state"]["head.weight"] = flip_a_bit(after["model_state"]["head.weight"])
    checkpoint.save(after, checkpoint.best_path(run))
    assert faults.compare_checkpoints(run, reference) == (20, ["best.pyth: model_state.head.weight"])


def write_end(folder: Path, *lines: dict) -> None:
    checkpoint.save(payload(epoch=0, global_step=5, batch_in_epoch=0), checkpoint.epoch_path(folder, 1))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_ends_differ_in_a_line_of_metrics_but_not_in_its_times(faults, tmp_path):
    run, reference = tmp_path / "run", tmp_path / "undisturbed"
    write_end(run, {"loss": 1.5, "dt": 0.1}, {"loss": 1.0, "dt": 0.1})
    write_end(reference, {"loss": 1.5, "dt": 0.2}, {"loss": 1.0, "dt": 0.3})
    assert faults.compare_ends(run, reference) == (12, [])
    write_end(run, {"loss": 1.5}, {"loss": 1.5}, {"loss": 1.25})
    assert faults.compare_ends(run, reference)[1] == ["metrics.jsonl: 1.loss", "metrics.jsonl: 2.loss"]


def test_an_end_with_less_or_with_litter_is_none(faults, tmp_path):
    run, reference = tmp_path / "run", tmp_path / "undisturbed"
    write_end(run)
    write_end(reference)
    last = payload(epoch=1, global_step=10, batch_in_epoch=0)
    checkpoint.save(last, checkpoint.epoch_path(reference, 2))
    (run / "checkpoints" / ".best.pyth.17.tmp").write_text("half a che")
    (run / run_lock.FILE).write_text("{}")  # of every run, and no litter
    assert faults.compare_ends(run, reference)[1] == [
        "last checkpoint: checkpoint_epoch_00001.pyth, not checkpoint_epoch_00002.pyth",
        "left behind: .best.pyth.17.tmp",
    ]


# ----------------------------------------------------------------------------------------------------------
# Drawing
# ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def draws(faults):
    """A function from a seed to draws that know of two lines in each phase."""

    def make(seed: int):
        draws = faults.Draws(seed)
        for phase in faults.PHASES:
            draws.learn(phase, {"a.py:1": 1, "b.py:2": 3})
            draws.learn(phase, {"b.py:2": 2})
        return draws

    return make


def test_draws_follow_from_the_seed_and_come_by_everything(faults, draws):
    one, again, other = (draws(seed) for seed in (3, 3, 4))
    drawn = [one.next() for _ in range(48)]
    assert drawn == [again.next() for _ in range(48)]
    assert drawn != [other.next() for _ in range(48)]
    # four rounds, in each of which all phases come twice, and saving four times
    assert Counter(fault.phase for fault in drawn) == dict.fromkeys(faults.PHASES, 8) | {"saving": 16}
    assert Counter(fault.kind for fault in drawn) == {"kill": 40, "full disk": 4, "slow disk": 4}
    assert {fault.signum for fault in drawn} == {0, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1}
    assert {fault.victim for fault in drawn} == {"", "parent", "rank 0", "rank 1", "worker"}
    assert {(fault.place, fault.time) for fault in drawn} == {
        ("a.py:1", 1),
        *(("b.py:2", n) for n in (1, 2, 3)),
    }
    assert not any(fault.victim == "worker" for fault in drawn if fault.phase == "start-up")
    assert not any(fault.rank for fault in drawn if fault.phase == "saving")


def test_missing_phases_are_drawn_alone(draws):
    some = draws(0)
    assert {some.next(["validation", "start-up"]).phase for _ in range(12)} == {"validation", "start-up"}


# ----------------------------------------------------------------------------------------------------------
# Judging
# ----------------------------------------------------------------------------------------------------------
def life_of(faults, status: int | None, said: str = "", left_behind: int = 0):
    return faults.Life(status, 0, 4, left_behind, [], said)


@pytest.mark.parametrize(
    ("kind", "signum", "victim", "status", "lost", "found"),
    [
        ("kill", signal.SIGKILL, "rank 0", 1, 4, []),
        ("kill", signal.SIGKILL, "rank 0", 1, 5, ["5 steps lost, not 0 to 4"]),
        ("kill", signal.SIGKILL, "rank 0", 0, 0, ["exit status 0, not 1"]),
        ("kill", signal.SIGKILL, "rank 1", 75, 0, ["exit status 75, not 1"]),
        ("kill", signal.SIGKILL, "parent", -9, 1, []),
        ("kill", signal.SIGTERM, "parent", 75, 0, []),
        ("kill", signal.SIGTERM, "parent", 75, 1, ["1 steps lost, not 0 to 0"]),
        ("kill", signal.SIGTERM, "rank 1", 0, 0, []),
        ("kill", signal.SIGUSR1, "rank 1", 1, 0, ["exit status 1, not 0 or 75"]),
        ("kill", signal.SIGKILL, "worker", 0, 0, []),
        ("kill", signal.SIGKILL, "worker", 1, 2, ["exit status 1, not 0", "2 steps lost, not 0 to 0"]),
        ("slow disk", signal.SIGTERM, "rank 0", 75, 0, []),
        ("slow disk", signal.SIGKILL, "worker", 0, 1, ["1 steps lost, not 0 to 0"]),
        ("full disk", 0, "", 2, 5, ["5 steps lost, not 0 to 4", "does not say 'No space left on device'"]),
        ("full disk", 0, "", 1, 0, ["exit status 1, not 0 or 2"]),
        ("kill", signal.SIGTERM, "rank 0", None, -1, ["exit status None, not 0 or 75", "-1 steps lost, not 0 to 0"]),
    ],
)  # fmt: skip
def test_what_is_not_as_promised_is_told(faults, kind, signum, victim, status, lost, found):
    fault = faults.Fault("step", 0, "a.py:1", 1, kind, signum, victim, 0)
    assert faults.problems(fault, life_of(faults, status), step=4, lost=lost) == found


def test_a_full_disk_is_to_be_named_with_the_step_to_go_on_after(faults):
    fault = faults.Fault("saving", 0, "a.py:1", 1, faults.FULL_DISK, 0, "", 0)
    good = "cannot write a.pyth: No space left on device; .... The same command goes on after step 4, saved before"
    assert faults.problems(fault, life_of(faults, 2, good), step=4, lost=4) == []
    assert faults.problems(fault, life_of(faults, 2, good), step=0, lost=4) == [
        "does not say that it goes on after step 0"
    ]
    assert faults.problems(fault, life_of(faults, 2, "error"), step=4, lost=4) == [
        "does not say 'No space left on device'"
    ]


def test_processes_that_stay_are_told(faults):
    fault = faults.Fault("step", 0, "a.py:1", 1, faults.KILL, signal.SIGKILL, "parent", 0)
    assert faults.problems(fault, life_of(faults, -9, left_behind=2), 4, 0) == ["2 processes left behind"]


# ----------------------------------------------------------------------------------------------------------
# Telling
# ----------------------------------------------------------------------------------------------------------
def test_the_tables_name_each_fault_and_count_the_phases(faults, hit):
    hits = [
        hit(),
        hit(phase="saving", kind="full disk", signum=0, victim="", status=2, lost=4),
        hit(phase="saving", kind="slow disk", signum=signal.SIGTERM, victim="parent", status=75, lost=0),
        hit(lost=1, differences=["best.pyth: epoch"]),
    ]
    _, _, *rows = faults.faults_table(hits).splitlines()
    assert rows[0] == "| 1 | 1 | step | engine/step.py:90 | SIGKILL of rank 1 | 1 | 4 | 2 | 4 | 100 | 0 |"
    assert [line.split(" | ")[4] for line in rows[1:3]] == ["full disk", "SIGTERM of parent, slow disk"]
    assert [line.split(" | ")[-4:] for line in rows[2:]] == [
        ["0", "0", "100", "0 |"],
        ["1", "4", "100", "1 |"],
    ]
    _, _, *phases = faults.phases_table(hits).splitlines()
    assert phases == [
        "| start-up | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |",
        "| step | 2 | 2 | 0 | 0 | 0 | 0 | 2 | 3 |",
        "| saving | 2 | 0 | 1 | 0 | 1 | 1 | 4 | 4 |",
        "| validation | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |",
        "| data worker | 0 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |",
    ]
    end = faults.End(training=1, faults=4, lives=5, compared=900, differences=["metrics.jsonl: 3.loss"])
    assert faults.ends_table([end]).splitlines()[2:] == ["| 1 | 4 | 5 | 900 | 1 |"]


def test_the_verdict_lists_all_that_is_wrong(faults, hit):
    hits = [hit(phase=phase) for phase in faults.PHASES]
    end = faults.End(training=1, faults=5, lives=6, compared=900, differences=[])
    assert faults.verdict(hits, [end], 5, 1) == []
    hits[1] = hit(problems=["exit status 0, not 1"], differences=["best.pyth: epoch"])
    end.differences.append("metrics.jsonl: 3.loss")
    assert faults.verdict(hits[:4], [end], 5, 1) == [
        "fault 2: exit status 0, not 1",
        "fault 2: best.pyth: epoch",
        "end of training 1: metrics.jsonl: 3.loss",
        "4 faults came, not 5",
        "data worker: hit less than 1 times",
    ]


@pytest.mark.slow
def test_a_short_campaign_passes(faults, tmp_path, capsys):
    out = tmp_path / "faults.json"
    words = ["--faults", "4", "--per-phase", "0", "--seed", "1", "--folder", str(tmp_path / "runs")]
    assert faults.main([*words, "--out", str(out)]) == 0
    assert "4 faults, 0 differences, seed 1: PASS" in capsys.readouterr().out
    content = json.loads(out.read_text())
    assert len(content["faults"]) == 4 and content["wrong"] == []
    assert all(entry["compared"] > 100 for entry in content["trainings"])
