"""A reader of stdout that has gone, such as head, ends a command without a word, and never a run."""

import os
import subprocess
import sys

import pytest

from slowfast.utils import unread_output

WRITE = "from slowfast.cli import exit_status\nimport sys\n"
LOG = (
    "from slowfast.utils import logging\nimport sys\nlogging.setup(sys.argv[1], is_main=True)\n"
    "for word in ('first', 'second'):\n    logging.get_logger('x').info(word)\nsys.exit(3)"
)


def unread(*words):
    """(exit status, stderr) of a process whose stdout nobody reads."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(words, stdout=write_end, stderr=subprocess.PIPE, text=True, env=buffered)
    os.close(write_end)
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["predict", "--help"], ["--version"]])
def test_help_that_nobody_reads(words):
    assert unread(sys.executable, "-m", "slowfast.cli", *words) == (unread_output.STATUS, "")


@pytest.mark.parametrize("size", [1, 10**5])  # held back to the end, and more than that
@pytest.mark.parametrize("flush", ["True", "False"])
def test_lines_that_nobody_reads(size, flush):
    code = f"{WRITE}sys.exit(exit_status('x', lambda: print('a' * {size}, flush={flush})))"
    assert unread(sys.executable, "-c", code) == (unread_output.STATUS, "")


def test_another_broken_pipe_is_an_error_like_any_other():
    code = f"{WRITE}def work():\n    raise BrokenPipeError('a worker has died')\nsys.exit(exit_status('x', work))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("x: error: a worker has died\n")


def test_a_run_goes_on_and_its_log_is_whole(tmp_path):
    assert unread(sys.executable, "-c", LOG, str(tmp_path)) == (3, "")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "second"]
