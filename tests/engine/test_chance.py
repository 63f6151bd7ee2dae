"""The warning for weights that score like guessing."""

import itertools
import json

import pytest
import torch

from slowfast.engine import chance, partial
from slowfast.engine.chance import ChanceWatch, complaint, lower_tail
from slowfast.engine.test import test as run_test
from slowfast.models.build import build_model
from slowfast.utils import checkpoint

LABELS = [number % 100 for number in range(500)]


def with_hits(count, labels=LABELS):
    return [label if number < count else label + 1 for number, label in enumerate(labels)]


def test_three_times_chance_is_the_limit():  # 3 % of 500 are 15
    assert complaint(with_hits(15), LABELS, 100) == ""
    said = complaint(with_hits(14), LABELS, 100)
    assert "top-1 is 2.80 % over the first 500 videos, below 3 times chance (3.00 %)" in said
    assert "not alphabetical" in said and "REVERSE_INPUT_CHANNEL" in said


def test_the_lower_tail_is_binomial():
    assert lower_tail(0, 10, 0.5) == pytest.approx(1 / 1024)
    assert lower_tail(2, 10, 0.5) == pytest.approx((1 + 10 + 45) / 1024)
    assert lower_tail(10, 10, 0.3) == pytest.approx(1.0)
    assert lower_tail(499, 500, 0.15) == pytest.approx(1.0)


@pytest.mark.parametrize(("num_classes", "enough"), [(20, 29), (24, 35), (100, 152), (174, 265)])
def test_a_short_list_is_judged_from_where_no_hit_at_all_is_improbable(num_classes, enough):
    for count in (2, enough - 1, enough):  # (1 - 3 / num_classes) ** count falls below 0.01
        labels = [number % num_classes for number in range(count)]
        wrong = [(label + 1) % num_classes for label in labels]
        assert bool(complaint(wrong, labels, num_classes)) == (count >= enough)


def test_few_hits_of_a_short_list_are_judged_by_their_probability():
    labels = [number % 20 for number in range(100)]  # at 15 %: at most 6 hits 0.5 %, at most 7 hits 1.2 %
    assert lower_tail(6, 100, 0.15) == pytest.approx(0.0047, abs=1e-4)
    assert lower_tail(7, 100, 0.15) == pytest.approx(0.0122, abs=1e-4)
    assert complaint(with_hits(6, labels), labels, 20) and not complaint(with_hits(7, labels), labels, 20)


def test_500_videos_are_judged_by_three_times_chance_alone():
    labels = [number % 400 for number in range(500)]  # 3 hits or fewer have a probability of 48 % at 0.75 %
    assert lower_tail(3, 500, 3 / 400) > 0.4
    assert complaint(with_hits(3, labels), labels, 400) and not complaint(with_hits(4, labels), labels, 400)
    assert not complaint(with_hits(0, labels[:499]), labels[:499], 400)


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
    text = (debug_data / "test.csv").read_text()
    (lists / "test.csv").write_text(text)
    words = ["MODEL.NUM_CLASSES", "24", "DATA.PATH_TO_DATA_DIR", str(lists), "TEST.CHECKPOINT_FILE_PATH"]
    cfg = debug_cfg(*words, str(tmp_path / "weights.pyth"))
    model = build_model(cfg)
    model.head.bias.data[20] = 100.0  # a class that no video has
    checkpoint.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    assert run_test(cfg)["warnings"] == []  # none of 16 has a probability of 12 % at three times chance
    (lists / "test.csv").write_text(text * 3)
    (said,) = run_test(cfg)["warnings"]
    assert "top-1 is 0.00 % over the first 48 videos" in said
    assert json.loads((tmp_path / "run" / "results.json").read_text())["warnings"] == [said]
    assert said in (tmp_path / "run" / "log.txt").read_text()
    model.head.bias.data[20], model.head.bias.data[0] = 0.0, 100.0  # right for one of eight
    checkpoint.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    assert run_test(cfg)["warnings"] == []
