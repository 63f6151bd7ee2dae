"""One job costs at most itself: crashes, hangs and floods of memory are outcomes with a reason."""

import importlib
import multiprocessing
import sys
from pathlib import Path

import pytest

from slowfast.utils.isolation import Limits, Outcome, run_isolated

HERE = Path(__file__).parent
LIMITS = Limits(seconds=60, memory_gb=0.25)


@pytest.fixture
def work(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))  # spawned processes take over the path
    return importlib.import_module("isolated_jobs")


def outcomes(function, jobs, *, processes=1, limits=LIMITS):
    """One for each job, in their order."""
    found = dict(run_isolated(function, jobs, processes=processes, limits=limits))
    assert sorted(found) == list(range(len(jobs)))
    return [found[number] for number in range(len(jobs))]


@pytest.mark.parametrize("processes", [1, 2])
def test_good_jobs_go_on_between_those_that_end_their_process(work, processes):
    jobs = ["a", "crash", "b", "exit", "killed", "c", "error", "d"]
    found = outcomes(work.do, jobs, processes=processes)
    assert [one.value for one in found] == ["a", None, "b", None, None, "c", None, "d"]
    assert found[1] == Outcome(failure="its process crashed (SIGSEGV)", at_limit=True)
    assert found[3].failure == "its process ended by itself (exit status 3)"
    assert found[4].failure == "its process was killed (SIGKILL), perhaps by the system for lack of memory"
    assert found[6] == Outcome(failure=r"unexpected KeyError: 'two\nlines'")


def test_a_job_that_hangs_is_given_up(work):
    found = outcomes(work.do, ["hang", "b"], limits=Limits(seconds=0.5))
    assert found == [Outcome(failure="not done after 0.5 seconds", at_limit=True), Outcome("b")]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_job_that_takes_too_much_memory_is_stopped(work):
    found = outcomes(work.do, ["memory", "b"])
    assert found == [Outcome(failure="needs more than 0.25 GB of memory", at_limit=True), Outcome("b")]
    assert outcomes(work.do, ["memory"], limits=Limits(60, 0.5)) == [Outcome(300 * 2**20)]


def test_an_answer_that_is_none_is_refused(work):
    found = outcomes(work.write_garbage, ["garbage", "b"])
    assert found[0] == Outcome(failure="its process gave a garbled answer", at_limit=True)
    assert found[1] == Outcome("b")
    assert outcomes(work.do, ["large"])[0].at_limit


def test_only_a_fresh_process_is_evidence_against_a_job(work):
    assert outcomes(work.crash_if_used, ["a", "sensitive", "b"]) == [*map(Outcome, ("a", "sensitive", "b"))]


def test_processes_are_kept_between_jobs_and_gone_at_the_end(work):
    first, second = outcomes(work.do, ["process", "process"])
    assert first.value == second.value
    running = run_isolated(work.do, ["a", "hang", "hang"], processes=2, limits=LIMITS)
    assert next(running) == (0, Outcome("a"))
    assert multiprocessing.active_children()
    running.close()
    assert not multiprocessing.active_children()


def test_no_jobs_start_nothing():
    assert list(run_isolated(len, [], processes=2, limits=LIMITS)) == []


def test_what_cannot_work_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="0 processes; write 1 or more"):
        next(run_isolated(len, ["a"], processes=0, limits=LIMITS))
    with pytest.raises(ValueError, match="a limit of 0 seconds"):
        Limits(seconds=0)
    with pytest.raises(ValueError, match="a limit of nan GB of memory"):
        Limits(memory_gb=float("nan"))


def test_processes_that_cannot_start_end_the_work(work, monkeypatch, capfd):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(HERE)])
    with pytest.raises(ChildProcessError, match=r"no process can be started: .*exit status 1"):
        next(run_isolated(work.do, ["a"], processes=1, limits=LIMITS))
    assert "isolated_jobs" in capfd.readouterr().err
