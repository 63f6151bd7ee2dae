"""The warning for weights that score like guessing."""

import itertools
import json

import pytest
import torch

from slowfast.engine import chance, partial
from slowfast.engine.chance import ChanceWatch, complaint
from slowfast.engine.test import test as run_test
from slowfast.models.build import build_model
from slowfast.utils import checkpoint

LABELS = [number % 100 for number in range(200)]


def with_hits(count, labels=LABELS):
    return [label if number < count else label + 1 for number, label in enumerate(labels)]


def test_three_times_chance_is_the_limit():  # 3 % of 200 are 6
    assert complaint(with_hits(6), LABELS, 100) == ""
    said = complaint(with_hits(5), LABELS, 100)
    assert "top-1 is 2.50 % over the first 200 videos, below 3 times chance (3.00 %)" in said
    assert "not alphabetical" in said and "REVERSE_INPUT_CHANNEL" in said


@pytest.mark.parametrize(("labels", "num_classes"), [([0, 1] * 50, 8), ([0] * 100, 100)])
def test_few_classes_and_labels_that_say_nothing_are_left_alone(labels, num_classes):
    assert complaint([7] * 100, labels, num_classes) == ""


@pytest.mark.parametrize(("right", "warnings"), [(True, 0), (False, 1)])
def test_a_test_is_watched_for_its_first_500_videos_and_warned_of_once(right, warnings):
    said = []
    watch = ChanceWatch(100, said.append)
    for start in range(0, 800, 20):
        labels = torch.arange(start, start + 20) % 100
        logits = torch.eye(100)[labels if right else (labels + 1) % 100]
        watch.see(logits, labels)
        assert len(said) == (warnings if start >= 480 else 0)
    watch.see(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))


def test_a_test_that_goes_on_is_watched_from_its_first_video(debug_cfg, tmp_path, monkeypatch):
    cfg = debug_cfg("MODEL.NUM_CLASSES", "24", "TEST.RESUME", "True", "TEST.CHECKPOINT_FILE_PATH",
                    str(tmp_path / "weights.pyth"), "DATA.CLASS_NAMES_PATH", str(tmp_path / "classes.txt"))  # fmt: skip
    (tmp_path / "classes.txt").write_text("".join(f"class {number}\n" for number in range(24)))
    model = build_model(cfg)
    model.head.bias.data[20] = 100.0  # a class that no video has
    checkpoint.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    monkeypatch.setattr(chance, "NUM_VIDEOS", 16)  # all of them
    monkeypatch.setattr(partial, "SECONDS", 0.0)
    with monkeypatch.context() as stopping:
        add, calls = partial.PartialSink.add, itertools.count()

        def add_twice(*args):
            if next(calls) == 2:
                raise InterruptedError
            add(*args)

        stopping.setattr(partial.PartialSink, "add", add_twice)
        with pytest.raises(InterruptedError):
            run_test(cfg)
    log = tmp_path / "run" / "log.txt"
    assert "over the first" not in log.read_text()
    (said,) = run_test(cfg)["warnings"]
    assert "videos were scored by an earlier run" in log.read_text()
    # said while the test ran, and again at its end
    assert log.read_text().count(said) == 2


def test_a_whole_test_that_scores_like_guessing_says_so(debug_cfg, debug_data, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "test.csv").write_text((debug_data / "test.csv").read_text())
    words = ["MODEL.NUM_CLASSES", "24", "DATA.PATH_TO_DATA_DIR", str(lists), "TEST.CHECKPOINT_FILE_PATH"]
    cfg = debug_cfg(*words, str(tmp_path / "weights.pyth"))
    model = build_model(cfg)
    model.head.bias.data[20] = 100.0  # a class that no video has
    checkpoint.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    (said,) = run_test(cfg)["warnings"]
    assert "top-1 is 0.00 % over the first 16 videos" in said
    assert json.loads((tmp_path / "run" / "results.json").read_text())["warnings"] == [said]
    assert said in (tmp_path / "run" / "log.txt").read_text()
    model.head.bias.data[20], model.head.bias.data[0] = 0.0, 100.0  # right for two of 16
    checkpoint.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    assert run_test(cfg)["warnings"] == []
