"""What a job asks for, the script that asks for it, and the words for its states."""

import stat

import pytest

from slowfast.submission import cluster
from slowfast.submission.cluster import Resources, State


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """A function from name and shell lines to a command of that name, the only one that is found beside sh and cat."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name, *lines):
        path = folder / name
        path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return add


def resources(**changes):
    return Resources(
        **{"name": "r", "nodes": 2, "gpus": 0, "cpus": 3, "minutes": 60, "notice_seconds": 180, **changes}
    )


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("90", 90), ("48:00:00", 2880), ("0:30:01", 31), ("5:30", 6), ("2-0", 2880), ("2-12", 3600),
        ("1-01:30", 1530), ("1-00:00:01", 1441),
    ],
)  # fmt: skip
def test_times_are_those_of_sbatch(time, expected):
    assert cluster.minutes(time) == expected


@pytest.mark.parametrize("time", ["", "two days", "1:2:3:4", "-5", "48h"])
def test_other_times_are_refused(time):
    with pytest.raises(ValueError, match="write minutes, HOURS:MINUTES:SECONDS or DAYS-HOURS:MINUTES"):
        cluster.minutes(time)


def test_no_time_is_no_limit():
    with pytest.raises(ValueError, match="at least a minute"):
        cluster.minutes("0:00:00")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "--nodes is 0; the least is 1"),
        ({"gpus": -1}, "--gpus is -1; the least is 0"),
        ({"cpus": 0}, "--cpus is 0; the least is 1"),
        ({"notice_seconds": 0}, "--notice is 0; the least is 1"),
        ({"minutes": 4}, r"240 s nothing may be left .* 180 s \(--notice\) before it, or up to 60 s earlier"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        resources(**changes)


def test_script_asks_for_what_the_run_takes(tmp_path):
    wanted = resources(gpus=8, partition="gpu", more={"account": "vision", "exclusive": True})
    lines = cluster.script(tmp_path, wanted).splitlines()
    for line in (
        "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--cpus-per-task=3", "--time=60", "--partition=gpu",
        "--signal=USR1@180", "--requeue", "--open-mode=append", "--account=vision", "--exclusive", "--job-name=r",
    ):  # fmt: skip
        assert f"#SBATCH {line}" in lines
    (started,) = [line for line in lines if line.startswith("srun ")]
    assert "--kill-on-bad-exit=1" in started and "--cpus-per-task=3" in started
    assert started.endswith(f"-u -m submitit.core._submit {tmp_path}")
    assert not any("--array" in line for line in lines)


def test_script_without_gpus_does_not_speak_of_them(tmp_path):
    assert "--gpus" not in cluster.script(tmp_path, resources())


def test_script_of_an_array(tmp_path):
    text = cluster.script(tmp_path, resources(), num_jobs=3)
    assert "#SBATCH --array=0-2%3" in text and "%A_%a_%t_log.err" in text


def test_without_slurm_it_says_what_else_there_is(fake_slurm, tmp_path):
    with pytest.raises(OSError, match=r"srun is not found.*login node.*--local.*--dry-run"):
        cluster.submit([len], tmp_path, resources(), local=False)


def test_what_sbatch_refuses_is_told_in_its_words(fake_slurm, tmp_path):
    fake_slurm("srun")
    fake_slurm("sbatch", "echo sbatch: error: invalid partition specified: nope >&2", "exit 1")
    with pytest.raises(OSError, match="Slurm did not take the job: invalid partition specified: nope$"):
        cluster.submit([len], tmp_path, resources(), local=False)


def test_local_runs_take_one_machine(tmp_path):
    with pytest.raises(ValueError, match="--nodes is 2: leave one out"):
        cluster.submit([len], tmp_path, resources(), local=True)


@pytest.mark.parametrize(
    ("queued", "state"),
    [
        ("PENDING|Resources|", State(True, "waiting (Resources)")),
        ("RUNNING|None|node[1-2]", State(True, "running on node[1-2]")),
        ("COMPLETING|None|node1", State(True, "ending on node1")),
        ("COMPLETED|None|node1", State(False, "complete")),
        ("UNHEARD_OF|None|", State(False, "UNHEARD_OF")),
    ],
)
def test_states_in_the_queue(fake_slurm, queued, state):
    fake_slurm("squeue", f"echo '{queued}'")
    assert cluster.state("slurm", "7") == state


@pytest.mark.parametrize(
    ("recorded", "active", "words"),
    [
        ("CANCELLED by 1000", False, "cancelled"),
        ("TIMEOUT", False, "submit it again, and it goes on"),
        ("OUT_OF_MEMORY", False, "ask for more with --sbatch mem="),
        ("NODE_FAIL", False, "a machine of the job was lost"),
        ("RUNNING", True, "running"),
        ("", False, "not known to the scheduler"),
    ],
)
def test_states_of_jobs_that_left_the_queue(fake_slurm, recorded, active, words):
    fake_slurm("squeue", "echo slurm_load_jobs error: Invalid job id specified >&2", "exit 1")
    fake_slurm("sacct", f"echo '{recorded}'")
    state = cluster.state("slurm", "7")
    assert state.active is active and words in state.words


def test_where_there_is_no_slurm_no_state_is_known(fake_slurm):
    assert cluster.state("slurm", "7") == State(False, "not known to the scheduler (any more)")


def test_a_scheduler_that_does_not_answer_is_told(fake_slurm, monkeypatch):
    fake_slurm("squeue", "kill -STOP $$")  # until it is killed
    monkeypatch.setattr(cluster, "_ANSWER_SECONDS", 0.1)
    with pytest.raises(OSError, match=r"does not answer within 0.1 s \(squeue\): try again later"):
        cluster.state("slurm", "7")


def test_a_process_of_somebody_else_is_no_local_job():
    assert not cluster.state("local", "1").active  # the first process of the machine
