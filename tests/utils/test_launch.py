"""Processes started in each way agree with one process. Each start imports torch anew: few tests."""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slowfast.utils import launchers, stopping
from slowfast.utils.launch import _error_of_children, launch, local_rank

HERE = Path(__file__).parent
SETTINGS = {
    "processes_per_shard": 0,
    "num_shards": 1,
    "shard_id": 0,
    "init_method": "tcp://localhost:9999",
    "backend": "gloo",
}
EXPECTED = {
    "world_size": 2,
    "on_this_host": 2,
    "sum": [3.0, 20.0],
    "max": [1, 0],
    "min": [0, -1],
    "broadcast": {"from": 0},
    "mean_gradient": 1.5,
    "unwrapped": True,
    "votes": [[False, False], [True, False], [True, True], [False, False]],  # each tells what was said before
}


@pytest.fixture
def workers(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))  # spawned processes take over the path
    return importlib.import_module("launch_workers")


@pytest.fixture
def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def check_two_ranks(folder: Path, word: str, local_ranks: tuple[int, int]) -> None:
    for rank in (0, 1):
        seen = json.loads((folder / f"{word}{rank}.json").read_text())
        own = {"rank": rank, "is_main": rank == 0, "local_rank": local_ranks[rank]}
        assert seen == {**EXPECTED, **own, "gathered": [[], [0]] if rank == 0 else None}


def start(arguments: list, folder: Path, **more: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), **more}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_one_process_runs_here_and_returns_the_result(workers, tmp_path):
    assert launch(workers.collect, (str(tmp_path), "alone"), **SETTINGS) == "alone of rank 0"
    seen = json.loads((tmp_path / "alone0.json").read_text())
    assert seen["world_size"] == 1
    assert seen["sum"] == [1.0, 10.0]
    assert seen["gathered"] == [[]]
    assert seen["broadcast"] == {"from": 0}
    assert seen["mean_gradient"] == 1.0
    assert seen["votes"] == [[False, False], [True, True], [True, True], [False, False]]  # alone, as given
    assert local_rank() == 0


def test_two_spawned_processes(workers, tmp_path):
    assert (
        launch(workers.collect, (str(tmp_path), "spawned"), **SETTINGS | {"processes_per_shard": 2}) is None
    )
    check_two_ranks(tmp_path, "spawned", (0, 1))


@pytest.mark.parametrize("function", ["gradients", "sums"])
def test_three_processes_sum_in_their_order_wherever_and_whenever(workers, tmp_path, function):
    """Of gradients, the first step of a process has other buckets than later ones."""
    launch(getattr(workers, function), (str(tmp_path),), **SETTINGS | {"processes_per_shard": 3})
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(3)]
    share = 3 if function == "gradients" else 1
    zero, one, two = (own for own, *_ in ranks)
    expected = (zero + one + two) / share
    assert not torch.equal(expected, (two + one + zero) / share)  # another order has other bits
    for _, *results in ranks:
        assert all(torch.equal(found, expected) for found in results)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("value", ValueError, r"process 1: the list is empty"),
        ("other", RuntimeError, r"process 1 failed:[\s\S]*KeyError: 'left over'"),
        ("killed", RuntimeError, r"process 1 was killed by SIGKILL"),
    ],
)
def test_error_of_a_spawned_process_names_its_rank(workers, kind, error, message):
    with pytest.raises(error, match=message):
        launch(workers.fail, (1, kind), **SETTINGS | {"processes_per_shard": 2})


def test_a_process_that_must_be_killed_because_of_another_is_not_the_error(workers, monkeypatch):
    monkeypatch.setattr("slowfast.utils.launch.GRACE_SECONDS", 0.1)
    with pytest.raises(ValueError, match="process 1: the list is empty"):
        launch(workers.fail, (1, "deaf"), **SETTINGS | {"processes_per_shard": 2})


def test_what_is_raised_after_processes_that_a_signal_stopped():
    reports = [(1, "stopped", (signal.SIGTERM, "after step 4"), "")]
    with stopping.heeded():
        assert _error_of_children({0: None, 1: 75}, reports, Exception()).status == 75
        assert "without a word" in str(_error_of_children({0: -signal.SIGTERM}, [], Exception("exit")))
        os.kill(os.getpid(), signal.SIGINT)
        for codes, told in (({0: None, 1: 75}, reports), ({0: -signal.SIGTERM, 1: None}, [])):
            stopped = _error_of_children(codes, told, Exception())  # those of this process count, handed on or not
            assert (stopped.status, stopped.where) == (130, "after step 4" if told else "before it began")
        assert "killed by SIGKILL" in str(_error_of_children({0: -signal.SIGKILL}, [], Exception()))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody hears of the end of a parent")
def test_two_shards_meet_twice_at_one_address(tmp_path, free_address):
    script = HERE / "launch_workers.py"
    shards = [start([script, tmp_path, 2, shard, free_address], tmp_path) for shard in (1, 0)]
    printed = [shard.communicate(timeout=120)[0] for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], printed
    assert "returned None" in printed[0]
    assert "returned train of rank 0\nreturned test of rank 0" in printed[1]
    for word in ("train", "test"):
        check_two_ranks(tmp_path, word, (0, 0))


def test_processes_of_torchrun_are_used(tmp_path):
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2]
    job = start([*torchrun, HERE / "launch_workers.py", tmp_path, 1, 0, "tcp://localhost:1"], tmp_path)
    printed = job.communicate(timeout=120)[0]
    assert job.returncode == 0, printed
    for word in ("train", "test"):
        check_two_ranks(tmp_path, word, (0, 1))


def place_of_srun(job: int, rank: int, per_node: str) -> dict[str, str]:
    """What srun tells one of two tasks, which are on this machine whatever it says."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": per_node,
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank if per_node == "2" else 0),
    }


def job_whose_port_is_taken_by(other: socket.socket) -> tuple[int, tuple[str, ...]]:
    """The number of a job whose first port ``other`` listens at now, and the first two addresses of that job."""
    for job in range(os.getpid(), os.getpid() + 100):  # what runs beside the tests may have the port of one
        addresses = launchers.srun(place_of_srun(job, 0, "2")).addresses[:2]
        first, second = (int(address.rpartition(":")[2]) for address in addresses)
        try:
            with socket.create_server(("", second)):
                other.bind(("", first))
        except OSError:
            continue
        other.listen()
        return job, addresses
    raise AssertionError("100 jobs, and the ports of each are taken")


@pytest.mark.parametrize("per_node", ["2", "1(x2)"], ids=["of one machine", "one a machine"])
def test_tasks_of_srun_are_used_also_where_the_port_is_taken(tmp_path, per_node):
    with socket.socket() as other:  # another program, which accepts and says nothing
        job, (first, second) = job_whose_port_is_taken_by(other)
        places = [place_of_srun(job, rank, per_node) for rank in (0, 1)]
        shards = [(1, 0), (1, 0)] if per_node == "2" else [(2, 0), (2, 1)]  # as the command line asks for
        tasks = [
            start([HERE / "launch_workers.py", tmp_path, *shard, "tcp://localhost:1"], tmp_path, **place)
            for shard, place in zip(shards, places, strict=True)
        ]
        printed = [task.communicate(timeout=120)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], printed
    assert f"the port of {first} is taken, another one is tried" in printed[0] and second not in printed[0]
    for word in ("train", "test"):
        check_two_ranks(tmp_path, word, (0, 1) if per_node == "2" else (0, 0))


@pytest.mark.parametrize("kind", ["killed", "told"])
def test_the_end_of_another_process_is_told_in_plain_words(tmp_path, free_address, kind):
    script = HERE / "launch_workers.py"
    shards = [start([script, "fail", kind, 2, shard, free_address], tmp_path) for shard in (0, 1)]
    printed = [shard.communicate(timeout=120)[0] for shard in shards]
    assert [shard.returncode for shard in shards] == [1, -signal.SIGKILL], printed
    last = printed[0].strip().splitlines()[-1].removeprefix("[rank0]: ")
    assert last.startswith("ConnectionError: process 0 of 2 has lost another process of the run")
    assert "the same command goes on" in last


def test_one_that_waits_for_another_which_a_signal_has_stopped_was_stopped_too(tmp_path, free_address):
    """So in a validation: were it an error, no launcher would start the run again."""
    script = HERE / "launch_workers.py"
    shards = [start([script, "stop", 2, shard, free_address], tmp_path) for shard in (0, 1)]
    first, second = (shard.communicate(timeout=120)[0].strip().splitlines()[-1] for shard in shards)
    assert "Stopped: stopped by SIGUSR1 as another process of the run did; give the same command" in first
    assert "Stopped: stopped by SIGUSR1 in the validation" in second


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of a parent's end")
def test_spawned_processes_end_with_the_one_that_started_them(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(120)
        parent = start([HERE / "launch_workers.py", "hold", server.getsockname()[1]], tmp_path)
        children = [server.accept()[0] for _ in range(2)]
        for child in children:
            child.settimeout(120)
            assert child.recv(4) == b"here"
        parent.kill()
        assert [child.recv(1) for child in children] == [b"", b""]  # closed by the system
        parent.communicate(timeout=120)


def set_torchrun(monkeypatch, world_size: int) -> None:
    names = {
        "RANK": 0,
        "WORLD_SIZE": world_size,
        "LOCAL_RANK": 0,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": 1,
    }
    for name, value in names.items():
        monkeypatch.setenv(name, str(value))


def test_torchrun_with_one_process_needs_no_group(monkeypatch):
    set_torchrun(monkeypatch, 1)
    assert launch(max, (3, 4), **SETTINGS) == 4


def test_torchrun_against_the_settings_is_refused(monkeypatch):
    set_torchrun(monkeypatch, 2)
    with pytest.raises(ValueError, match=r"torchrun started 2 processes, .* ask for 4.*NUM_SHARDS"):
        launch(max, (3, 4), **SETTINGS | {"processes_per_shard": 4})


def test_shard_outside_the_shards_is_refused():
    with pytest.raises(ValueError, match="shard_id is 2; with num_shards 2 it is 0 to 1"):
        launch(max, (3, 4), **SETTINGS | {"num_shards": 2, "shard_id": 2})
