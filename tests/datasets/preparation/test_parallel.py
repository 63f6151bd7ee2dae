"""parallel.py: jobs are done by workers that do not outlive the command."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import pytest

from slowfast.datasets.preparation.parallel import run_all

HOLD_FILES = """
import fcntl, signal, sys
from slowfast.datasets.preparation.parallel import run_all

def hold(path):
    with open(path, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("held")
        file.flush()
        signal.pause()

if __name__ == "__main__":
    list(run_all(hold, sys.argv[1:], 2, "held"))
"""
SECONDS = 60  # until a test gives up; workers start and end much sooner


def wait_until(true, what):
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what} took more than {SECONDS} s"
        time.sleep(0.02)


def can_be_locked(path):
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(tmp_path, number):
    (tmp_path / "hold_files.py").write_text(HOLD_FILES)
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.touch()
    command = subprocess.Popen(
        [sys.executable, tmp_path / "hold_files.py", *files],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        wait_until(lambda: all(file.read_text() == "held" for file in files), "starting workers")
        assert not any(can_be_locked(file) for file in files)
    finally:
        command.send_signal(number)
        command.wait()
    wait_until(lambda: all(can_be_locked(file) for file in files), "ending workers")


def test_less_than_one_worker_is_refused():
    with pytest.raises(ValueError, match="--workers is 0; write 1 or more"):
        list(run_all(str, ["a"], 0, "made"))
