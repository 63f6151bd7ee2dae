"""The command `submit`: what it sends and writes down, what it refuses, and the same run without a scheduler."""

import os
import re
import shlex
import signal
import time
from pathlib import Path

import pytest
import torch

from slowfast import cli
from slowfast.submission import cluster, records
from slowfast.utils.checkpoint import newest
from slowfast.utils.logging import read_json_lines

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"
LINUX = pytest.mark.skipif(
    not Path("/proc/self/cmdline").exists(), reason="looks for processes as Linux shows them"
)


def submit(*words):
    return cli.main(["submit", *map(str, words)])


def refused(capsys, *words):
    assert submit(*words) == 2
    return capsys.readouterr().err


@pytest.fixture
def sent(monkeypatch):
    """What would have been sent to the cluster: (tasks, folder, resources, local) for each call."""
    calls = []

    def take(tasks, *others):
        calls.append((tasks, *others))
        return [f"7_{number}" for number in range(len(tasks))] if len(tasks) > 1 else ["7"]

    monkeypatch.setattr(cluster, "submit", take)
    monkeypatch.setattr(cluster, "state", lambda *job: cluster.State(False, "complete"))
    return calls


def recipes(folder, *names, more=""):
    """Recipes of these names, each with an OUTPUT_DIR of its own."""
    paths = [folder / f"{name}.yaml" for name in names]
    for path in paths:
        path.write_text(f"OUTPUT_DIR: {folder / path.stem}\nNUM_GPUS: 0\nTRAIN:\n  BATCH_SIZE: 8\n{more}")
    return paths


def test_dry_run_prints_the_script_and_what_it_does_and_leaves_nothing(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ("--cfg", RECIPE, "--nodes", 4, "--gpus", 8, "--time", "48:00:00", "--partition", "gpu")
    assert (
        submit(*words, "--dry-run", "--sbatch", "account=vision", "OUTPUT_DIR", folder, "TEST.BATCH_SIZE", 8)
        == 0
    )
    out = capsys.readouterr().out
    assert out.startswith("#!/bin/bash\n")
    for line in (
        "nodes=4",
        "gpus-per-node=8",
        "time=2880",
        "partition=gpu",
        "account=vision",
        "signal=USR1@180",
    ):
        assert f"#SBATCH --{line}\n" in out
    assert "#SBATCH --cpus-per-task=16\n" in out  # 8 processes with a data worker each
    assert (
        f"does: slowfast run --cfg {RECIPE} OUTPUT_DIR {folder} TEST.BATCH_SIZE 8 NUM_GPUS 8 TEST.RESUME True"
        in out
    )
    assert not folder.exists()


def test_a_job_is_written_down_in_the_folder_of_its_run(tmp_path, sent, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tools/submit.py", "--cfg", "my recipe.yaml"])
    folder = tmp_path / "run"
    assert submit("--cfg", RECIPE, "--nodes", 2, "--time", 60, "OUTPUT_DIR", folder) == 0
    ((task,), logs, resources, local), *_ = sent
    assert (logs, local, resources.nodes, resources.gpus, resources.cpus) == (
        folder / "submitted",
        False,
        2,
        0,
        2,
    )
    noted = records.last(folder)
    assert (noted.job_id, noted.cluster, noted.nodes, noted.cwd) == ("7", "slurm", 2, os.getcwd())
    assert noted.command == "tools/submit.py --cfg 'my recipe.yaml'"
    assert shlex.split(noted.run) == ["slowfast", *task.run]
    assert f"slowfast submit --status {folder}" in capsys.readouterr().out


def test_settings_of_the_user_about_resumed_tests_are_kept(tmp_path, sent):
    assert submit("--cfg", RECIPE, "--time", 60, "OUTPUT_DIR", tmp_path, "TEST.RESUME", "False") == 0
    assert "True" not in sent[0][0][0].run


def test_an_array_takes_recipes_with_folders_of_their_own(tmp_path, sent):
    paths = recipes(tmp_path, "one", "two")
    assert submit("--time", 60, "--array", *paths, "RNG_SEED", 3) == 0
    ((first, second), logs, _, _), *_ = sent
    assert logs == tmp_path / "one" / "submitted"
    assert str(paths[0]) in first.run and str(paths[1]) in second.run
    assert all(("RNG_SEED", "3") == task.run[3:5] for task in (first, second))
    assert [records.last(tmp_path / name).job_id for name in ("one", "two")] == ["7_0", "7_1"]
    assert records.last(tmp_path / "two").logs == str(logs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--cfg", RECIPE), "--time is missing"),
        (("--cfg", RECIPE, "--time", "1d"), "--time is '1d'; write minutes"),
        (("--cfg", RECIPE, "--time", "60", "--nodes", "0"), "--nodes is 0"),
        (("--cfg", RECIPE, "--time", "60", "NUM_GPUS", "8"), "NUM_GPUS is set by --gpus; leave it out"),
        (("--cfg", RECIPE, "--time", "60", "NUM_SHARDS", "8"), "NUM_SHARDS is set by --nodes; leave it out"),
        (("--cfg", RECIPE, "--time", "60", "--gpus", "3"), "TRAIN.BATCH_SIZE 8 is not a multiple of NUM_GPUS 3"),
        (("--cfg", RECIPE, "--time", "60", "TRAIN.BATCHSIZE", "8"), "unknown key TRAIN.BATCHSIZE"),
        (("--cfg", RECIPE, "--time", "60", "TRAIN.AUTO_RESUME", "False"), "does not resume.*add TRAIN.RESUME auto"),
        (("--cfg", RECIPE, "--time", "60", "--sbatch", "gpus-per-node=2"), "gpus-per-node=2: write --gpus"),
        (("--cfg", "nowhere.yaml", "--time", "60"), "nowhere.yaml"),
        (("--array", "RNG_SEED", "3", "--time", "60"), "--array RNG_SEED: give recipes, files that end in .yaml"),
        (("--status", "x", "RNG_SEED", "3"), "takes the folder of a run and no settings, not RNG_SEED 3"),
        (("--status", "x"), "no run was submitted or begun there"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_it_waits_in_a_queue(sent, capsys, words, message):
    assert re.search(message, refused(capsys, *words))
    assert not sent


@pytest.mark.parametrize(
    "words", [(), ("--cfg", RECIPE, "--status", "x"), ("--cfg", RECIPE, "--array", RECIPE)]
)
def test_it_is_one_of_recipe_array_and_status(words, capsys):
    with pytest.raises(SystemExit):
        submit(*words)
    assert "--cfg" in capsys.readouterr().err


def test_runs_in_one_folder_are_refused(tmp_path, sent, capsys):
    paths = recipes(tmp_path, "one", "two")
    message = refused(capsys, "--time", 60, "--array", *paths, "OUTPUT_DIR", tmp_path / "same")
    assert (
        f"one.yaml and {paths[1]} both write to {tmp_path / 'same'}: leave OUTPUT_DIR to the recipes"
        in message
    )


def test_recipes_of_an_array_take_as_many_gpus(tmp_path, sent, capsys):
    one, two = recipes(tmp_path, "one", "two")
    two.write_text(two.read_text().replace("NUM_GPUS: 0", "NUM_GPUS: 8"))
    assert "differ in NUM_GPUS: give --gpus" in refused(capsys, "--time", 60, "--array", one, two)
    assert submit("--time", 60, "--gpus", 8, "--array", one, two) == 0


def test_a_folder_that_a_job_still_writes_to_is_refused(tmp_path, sent, capsys, monkeypatch):
    assert submit("--cfg", RECIPE, "--time", 60, "OUTPUT_DIR", tmp_path) == 0
    monkeypatch.setattr(cluster, "state", lambda *job: cluster.State(True, "waiting (Resources)"))
    message = refused(capsys, "--cfg", RECIPE, "--time", 60, "OUTPUT_DIR", tmp_path)
    assert f"job 7 writes to {tmp_path} (waiting (Resources)): end it first (scancel 7)" in message
    assert len(sent) == 1


def wait_until(condition, seconds=120):
    """The first true answer of a condition; fails when it does not come in time."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.05)
    return answer


def notes(folder):
    noted = records.last(folder)
    path = Path(noted.logs) / f"{noted.job_id}_0_attempts.jsonl"
    return read_json_lines(path) if path.exists() else []


def ended(folder, times=1):
    """The notes of a local job, once it has ended that often."""
    found = notes(folder)
    return found if [note["event"] for note in found].count("end") == times else None


def gone(folder):
    noted = records.last(folder)
    return not cluster.state(noted.cluster, noted.job_id).active


def trained_steps(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count("train_iter") if path.exists() else 0


def status(folder, capsys):
    capsys.readouterr()
    assert submit("--status", folder) == 0
    return capsys.readouterr().out


def weights(folder):
    return torch.load(newest(folder / "checkpoints"), weights_only=False)["model_state"]


LONG = ("TRAIN.BATCH_SIZE", 2, "LOG_PERIOD", 1, "TEST.ENABLE", False)  # 12 steps an epoch


@pytest.mark.slow
@LINUX
def test_a_local_run_is_started_again_at_its_limit_and_ends_as_if_never_stopped(
    debug_options, tmp_path, capsys
):
    local = ("--local", "--cfg", RECIPE, "--time", 60, *debug_options, *LONG)
    folder, whole = tmp_path / "run", tmp_path / "whole"
    assert submit(*local) == 0
    assert f"slowfast submit --status {folder}" in capsys.readouterr().out
    wait_until(lambda: trained_steps(folder) >= 15)
    assert "running on this machine" in status(folder, capsys)
    assert f"kill {records.last(folder).job_id}" in refused(capsys, *local)
    os.kill(notes(folder)[0]["pid"], signal.SIGUSR1)  # as submitit does before the time limit
    wait_until(lambda: ended(folder, times=2) and gone(folder))
    assert [note.get("status") for note in notes(folder)] == [None, 75, None, 0]
    assert "of the next epoch" in (folder / "log.txt").read_text()
    told = status(folder, capsys)
    assert (
        "begun 2 times" in told
        and "state      complete" in told
        and "training   epoch 2/2 complete (24" in told
    )

    assert (
        cli.main(["run", "--cfg", str(RECIPE), *map(str, [*debug_options, *LONG, "OUTPUT_DIR", whole])]) == 0
    )
    expected, found = weights(whole), weights(folder)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.slow
@LINUX
def test_a_local_run_is_ended_by_its_user_and_goes_on_when_submitted_again(debug_options, tmp_path, capsys):
    local = ("--local", "--cfg", RECIPE, "--time", 60, *debug_options, *LONG)
    folder = tmp_path / "run"
    assert submit(*local) == 0
    wait_until(lambda: trained_steps(folder) >= 3)
    os.kill(int(records.last(folder).job_id), signal.SIGTERM)
    wait_until(lambda: ended(folder) and gone(folder))
    assert "state      stopped by a signal; submit it again, and it goes on" in status(folder, capsys)
    assert submit(*local) == 0
    wait_until(lambda: ended(folder) and gone(folder))
    assert "state      complete" in status(folder, capsys)
    assert len(read_json_lines(folder / records.FILE)) == 2


def test_a_local_run_that_fails_says_why(debug_options, tmp_path, capsys):
    words = (
        "--local",
        "--cfg",
        RECIPE,
        "--time",
        60,
        *debug_options,
        "DATA.PATH_TO_DATA_DIR",
        tmp_path / "nowhere",
    )
    assert submit(*words) == 0
    folder = tmp_path / "run"
    wait_until(lambda: ended(folder))
    wait_until(lambda: gone(folder))
    told = status(folder, capsys)
    assert "state      failed" in told and "exit status 2" in told
    assert str(tmp_path / "nowhere") in told.split("error ")[1].split("logs ")[0]
