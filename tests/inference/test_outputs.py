"""Lines of predictions, whole."""

import csv
import io
import json

import numpy as np
import torch

from slowfast.inference.live import LivePrediction
from slowfast.inference.outputs import FORMATS, Csv, JsonLines, Table
from slowfast.inference.prediction import Prediction, Span
from slowfast.inference.timeline import Segment, Timeline

NAMES = ("rest", "wave, both hands", "nod")
FOUND = Prediction(NAMES, torch.zeros(3), torch.tensor([0.25, 0.7, 0.05]), (1, 0, 2), 6)
CUT = Prediction(NAMES, torch.zeros(3), torch.tensor([0.25, 0.7, 0.05]), (1, 0, 2), 6, "the end is missing")
ROWS = np.array([[0.25, 0.7, 0.05], [0.6, 0.3, 0.1]], dtype=np.float32)
LONG = Timeline(
    NAMES,
    (Span(0, 64, 0.0, 2.56), Span(32, 96, 1.28, 3661.0)),
    ROWS,
    ROWS,
    (Segment(Span(0, 48, 0.0, 1.92), 1, NAMES[1], 0.7), Segment(Span(48, 96, 1.92, 3661.0), 0, "rest", 0.6)),
)
LIVE = LivePrediction(Span(8, 16, 0.8, 1.5), FOUND, 0.1234, 12)


def test_the_table_lines_up():
    lines = Table(NAMES, 2)
    text = (
        lines.videos_begin(["a.mp4", "long/b.mp4"])
        + lines.video("a.mp4", FOUND)
        + lines.video("long/b.mp4", CUT)
    )
    text += lines.unreadable("c.mp4", "empty file")
    assert text.splitlines() == [
        "video       class             probability",
        "a.mp4       wave, both hands        70.0%",
        "            rest                    25.0%",
        "long/b.mp4  wave, both hands        70.0%",
        "            rest                    25.0%",
        "            (the end is missing)",
        "c.mp4       cannot be read: empty file",
    ]


def test_the_table_of_a_timeline_has_its_segments():
    lines = Table(NAMES, 2)
    assert (lines.timelines_begin() + lines.timeline("a.mp4", LONG)).splitlines() == [
        "a.mp4",
        "       start         end  class             mean probability",
        "     0:00.00     0:01.92  wave, both hands             70.0%",
        "     0:01.92  1:01:01.00  rest                         60.0%",
    ]


def test_frames_stand_for_times_that_nobody_knows():
    segment = Segment(Span(0, 48), 0, "rest", 0.5)
    found = Timeline(NAMES, (Span(0, 48),), ROWS[:1], ROWS[:1], (segment,), "cut off")
    assert Table(NAMES, 2).timeline("a", found).splitlines()[2:] == [
        "     frame 0    frame 48  rest                         50.0%",
        "  (cut off)",
    ]


def test_live_lines():
    lines = Table(NAMES, 2)
    assert (lines.live_begin() + lines.live(LIVE)).splitlines() == [
        "      time  class             probability  latency  dropped frames",
        "   0:01.50  wave, both hands        70.0%    0.12s              12",
    ]
    assert json.loads(JsonLines(NAMES, 1).live(LIVE)) == {
        "start_frame": 8, "end_frame": 16, "start_seconds": 0.8, "end_seconds": 1.5, "num_views": 6,
        "top": [{"class": "wave, both hands", "number": 1, "probability": 0.7}],
        "latency_seconds": 0.123, "dropped_frames": 12,
    }  # fmt: skip


def test_json_lines():
    lines = JsonLines(NAMES, 1)
    assert json.loads(lines.videos_begin(["a"]) + lines.video("a.mp4", CUT)) == {
        "video": "a.mp4", "top": [{"class": "wave, both hands", "number": 1, "probability": 0.7}], "num_views": 6,
        "damage": "the end is missing",
    }  # fmt: skip
    assert json.loads(lines.unreadable("c.mp4", "empty file")) == {"video": "c.mp4", "error": "empty file"}
    found = [json.loads(line) for line in (lines.timelines_begin() + lines.timeline("a", LONG)).splitlines()]
    assert [line["kind"] for line in found] == ["window", "window", "segment", "segment"]
    assert (
        found[1]["top"] == [{"class": "rest", "number": 0, "probability": 0.6}]
        and found[1]["end_seconds"] == 3661.0
    )
    assert found[2] == {
        "video": "a", "kind": "segment", "start_frame": 0, "end_frame": 48, "start_seconds": 0.0, "end_seconds": 1.92,
        "class": "wave, both hands", "number": 1, "probability": 0.7,
    }  # fmt: skip


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv():
    lines = Csv(NAMES, 5)
    good, bad = rows(
        lines.videos_begin([]) + lines.video("a,b.mp4", FOUND) + lines.unreadable("c.mp4", "empty file")
    )
    assert good == {
        "path": "a,b.mp4", "top1_name": "wave, both hands", "top1_prob": "0.700000", "top2_name": "rest",
        "top2_prob": "0.250000", "top3_name": "nod", "top3_prob": "0.050000", "num_views": "6", "damage": "",
        "error": "",
    }  # fmt: skip
    assert bad["path"] == "c.mp4" and bad["error"] == "empty file" and bad["top1_name"] == ""
    window, _, segment, _ = rows(lines.timelines_begin() + lines.timeline("a", LONG))
    assert (window["kind"], window["end_seconds"], window["top2_name"]) == ("window", "2.56", "rest")
    assert (segment["kind"], segment["top1_prob"], segment["top2_name"]) == ("segment", "0.700000", "")
    (live,) = rows(lines.live_begin() + lines.live(LIVE))
    assert (live["latency_seconds"], live["dropped_frames"], live["start_frame"]) == ("0.123", "12", "8")


def test_formats_are_those_of_the_command():
    from slowfast.commands.predict import _FORMATS

    assert tuple(FORMATS) == _FORMATS
