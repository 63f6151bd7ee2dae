"""How a run is doing, in words."""

import json

import pytest

from slowfast.submission import cluster, records, status
from slowfast.submission.cluster import State
from slowfast.submission.status import Attempt
from slowfast.submission.task import attempts_file

LOST = "RuntimeError: Read error [10.0.0.1]:99: Connection reset by peer. Check the logs of the remote worker"

TIMED_OUT = str(ConnectionError("process 0 of 2 has lost another process of the run, which ... (Timed out waiting)"))


def attempt(task, code, ended=None, errors=""):
    return Attempt(task, f"node{task + 1}", 1, code, ended, errors)


def submission(logs, **changes):
    fields = {
        "job_id": "7", "cluster": "slurm", "nodes": 2, "command": "c", "run": "r", "cwd": "/", "logs": str(logs),
        "time": "2026-01-02 03:04:05",
    }  # fmt: skip
    return records.Submission(**{**fields, **changes})


def test_messages_for_people_are_told_whole():
    log = (
        "warning: x\nslowfast: error: first attempt\nslowfast: error: cannot read:\n  a.mp4: no such file\n"
        "(SLOWFAST_DEBUG=1 shows where it was found)\nsrun: error: node1: task 0: Exited with exit code 2\n"
    )
    assert status.reason(log) == "cannot read:\n  a.mp4: no such file"


def test_of_a_traceback_its_end_is_told():
    log = "Traceback (most recent call last):\n  File \"x.py\", line 1\nKeyError: 'a'\nsrun: error: x\n"
    assert status.reason(log) == "KeyError: 'a'"
    assert status.reason("".join(f"[rank1]: {line}\n" for line in log.splitlines()[:3])) == "KeyError: 'a'"


def test_of_another_log_the_last_lines_are_told():
    assert status.reason("\n".join("abcdefg") + "\n\n") == "c\nd\ne\nf\ng"
    assert status.reason("") == ""


@pytest.mark.parametrize(
    ("attempts", "task"),
    [
        ([attempt(0, 0, 1.0), attempt(1, 0, 1.0)], None),
        ([attempt(0, 75, 1.0), attempt(1, 75, 1.0)], None),
        ([attempt(0, 2, 2.0, "b"), attempt(1, 2, 1.0, "a")], 1),  # the first to fail
        (
            [attempt(0, 1, 1.0, LOST), attempt(1, 1, 2.0, "KeyError: 1")],
            1,
        ),  # though the other one noted it earlier
        ([attempt(0, 1, 1.0, LOST), attempt(1, None)], 1),  # killed: it noted nothing
        ([attempt(0, 2, 1.0, TIMED_OUT), attempt(1, None)], 1),
        ([attempt(0, 2, 1.0, "a"), attempt(1, None)], 0),  # killed because of the first
        ([attempt(0, 1, 1.0, LOST), attempt(1, 75, 2.0)], 0),
    ],
)
def test_the_right_machine_is_named(attempts, task):
    found = status.culprit(attempts)
    assert (found and found.task) == task


GONE = State(False, "not known to the scheduler (any more)")


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([], "never began"),
        ([0, 0], "complete"),
        ([2, None], "failed"),
        ([None, None], "killed, it left no word"),
        ([75, 75], "stopped by a signal; submit it again"),
        ([130, 130], "stopped by a signal; submit it again"),
    ],
)
def test_without_the_scheduler_the_notes_of_the_tasks_tell(tmp_path, codes, words):
    attempts = [attempt(task, code, 1.0) for task, code in enumerate(codes)]
    assert status.outcome(GONE, submission(tmp_path), attempts).startswith(words)


def test_what_the_scheduler_says_comes_first(tmp_path):
    for state in (State(True, "waiting (Resources)"), State(False, cluster.ENDED["TIMEOUT"])):
        assert status.outcome(state, submission(tmp_path), [attempt(0, 2, 1.0)]) == state.words


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run was submitted or begun there: give the OUTPUT_DIR of a run"):
        status.describe(tmp_path)


@pytest.fixture
def run(tmp_path):
    """The folder of a run that trained, and validated once."""
    training = {
        "_type": "train_iter",
        "epoch": "2/3",
        "iter": "4/12",
        "global_step": 16,
        "loss": 2.125,
        "lr": 1e-4,
    }
    validation = {"_type": "val_epoch", "epoch": "1/3", "top1_err": 12.5, "global_step": 12}
    lines = [{"_type": "train_iter", "epoch": "1/3"}, validation, {**training, "eta": "0:01:00"}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_progress_of_a_run_started_by_hand(run):
    assert status.describe(run).splitlines()[1:] == [
        "job        none: it was started by hand",
        "training   epoch 2/3, step 4/12 of it (16 in all): loss 2.125, lr 0.0001, eta 0:01:00",
        "validation epoch 1/3: top1_err 12.5",
    ]


def test_epochs_and_tests_that_are_complete(run):
    with open(run / "metrics.jsonl", "a") as file:
        file.write(
            json.dumps({"_type": "train_epoch", "epoch": "2/3", "global_step": 24, "loss": 2.0}) + "\n"
        )
    (run / "results.json").write_text('{"video": {"top1": 82.5, "top5": 100.0}}')
    text = status.describe(run)
    assert "training   epoch 2/3 complete (24 in all): loss 2" in text
    assert "test       top1 82.50 %, top5 100.00 %" in text


@pytest.mark.parametrize(
    ("video", "told"), [('{"map": 0.53125}', "map 0.5312"), ("{}", "predictions without accuracy")]
)
def test_a_test_is_told_in_the_unit_that_it_has(run, video, told):
    (run / "results.json").write_text(f'{{"video": {video}}}')
    assert status.describe(run).splitlines()[-1] == f"test       {told}"


def note(logs, task, *events):
    logs.mkdir(exist_ok=True)
    path = attempts_file(logs, "7", task)
    path.write_text(
        "".join(json.dumps({"host": f"node{task + 1}", "log_from": 0, **event}) + "\n" for event in events)
    )


def test_a_failed_job_shows_its_error_and_that_of_its_last_attempt_only(run, monkeypatch):
    monkeypatch.setattr(cluster, "state", lambda *job: State(False, cluster.ENDED["FAILED"]))
    logs = run / records.LOGS
    records.add(run, submission(logs, job_id="6"))
    records.add(run, submission(logs))
    old = "slowfast: error: of the first attempt\n"
    begin = {"event": "begin"}
    note(logs, 0, begin, {"event": "end", "status": 75, "time": 1.0}, {**begin, "log_from": len(old)})
    ended = {"event": "end", "status": 2, "time": 2.0}
    note(logs, 1, begin, {"event": "end", "status": 75, "time": 1.0}, {**begin, "log_from": len(old)}, ended)
    (logs / "7_1_log.err").write_text(old + "slowfast: error: the disk is full\n")
    lines = status.describe(run).splitlines()
    assert lines[1] == "job        7 on Slurm, 2 machines, begun 2 times, submitted 2026-01-02 03:04:05"
    assert "state      failed" in lines
    where = lines.index("error      machine 1 (node2), exit status 2")
    assert lines[where + 1] == "           the disk is full"
    assert lines[-1] == f"logs       {logs}/7_*_log.err (errors), .out"


def test_a_machine_killed_without_a_word_is_named(run, monkeypatch):
    monkeypatch.setattr(cluster, "state", lambda *job: State(False, cluster.ENDED["FAILED"]))
    logs = run / records.LOGS
    records.add(run, submission(logs))
    note(logs, 0, {"event": "begin"}, {"event": "end", "status": 1, "time": 2.0})
    note(logs, 1, {"event": "begin"})
    (logs / "7_0_log.err").write_text(LOST)
    assert (
        "error      machine 1 (node2), killed before it could say why: often too little memory"
        in status.describe(run)
    )


@pytest.mark.parametrize("word", ["CANCELLED", "PREEMPTED", "TIMEOUT"])
def test_no_error_is_made_of_what_is_none(run, monkeypatch, word):
    monkeypatch.setattr(cluster, "state", lambda *job: State(False, cluster.ENDED[word]))
    records.add(run, submission(run / records.LOGS))
    note(run / records.LOGS, 0, {"event": "begin"})
    assert "error " not in status.describe(run)
