"""Runs on a real Slurm: two machines, stopped in the middle of an epoch in every way, and jobs that fail."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from slowfast.datasets.synthetic import DatasetSettings, write_dataset
from slowfast.submission import cluster, records
from slowfast.utils.checkpoint import newest
from slowfast.utils.logging import read_json_lines

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"
pytestmark = pytest.mark.slurm

TWO_MACHINES = ("--cfg", RECIPE, "--nodes", 2, "--time", 10)
# One epoch of 48 steps, a line in metrics.jsonl for each: a signal after the fifth comes in the middle of it.
STEPS = (
    "TRAIN.BATCH_SIZE", 1, "SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0.1, "LOG_PERIOD", 1, "TEST.ENABLE", False,
)  # fmt: skip
LONG = (*STEPS, "SOLVER.MAX_EPOCH", 300)  # never ends by itself in a test


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of two machines, for these tests alone."""
    program = Path(os.environ["SLOWFAST_TEST_SLURM"]) / "local-cluster"
    assert program.exists(), f"SLOWFAST_TEST_SLURM is set, but there is no {program}"
    place = {
        "SLURM_LOCAL_DIR": str(tmp_path_factory.mktemp("slurm") / "cluster"),
        "SLURM_LOCAL_PORT": str(15000 + os.getpid() % 400 * 10),
    }

    def call(word):
        done = subprocess.run(
            [program, word], env={**os.environ, **place}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"local-cluster {word}: {done.stdout}{done.stderr}"
        return done.stdout

    call("install")
    try:
        call("start")
        told = dict(re.findall(r"(\w+)=(\S+)", call("env")))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in told.items():
                patch.setenv(name, shlex.split(value)[0])
            yield
    finally:
        call("stop")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with 96 + 8 + 8 made-up clips and their lists."""
    folder = tmp_path_factory.mktemp("videos") / "data"
    settings = DatasetSettings(train_clips=12, val_clips=1, test_clips=1, min_size=40, max_size=48, frames=16)
    write_dataset(folder, settings, processes=1)
    return folder


@pytest.fixture
def submit(slurm, videos, tmp_path):
    """A function from the name of a run and words for `submit` to the folder of the run, whose job is queued then."""
    data = ("DATA.PATH_TO_DATA_DIR", videos, "DATA.PATH_PREFIX", videos, "NUM_THREADS", 1)

    def call(name, *words):
        folder = tmp_path / name
        done = tool(*words, *data, "OUTPUT_DIR", folder)
        assert done.returncode == 0, done.stderr
        return folder

    return call


def tool(*words):
    command = [sys.executable, ROOT / "tools" / "submit.py", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def status(folder):
    done = tool("--status", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def job(folder):
    return records.last(folder).job_id


def ask(*words):
    subprocess.run(words, check=True, timeout=60)


def wait_until(condition, *args, seconds=240):
    """Fails when a condition does not come about in time; tells how the cluster and the run in a folder stand then."""
    end = time.monotonic() + seconds
    while not condition(*args):
        if time.monotonic() > end:
            pytest.fail(
                f"{condition.__name__} did not come about in {seconds} s:\n" + "\n".join(map(standing, args))
            )
        time.sleep(0.1)


def standing(folder):
    """What the cluster and the logs say of a run, for who reads why a test failed."""
    logs = [folder / "log.txt"]
    told = [subprocess.run(["squeue", "--steps"], capture_output=True, text=True, timeout=60).stdout]
    if (folder / records.LOGS).is_dir():  # tools/submit.py has made the job
        logs += sorted(path for path in (folder / records.LOGS).iterdir() if path.suffix != ".pkl")
        words = ("scontrol", "show", "job", job(folder))
        told += [status(folder), subprocess.run(words, capture_output=True, text=True, timeout=60).stdout]
    told += [f"{path.name} ends:\n{path.read_text()[-1500:]}" for path in logs if path.exists()]
    return "\n".join(told)


def trained_steps(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count("train_iter") if path.exists() else 0


def in_mid_epoch(folder):
    return trained_steps(folder) >= 5


def is_over(folder):
    return not cluster.state("slurm", job(folder)).active


def notes(folder, task):
    path = folder / records.LOGS / f"{job(folder)}_{task}_attempts.jsonl"
    return read_json_lines(path) if path.exists() else []


def weights(folder):
    return torch.load(newest(folder / "checkpoints"), weights_only=False)["model_state"]


def assert_equal_weights(folder, other):
    expected, found = weights(folder), weights(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_runs_stopped_in_mid_epoch_end_as_the_one_that_was_not(submit):
    whole, told, requeued = (submit(name, *TWO_MACHINES, *STEPS) for name in ("whole", "told", "requeued"))
    wait_until(in_mid_epoch, told)
    ask(
        "scancel", "--signal=USR1", job(told)
    )  # as before a time limit, or a preemption: it asks for its next turn
    wait_until(in_mid_epoch, requeued)
    ask("scontrol", "requeue", job(requeued))  # by the scheduler, which does not ask
    for folder in (whole, told, requeued):
        wait_until(is_over, folder)
        assert "state      complete" in status(folder)
        assert [step["global_step"] for step in steps(folder)] == list(range(1, 49))
    for folder, name in ((told, "SIGUSR1"), (requeued, "SIGTERM")):
        assert "begun 2 times" in status(folder)
        log = (folder / "log.txt").read_text()
        (stopped,) = re.findall(rf"stopped by {name} after step (\d+) of 48 of epoch 1", log)
        assert f"({stopped} of the next epoch)" in log
        assert [note.get("status") for note in notes(folder, 0)] == [None, 75, None, 0]
        meetings = [notes(folder, task)[turn]["run"][-1] for turn in (0, 2) for task in (0, 1)]
        assert meetings[0] == meetings[1] != meetings[2] == meetings[3]  # a port for each attempt
        assert all(re.fullmatch(r"tcp://node1:\d+", meeting) for meeting in meetings)
        assert {note["host"] for task in (0, 1) for note in notes(folder, task)[::2]} == {"node1", "node2"}
        assert_equal_weights(whole, folder)


def steps(folder):
    return [line for line in read_json_lines(folder / "metrics.jsonl") if line["_type"] == "train_iter"]


def test_a_run_whose_place_is_given_to_another_job_goes_on_after_it(submit):
    folder = submit("run", *TWO_MACHINES, "--sbatch", "exclusive", *LONG)
    wait_until(in_mid_epoch, folder)
    ask("sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=true")
    assert_second_turn(folder)


@pytest.mark.slow
def test_a_run_at_its_time_limit_gets_another_turn(submit):
    limits = ("--cfg", RECIPE, "--nodes", 2, "--time", 2, "--notice", 59)
    folder = submit("run", *limits, *LONG)
    assert_second_turn(folder)


def assert_second_turn(folder):
    """Wait until a run, too long to end by itself, has been stopped and has gone on, and end it."""
    wait_until(lambda: len(notes(folder, 0)) == 3)
    assert [note.get("status") for note in notes(folder, 0)] == [None, 75, None]
    before = steps(folder)[-1]["global_step"]
    wait_until(
        lambda: "resuming" in (folder / "log.txt").read_text() and steps(folder)[-1]["global_step"] > before
    )
    assert [step["global_step"] for step in steps(folder)] == list(range(1, len(steps(folder)) + 1))
    ask("scancel", job(folder))
    wait_until(is_over, folder)


def test_a_cancelled_job_stays_cancelled_until_it_is_submitted_again(submit):
    folder = submit("run", *TWO_MACHINES, *STEPS)
    wait_until(in_mid_epoch, folder)
    assert "running on node" in status(folder)
    assert "end it first (scancel" in tool(*TWO_MACHINES, "OUTPUT_DIR", folder).stderr
    ask("scancel", job(folder))
    wait_until(is_over, folder)
    told = status(folder)
    assert "state      cancelled" in told and "error " not in told
    assert [note.get("status") for note in notes(folder, 0)] == [None, 75]  # what it had done is saved
    submit("run", *TWO_MACHINES, *STEPS)
    wait_until(is_over, folder)
    assert "state      complete" in status(folder)
    assert "resuming" in (folder / "log.txt").read_text()


def test_failing_jobs_show_their_error_and_hold_no_machine(submit, tmp_path):
    unread = submit("unread", *TWO_MACHINES, "DATA.CLASS_NAMES_PATH", tmp_path / "nowhere.txt")
    killed = submit("killed", *TWO_MACHINES, *LONG)
    no_gpus = submit("no_gpus", "--cfg", RECIPE, "--nodes", 2, "--time", 10, "--gpus", 2)
    wait_until(in_mid_epoch, killed)
    os.kill(notes(killed, 1)[0]["pid"], signal.SIGKILL)  # as by the system, when memory is short
    for folder in (unread, killed, no_gpus):
        wait_until(is_over, folder)
        assert "state      failed" in status(folder)
    assert "nowhere.txt" in status(unread).partition("error ")[2].partition("logs ")[0]
    assert "error      machine 1 (node2), killed before it could say why" in status(killed)
    if not torch.cuda.is_available():
        assert "NUM_GPUS is 2, but this machine has 0 GPU(s)" in status(no_gpus)


def test_an_array_runs_each_recipe_and_asks_for_what_the_dry_run_shows(submit, slurm, videos, tmp_path):
    lines = (f"PATH_TO_DATA_DIR: {videos}", f"PATH_PREFIX: {videos}", "NUM_FRAMES: 4")
    text = RECIPE.read_text().replace("DATA:\n  NUM_FRAMES: 4", "\n  ".join(("DATA:", *lines)))
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.with_suffix(".yaml").write_text(
            text.replace("OUTPUT_DIR: runs/debug", f"OUTPUT_DIR: {folder}")
        )
    words = ("--array", *(folder.with_suffix(".yaml") for folder in folders), "--time", 10, "--nodes", 1)
    shown = tool(*words, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert not any(folder.exists() for folder in folders)
    done = tool(*words)
    assert done.returncode == 0, done.stderr
    (script,) = (folders[0] / records.LOGS).glob("*submission.sh")
    assert script.read_text().strip() == shown.stdout.partition("# a task on each machine does:")[0].strip()
    for folder in folders:
        wait_until(is_over, folder)
        assert "state      complete" in status(folder) and (folder / "results.json").exists()
    assert [job(folder).partition("_")[2] for folder in folders] == ["0", "1"]


def test_the_script_for_those_who_prefer_one_does_the_same(slurm, videos, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    data = ("DATA.PATH_TO_DATA_DIR", videos, "DATA.PATH_PREFIX", videos, "NUM_THREADS", 1, *STEPS)
    options = ("--nodes=2", "--gpus-per-node=0", "--cpus-per-task=2", "--time=10", f"--output={tmp_path}/log")
    ids = {}
    for name in ("whole", "told"):
        words = ("--cfg", RECIPE, *data, "OUTPUT_DIR", tmp_path / name)
        command = ["sbatch", "--parsable", *options, ROOT / "tools" / "submit.sbatch", *words]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        ids[name] = done.stdout.strip()
    wait_until(in_mid_epoch, tmp_path / "told")
    ask("scancel", "--signal=USR1", ids["told"])
    for number in ids.values():
        wait_until(lambda number=number: not cluster.state("slurm", number).active)
        assert cluster.state("slurm", number).words == "complete", (tmp_path / "log").read_text()
    assert "resuming" in (tmp_path / "told" / "log.txt").read_text()
    assert_equal_weights(tmp_path / "whole", tmp_path / "told")


def test_tasks_of_plain_srun_find_their_places(slurm, videos, tmp_path):
    """On two machines, one task on each or two on each, and in a shell of one task, where nothing is to be found."""
    data = ("DATA.PATH_TO_DATA_DIR", videos, "DATA.PATH_PREFIX", videos, "NUM_THREADS", 1, *STEPS)
    run = (sys.executable, ROOT / "tools" / "run_net.py", "--cfg", RECIPE, *data, "SOLVER.MAX_EPOCH", 1)
    for tasks, words in ((1, ("-n1",)), (2, ("-N2", "--ntasks-per-node=1")), (4, ("-N2", "--ntasks-per-node=2"))):
        folder = tmp_path / str(tasks)
        sizes = ("TRAIN.BATCH_SIZE", 8 // tasks, "OUTPUT_DIR", folder)
        command = list(map(str, ("srun", *words, *run, *sizes)))
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        log = (folder / "log.txt").read_text()
        assert f"{tasks} process(es), {max(1, tasks // 2)} of them here" in log
        assert (f"srun started this process: NUM_GPUS 0 NUM_SHARDS {tasks}" in log) is (tasks > 1)
        assert weights(folder)["norm.num_batches_tracked"] == 12  # 96 videos, 8 a step
