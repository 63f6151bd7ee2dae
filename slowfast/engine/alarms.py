"""What is said when steps go wrong: in the log, and in files that tell what those steps were made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from logging import Logger
from pathlib import Path
from typing import Any

from slowfast.engine.saving import Progress
from slowfast.engine.spikes import Spike, SpikeWatch
from slowfast.engine.step import TrainStep
from slowfast.utils import distributed
from slowfast.utils.atomic import replace_file

MOST_FILES = 20  # on loss spikes of a run: one that spikes at every step is not to fill the disk


class Alarms:
    """Watches the steps of one run, and tells of them in files of ``folder``, which rank 0 writes; ranks call it alike.

    ``name_of`` turns a list index into the path as written in the list, ``precision`` says how the run computes,
    ``loss_spike`` is the factor of SpikeWatch.
    """

    def __init__(
        self,
        folder: Path,
        step: TrainStep,
        name_of: Callable[[int], str],
        log: Logger,
        *,
        precision: str,
        loss_spike: float,
    ) -> None:
        self._folder, self._step, self._name_of, self._log = folder, step, name_of, log
        self._precision = precision
        self._spikes = SpikeWatch(loss_spike)
        self.see, self.state, self.load_state = self._spikes.see, self._spikes.state, self._spikes.load_state

    def tell_nonfinite(self, what: str, progress: Progress) -> Path:
        """Write down the steps last skipped, and the one before them; returns the file."""
        again = "_again" if progress.rollbacks else ""
        name = f"nonfinite_step_{progress.global_step:08d}{again}.json"
        return self._write(name, what, progress, self._step.recent.skipped())

    def tell_spikes(self, progress: Progress) -> None:
        """Name the loss spikes found since the last time in the log, the first MOST_FILES of a run in files too."""
        found = self._spikes.take()
        for place, spike in enumerate(found, start=self._spikes.count - len(found)):
            said = _said(spike)
            if place < MOST_FILES:
                path = self._write(f"loss_spike_step_{spike.number:08d}.json", said, progress, [spike.number])
                said = f"{said}; its videos and gradients: {path}"
            self._log.warning("loss spike: %s", said)

    def _write(self, name: str, what: str, progress: Progress, numbers: Sequence[int]) -> Path:
        steps = self._step.recent.tell(numbers, self._name_of)
        content = {
            "what": what,
            "epoch": progress.epoch + 2,
            "global_step": progress.global_step,
            "step_in_epoch": progress.steps_in_epoch,
            "rollbacks": progress.rollbacks,
            "precision": self._precision,
            "scaler": self._step.scaler.state_dict(),
            "steps": steps,
        }
        path = self._folder / name
        if distributed.is_main():
            with replace_file(path) as file:
                file.write(json.dumps(_plain(content), indent=1).encode("utf-8", "surrogateescape"))
        return path


def _said(spike: Spike) -> str:
    return (
        f"step {spike.number} has a loss of {spike.loss:.4g}, {spike.loss / spike.median:.1f} times the median "
        f"{spike.median:.4g} of the steps before"
    )


def _plain(value: Any) -> Any:
    """The value with floats that JSON has no word for as text: "nan", "inf", "-inf"."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
