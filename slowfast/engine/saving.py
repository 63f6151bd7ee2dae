"""How far a training run has come, and when that is written down: at ends of epochs, between steps, and on a signal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from slowfast.engine.monitor import TrainMonitor
from slowfast.utils import checkpoint, distributed, stopping


@dataclass
class Progress:
    """How far a run has come.

    ``epoch`` is the last finished one counted from 0 (-1: none), validation included, and ``steps_in_epoch`` how many
    steps of the next one are done; ``so_far`` is what the monitor knows of these, as of the last checkpoint. ``best``
    is the best validation so far and ``val`` the last one of this process's life, both with epoch and counts of
    videos. ``operators`` is the plan by which the model computes. ``origin`` is the file that TRAIN.RESUME named when
    the run began in its folder. ``rollbacks`` counts how often the run went back after steps that were not finite.
    """

    epoch: int = -1
    global_step: int = 0
    steps_in_epoch: int = 0
    so_far: dict = field(default_factory=dict)
    best: dict = field(default_factory=dict)
    val: dict = field(default_factory=dict)
    operators: dict = field(default_factory=dict)
    origin: str = ""
    rollbacks: int = 0


class Pause(Enum):
    """What is due after a step: nothing, a checkpoint, or a checkpoint and the end of this process."""

    NONE = auto()
    SAVE = auto()
    STOP = auto()


class Pauses:
    """Decides after each step, alike on all ranks, which must all ask alike.

    seconds, steps: most of either between two checkpoints, 0 for no such limit. The clock is rank 0's, and any
    rank may have been asked to stop; with several ranks both are heard one step later, so that nobody waits.
    """

    def __init__(self, seconds: float, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._steps, self._now = seconds, steps, clock
        self._vote = distributed.Vote()
        self._last = clock()

    def saved(self) -> None:
        """A checkpoint has just been written."""
        self._last = self._now()
        self._vote.forget()  # it may say that this checkpoint is due

    def after(self, global_step: int) -> Pause:
        """What is due after step ``global_step``, counted from 1."""
        late = 0 < self._seconds <= self._now() - self._last and distributed.is_main()
        late, stop = self._vote(late, bool(stopping.asked()))
        if stop:
            return Pause.STOP
        return Pause.SAVE if late or (self._steps and global_step % self._steps == 0) else Pause.NONE


class Saver:
    """Writes the checkpoints of a run, on rank 0, and ends the run where a signal asked for it.

    payload: what a checkpoint holds now. keep: as in checkpoint.prune. All ranks make one and call it alike. Raises
    OSError where one cannot be written, on rank 0 alone.
    """

    def __init__(
        self,
        progress: Progress,
        board: TrainMonitor,
        payload: Callable[[], dict],
        *,
        output_dir: Path,
        steps_per_epoch: int,
        keep: int,
        pauses: Pauses,
    ) -> None:
        self._progress, self._board, self._payload, self._pauses = progress, board, payload, pauses
        self._output_dir, self._steps_per_epoch, self._keep = output_dir, steps_per_epoch, keep
        self._saved_at = self._position()
        if distributed.is_main():
            checkpoint.sweep(output_dir)

    def save_epoch(self) -> None:
        """The state after an epoch and its validation."""
        self._save(checkpoint.epoch_path(self._output_dir, self._progress.epoch + 1))
        self._saved_at = self._position()

    def save_best(self) -> None:
        """The same, as the best so far."""
        self._save(checkpoint.best_path(self._output_dir))

    def save_between(self) -> None:
        """The state between two steps, or between the steps of an epoch and its validation."""
        if self._saved_at != self._position():
            self._progress.so_far = self._board.state()
            self._save_step()

    def pause(self, before: Callable[[], None]) -> None:
        """Between two steps of an epoch: save if that is due; save and raise Stopped if a signal asked for it.

        ``before`` is called on all ranks ahead of a save, to tell what a run that goes on after it will not tell again.
        """
        due = self._pauses.after(self._progress.global_step)
        if due is not Pause.NONE:
            before()
            self.save_between()
        if due is Pause.STOP:
            where = f"after step {self._progress.steps_in_epoch} of {self._steps_per_epoch}"
            self._stop_if_asked(f"{where} of epoch {self._progress.epoch + 2}")

    def stop_after_epoch(self) -> None:
        """Between two epochs: raise Stopped if a signal asked for it, with the state saved."""
        if any(distributed.all_gather_objects(stopping.asked())):
            if self._saved_at != self._position():
                self._save_step()
            self._stop_if_asked(f"after epoch {self._progress.epoch + 1}")

    def stop_in_validation(self) -> None:
        """Where ranks do not wait for each other: raise Stopped if this one was asked, with the state saved."""
        if stopping.asked():
            self.save_between()  # no collective here: the end of the epoch has read all that there is
            where = f"in the validation after epoch {self._progress.epoch + 2}"
            raise stopping.Stopped(stopping.asked(), where)

    def _stop_if_asked(self, where: str) -> None:
        """Raise Stopped on all ranks, once the last of them is here, with the signal that any of them heard."""
        asked = max(distributed.all_gather_objects(stopping.asked()))
        if asked:
            raise stopping.Stopped(asked, where)

    def _save_step(self) -> None:
        self._save(checkpoint.step_path(self._output_dir, self._progress.global_step))
        self._saved_at = self._position()

    def _save(self, path: Path) -> None:
        if distributed.is_main():
            try:
                checkpoint.save(self._payload(), path)
            except OSError as error:
                step, _ = self._saved_at
                raise OSError(f"{error}. The same command goes on after step {step}, saved before") from error
            checkpoint.prune(self._output_dir / checkpoint.FOLDER, self._keep, spare=path)
        self._pauses.saved()

    def _position(self) -> tuple[int, int]:
        return self._progress.global_step, self._progress.steps_in_epoch
