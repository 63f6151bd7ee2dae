"""A folder belongs to one run at a time, and is free again whatever ends its process."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from slowfast import cli
from slowfast.utils import run_lock

# Takes the lock, forks a process that lives on (as a loader worker may), tells its number, and waits.
HOLDER = """
import os, sys, time
from slowfast.utils import run_lock
with run_lock.held(sys.argv[1]):
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
    print(child, flush=True)
    while True:
        time.sleep(60)
"""


@contextmanager
def another_run(folder, **environment):
    """A process that has the lock of a folder, and the number of a child of it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdin.close()  # upon which the child ends
        process.stdout.close()


def test_a_second_run_is_refused_by_host_and_number_until_the_first_is_gone(tmp_path):
    with another_run(tmp_path / "run") as (process, child):
        said = rf"another run writes to {tmp_path}/run \(process {process.pid} on {socket.gethostname()}, since 2"
        for _ in range(2):  # to be refused takes nothing from the other
            with (
                pytest.raises(ValueError, match=f"{said}.*another OUTPUT_DIR"),
                run_lock.held(tmp_path / "run"),
            ):
                pass
        process.kill()
        process.wait()
        os.kill(child, 0)  # it is still there
        with run_lock.held(tmp_path / "run") as notes:
            assert notes == []


def test_the_command_is_refused_and_leaves_the_log_of_the_other_alone(tmp_path, capsys):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"NUM_GPUS: 0\nOUTPUT_DIR: {tmp_path / 'run'}\nTRAIN:\n  BATCH_SIZE: 4\n")
    with another_run(tmp_path / "run") as (process, _):
        assert cli.main(["run", "--cfg", str(recipe)]) == 2
    assert f"another run writes to {tmp_path}/run (process {process.pid} on" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == [run_lock.FILE]


def test_one_process_may_hold_a_folder_again_and_again(tmp_path):
    for _ in range(2):
        with run_lock.held(tmp_path) as notes:
            assert notes == []
            code = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
            done = subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / run_lock.FILE)], capture_output=True, text=True
            )
            assert done.returncode == 1 and "BlockingIOError" in done.stderr


def test_a_job_that_was_queued_again_takes_over_from_its_earlier_turn(tmp_path, monkeypatch):
    with another_run(tmp_path, SLURM_JOB_ID="123", SLURM_RESTART_COUNT="0") as (process, _):
        monkeypatch.setenv("SLURM_JOB_ID", "123")
        monkeypatch.setenv("SLURM_RESTART_COUNT", "0")
        with (
            pytest.raises(ValueError, match=rf"process {process.pid} on \S+, job 123, "),
            run_lock.held(tmp_path),
        ):
            pass
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        with run_lock.held(tmp_path) as notes:
            assert len(notes) == 1 and f"earlier turn of this job: process {process.pid}" in notes[0]


def test_a_file_system_without_locks_is_told_and_the_run_goes_on(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "lockf", unsupported)
    with run_lock.held(tmp_path) as notes:
        assert notes == [f"{tmp_path} is not locked: its file system has no locks (No locks available)"]


def test_another_run_that_has_not_said_who_it_is_is_refused_too(tmp_path, monkeypatch):
    def taken(*_):
        raise BlockingIOError(errno.EAGAIN, "taken")

    monkeypatch.setattr(fcntl, "lockf", taken)
    with pytest.raises(ValueError, match="it has not said which"), run_lock.held(tmp_path):
        pass
