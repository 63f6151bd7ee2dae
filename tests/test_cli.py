"""The command line: its forms, its errors, and what it hands on."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from slowfast import cli
from slowfast.config import load_cfg

ROOT = Path(__file__).parents[1]


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"NUM_GPUS: 0\nOUTPUT_DIR: {tmp_path / 'run'}\nTRAIN:\n  BATCH_SIZE: 4\n")
    return str(path)


@pytest.fixture
def launched(monkeypatch):
    """What the command line hands to the launcher: one dict per launch."""
    from slowfast.utils import launch

    calls = []
    monkeypatch.setattr(
        launch,
        "launch",
        lambda function, args, **sizes: calls.append({"function": function, "args": args, **sizes}),
    )
    return calls


def failed(capsys, *argv):
    assert cli.main(["run", *argv]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "opts", [["RNG_SEED", "7", "TEST.BATCH_SIZE", "2"], ["--opts", "RNG_SEED", "7", "TEST.BATCH_SIZE", "2"]]
)
def test_settings_with_and_without_opts(recipe, launched, opts):
    assert cli.main(["run", "--cfg", recipe, *opts]) == 0
    cfg, notes = launched[0]["args"]
    assert (cfg.RNG_SEED, cfg.TEST.BATCH_SIZE, cfg.TRAIN.BATCH_SIZE) == (7, 2, 4)
    assert cfg.is_frozen() and cfg == load_cfg(recipe, ["RNG_SEED", 7, "TEST.BATCH_SIZE", 2])
    assert any("gloo" in note for note in notes)


def test_options_may_stand_anywhere_and_negative_numbers_are_values(recipe, launched):
    argv = [
        "RNG_SEED",
        "7",
        "--num_shards",
        "2",
        "--cfg",
        recipe,
        "--shard_id",
        "1",
        "UNIFORMER.QKV_SCALE",
        "-1",
    ]
    assert cli.main(["run", *argv, "--init_method", "tcp://127.0.0.1:1234"]) == 0
    (call,) = launched
    cfg = call["args"][0]
    assert (cfg.NUM_SHARDS, cfg.SHARD_ID, cfg.RNG_SEED, cfg.UNIFORMER.QKV_SCALE) == (2, 1, 7, -1.0)
    assert (call["num_shards"], call["shard_id"], call["processes_per_shard"]) == (2, 1, 0)
    assert (call["init_method"], call["backend"]) == ("tcp://127.0.0.1:1234", "gloo")


def test_shards_of_the_recipe_stay_unless_the_flag_is_given(tmp_path, recipe, launched):
    cli.main(["run", "--cfg", recipe, "NUM_SHARDS", "4", "SHARD_ID", "3"])
    assert (launched[0]["num_shards"], launched[0]["shard_id"]) == (4, 3)


@pytest.mark.parametrize(
    ("opts", "said"),
    [
        (["TRAIN.BATCHSIZE", "4"], "did you mean TRAIN.BATCH_SIZE?"),
        (["TRAIN.BATCH_SIZE"], "pairs KEY VALUE"),
        (["--shard_id", "2", "--num_shards", "2"], "SHARD_ID is 2"),
        (["--num_shards", "two"], "NUM_SHARDS must be a whole number, not 'two'"),
    ],
)
def test_mistakes_end_in_one_message_and_status_2(recipe, capsys, opts, said):
    error = failed(capsys, "--cfg", recipe, *opts)
    assert error.startswith("slowfast: error: ") and said in error and "Traceback" not in error


def test_a_missing_recipe_is_named(capsys):
    assert "nowhere.yaml does not exist" in failed(capsys, "--cfg", "nowhere.yaml")


def test_an_unknown_option_is_refused_with_the_usage(recipe, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--cfg", recipe, "--gpus", "2"])
    assert ended.value.code == 2
    assert "unknown option --gpus" in capsys.readouterr().err


def test_more_gpus_than_there_are_is_refused_with_the_fix(recipe, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    error = failed(capsys, "--cfg", recipe, "NUM_GPUS", "2")
    assert "NUM_GPUS is 2, but this machine has 0 GPU(s)" in error and "NUM_GPUS 0" in error
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert "NUM_GPUS 1 to use what is there, or NUM_GPUS 0" in failed(
        capsys, "--cfg", recipe, "NUM_GPUS", "2"
    )


SRUN = {  # the second of two tasks on each of two machines
    "SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "gpu[1-2]", "SLURM_PROCID": "1", "SLURM_LOCALID": "1",
}  # fmt: skip


@pytest.fixture
def under_srun(monkeypatch):
    for name, value in SRUN.items():
        monkeypatch.setenv(name, value)


def test_tasks_of_srun_are_shards(recipe, launched, under_srun):
    assert cli.main(["run", "--cfg", recipe]) == 0
    cfg, notes = launched[0]["args"]
    assert (cfg.NUM_GPUS, cfg.NUM_SHARDS) == (0, 4)
    assert "srun started this process: NUM_GPUS 0 NUM_SHARDS 4" in notes
    assert (launched[0]["given"].launcher, launched[0]["given"].rank) == ("srun", 1)


@pytest.mark.parametrize(
    "words", [("--shard_id", "0", "--num_shards", "2"), ("NUM_SHARDS", "2", "SHARD_ID", "0")]
)
def test_a_place_on_the_command_line_counts_before_that_of_srun(recipe, launched, under_srun, words):
    """As tasks of `slowfast submit` and tools/submit.sbatch give it."""
    assert cli.main(["run", "--cfg", recipe, *words]) == 0
    assert launched[0]["given"] is None
    assert (launched[0]["num_shards"], launched[0]["shard_id"]) == (2, 0)


def test_tasks_may_see_a_gpu_each(recipe, launched, under_srun, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    assert cli.main(["run", "--cfg", recipe, "NUM_GPUS", "1"]) == 0
    assert (launched[0]["processes_per_shard"], launched[0]["num_shards"]) == (2, 2)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert "this machine has 0 GPU(s)" in failed(capsys, "--cfg", recipe, "NUM_GPUS", "1")


def test_debugging_keeps_the_traceback(recipe, monkeypatch):
    monkeypatch.setenv("SLOWFAST_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown key"):
        cli.main(["run", "--cfg", recipe, "NO_KEY", "1"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("wrong"), 2),
        (PermissionError("closed"), 2),
        (MemoryError(), 2),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_of_the_run_itself_are_told_alike(recipe, capsys, monkeypatch, error, status):
    def launch(*_, **__):
        raise error

    monkeypatch.setattr("slowfast.utils.launch.launch", launch)
    assert cli.main(["run", "--cfg", recipe]) == status
    assert capsys.readouterr().err.startswith("slowfast: ")


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
def test_a_signal_ahead_of_all_imports_ends_a_run_in_one_line(recipe, launched, capsys, monkeypatch, signum, status):
    load = cli.load_cfg

    def load_and_be_told(*args):
        os.kill(os.getpid(), signum)
        return load(*args)

    monkeypatch.setattr(cli, "load_cfg", load_and_be_told)
    assert cli.main(["run", "--cfg", recipe]) == status
    said = f"slowfast: stopped by {signum.name} before it began; give the same command to go on\n"
    assert capsys.readouterr().err == said and launched == []
    # One of several machines goes on to where they all stop together.
    assert cli.main(["run", "--cfg", recipe, "--num_shards", "2"]) == 0 and len(launched) == 1


@pytest.mark.parametrize(
    ("command", "signum", "status", "said"),
    [
        (["check", "train.csv"], signal.SIGTERM, 75, "stopped by SIGTERM; the same command goes on from here"),
        (["check", "train.csv"], signal.SIGUSR1, 75, "stopped by SIGUSR1; the same command goes on from here"),
        (["check", "train.csv"], signal.SIGINT, 130, "interrupted; the same command goes on from here"),
        (["benchmark", "model"], signal.SIGTERM, 143, "stopped by SIGTERM"),
        (["benchmark", "model"], signal.SIGINT, 130, "interrupted"),
    ],
)
def test_signals_end_other_commands_in_one_line(capsys, monkeypatch, command, signum, status, said):
    def be_told(*_, **__):
        os.kill(os.getpid(), signum)

    monkeypatch.setitem(sys.modules, "slowfast.engine.check_data", SimpleNamespace(check_data=be_told))
    monkeypatch.setattr("slowfast.benchmarking.command.run", be_told)
    assert cli.main(command) == status
    assert capsys.readouterr().err == f"slowfast: {said}\n"


def test_a_tool_that_can_go_on_says_so_when_a_signal_stops_it(capsys):
    def command():
        os.kill(os.getpid(), signal.SIGTERM)

    assert cli.exit_status("prepare_data", command, "; the same command goes on from here") == 75
    assert capsys.readouterr().err == "prepare_data: stopped by SIGTERM; the same command goes on from here\n"


def test_our_own_mistakes_keep_their_traceback(recipe, monkeypatch):
    def launch(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("slowfast.utils.launch.launch", launch)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["run", "--cfg", recipe])


def test_what_runs_in_each_process_follows_the_recipe_and_logs_the_notes(recipe, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(cli, "_stories", lambda cfg: [told.append])
    cfg = load_cfg(recipe)
    cli.train_and_test(cfg, ["decord means pyav"])
    assert told == [cfg]
    assert "decord means pyav" in (tmp_path / "run" / "log.txt").read_text()


def test_the_tool_is_the_same_command():
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/run_net.py"), "--help"],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0 and "--cfg FILE" in done.stdout, done.stderr


def doctor_without(module):
    """tools/doctor.py in a Python that cannot import ``module``."""
    code = (
        f"import sys, runpy; sys.modules[{module!r}] = None; sys.path.insert(0, {str(ROOT / 'tools')!r}); "
        "sys.argv = ['tools/doctor.py']; runpy.run_path(sys.path[0] + '/doctor.py', run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def doctor_without_any():
    """tools/doctor.py in a Python without packages."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-S", ROOT / "tools" / "doctor.py"]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("package", ["slowfast", "torch", "av"])
def test_a_python_that_lacks_a_package_is_told_how_to_get_it(package):
    done = doctor_without_any() if package == "slowfast" else doctor_without(package)
    assert done.returncode == 2
    assert done.stderr.startswith(f"slowfast: error: {sys.executable} has no package '{package}': ")
    assert "make setup" in done.stderr and done.stderr.count("\n") == 1


def test_a_module_of_ours_that_is_missing_keeps_its_traceback():
    done = doctor_without("slowfast.commands.doctor")
    assert done.returncode == 1 and "Traceback" in done.stderr
