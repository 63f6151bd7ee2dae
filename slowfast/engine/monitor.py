"""What a run says about itself while it goes on: metrics.jsonl, TensorBoard, log lines, a progress bar.

Record names and keys are those of PySlowFast's json_stats. Numbers may live on the device: they are kept as
they are and read together once per logging period, so that watching a run does not slow it down.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from slowfast.engine.metrics_file import Position, take_back, take_back_test
from slowfast.engine.progress_bar import ProgressBar
from slowfast.utils import distributed, environment
from slowfast.utils.logging import append_json_line, get_logger

Number = float | torch.Tensor
_MEASURES = ("loss", "top1_err", "top5_err", "grad_norm")
_FIELDS = ("lr", "batch_size", "seconds", "wait_seconds")
_TRAIN_TAGS = {
    "loss": "Train/loss",
    "top1_err": "Train/Top1_err",
    "top5_err": "Train/Top5_err",
    "grad_norm": "Train/grad_norm",
}
_VAL_TAGS = {"top1_err": "Val/Top1_err", "top5_err": "Val/Top5_err", "map": "Val/mAP"}


class Recorder:
    """The files that records go to. On processes other than the main one it writes nothing.

    What they hold of a run after ``position``, where it goes on, is taken out, since it will be recorded again; so are
    the lines of a test, if this is one (``is_test``).
    """

    def __init__(
        self,
        jsonl_path: str | os.PathLike,
        tensorboard_dir: str | os.PathLike | None = None,
        *,
        is_main: bool = True,
        position: Position | None = None,
        is_test: bool = False,
    ) -> None:
        self.is_main = is_main
        self._jsonl_path = Path(jsonl_path)
        self._writer = None
        if is_main and position is not None:
            take_back(self._jsonl_path, position)
        if is_main and is_test:
            take_back_test(self._jsonl_path)
        if is_main and tensorboard_dir is not None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and not every run wants it

            hidden = None if position is None else position.global_step + position.validated
            self._writer = SummaryWriter(str(tensorboard_dir), purge_step=hidden)

    def record(self, record: dict[str, Any], *, file_only: bool = False) -> None:
        """One line in metrics.jsonl and one in the log; `file_only` spares the console."""
        if self.is_main:
            append_json_line(self._jsonl_path, record)
            get_logger(__name__).info(_text(record), extra={"file_only": file_only})

    def scalars(self, values: dict[str, float | None], step: int) -> None:
        """TensorBoard points; values that are None or not finite are left out."""
        if self._writer is not None:
            for tag, value in values.items():
                if value is not None and math.isfinite(value):
                    self._writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Bring what was recorded so far to the disk."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """End of the run."""
        if self._writer is not None:
            self._writer.close()


@dataclass
class _Step:
    """One training step; `values` may be on the device until they are read; None stays None."""

    number: int
    lr: float
    batch_size: int
    values: dict[str, Any]
    seconds: float = 0.0
    wait_seconds: float = 0.0

    @property
    def skipped(self) -> bool:
        """Whether the optimizer left this step out, as it does when the gradient norm is not finite."""
        return not math.isfinite(self.values["grad_norm"])


class TrainMonitor:
    """Follows training; losses and errors are averaged over the samples of all processes.

    Every process must own one and call it alike, because reading the numbers is a collective. ``seen`` is told number
    and loss of each step that was not skipped, in their order, as they are read.
    """

    def __init__(
        self,
        recorder: Recorder,
        *,
        log_period: int,
        steps_per_epoch: int,
        max_epoch: int,
        clock: Callable[[], float] = time.perf_counter,
        seen: Callable[[int, float], None] = lambda number, loss: None,
    ) -> None:
        self._recorder = recorder
        self._seen = seen
        self._log_period = log_period
        self._steps_per_epoch = steps_per_epoch
        self._max_epoch = max_epoch
        self._now = clock

    def start_epoch(
        self, epoch: int, earlier: Mapping[str, Any] | None = None, *, steps_before: int | None = None
    ) -> None:
        """Begin epoch `epoch` (from 0), or go on with it after the steps that `state` told of.

        `steps_before` are those of the run before the epoch, unless all epochs were alike.
        """
        self._epoch = epoch
        self._steps_before = epoch * self._steps_per_epoch if steps_before is None else steps_before
        self._steps = _unpacked(earlier or {})
        self._num_read = len(self._steps)
        self._bar = ProgressBar(
            f"epoch {epoch + 1}/{self._max_epoch}",
            self._steps_per_epoch,
            wanted=self._recorder.is_main,
            done=len(self._steps),
        )
        self._lap_start, self._wait_seconds = self._now(), 0.0

    def state(self) -> dict[str, Any]:
        """The steps of this epoch so far, {name: a number for each, or None}, once they are all read and drawn.

        A collective, like all reading.
        """
        self.catch_up()
        self._recorder.flush()
        return _packed(self._steps)

    def catch_up(self) -> None:
        """Read and draw what is left; a collective."""
        self._draw(self._read())

    def draw_again(self, global_step: int, earlier: Mapping[str, Any]) -> None:
        """Draw the last step that `state` told of once more, where going back to after it has hidden it."""
        steps = _unpacked(earlier)
        self._steps_before = global_step - len(steps)
        self._draw(steps[-1:])

    def data_ready(self) -> None:
        """The batch has arrived: the time since the last step was spent waiting for it."""
        self._wait_seconds = self._now() - self._lap_start

    def step(
        self,
        *,
        loss: Number,
        lr: float,
        grad_norm: Number,
        batch_size: int,
        top1_err: Number | None = None,
        top5_err: Number | None = None,
    ) -> dict[str, Any] | None:
        """One step is done; returns the train_iter record of every `log_period`-th step.

        `loss` () and errors (percent; None with several labels per video) are means over this process's
        `batch_size` clips. `grad_norm` is equal on all processes; one that is not finite marks a skipped
        step, which enters no mean. Tensors must not be changed afterwards.
        """
        values = {"loss": loss, "top1_err": top1_err, "top5_err": top5_err, "grad_norm": grad_norm}
        step = _Step(len(self._steps) + 1, lr, batch_size, values)
        self._steps.append(step)
        due = step.number % self._log_period == 0
        # Read before looking at the clock: waiting for the device is no waiting for data.
        fresh = self._read() if due else []
        now = self._now()
        step.seconds, step.wait_seconds = now - self._lap_start, self._wait_seconds
        self._lap_start, self._wait_seconds = now, 0.0
        self._bar.advance(1)
        if not due:
            return None
        self._draw(fresh)
        return self._report()

    def end_epoch(self) -> dict[str, Any]:
        """Read what is left and record the train_epoch line, which is returned."""
        self.catch_up()
        record = self._record("train_epoch", self._steps, _weighted_mean)
        self._bar.close()
        self._recorder.record({**record, "RAM": environment.memory_use()})
        self._recorder.flush()
        return record

    def _report(self) -> dict[str, Any]:
        record = self._record("train_iter", self._steps[-self._log_period :], _median)
        record["iter"] = f"{self._steps[-1].number}/{self._steps_per_epoch}"
        self._recorder.record(record, file_only=self._bar.visible)
        self._bar.describe(loss=record["loss"], waiting=f"{record['data_wait']:.0%}", run_eta=record["eta"])
        return record

    def _record(
        self, kind: str, steps: list[_Step], average: Callable[[list[_Step], str], float | None]
    ) -> dict[str, Any]:
        """The keys both lines share, over the given steps."""
        assert steps, "a record needs at least one step"
        last, taken = steps[-1], [step for step in steps if not step.skipped]
        seconds, wait = sum(step.seconds for step in steps), sum(step.wait_seconds for step in steps)
        pace = statistics.fmean(step.seconds for step in self._steps)
        steps_left = (self._max_epoch - self._epoch) * self._steps_per_epoch - last.number
        return {
            "_type": kind,
            "epoch": f"{self._epoch + 1}/{self._max_epoch}",
            "dt": seconds / len(steps),
            "dt_data": wait / len(steps),
            "dt_net": (seconds - wait) / len(steps),
            "data_wait": wait / seconds if seconds > 0 else 0.0,
            "eta": _duration(pace * steps_left),
            **{name: average(taken, name) for name in _MEASURES if last.values[name] is not None},
            "lr": last.lr,
            "global_step": self._global_step(last),
            "skipped_steps": sum(step.skipped for step in self._steps),
            "gpu_mem": environment.gpu_memory_peak(),
        }

    def _global_step(self, step: _Step) -> int:
        return self._steps_before + step.number

    def _read(self) -> list[_Step]:
        """Make floats of the values not read so far, in one reduction and one wait for the device."""
        fresh = self._steps[self._num_read :]
        if not fresh:
            return []
        device = next((v.device for v in fresh[0].values.values() if isinstance(v, torch.Tensor)), "cpu")
        weights = torch.tensor([float(step.batch_size) for step in fresh], device=device)
        columns = [_column([step.values[name] for step in fresh], device) for name in _MEASURES]
        own = torch.stack([column * weights for column in columns[:-1]] + [weights])
        sums = distributed.sum_in_rank_order(own)  # alike whenever it is read, as after a stop at another step
        means = sums[:-1] / sums[-1].clamp(min=1)
        rows = torch.cat([means, columns[-1][None], sums[-1:]]).T.tolist()
        for step, (*numbers, weight) in zip(fresh, rows, strict=True):
            read = dict(zip(_MEASURES, numbers, strict=True))
            step.values = {name: None if old is None else read[name] for name, old in step.values.items()}
            step.batch_size = round(weight)
            if not step.skipped:
                self._seen(self._global_step(step), step.values["loss"])
        self._num_read = len(self._steps)
        return fresh

    def _draw(self, steps: list[_Step]) -> None:
        for step in steps:
            points = {tag: step.values[name] for name, tag in _TRAIN_TAGS.items()}
            points["Train/lr"] = step.lr
            points["Train/data_wait"] = step.wait_seconds / step.seconds if step.seconds > 0 else 0.0
            self._recorder.scalars(points, self._global_step(step))


class EvalMonitor:
    """Follows validation ("val") or the test ("test") on this process; `end` is told the final numbers.

    `best` holds the smallest errors so far, under min_top1_err and min_top5_err; a resumed run sets it.
    """

    def __init__(
        self,
        recorder: Recorder,
        split: str,
        *,
        log_period: int,
        max_epoch: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        assert split in ("val", "test"), split
        self.best: dict[str, float] = {}
        self._recorder = recorder
        self._split = split
        self._log_period = log_period
        self._max_epoch = max_epoch
        self._now = clock

    def start(self, total: int, epoch: int = 0, global_step: int = 0) -> None:
        """Begin; `total` is what the counts given to `step` will add up to, `epoch` counts from 0.

        `global_step` is the number of training steps before a validation.
        """
        self._total, self._done, self._epoch, self._global_step = total, 0, epoch, global_step
        self._errors: list[tuple[float | None, float | None]] = []
        self._num_steps = 0
        self._bar = ProgressBar(self._split, total, wanted=self._recorder.is_main)
        self._begin = self._window_start = self._now()

    def step(
        self, count: int = 1, *, top1_err: float | None = None, top5_err: float | None = None
    ) -> dict[str, Any] | None:
        """One forward pass over `count` more; returns the record of every `log_period`-th pass."""
        self._done += count
        self._num_steps += 1
        self._errors.append((top1_err, top5_err))
        self._bar.advance(count)
        if self._num_steps % self._log_period != 0:
            return None
        now = self._now()
        elapsed, window = now - self._begin, (now - self._window_start) / self._log_period
        self._window_start = now
        record = {
            **self._name("iter"),
            ("iter" if self._split == "val" else "cur_iter"): f"{self._done}/{self._total}",
            "eta": _duration(elapsed / self._done * max(0, self._total - self._done)),
            "time_diff": window,
            "gpu_mem": environment.gpu_memory_peak(),
            **self._window_errors(),
        }
        self._recorder.record(record, file_only=self._bar.visible)
        return record

    def end(self, measures: dict[str, float | None]) -> dict[str, Any]:
        """Record the val_epoch or test_final line, which is returned.

        `measures` are exact numbers over the whole set: top1_err and top5_err in percent, or map from 0 to 1.
        """
        self._bar.close()
        if self._split == "val":
            record = {
                **self._name("epoch"),
                **measures,
                **self._improve(measures),
                "time_diff": self._now() - self._begin,
                "gpu_mem": environment.gpu_memory_peak(),
                "RAM": environment.memory_use(),
            }
            self._recorder.scalars({tag: measures.get(name) for name, tag in _VAL_TAGS.items()}, self._global_step)
            self._recorder.flush()
        else:
            record = {**self._name("final"), **_accuracies(measures)}
        self._recorder.record(record)
        return record

    def _name(self, kind: str) -> dict[str, Any]:
        if self._split == "test":
            return {"split": f"test_{kind}"}
        epoch = f"{self._epoch + 1}/{self._max_epoch}"
        return {"_type": f"val_{kind}", "epoch": epoch, "global_step": self._global_step}

    def _window_errors(self) -> dict[str, float]:
        """Medians of the errors of the last passes, where the caller gave any."""
        top1, top5 = zip(*self._errors[-self._log_period :], strict=True)
        pairs = {"top1_err": top1, "top5_err": top5}
        return {name: statistics.median(values) for name, values in pairs.items() if None not in values}

    def _improve(self, measures: dict[str, float | None]) -> dict[str, float]:
        for name in ("top1_err", "top5_err"):
            value = measures.get(name)
            if value is not None:
                self.best[f"min_{name}"] = min(value, self.best.get(f"min_{name}", math.inf))
        return dict(self.best)


def _packed(steps: list[_Step]) -> dict[str, Any]:
    """Steps whose values have been read, as lists by name; None for a measure that they do not have."""
    columns: dict[str, Any] = {name: [getattr(step, name) for step in steps] for name in _FIELDS}
    for name in _MEASURES:
        values = [step.values[name] for step in steps]
        columns[name] = None if None in values else values
    return columns


def _unpacked(columns: Mapping[str, Any]) -> list[_Step]:
    """The steps of `_packed`."""
    steps = []
    for index in range(len(columns.get("lr", ()))):
        values = {name: columns[name] and columns[name][index] for name in _MEASURES}
        steps.append(_Step(index + 1, values=values, **{name: columns[name][index] for name in _FIELDS}))
    return steps


def _column(values: list[Number | None], device: torch.device | str) -> torch.Tensor:
    """Numbers, some perhaps on the device, as one float32 tensor (len(values),) there; None counts as 0."""
    numbers = [0.0 if value is None else value for value in values]
    if any(isinstance(number, torch.Tensor) for number in numbers):
        return torch.stack([torch.as_tensor(number, device=device).detach().float() for number in numbers])
    return torch.tensor(numbers, dtype=torch.float32, device=device)


def _median(steps: list[_Step], name: str) -> float | None:
    return statistics.median(step.values[name] for step in steps) if steps else None


def _weighted_mean(steps: list[_Step], name: str) -> float | None:
    weight = sum(step.batch_size for step in steps)
    return sum(step.values[name] * step.batch_size for step in steps) / weight if weight else None


def _accuracies(measures: dict[str, float | None]) -> dict[str, Any]:
    """test_final reports accuracies, as text with two decimals, where validation reports errors."""
    names = {"top1_err": "top1_acc", "top5_err": "top5_acc"}
    accuracies = {names[key]: f"{100 - value:.2f}" for key, value in measures.items() if key in names}
    return accuracies | {key: value for key, value in measures.items() if key not in names}


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _text(record: dict[str, Any]) -> str:
    """A record as a line for people."""
    shown = {key: f"{value:.5g}" if isinstance(value, float) else value for key, value in record.items()}
    title = shown.pop("_type", None) or shown.pop("split")
    return f"{title}: " + ", ".join(f"{key} {value}" for key, value in shown.items())
