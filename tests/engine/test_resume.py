"""A run that was killed, or asked to stop, anywhere ends like one that nothing happened to: to the bit."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from slowfast import cli
from slowfast.engine import spikes
from slowfast.engine.build import learning_rate
from slowfast.engine.train import train
from slowfast.utils import checkpoint, seeds
from slowfast.utils.launch import launch
from slowfast.utils.stopping import Stopped

HERE = Path(__file__).parent
TIMES = {"dt", "dt_data", "dt_net", "data_wait", "eta", "time_diff", "gpu_mem", "RAM"}
STATE = (
    "epoch",
    "global_step",
    "batch_in_epoch",
    "model_state",
    "optimizer_state",
    "scaler_state",
    "guard",
    "best",
)
# 20 videos: two epochs of five steps, with mixing, drop path, repeated augmentation and random erasing
WHOLE = ("TRAIN.BATCH_SIZE", "4", "LOG_PERIOD", "2", "TEST.ENABLE", "False", "TENSORBOARD.ENABLE", "True")
ACCUMULATED = (*WHOLE, "TRAIN.BATCH_SIZE", "2", "TRAIN.ACCUMULATION_STEPS", "2")


@pytest.fixture(scope="module")
def faults():
    """The module of run_with_a_fault.py, as the processes that it starts import it."""
    sys.path.insert(0, str(HERE))
    yield importlib.import_module("run_with_a_fault")
    sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def options(debug_data, tmp_path_factory):
    """A function from a folder and further KEY, VALUE, ... to those of a run of ten steps."""
    lists = tmp_path_factory.mktemp("lists")
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("clips"), dirs_exist_ok=True)
    rows = (debug_data / "train.csv").read_text().splitlines(keepends=True)
    (lists / "train.csv").write_text("".join(rows[:20]))
    data = {"DATA.PATH_TO_DATA_DIR": lists, "DATA.PATH_PREFIX": debug_data, "NUM_THREADS": 1}
    return lambda folder, *more: (
        [str(w) for pair in (data | {"OUTPUT_DIR": folder}).items() for w in pair] + [*more]
    )


@pytest.fixture(scope="module")
def undisturbed(options, tmp_path_factory, faults):
    """A function from settings to the folder of a run that nothing happened to."""
    folders = {}

    def folder(settings: tuple) -> Path:
        if settings not in folders:
            folders[settings] = tmp_path_factory.mktemp("undisturbed")
            train(faults.load_cfg(faults.RECIPE, options(folders[settings], *settings)))
        return folders[settings]

    return folder


def records(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, but for times."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "runs-kinetics")).Reload()
    tags = set(events.Tags()["scalars"]) - {"Train/data_wait"}
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


def await_the_next_second() -> None:
    """TensorBoard reads files in the order of their names, which begin with the second in which they were made."""
    begin = int(time.time())
    while int(time.time()) == begin:
        time.sleep(0.01)


def same(one, other, name: str) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            same(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype and torch.equal(one, other), name
    else:
        assert one == other, name


def assert_same_run(folder: Path, expected: Path) -> None:
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.pyth*"))
    assert [file.name for file in files] == [
        "best.pyth",
        *(f"checkpoint_epoch_0000{epoch}.pyth" for epoch in (1, 2)),
    ]
    for file in files:
        one, other = checkpoint.load(folder / file), checkpoint.load(expected / file)
        for key in STATE:
            same(one[key], other[key], f"{file}: {key}")
    assert records(folder) == records(expected)
    assert curves(folder) == curves(expected)
    steps = [step for step, _ in curves(folder)["Train/loss"]]
    assert steps == list(range(1, 11))


def kill(point: str, times: int, words: list[str]) -> None:
    """Run in a process that dies by SIGKILL at a point."""
    command = [sys.executable, str(HERE / "run_with_a_fault.py"), point, str(times), json.dumps(words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    await_the_next_second()


def newest(folder: Path) -> str:
    return checkpoint.newest(folder / checkpoint.FOLDER).name


@pytest.mark.parametrize(
    ("settings", "point", "times", "saved_in"),
    [
        (WHOLE, "step", 4, "checkpoint_step_00000004.pyth"),  # 4 steps, and 6 after it
        (WHOLE, "step", 7, "checkpoint_epoch_00001.pyth"),  # 2 steps are lost, and a line of metrics.jsonl
        (
            ACCUMULATED,
            "save",
            1,
            "checkpoint_step_00000004.pyth",
        ),  # at the end of an epoch, whose line is lost
        (WHOLE, "validation", 0, "checkpoint_step_00000005.pyth"),
        (
            WHOLE,
            "save",
            3,
            "checkpoint_step_00000005.pyth",
        ),  # best.pyth is there, the state after the epoch not yet
    ],
    ids=["4 + 6", "lost steps", "saving, accumulated", "validation", "saving after it"],
)
def test_a_run_that_was_killed_ends_like_one_that_was_not(
    faults, options, undisturbed, tmp_path, settings, point, times, saved_in
):
    words = options(tmp_path, *settings, "TRAIN.CHECKPOINT_STEPS", "4")
    kill(point, times, [*words, "DATA_LOADER.NUM_WORKERS", "0"])
    assert newest(tmp_path) == saved_in
    # Another number of workers, and a global stream elsewhere, change nothing.
    torch.manual_seed(4321)
    train(faults.load_cfg(faults.RECIPE, [*words, "DATA_LOADER.NUM_WORKERS", "2"]))
    assert_same_run(tmp_path, undisturbed(settings))


@pytest.mark.parametrize(
    ("signum", "status", "point", "times", "said"),
    [
        (signal.SIGTERM, 75, "step", 3, "stopped by SIGTERM after step 4 of 5 of epoch 1"),
        (signal.SIGUSR1, 75, "step", 4, "stopped by SIGUSR1 in the validation after epoch 1"),
        (signal.SIGINT, 130, "validation", 0, "stopped by SIGINT in the validation after epoch 1"),
        (signal.SIGTERM, 75, "save", 2, "stopped by SIGTERM after epoch 1"),
    ],
)
def test_a_signal_ends_a_run_after_the_step_with_all_saved(
    faults, options, undisturbed, tmp_path, monkeypatch, capfd, signum, status, point, times, said
):
    command = ["run", "--cfg", str(faults.RECIPE), *options(tmp_path, *WHOLE)]
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    with monkeypatch.context() as patched:
        faults.interfere(point, times, lambda: os.kill(os.getpid(), signum), patched.setattr)
        assert cli.main(command) == status
    assert handlers == [
        signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
    ]
    assert f"slowfast: {said}; give the same command to go on" in capfd.readouterr().err
    assert said in (tmp_path / "log.txt").read_text()
    saved = checkpoint.load(tmp_path / checkpoint.FOLDER / newest(tmp_path))
    assert saved["global_step"] == (4 if "step 4" in said else 5)
    await_the_next_second()
    assert cli.main(command) == 0
    assert_same_run(tmp_path, undisturbed(WHOLE))


def test_a_second_interrupt_leaves_at_once(faults, options, tmp_path, monkeypatch, capfd):
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    faults.interfere("step", 2, twice, monkeypatch.setattr)
    assert cli.main(["run", "--cfg", str(faults.RECIPE), *options(tmp_path, *WHOLE)]) == 130
    assert "slowfast: interrupted" in capfd.readouterr().err
    assert not (tmp_path / checkpoint.FOLDER).exists()


# -- going back after steps that were not finite --------------------

# Two in a row are too many, which is noticed after steps 2, 4, 7 and 9 and at the ends of epochs
SOON = ("SOLVER.MAX_NONFINITE_STEPS", "2", "TRAIN.CHECKPOINT_STEPS", "3")


def dump(folder: Path, name: str) -> dict:
    return json.loads((folder / name).read_text())


def test_a_fault_that_does_not_come_back_leaves_no_trace_in_the_run(
    faults, options, undisturbed, tmp_path, monkeypatch
):
    faults.spoil({7: 1, 8: 1}, set_attribute=monkeypatch.setattr)
    result = train(faults.load_cfg(faults.RECIPE, options(tmp_path, *WHOLE, *SOON)))
    assert (result["steps"], result["skipped_steps"]) == (10, 0)
    assert_same_run(tmp_path, undisturbed(WHOLE))
    assert checkpoint.load(result["checkpoint"])["rollbacks"] == 1
    assert checkpoint.load(undisturbed(WHOLE) / "best.pyth")["rollbacks"] == 0
    told = dump(tmp_path, "nonfinite_step_00000009.json")
    assert told["what"].startswith("2 steps in a row gave a loss or gradient that is not finite (epoch 2,")
    assert (told["global_step"], told["epoch"], told["step_in_epoch"], told["rollbacks"]) == (9, 2, 4, 0)
    assert (told["precision"], told["scaler"]) == ("float32", {})
    log = (tmp_path / "log.txt").read_text()
    assert f"going back, once, to {tmp_path}/checkpoints/checkpoint_step_00000006.pyth" in log


def test_a_fault_that_comes_back_ends_the_run_and_its_steps_are_told(faults, options, tmp_path, monkeypatch):
    faults.spoil({7: 2, 8: 2}, set_attribute=monkeypatch.setattr)
    cfg = faults.load_cfg(faults.RECIPE, options(tmp_path, *WHOLE, *SOON))
    with pytest.raises(FloatingPointError) as ended:
        train(cfg)
    assert "\n" not in str(ended.value)
    assert "2 steps in a row" in str(ended.value) and "after going back to a checkpoint once" in str(ended.value)
    assert f"{tmp_path}/nonfinite_step_00000009_again.json" in str(ended.value)
    assert "Lower SOLVER.BASE_LR" in str(ended.value)
    first, again = (dump(tmp_path, f"nonfinite_step_00000009{which}.json") for which in ("", "_again"))
    assert (first["rollbacks"], again["rollbacks"]) == (0, 1)
    good, *bad = first["steps"]
    assert bad == again["steps"]  # the run went on from after step 6, of which it then knew nothing
    assert [step["global_step"] for step in first["steps"]] == [6, 7, 8]
    assert {"patch_embed1", "blocks1.0", "blocks4.0", "norm", "head"} < set(good["block_grad_norms"])
    total = sum(norm**2 for norm in good["block_grad_norms"].values()) ** 0.5
    assert total == pytest.approx(good["grad_norm"], rel=1e-5)
    order = seeds.numpy_generator(cfg.RNG_SEED, "order", 1).permutation(20)
    rows = Path(cfg.DATA.PATH_TO_DATA_DIR, "train.csv").read_text().splitlines()
    for place, step in enumerate(first["steps"]):
        assert step["learning_rate"] == learning_rate(cfg, 1 + place / 5)
        (rank,) = step["ranks"]
        assert [video["index"] for video in rank["videos"]] == order[4 * place : 4 * place + 4].tolist()
        assert all(video["name"] == rows[video["index"]].split()[0] for video in rank["videos"])
    for step in bad:
        assert step["grad_norm"] == step["ranks"][0]["loss"] == step["block_grad_norms"]["head"] == "nan"
    numbers = [line["global_step"] for line in records(tmp_path) if line["_type"] == "train_iter"]
    assert numbers == [2, 4, 7, 9]
    assert newest(tmp_path) == "checkpoint_step_00000006.pyth"


def test_a_run_that_began_with_the_file_of_another_goes_back_to_that(
    faults, options, undisturbed, tmp_path, monkeypatch
):
    shutil.copy(checkpoint.epoch_path(undisturbed(WHOLE), 1), tmp_path / "first.pyth")
    faults.spoil({6: 1, 7: 1}, set_attribute=monkeypatch.setattr)
    more = ("TRAIN.RESUME", str(tmp_path / "first.pyth"), "SOLVER.MAX_NONFINITE_STEPS", "2")
    train(faults.load_cfg(faults.RECIPE, options(tmp_path / "run", *WHOLE, *more, "TRAIN.CHECKPOINT_STEPS", "1")))
    assert f"going back, once, to {tmp_path}/first.pyth." in (tmp_path / "run" / "log.txt").read_text()
    one, other = (checkpoint.load(checkpoint.epoch_path(run, 2)) for run in (tmp_path / "run", undisturbed(WHOLE)))
    for key in STATE:
        same(one[key], other[key], key)


def test_without_a_checkpoint_there_is_nothing_to_go_back_to(faults, options, tmp_path, monkeypatch):
    faults.spoil({1: 1, 2: 1}, set_attribute=monkeypatch.setattr)
    said = r"2 steps in a row.*before there was a good checkpoint.*step_0+2\.json"
    with pytest.raises(FloatingPointError, match=said):
        train(faults.load_cfg(faults.RECIPE, options(tmp_path, *WHOLE, *SOON)))
    assert [step["global_step"] for step in dump(tmp_path, "nonfinite_step_00000002.json")["steps"]] == [1, 2]


def test_checkpoints_of_the_bad_steps_are_neither_gone_back_to_nor_kept(
    faults, options, undisturbed, tmp_path, monkeypatch
):
    faults.spoil({6: 1, 7: 1}, set_attribute=monkeypatch.setattr)
    more = ("SOLVER.MAX_NONFINITE_STEPS", "2", "TRAIN.CHECKPOINT_STEPS", "1")
    dropped = []
    drop = checkpoint.drop
    monkeypatch.setattr(checkpoint, "drop", lambda *args, **steps: dropped.extend(drop(*args, **steps)))
    train(faults.load_cfg(faults.RECIPE, options(tmp_path, *WHOLE, *more)))
    assert [path.name for path in dropped] == ["checkpoint_step_00000006.pyth"]
    assert "going back, once, to" in (log := (tmp_path / "log.txt").read_text())
    assert "checkpoint_epoch_00001.pyth. Their videos" in log
    assert_same_run(tmp_path, undisturbed(WHOLE))


def test_a_single_bad_step_is_skipped_and_counted(faults, options, tmp_path, monkeypatch):
    faults.spoil({3: 1, 5: 1}, set_attribute=monkeypatch.setattr)
    result = train(faults.load_cfg(faults.RECIPE, options(tmp_path, *WHOLE, *SOON)))
    assert (result["steps"], result["skipped_steps"]) == (10, 2)
    assert [line["skipped_steps"] for line in records(tmp_path) if line["_type"] == "train_epoch"] == [2, 0]
    assert not list(tmp_path.glob("nonfinite*"))


def test_a_loss_spike_is_told_and_changes_nothing_also_after_a_stop(
    faults, options, tmp_path, monkeypatch
):
    monkeypatch.setattr(spikes, "LEAST", 3)
    words = [*WHOLE, "SOLVER.LOSS_SPIKE", "3"]
    states = []
    for name, stops in (("whole", 0), ("stopped", 4)):
        with monkeypatch.context() as patched:
            faults.spoil({6: 1}, 20.0, set_attribute=patched.setattr)
            cfg = faults.load_cfg(faults.RECIPE, options(tmp_path / name, *words))
            if stops:
                with monkeypatch.context() as stopping_too, pytest.raises(Stopped):
                    faults.interfere("step", 3, lambda: os.kill(os.getpid(), signal.SIGTERM), stopping_too.setattr)
                    launch(train, (cfg,), **ALONE)
                await_the_next_second()
            states.append(checkpoint.load(train(cfg)["checkpoint"]))
        (path,) = (tmp_path / name).glob("*.json")
        assert path.name == "loss_spike_step_00000006.json"
        told = dump(tmp_path / name, path.name)
        assert "step 6 has a loss of" in told["what"] and [s["global_step"] for s in told["steps"]] == [6]
        assert f"loss spike: {told['what']}; its videos and gradients: {path}" in (
            tmp_path / name / "log.txt"
        ).read_text()
    for key in (*STATE, "loss_spikes"):
        same(states[0][key], states[1][key], key)
    assert states[0]["loss_spikes"]["count"] == 1 and len(states[0]["loss_spikes"]["losses"]) == 10


ALONE = {"processes_per_shard": 0, "num_shards": 1, "shard_id": 0, "init_method": "", "backend": "gloo"}
TWO = {**ALONE, "processes_per_shard": 2}


def run_two(faults, words: list[str], hears: str = "", step: int = 0, signum: int = 0) -> None:
    """Train in two spawned processes, one of which is told to stop before its step number ``step`` from here on."""
    launch(faults.one_rank, ([*words, "DATA_LOADER.NUM_WORKERS", "0"], step, signum, hears), **TWO)


@pytest.fixture(scope="module")
def undisturbed_two(faults, options, tmp_path_factory):
    """The folder of a run in two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("two")
    run_two(faults, options(folder, *WHOLE))
    return folder


@pytest.mark.parametrize(
    "stops",
    [
        [("parent", 1, signal.SIGTERM, 75)],
        pytest.param(
            [("rank 1", 1, signal.SIGUSR1, 75), ("parent", 1, signal.SIGINT, 130)], marks=pytest.mark.slow
        ),
    ],
    ids=["SIGTERM", "SIGUSR1 of one alone, and SIGINT"],
)
def test_two_processes_stop_together_whoever_is_told_and_go_on(
    faults, options, undisturbed_two, tmp_path, stops
):
    words, steps = options(tmp_path, *WHOLE), [0]
    for hears, step, signum, status in stops:
        with pytest.raises(Stopped, match=f"stopped by {signum.name} ") as stopped:
            run_two(faults, words, hears, step, signum)
        assert stopped.value.status == status
        steps.append(checkpoint.load(tmp_path / checkpoint.FOLDER / newest(tmp_path))["global_step"])
        assert steps[-2] + step < steps[-1] < 10
    run_two(faults, words)
    assert_same_run(tmp_path, undisturbed_two)


def test_a_fault_of_one_process_makes_both_skip_and_go_back(faults, options, undisturbed_two, tmp_path):
    words = [*options(tmp_path, *WHOLE, *SOON), "DATA_LOADER.NUM_WORKERS", "0"]
    launch(faults.one_spoiled_rank, (words, {7: 1, 8: 1}, 1), **TWO)
    assert_same_run(tmp_path, undisturbed_two)
    good, *bad = dump(tmp_path, "nonfinite_step_00000009.json")["steps"]
    assert [step["global_step"] for step in bad] == [7, 8]
    for step in bad:
        first, second = step["ranks"]
        assert (first["rank"], second["rank"]) == (0, 1) and second["loss"] == "nan" != first["loss"]
        assert len(first["videos"]) == len(second["videos"]) == 2
        assert {v["index"] for v in first["videos"]}.isdisjoint(v["index"] for v in second["videos"])
