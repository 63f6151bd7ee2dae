"""Log files and JSON lines."""

import io
import json
import logging as standard

import pytest

from slowfast.utils import logging


@pytest.fixture(autouse=True)
def restore():
    yield
    logging.setup(None, is_main=False)


def test_main_writes_to_console_and_file_once(tmp_path, capsys):
    for _ in range(2):  # training and testing set up in turn
        logging.setup(tmp_path / "out", is_main=True)
    logging.get_logger("slowfast.engine.train").info("loss %.1f", 0.5)
    printed = capsys.readouterr().out
    assert printed.count("loss 0.5") == 1
    assert "[INFO] slowfast.engine.train: loss 0.5" in printed
    assert (tmp_path / "out" / "log.txt").read_text() == printed


def test_file_is_continued(tmp_path, capsys):
    for word in ("first", "second"):
        logging.setup(tmp_path, is_main=True)
        logging.get_logger("x").info(word)
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "second"]


def test_other_processes_are_silent(tmp_path, capsys):
    logging.setup(tmp_path, is_main=False)
    logging.get_logger("x").warning("hidden")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert list(tmp_path.iterdir()) == []


def test_file_only_records_spare_the_console(tmp_path, capsys):
    logging.setup(tmp_path, is_main=True)
    logging.get_logger("x").info("detail", extra={"file_only": True})
    assert capsys.readouterr().out == ""
    assert "detail" in (tmp_path / "log.txt").read_text()


def test_names_that_are_not_utf8_can_be_logged(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="replace"))
    logging.setup(tmp_path, is_main=True)
    logging.get_logger("x").info("video %s", "caf\udce9.mp4")
    assert r"caf\udce9.mp4" in (tmp_path / "log.txt").read_text()


def test_loggers_live_below_the_package():
    assert logging.get_logger("slowfast.utils.x").name == "slowfast.utils.x"
    assert logging.get_logger("mine").name == "slowfast.mine"
    assert logging.get_logger("slowfast").name == "slowfast"


def test_json_lines_keep_digits_and_sort_keys(tmp_path):
    path = tmp_path / "metrics.jsonl"
    logging.append_json_line(path, {"lr": 1e-6, "_type": "train_iter", "loss": 1.23456789})
    logging.append_json_line(path, {"loss": float("nan"), "more": [float("inf"), {"x": 1}]})
    assert path.read_text() == (
        '{"_type": "train_iter", "loss": 1.23456789, "lr": 1e-06}\n{"loss": null, "more": [null, {"x": 1}]}\n'
    )
    assert logging.read_json_lines(path)[0]["lr"] == 1e-6


def test_cut_line_is_ignored_and_does_not_spoil_the_next(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": 2, "lo')
    with caplog.at_level(standard.WARNING):
        assert logging.read_json_lines(path) == [{"a": 1}]
    assert f"{path}:2: line ignored" in caplog.text
    logging.append_json_line(path, {"a": 3})
    assert logging.read_json_lines(path) == [{"a": 1}, {"a": 3}]
    assert json.loads(path.read_text().splitlines()[-1]) == {"a": 3}
