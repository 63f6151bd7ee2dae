"""When a run saves between steps and stops; the runs themselves are in test_resume.py."""

import errno

import pytest

from slowfast.engine.saving import Pause, Pauses, Progress, Saver
from slowfast.utils import atomic, checkpoint, stopping


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def due(pauses: Pauses, steps: range) -> list[int]:
    return [step for step in steps if pauses.after(step) is Pause.SAVE]


def test_no_limit_makes_no_pause(clock):
    pauses = Pauses(0.0, 0, clock)
    clock.now = 1e9
    assert due(pauses, range(1, 20)) == []


def test_a_pause_every_so_many_steps_of_the_run(clock):
    assert due(Pauses(0.0, 4, clock), range(3, 14)) == [4, 8, 12]


def test_a_pause_once_the_last_checkpoint_is_too_old(clock):
    pauses = Pauses(10.0, 0, clock)
    for now, expected in [(9.9, Pause.NONE), (10.0, Pause.SAVE), (11.0, Pause.SAVE)]:
        clock.now = now
        assert pauses.after(1) is expected
    pauses.saved()
    assert pauses.after(2) is Pause.NONE
    clock.now = 21.0
    assert pauses.after(3) is Pause.SAVE


def test_being_asked_to_stop_comes_before_all_else(clock, monkeypatch):
    monkeypatch.setattr(stopping, "asked", lambda: 15)
    assert Pauses(0.0, 1, clock).after(1) is Pause.STOP


class Board:
    """Stands in for the monitor."""

    def state(self) -> dict:
        return {"lr": [0.1]}


def saver(folder, progress: Progress, clock, keep: int = 2) -> Saver:
    def payload() -> dict:
        return {"global_step": progress.global_step, "so_far": progress.so_far}

    pauses = Pauses(0.0, 2, clock)
    return Saver(progress, Board(), payload, output_dir=folder, steps_per_epoch=5, keep=keep, pauses=pauses)


def names(folder) -> list[str]:
    return sorted(path.name for path in (folder / checkpoint.FOLDER).iterdir())


def test_steps_are_saved_with_what_the_monitor_knows_and_removed_after_the_epoch(tmp_path, clock):
    progress = Progress()
    one, told = saver(tmp_path, progress, clock), []
    for _ in range(8):
        progress.global_step += 1
        progress.steps_in_epoch += 1
        one.pause(lambda: told.append(progress.global_step))
    assert told == [2, 4, 6, 8]
    assert names(tmp_path) == ["checkpoint_step_00000006.pyth", "checkpoint_step_00000008.pyth"]
    assert checkpoint.load(checkpoint.step_path(tmp_path, 8))["so_far"] == {"lr": [0.1]}
    before = checkpoint.step_path(tmp_path, 8).stat().st_mtime_ns
    one.save_between()  # all is saved already
    assert checkpoint.step_path(tmp_path, 8).stat().st_mtime_ns == before
    progress.epoch, progress.steps_in_epoch = 0, 0
    one.save_epoch()
    assert names(tmp_path) == ["checkpoint_epoch_00001.pyth"]


def test_what_killed_saves_left_behind_is_removed_at_the_start(tmp_path, clock):
    (tmp_path / ".best.pyth.77.tmp").write_bytes(b"PK")
    saver(tmp_path, Progress(), clock)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_with_the_step_that_the_run_goes_on_from(tmp_path, clock, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    progress = Progress(global_step=4, steps_in_epoch=4)
    one = saver(tmp_path, progress, clock)
    progress.global_step = progress.steps_in_epoch = 6
    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(
        OSError, match="cannot write .*06.pyth: No space left.* goes on after step 4, saved before"
    ):
        one.pause(lambda: None)
