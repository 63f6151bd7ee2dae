"""Records equal those of the reference's meters; the device is read once per period."""

import json
import logging
import math
import pickle
import sys
from pathlib import Path

import pytest
import torch

from slowfast.engine.monitor import EvalMonitor, Position, Recorder, TrainMonitor
from slowfast.utils.logging import read_json_lines

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "losses_metrics.json").read_text())
TRAIN, VAL = GOLDEN["train_meter_records"], GOLDEN["val_meter_records"]
LOSSES, TOP1, TOP5, BATCHES = [1, 2, 4, 3], [50, 25, 75, 0], [10, 5, 15, 0], [2, 3, 4, 5]
OURS = {"data_wait", "global_step", "grad_norm", "skipped_steps"}
TIMES = {"dt", "dt_data", "dt_net", "data_wait", "eta", "gpu_mem", "RAM"}


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def monitor(folder: Path, clock=None, **settings) -> TrainMonitor:
    settings = {"log_period": 2, "steps_per_epoch": 4, "max_epoch": 3, **settings}
    return TrainMonitor(Recorder(folder / "metrics.jsonl"), **settings, clock=clock or Clock())


def golden_epoch(board: TrainMonitor, epoch: int) -> None:
    board.start_epoch(epoch)
    golden_steps(board, 0, 4)
    board.end_epoch()


def golden_steps(board: TrainMonitor, first: int, end: int) -> None:
    for step in range(first, end):
        board.data_ready()
        board.step(
            loss=torch.tensor(float(LOSSES[step])),
            top1_err=torch.tensor(float(TOP1[step])),
            top5_err=torch.tensor(float(TOP5[step])),
            grad_norm=torch.tensor(1.0),
            lr=(step + 1) / 100,
            batch_size=BATCHES[step],
        )


def without_times(records: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def one_step(board: TrainMonitor, loss=1.0, grad_norm=1.0, **more) -> dict | None:
    board.data_ready()
    return board.step(loss=loss, grad_norm=grad_norm, lr=0.1, batch_size=1, **more)


# -- training --------------------


def test_training_records_of_the_reference(tmp_path):
    golden_epoch(monitor(tmp_path), 1)
    records = read_json_lines(tmp_path / "metrics.jsonl")
    assert [record["_type"] for record in records] == ["train_iter", "train_iter", "train_epoch"]
    for record, expected in zip(records, TRAIN["values"], strict=True):
        assert set(record) == set(TRAIN["keys"][record["_type"]]) | OURS
        for key, value in expected.items():
            assert record[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    assert [record["global_step"] for record in records] == [6, 8, 8]


def test_several_labels_have_no_errors_to_report(tmp_path):
    board = monitor(tmp_path)
    board.start_epoch(0)
    one_step(board)
    assert "top1_err" not in one_step(board)


def test_times_and_share_of_waiting(tmp_path):
    clock = Clock()
    board = monitor(tmp_path, clock)
    board.start_epoch(0)
    for wait, work in [(1.0, 3.0), (0.0, 4.0)]:
        clock.seconds += wait
        board.data_ready()
        clock.seconds += work
        record = board.step(loss=1.0, grad_norm=1.0, lr=0.1, batch_size=1)
    assert (record["dt"], record["dt_data"], record["dt_net"]) == (4.0, 0.5, 3.5)
    assert record["data_wait"] == 0.125
    assert record["eta"] == "0:00:40"  # 2 of 12 steps are done


def test_an_epoch_that_goes_on_in_its_middle_records_what_a_whole_one_does(tmp_path):
    for name in ("whole", "1", "2", "3"):
        (tmp_path / name).mkdir()
    golden_epoch(monitor(tmp_path / "whole"), 1)
    expected = read_json_lines(tmp_path / "whole" / "metrics.jsonl")
    for stop in (1, 2, 3):
        folder = tmp_path / str(stop)
        first = monitor(folder)
        first.start_epoch(1)
        golden_steps(first, 0, stop)
        state = pickle.loads(pickle.dumps(first.state()))
        second = monitor(folder)
        second.start_epoch(1, state)
        golden_steps(second, stop, 4)
        second.end_epoch()
        assert without_times(read_json_lines(folder / "metrics.jsonl")) == without_times(expected), stop


def test_measures_that_a_run_does_not_have_and_skipped_steps_survive_a_state(tmp_path):
    board = monitor(tmp_path)
    board.start_epoch(0)
    one_step(board, torch.tensor(math.nan), torch.tensor(math.nan))
    state = board.state()
    assert state["top1_err"] is None and math.isnan(state["loss"][0])
    again = monitor(tmp_path)
    again.start_epoch(0, state)
    record = one_step(again, 3.0)
    assert (record["skipped_steps"], record["loss"]) == (1, 3.0) and "top1_err" not in record


@pytest.mark.parametrize(
    ("position", "kept"),
    [
        (Position(0), ["test"]),
        (Position(2), ["iter 2", "test"]),
        (Position(4, validated=False), ["iter 2", "iter 4", "train 4", "test"]),
        (Position(4), ["iter 2", "iter 4", "train 4", "val 4", "test"]),
        (Position(9), ["iter 2", "iter 4", "train 4", "val 4", "iter 6", "test"]),
    ],
)
def test_records_after_the_place_where_a_run_goes_on_are_taken_out(tmp_path, position, kept):
    path = tmp_path / "metrics.jsonl"
    kinds = {"iter": "train_iter", "train": "train_epoch", "val": "val_epoch"}
    lines = ["iter 2", "iter 4", "train 4", "val 4", "iter 6"]
    records = [{"_type": kinds[line.split()[0]], "global_step": int(line.split()[1])} for line in lines]
    written = {line: json.dumps(record) for line, record in zip(lines, records, strict=True)}
    written["test"] = json.dumps({"split": "test_final", "top1_acc": "50.00"})
    path.write_text("\n".join(written.values()) + '\n{"_type": "train_it')  # as a kill may leave it
    Recorder(path, position=position)
    assert path.read_text() == "".join(f"{written[line]}\n" for line in kept)


def test_lines_of_others_do_not_stand_in_the_way(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = ['{"global_step": 1}', '{"_type": 3, "global_step": 1}', '{"_type": "mine", "global_step": "x"}']
    path.write_text("".join(f"{line}\n" for line in [*lines, '{"global_step": 9}', "[1]"]))
    Recorder(path, position=Position(1))
    assert path.read_text().splitlines() == lines


def test_points_of_tensorboard_after_that_place_are_hidden(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first = Recorder(tmp_path / "m.jsonl", tmp_path / "board")
    for step in (1, 2, 3):
        first.scalars({"loss": float(step)}, step)
    first.scalars({"val": 1.0}, 2)
    first.close()
    for validated, hidden in ((True, 3), (False, 2)):
        # Files are read in the order of their names, which begin with the second of their start.
        for number, path in enumerate(sorted((tmp_path / "board").iterdir())):
            path.rename(path.with_name(f"events.out.tfevents.{number:010d}"))
        again = Recorder(tmp_path / "m.jsonl", tmp_path / "board", position=Position(2, validated))
        again.close()
        events = EventAccumulator(str(tmp_path / "board")).Reload()
        assert [event.step for event in events.Scalars("loss")] == list(range(1, hidden))
        assert len(events.Scalars("val")) == validated


def test_steps_after_the_last_period_enter_the_epoch(tmp_path):
    board = monitor(tmp_path, log_period=10)
    board.start_epoch(0)
    for loss in (1.0, 2.0, 6.0):
        assert one_step(board, loss) is None
    assert board.end_epoch()["loss"] == 3.0


def test_skipped_steps_are_counted_and_enter_no_mean(tmp_path):
    board = monitor(tmp_path)
    board.start_epoch(0)
    one_step(board, 2.0)
    record = one_step(board, torch.tensor(math.nan), torch.tensor(math.nan))
    assert (record["skipped_steps"], record["loss"], record["grad_norm"]) == (1, 2.0, 1.0)
    for _ in range(2):
        record = one_step(board, 9.0, torch.tensor(math.inf))
    assert (record["skipped_steps"], record["loss"]) == (3, None)
    epoch = board.end_epoch()
    assert (epoch["skipped_steps"], epoch["loss"]) == (3, 2.0)


def test_device_is_read_once_per_period(tmp_path, monkeypatch):
    reads = []
    for name in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def spy(self, *arguments, _name=name, _original=original):
            reads.append(_name)
            return _original(self, *arguments)

        monkeypatch.setattr(torch.Tensor, name, spy)
    board = monitor(tmp_path, log_period=3, steps_per_epoch=7)
    board.start_epoch(0)
    counts = []
    for _ in range(7):
        one_step(board, torch.tensor(1.0), torch.tensor(1.0), top1_err=torch.tensor(2.0))
        counts.append(len(reads))
    assert counts == [0, 0, 1, 1, 1, 2, 2]
    board.end_epoch()
    assert reads == ["tolist"] * 3


def test_processes_that_are_not_main_write_nothing(tmp_path, caplog):
    recorder = Recorder(tmp_path / "metrics.jsonl", tmp_path / "board", is_main=False)
    board = TrainMonitor(recorder, log_period=1, steps_per_epoch=1, max_epoch=1)
    board.start_epoch(0)
    with caplog.at_level(logging.INFO):
        assert one_step(board)["loss"] == 1.0
    board.end_epoch()
    recorder.close()
    assert list(tmp_path.iterdir()) == []
    assert caplog.text == ""


def test_log_lines_for_people(tmp_path, caplog):
    board = monitor(tmp_path, log_period=1)
    board.start_epoch(0)
    with caplog.at_level(logging.INFO):
        one_step(board, 1.23456789)
    assert "train_iter: epoch 1/3, " in caplog.text
    assert ", loss 1.2346, " in caplog.text


def test_terminal_gets_a_bar_and_no_line_for_each_period(tmp_path, monkeypatch, caplog):
    class Terminal:
        encoding = "utf-8"

        def __init__(self):
            self.text = ""

        def isatty(self):
            return True

        def write(self, text):
            self.text += text

        def flush(self):
            pass

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    board = monitor(tmp_path, log_period=1)
    board.start_epoch(0)
    with caplog.at_level(logging.INFO):
        one_step(board, 0.5)
        one_step(board, 0.5)
        board.end_epoch()
    assert "epoch 1/3" in terminal.text
    assert [getattr(record, "file_only", False) for record in caplog.records] == [True, True, False]


def test_tensorboard_has_every_step_and_every_validation(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recorder = Recorder(tmp_path / "metrics.jsonl", tmp_path / "board")
    board = TrainMonitor(recorder, log_period=2, steps_per_epoch=4, max_epoch=3, clock=Clock())
    golden_epoch(board, 1)
    val = EvalMonitor(recorder, "val", log_period=1, max_epoch=3)
    val.start(1, 1, global_step=8)
    val.end({"top1_err": 40.0, "top5_err": 7.0})
    recorder.close()
    events = accumulator.EventAccumulator(str(tmp_path / "board")).Reload()
    curves = {
        tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }
    assert curves["Train/loss"] == [(5, 1.0), (6, 2.0), (7, 4.0), (8, 3.0)]
    assert curves["Val/Top1_err"] == [(8, 40.0)]
    train = {"loss", "lr", "Top1_err", "Top5_err", "data_wait", "grad_norm"}
    assert set(curves) == {f"Train/{name}" for name in train} | {"Val/Top1_err", "Val/Top5_err"}


# -- validation and test --------------------


def test_validation_records_of_the_reference(tmp_path):
    val = EvalMonitor(Recorder(tmp_path / "metrics.jsonl"), "val", log_period=2, max_epoch=3, clock=Clock())
    for epoch, factor in [(0, 1), (1, 2)]:
        val.start(4, epoch)
        for top1, top5 in zip(TOP1, TOP5, strict=True):
            val.step(top1_err=float(factor * top1), top5_err=float(top5))
        # What the evaluator would find over all samples: errors weighted by the batch sizes 2, 3, 4, 5.
        val.end({"top1_err": factor * 475 / 14, "top5_err": 95 / 14})
    records = read_json_lines(tmp_path / "metrics.jsonl")
    for record, expected in zip(records, VAL["values"], strict=True):
        assert set(record) == {*VAL["keys"][record["_type"]], "global_step"}
        for key, value in expected.items():
            assert record[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)


def test_best_errors_can_be_restored(tmp_path):
    val = EvalMonitor(Recorder(tmp_path / "metrics.jsonl"), "val", log_period=2)
    val.best = {"min_top1_err": 20.0, "min_top5_err": 9.0}
    val.start(1)
    record = val.end({"top1_err": 30.0, "top5_err": 5.0})
    assert (record["min_top1_err"], record["min_top5_err"]) == (20.0, 5.0)


def test_test_records(tmp_path):
    clock = Clock()
    test = EvalMonitor(Recorder(tmp_path / "metrics.jsonl"), "test", log_period=2, clock=clock)
    test.start(12)
    for _ in range(2):
        clock.seconds += 2.0
        record = test.step(4)
    assert record["split"] == "test_iter"
    assert (record["cur_iter"], record["time_diff"], record["eta"]) == ("8/12", 2.0, "0:00:02")
    assert test.end({"top1_err": 33.3333, "top5_err": 0.0}) == {
        "split": "test_final",
        "top1_acc": "66.67",
        "top5_acc": "100.00",
    }
    assert test.end({"map": 0.5}) == {"split": "test_final", "map": 0.5}
