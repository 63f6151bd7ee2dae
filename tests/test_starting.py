"""The commands that README.md and INSTALL.md give to start runs, on one machine and on several, do what they say.

As they stand there, but on the CPU, with two processes in place of eight, and with addresses of this machine.
tests/test_slurm.py starts runs on a real cluster.
"""

import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from slowfast import cli

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"


def commands(document, heading):
    """The words of each command in the first block below a heading."""
    text = (ROOT / document).read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    block = re.search(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[1].replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in block.splitlines()]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(words, environment):
    """Start a command of Python, with the Python and the files of these tests."""
    named = {"tools/run_net.py": ROOT / "tools" / "run_net.py", "RECIPE": RECIPE}
    return subprocess.Popen(
        [sys.executable, *(str(named.get(word, word)) for word in words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment},
    )


def tasks_of_srun(number):
    """What srun tells each of its tasks."""
    job = {
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": str(number),
        "SLURM_STEP_TASKS_PER_NODE": str(number),
        "SLURM_STEP_NODELIST": "localhost",
    }
    return [{**job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(number)]


def test_every_way_to_start_processes_gives_the_same_predictions(trained_run, debug_data, tmp_path):
    alone, first, second, torchrun, srun = commands("README.md", "### More than one process")
    assert (alone[0], torchrun[:3], srun[:4]) == (
        "python",
        ["torchrun", "--nproc_per_node", "8"],
        ["srun", "--ntasks-per-node", "8", "python"],
    )
    meeting = f"localhost:{free_port()}"
    shards = [[word.replace("host0:9999", meeting) for word in words[1:]] for words in (first, second)]
    launcher = ["-m", "torch.distributed.run", "--master_port", free_port(), "--nproc_per_node", 2]
    ways = {
        "alone": [(alone[1:], {})],
        "shards": [(words, {}) for words in shards],
        "torchrun": [([*launcher, *torchrun[3:]], {})],
        "srun": [(srun[4:], environment) for environment in tasks_of_srun(2)],
    }
    keys = {
        "NUM_GPUS": 0, "DATA.PATH_TO_DATA_DIR": debug_data, "DATA.PATH_PREFIX": debug_data, "NUM_THREADS": 1,
        "TRAIN.ENABLE": False, "TEST.CHECKPOINT_FILE_PATH": trained_run / "best.pyth",
    }  # fmt: skip
    more = [word for pair in keys.items() for word in pair]
    for way, processes in ways.items():
        folder = tmp_path / way
        started = [
            start([*words, *more, "OUTPUT_DIR", folder], environment) for words, environment in processes
        ]
        for process in started:
            out, _ = process.communicate(timeout=240)
            assert process.returncode == 0, out
        count = 1 if way == "alone" else 2
        assert f"{count} process(es), {count} of them here" in (folder / "log.txt").read_text()
        one = tmp_path / "alone" / "predictions.csv"
        assert (folder / "predictions.csv").read_bytes() == one.read_bytes()


def test_a_job_is_submitted_and_asked_for_as_the_readme_says(trained_run, tmp_path, monkeypatch, capsys):
    submit, status = commands("README.md", "### On a Slurm cluster")
    assert submit[:2] == status[:2] == ["python", "tools/submit.py"]
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    shutil.copytree(trained_run, tmp_path / "runs" / "k400_s16x4")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["submit", *submit[2:], "--dry-run"]) == 0
    script = capsys.readouterr().out
    for line in (
        "--nodes=4",
        "--gpus-per-node=8",
        "--partition=gpu",
        "--time=2880",
        "--requeue",
        "--signal=USR1@180",
    ):
        assert f"#SBATCH {line}\n" in script
    assert cli.main(["submit", *status[2:]]) == 0
    assert "test       top1" in capsys.readouterr().out


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A function from exit status of the run and shell lines of squeue to what one turn of the batch script did.

    It is called with the words that INSTALL.md gives, on the second of two machines if ``task`` is 1. Its commands are
    stand-ins that write down their words, in a line each.
    """
    said = tmp_path / "said"
    (sbatch,) = commands("INSTALL.md", "## On a cluster")
    assert sbatch[:2] == ["sbatch", "--partition=gpu"]
    job = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "72", "SLURM_GPUS_ON_NODE": "8",
        "SLURM_NNODES": "2",
    }  # fmt: skip

    def turn(status, *squeue, task=0):
        programs = {
            "srun": ['while [ "$1" != bash ]; do shift; done', 'exec "$@"'],
            "slowfast": [f'echo slowfast "$@" >> {said}', f"exit {status}"],
            "scontrol": ['[ "$1" = show ] && echo node1 && echo node2 && exit', f'echo scontrol "$@" >> {said}'],
            "squeue": [f"echo squeue >> {said}", *squeue],
            "sleep": [],
        }  # fmt: skip
        for name, lines in programs.items():
            path = tmp_path / name
            path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        said.unlink(missing_ok=True)
        place = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_NODEID": str(task),
            "SLURM_PROCID": str(task),
        }
        done = subprocess.run(
            ["bash", ROOT / sbatch[2], *sbatch[3:]], env={**os.environ, **job, **place}, timeout=60
        )
        return done.returncode, said.read_text().splitlines()

    return turn


RUN = (
    "slowfast run --cfg RECIPE OUTPUT_DIR DIR NUM_GPUS 8 TEST.RESUME True --num_shards 2 --shard_id 0 --init_method "
    f"tcp://node1:{20000 + 7 * 7919 % 12000}"
)
BUSY = "[ $(grep -c squeue {said}) -gt {times} ] && echo RUNNING && exit; exit 1"


def test_the_batch_script_starts_the_run_and_asks_for_another_turn(cluster):
    assert cluster(0, "echo RUNNING") == (0, [RUN])
    assert cluster(2, "echo RUNNING") == (2, [RUN])  # an error is no reason to begin again
    assert cluster(75, "echo RUNNING") == (75, [RUN, "squeue", "scontrol requeue 7"])
    assert cluster(75, "echo COMPLETING") == (75, [RUN, "squeue"])  # cancelled, or requeued, by the scheduler
    assert cluster(75, task=1) == (0, [RUN.replace("shard_id 0", "shard_id 1")])  # the first machine decides


def test_the_batch_script_asks_a_busy_scheduler_again(cluster, tmp_path):
    told = cluster(75, BUSY.format(said=tmp_path / "said", times=2))
    assert told == (75, [RUN, "squeue", "squeue", "squeue", "scontrol requeue 7"])
    assert cluster(75, "exit 1") == (75, [RUN, *["squeue"] * 5])
