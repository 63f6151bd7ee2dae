"""Scores kept while a test runs: which are taken up again, and which are not."""

import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from slowfast.datasets.annotations import read_list
from slowfast.datasets.orders import EvalOrder
from slowfast.datasets.video_dataset import ItemReport
from slowfast.engine import evaluator, partial
from slowfast.engine.evaluator import Records
from slowfast.engine.partial import PartialSink, fingerprint
from slowfast.engine.test import test as run_test
from slowfast.models.build import build_model
from slowfast.utils import checkpoint, stopping

K = 3
FACTS = {"weights": "a", "list": "b", "TEST": "c"}


def scores(*videos):
    """Two views of each video, with logits that tell which."""
    ids, views = np.repeat(videos, 2), np.tile([0, 1], len(videos))
    logits = (ids[:, None] * 10 + views[:, None] + np.arange(K)).astype(np.float32)
    return Records(ids.astype(np.int64), views.astype(np.int64), logits)


def reports(*videos):
    return [ItemReport(video, video, damage="cut" if video == 2 else "") for video in videos]


def unreadable(video):
    return ItemReport(video, -1, ((video, "no such file"),))


@pytest.fixture
def sink(tmp_path):
    """A function from facts to a sink that writes a part every 10 seconds of a clock that goes 6 a reading."""
    ticks = iter(range(0, 10_000, 6))
    return lambda facts=FACTS: PartialSink(K, tmp_path, facts, clock=lambda: next(ticks))


def parts(tmp_path):
    return sorted(path.name for path in tmp_path.glob(f"{partial.FOLDER}/*/part-*.npz"))


def test_what_was_written_is_taken_up_and_the_rest_scored_again(sink, tmp_path):
    first = sink()
    assert first.done == frozenset()
    first.add(scores(0, 1), reports(0, 1))
    assert parts(tmp_path) == []  # too early for a part
    first.add(scores(2, 3), reports(2, 3))
    first.add(scores(4), reports(4))  # lost with the process
    assert parts(tmp_path) == ["part-0000-000000.npz"]
    again = sink()
    assert again.done == {0, 1, 2, 3}
    again.add(scores(4), reports(4))
    whole = again.gather()
    expected = scores(0, 1, 2, 3, 4)
    for name in ("video_ids", "view_ids", "logits"):
        assert np.array_equal(getattr(whole.records, name), getattr(expected, name))
    assert whole.damaged == [(2, "cut")] and whole.unreadable == []


def test_a_second_stop_adds_parts_and_overwrites_none(sink, tmp_path):
    for video in (0, 1):
        one = sink()
        one.add(scores(video), reports(video))
        one.add(scores(), [])
    assert parts(tmp_path) == ["part-0000-000000.npz", "part-0000-000001.npz"]
    assert sink().done == {0, 1}


def test_what_is_kept_at_once_costs_nothing_if_the_run_stops(sink, tmp_path):
    first = sink()
    first.keep()
    assert parts(tmp_path) == []  # nothing to keep
    first.add(scores(0), reports(0))
    first.keep()
    assert sink().done == {0}


@pytest.mark.parametrize(
    ("resume", "said", "scored_before"),
    [
        ("True", "stopped by SIGTERM in the test, with the scores so far kept; give the same command to go on", True),
        ("False", "stopped by SIGTERM in the test (TEST.RESUME is False: it will begin anew); give the same", False),
    ],
)
def test_a_signal_in_a_test_keeps_the_scores_where_it_may(
    debug_cfg, tmp_path, monkeypatch, caplog, resume, said, scored_before
):
    weights = tmp_path / "weights.pyth"
    cfg = debug_cfg("TEST.RESUME", resume, "TEST.CHECKPOINT_FILE_PATH", str(weights))
    checkpoint.save({"model_state": build_model(cfg).state_dict()}, weights)
    whole = run_test(cfg)
    (tmp_path / "run" / "predictions.csv").rename(tmp_path / "expected.csv")
    add = evaluator.RecordSink.add
    with monkeypatch.context() as patched, stopping.heeded(), pytest.raises(stopping.Stopped) as stopped:
        patched.setattr(
            evaluator.RecordSink, "add", lambda *args: (add(*args), os.kill(os.getpid(), signal.SIGTERM))
        )
        run_test(cfg)
    assert str(stopped.value).startswith(said) and stopped.value.status == 75
    assert bool(parts(tmp_path / "run")) == scored_before
    caplog.clear()
    with caplog.at_level("INFO", "slowfast"):
        assert run_test(cfg)["video"] == whole["video"]
    assert ("were scored by an earlier run" in caplog.text) == scored_before
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def test_an_unreadable_video_is_tried_again(sink):
    first = sink()
    first.add(scores(0), [*reports(0), unreadable(1)])
    first.add(scores(), [])
    again = sink()
    assert again.done == {0}
    again.add(scores(0, 1), reports(0, 1))  # its group came again, and now it can be read
    whole = again.gather()
    assert whole.unreadable == [] and len(whole.records) == 4


def test_scores_of_another_test_are_not_used_and_it_is_said(sink, caplog):
    first = sink()
    first.add(scores(0), reports(0))
    first.add(scores(), [])
    with caplog.at_level("WARNING", "slowfast"):
        assert sink(FACTS | {"weights": "other", "TEST": "other"}).done == frozenset()
    assert "are of another test and not used: it differs in weights, TEST" in caplog.text


def test_a_damaged_part_is_passed_over_and_said(sink, tmp_path, caplog):
    first = sink()
    for video in (0, 1, 2, 3):
        first.add(scores(video), reports(video))
    (path, *_) = tmp_path.glob(f"{partial.FOLDER}/*/part-*.npz")
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level("WARNING", "slowfast"):
        assert sink().done < {0, 1, 2, 3}
    assert "part passed over" in caplog.text


def test_nothing_is_left_after_the_end(sink, tmp_path):
    one = sink()
    assert json.loads(next(tmp_path.glob(f"{partial.FOLDER}/*/test.json")).read_text()) == FACTS
    one.remove()
    assert list(tmp_path.iterdir()) == []


def test_parts_of_other_processes_and_tests_are_deleted_as_well(tmp_path, monkeypatch):
    """As a run of four processes leaves them on a disk that all see, before one process ends the test."""
    monkeypatch.setattr(partial, "SECONDS", 0.0)
    for rank, facts in ((0, FACTS), (3, FACTS), (2, FACTS | {"views per batch": "other"})):
        monkeypatch.setattr(partial.distributed, "rank", lambda rank=rank: rank)
        PartialSink(K, tmp_path, facts).add(scores(rank), reports(rank))
    assert parts(tmp_path) == ["part-0000-000000.npz", "part-0002-000000.npz", "part-0003-000001.npz"]
    monkeypatch.setattr(partial.distributed, "rank", lambda: 0)
    last = PartialSink(K, tmp_path, FACTS)
    assert last.done == {0, 3}
    last.remove()
    assert list(tmp_path.iterdir()) == []


def test_first_views_of_what_was_taken_up_can_be_looked_at(sink):
    first = sink()
    assert len(first.taken_up()) == 0
    for video in (4, 1):
        first.add(scores(video), reports(video))
    taken = sink().taken_up()
    assert taken.video_ids.tolist() == [1, 4] and taken.view_ids.tolist() == [0, 0]
    assert taken.logits.tolist() == [[10, 11, 12], [40, 41, 42]]


class Listed:
    """A data set from outside, which has no table."""

    def __init__(self, *entries):
        self.entries = entries

    def __len__(self):
        return len(self.entries)

    def name(self, index):
        return self.entries[index][0]

    def label(self, index):
        return self.entries[index][1]


def test_a_fingerprint_changes_with_what_scores_follow_from():
    def model(value=0.5):
        layer = torch.nn.BatchNorm1d(2)
        torch.nn.init.constant_(layer.bias, value)
        return layer

    listed = Listed(("a.mp4", 0), ("b.mp4", 1))
    base = fingerprint(model(), listed, {"TEST": {"crops": 3}})
    assert base == fingerprint(model(), Listed(*listed.entries), {"TEST": {"crops": 3}})
    for other, differing in (
        (fingerprint(model(0.6), listed, {"TEST": {"crops": 3}}), "weights"),
        (fingerprint(model(), Listed(("a.mp4", 0), ("b.mp4", 0)), {"TEST": {"crops": 3}}), "list"),
        (fingerprint(model(), listed, {"TEST": {"crops": 1}}), "TEST"),
    ):
        assert [name for name in base if base[name] != other[name]] == [differing]


def test_the_list_of_a_fingerprint_is_that_of_the_table(tmp_path):
    def digest(text, **options):
        path = tmp_path / "list.csv"
        path.write_text(text)
        table = read_list(path, num_classes=9, **options)
        return fingerprint(torch.nn.Identity(), SimpleNamespace(table=table), {})["list"]

    base = digest("a.mp4 1\nb.mp4 2\n")
    assert digest("a.mp4,1\nb.mp4,2", prefix="elsewhere") == base
    others = [
        digest("a.mp4 1\nb.mp4 3\n"),
        digest("b.mp4 2\na.mp4 1\n"),
        digest("a.mp4b 1\n.mp4 2\n"),
        digest("a.mp4 1;2\nb.mp4 3\n", multi_label=True),
        digest("a.mp4 1\nb.mp4 2;3\n", multi_label=True),
        digest("a.mp4 30 1\nb.mp4 41 2\n", frame_folders=True),
        digest("a.mp4 30 1\nb.mp4 40 2\n", frame_folders=True),  # a corrected count is another test
    ]
    assert len({base, *others}) == 8


def test_groups_that_are_done_are_left_out_and_the_others_dealt():
    left = [EvalOrder(10, 2, rank, 2, frozenset({2, 3, 4, 8, 9})) for rank in (0, 1)]
    assert [list(order) for order in left] == [[[(0, 0), (0, 1)], [(0, 6), (0, 7)]], [[(0, 4), (0, 5)]]]
    assert [len(order) for order in left] == [2, 1]
