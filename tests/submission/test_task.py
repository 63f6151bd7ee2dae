"""What a job does on a machine: its place among the others, and when it asks for another turn."""

import signal
import stat

import pytest

from slowfast.submission import task


def test_one_machine_needs_no_place():
    assert task.shard_options(0, ["node1"], "12", 0) == []


def test_machines_meet_at_the_first_of_them():
    options = task.shard_options(1, ["node7", "node9"], "12", 0)
    # 20000 + 12 * 7919 mod 12000
    assert options == ["--num_shards", "2", "--shard_id", "1", "--init_method", "tcp://node7:31028"]


def test_ports_differ_between_attempts_and_between_jobs_of_a_day():
    ports = {
        task.shard_options(0, ["a", "b"], str(55658600 + job), again)[-1]
        for job in range(400)
        for again in (0, 1)
    }
    assert len(ports) == 800
    assert all(20000 <= int(port.rpartition(":")[2]) < 32000 for port in ports)


@pytest.mark.parametrize(
    ("state", "wanted"),
    [("RUNNING", True), ("COMPLETING", False), ("PENDING", False), ("CANCELLED", False), ("", False)],
)
def test_only_a_running_job_is_queued_again(tmp_path, monkeypatch, state, wanted):
    """A scheduler that has cancelled or requeued it sends the same signals, and is not to be overruled."""
    path = tmp_path / "squeue"
    path.write_text(f"#!/bin/sh\necho {state}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert task._is_wanted_again("slurm", "7", signal.SIGTERM) is wanted


@pytest.mark.parametrize("failures", [2, 9])
def test_a_controller_that_does_not_answer_is_asked_again(tmp_path, monkeypatch, capsys, failures):
    path, count = tmp_path / "squeue", tmp_path / "count"
    path.write_text(
        f"#!/bin/sh\necho x >> {count}\n[ $(/usr/bin/wc -l < {count}) -gt {failures} ] && echo RUNNING && exit\n"
        "echo 'slurm_load_jobs error: Socket timed out' >&2\nexit 1\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(task, "_PAUSES_SECONDS", (0, 0, 0))
    assert task._is_wanted_again("slurm", "7", signal.SIGUSR1) is (failures == 2)
    told = "cannot be queued again: slurm_load_jobs error: Socket timed out" in capsys.readouterr().err
    assert told is (failures == 9)


def test_without_squeue_it_is_not_queued_again_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not task._is_wanted_again("slurm", "7", signal.SIGUSR1)
    assert "squeue is not found on this machine" in capsys.readouterr().err


def test_without_a_scheduler_only_the_time_limit_starts_it_again():
    assert task._is_wanted_again("local", "7", signal.SIGUSR1)
    assert not task._is_wanted_again("local", "7", signal.SIGTERM)


@pytest.fixture
def in_a_job(tmp_path, monkeypatch):
    """The environment of the only task of a job in the folder it returns."""
    names = ("JOB_ID", "NTASKS", "JOB_NUM_NODES", "NODEID", "GLOBALID", "LOCALID")
    for name, value in zip(names, ("7", "1", "1", "0", "0", "0"), strict=True):
        monkeypatch.setenv(f"SUBMITIT_LOCAL_{name}", value)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    before = signal.getsignal(signal.SIGUSR1)
    yield tmp_path
    signal.signal(signal.SIGUSR1, before)


def finished(argv):
    assert argv == ["run", "x"]
    return 0


def refused(argv):
    return 2


def crashed(argv):
    raise KeyError("a mistake of ours")


def stopped_by_a_limit(argv):
    signal.raise_signal(signal.SIGUSR1)
    return 75


def stopped_by_somebody(argv):
    signal.raise_signal(signal.SIGTERM)
    return 75


def statuses(folder):
    from slowfast.utils.logging import read_json_lines

    return [note.get("status") for note in read_json_lines(task.attempts_file(folder, "7", 0))]


def call(function):
    task.Task(("run", "x"), f"{__name__}:{function.__name__}")()


def test_a_complete_run_returns_and_leaves_two_notes(in_a_job):
    (in_a_job / "7_0_log.err").write_text("of an attempt before")
    call(finished)
    begin, _ = (task.attempts_file(in_a_job, "7", 0)).read_text().splitlines()
    assert '"log_from": 20' in begin
    assert statuses(in_a_job) == [None, 0]


@pytest.mark.parametrize(("function", "status", "told"), [(refused, 2, 2), (stopped_by_somebody, 75, 75)])
def test_the_process_ends_with_the_status_of_the_run(in_a_job, function, status, told):
    with pytest.raises(SystemExit) as ended:
        call(function)
    assert ended.value.code == status and statuses(in_a_job) == [None, told]


def test_a_crash_is_noted_and_passed_on(in_a_job):
    with pytest.raises(KeyError):
        call(crashed)
    assert statuses(in_a_job) == [None, 1]


def test_a_run_stopped_by_its_limit_is_to_be_started_again(in_a_job):
    with pytest.raises(SystemExit) as ended:
        call(stopped_by_a_limit)
    assert ended.value.code == 144  # submitit's local controller starts it again on this one


def test_other_machines_leave_the_decision_to_the_first(in_a_job, monkeypatch):
    monkeypatch.setenv("SUBMITIT_LOCAL_GLOBALID", "1")
    with pytest.raises(SystemExit) as ended:
        call(stopped_by_a_limit)
    assert ended.value.code == 0  # another one would end the first while it saves
