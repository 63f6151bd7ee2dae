"""Which checkpoint a run goes on from, and what it refuses."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from slowfast.engine import resuming
from slowfast.engine.resuming import SameRun
from slowfast.utils import checkpoint

RUN = SameRun(dataset="kinetics", train_list="abc", global_batch=64, rng_seed=1)


def write(path: Path, step: int, **more) -> Path:
    checkpoint.save({"global_step": step, **more}, path)
    return path


def saved(**more) -> dict:
    return {"batch_in_epoch": 0, **vars(RUN), **more}


# -- which file --------------------


def test_without_resume_a_run_begins_whatever_its_folder_holds(tmp_path):
    write(checkpoint.epoch_path(tmp_path, 1), 10)
    assert resuming.find("", "other.pyth", tmp_path) == ""


def test_auto_takes_the_newest_sound_file_then_the_fallback(tmp_path, caplog):
    assert resuming.find("auto", "", tmp_path) == ""
    assert resuming.find("auto", "named.pyth", tmp_path) == "named.pyth"
    older = write(checkpoint.epoch_path(tmp_path, 1), 10)
    newer = write(checkpoint.step_path(tmp_path, 14), 14)
    assert resuming.find("auto", "named.pyth", tmp_path) == str(newer)
    newer.write_bytes(newer.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING):
        assert resuming.find("auto", "named.pyth", tmp_path) == str(older)
    assert f"checkpoint passed over: {newer} is damaged or cut off" in caplog.text


@pytest.mark.parametrize("resume", ["auto", "named.pyth"])
def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path, resume):
    for epoch in (1, 2):
        path = write(checkpoint.epoch_path(tmp_path, epoch), 10 * epoch)
        path.write_bytes(path.read_bytes()[:-9])
    checkpoint.save({"model_state": {}}, checkpoint.epoch_path(tmp_path, 3))
    with pytest.raises(ValueError, match=f"none of the checkpoints in {tmp_path}/checkpoints can be used") as refused:
        resuming.find(resume, "", tmp_path)
    for said in ("00001.pyth is damaged or cut off", "00002.pyth is damaged", "00003.pyth holds no global_step"):
        assert said in str(refused.value)
    assert "move these files away" in str(refused.value) and "AUTO_RESUME False" in str(refused.value)
    assert resuming.find("", "", tmp_path) == ""


def test_files_of_others_are_no_reason_to_refuse(tmp_path):
    (tmp_path / checkpoint.FOLDER).mkdir()
    (tmp_path / checkpoint.FOLDER / "mine.pyth").write_text("x")
    assert resuming.find("auto", "", tmp_path) == ""


def test_a_named_file_begins_a_folder_and_later_the_folder_goes_on(tmp_path, monkeypatch):
    named = write(tmp_path / "named.pyth", 10)
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    assert resuming.find("named.pyth", "", run) == "named.pyth"
    began = resuming.origin("named.pyth", checkpoint.load(named), run)
    assert began == str(named)
    own = write(checkpoint.step_path(run, 14), 14, origin=began)
    assert resuming.find("named.pyth", "", run) == str(own)
    assert resuming.origin(str(own), checkpoint.load(own), run) == began
    assert resuming.find(str(own), "", run) == str(own)  # it names the newest itself


def test_a_named_file_never_takes_a_folder_back(tmp_path):
    run = tmp_path / "run"
    first, last = write(checkpoint.epoch_path(run, 1), 10), write(checkpoint.epoch_path(run, 2), 20)
    for older in (first, write(tmp_path / "named.pyth", 20)):
        with pytest.raises(
            ValueError, match=rf"has come further: {last} \(step 20\).*RESUME auto.*OUTPUT_DIR"
        ):
            resuming.find(str(older), "", run)
    further = write(tmp_path / "named.pyth", 21)
    assert resuming.find(str(further), "", run) == str(further)


# -- whether it may --------------------


def test_the_same_run_may_go_on_anywhere():
    resuming.check("a.pyth", saved(batch_in_epoch=4), RUN, [])
    resuming.check("a.pyth", saved(dataset="Kinetics"), RUN, [])  # names of data sets are read so too


def test_checkpoints_that_do_not_tell_are_not_refused():
    resuming.check("a.pyth", {"batch_in_epoch": 0, "global_batch": 64}, RUN, [])


@pytest.mark.parametrize("allow", [[], ["batch", "list"]])
def test_other_data_are_refused_always(allow):
    with pytest.raises(
        ValueError, match="on the data set kinetics, this run is on ssv2: .*TRAIN.INIT a.pyth"
    ):
        resuming.check("a.pyth", saved(), replace(RUN, dataset="ssv2"), allow)


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (
            {"global_batch": 32},
            "batch",
            r"with 64 videos a step, this run has 32: .*ACCUMULATION_STEPS.*TRAIN.INIT",
        ),
        (
            {"train_list": "abd"},
            "list",
            r"with another list, whose names, labels or order differ: .*TRAIN.INIT",
        ),
    ],
)
def test_another_batch_or_list_is_refused_unless_asked_for_at_the_end_of_an_epoch(change, key, words):
    other = "batch" if key == "list" else "list"
    run = replace(RUN, **change)
    resuming.check("a.pyth", saved(), run, [key])
    for allow in ([], [other]):
        with pytest.raises(
            ValueError, match=rf"a.pyth was trained {words}.*write TRAIN.RESUME_ALLOW \"\['{key}'\]\""
        ):
            resuming.check("a.pyth", saved(), run, allow)
    with pytest.raises(ValueError, match="from the end of an epoch: this file is 4 steps into one"):
        resuming.check("a.pyth", saved(batch_in_epoch=4), run, [key])


def test_another_seed_is_refused_inside_an_epoch():
    run = replace(RUN, rng_seed=5)
    resuming.check("a.pyth", saved(), run, [])
    with pytest.raises(
        ValueError, match="trained with RNG_SEED 1, this run has 5, and is 4 steps into an epoch.*go on with RNG_SEED 1"
    ):
        resuming.check("a.pyth", saved(batch_in_epoch=4), run, ["batch", "list"])


# -- what has changed --------------------


def test_changes_of_the_config_are_named_by_their_whole_key():
    before = "A: 1\nSOLVER:\n  BASE_LR: 0.1\n  STEPS: [1, 2]\nOLD: x\n"
    now = "A: 1\nSOLVER:\n  BASE_LR: 0.5\n  STEPS: [1, 3]\nNEW: null\n"
    assert resuming.config_changes(before, before) == []
    assert resuming.config_changes(before, now) == [
        "SOLVER.BASE_LR: 0.1 -> 0.5",
        "SOLVER.STEPS: [1, 2] -> [1, 3]",
        "OLD: x -> unknown",
    ]
