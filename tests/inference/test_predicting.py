"""The command `predict`, from words to lines."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from slowfast import cli
from slowfast.datasets.frames import open_video
from slowfast.datasets.video_writer import write_video
from slowfast.inference import live, predicting

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def predict(trained_run, capsys):
    """A function from words after the checkpoint to (exit status, stdout, stderr)."""

    def call(*words, checkpoint=trained_run / "best.pyth"):
        status = cli.main(["predict", str(checkpoint), *map(str, words)])
        return (status, *capsys.readouterr())

    return call


@pytest.fixture
def refused(predict):
    def call(*words, **kwargs):
        status, _, said = predict(*words, **kwargs)
        assert status == 2, said
        return said

    return call


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def clip(debug_data, trained_run):
    return debug_data / rows_of(trained_run / "predictions.csv")[0]["path"]


def test_a_list_gets_the_scores_that_the_test_of_the_run_gave(predict, trained_run, debug_data, tmp_path):
    out = tmp_path / "new" / "predictions.csv"
    status, shown, said = predict(debug_data / "test.csv", "--media", debug_data, "--out", out)
    assert (status, shown) == (0, "") and said == f"{out}: 16 of 16 videos predicted\n"
    expected, found = rows_of(trained_run / "predictions.csv"), rows_of(out)
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        assert row["num_views"] == "6"
        for place in range(1, 6):
            assert row[f"top{place}_name"] == wanted[f"top{place}_name"]
            assert float(row[f"top{place}_prob"]) == pytest.approx(
                float(wanted[f"top{place}_prob"]), abs=2e-5
            )


def test_one_video_is_a_table(predict, clip, monkeypatch):
    monkeypatch.chdir(clip.parent)
    status, shown, said = predict(clip.name, "--top", 2)
    header, best, second = shown.splitlines()
    assert status == 0 and said == "" and header.split() == ["video", "class", "probability"]
    assert (
        best.startswith(f"{clip.name}  ") and best.endswith("%") and second.startswith(" " * len(clip.name))
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--clips", 1, "--crops", 1],
        ["TEST.NUM_ENSEMBLE_VIEWS", 1, "TEST.NUM_SPATIAL_CROPS", 1],
        ["--opts", "TEST.NUM_ENSEMBLE_VIEWS", 1, "--crops", 1],
    ],
)
def test_views_may_be_others_than_those_of_the_test(predict, clip, words):
    status, shown, _ = predict(clip, "--format", "jsonl", *words)
    assert status == 0 and json.loads(shown)["num_views"] == 1


def test_videos_may_stand_between_options(predict, clip, tmp_path):
    other = tmp_path / "b.mp4"
    other.write_bytes(clip.read_bytes())
    _, shown, _ = predict(clip, "--top", 1, other, "--format", "jsonl", "TEST.NUM_SPATIAL_CROPS", 1)
    assert [json.loads(line)["video"] for line in shown.splitlines()] == [str(clip), str(other)]
    assert [json.loads(line)["num_views"] for line in shown.splitlines()] == [2, 2]


def test_a_video_that_cannot_be_read_is_named_and_the_others_are_predicted(predict, clip, tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "b.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "c.mp4").write_bytes(b"no video at all" * 100)
    status, shown, said = predict(tmp_path, "--format", "jsonl")
    a, b, c = map(json.loads, shown.splitlines())
    assert status == 1 and said.splitlines()[-1] == "1 of 3 videos predicted, 2 could not be read"
    assert said.startswith(f"{tmp_path / 'a.mp4'}: cannot be read: empty file\n")
    assert a["error"] == "empty file" and "top" in b and "not a readable video" in c["error"]
    status, shown, said = predict(tmp_path, "--timeline")
    assert status == 1 and "2 could not be read" in said and shown.count("cannot be read: ") == 2


def test_a_file_that_is_not_finished_is_not_there(predict, clip, tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    out.write_text("before")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting.VideoClassifier, "score", interrupted)
    assert predict(clip, "--out", out)[0] == 130
    assert out.read_text() == "before"


@pytest.fixture(scope="session")
def long_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    write_video(path, np.random.default_rng(0).integers(0, 256, (57, 48, 64, 3), dtype=np.uint8), 10)
    return path


def test_a_timeline_tells_when_what_happens(predict, long_video, tmp_path):
    out = tmp_path / "timeline.csv"
    assert predict(long_video, "--timeline", "--out", out)[0] == 0
    rows = rows_of(out)
    windows = [row for row in rows if row["kind"] == "window"]
    segments = [row for row in rows if row["kind"] == "segment"]
    assert len(windows) == 9 and windows[1]["start_seconds"] == "0.6" and windows[1]["end_frame"] == "18"
    assert segments[0]["start_frame"] == "0" and segments[-1]["end_frame"] == "57"
    status, shown, _ = predict(long_video, "--window", "2", "--stride", "10f", "--smooth", 1)
    assert status == 0 and shown.startswith(f"{long_video}\n") and "0:00.00" in shown and "0:05.70" in shown


def test_the_overlay_shows_the_prediction(predict, long_video, tmp_path):
    for number, words in enumerate(([], ["--timeline"])):
        out = tmp_path / f"{number}.mp4"
        status, _, said = predict(long_video, "--overlay", out, *words)
        assert status == 0 and said == f"{out}: the video with its classes, without sound\n"
        with open_video(out) as drawn, open_video(long_video) as plain:
            assert drawn.num_frames == plain.num_frames == 57 and drawn.fps == 10
            frames, before = (reader.read([0, 56]).astype(int) for reader in (drawn, plain))
        assert (
            np.abs(frames[:, :30] - before[:, :30]).mean()
            < 0.5 * np.abs(frames[:, -6:] - before[:, -6:]).mean()
        )


def test_a_file_is_watched_as_if_it_were_a_camera(predict, long_video, monkeypatch):
    monkeypatch.setattr(live.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(live, "paced", lambda frames, fps: iter(frames))
    status, shown, said = predict(long_video, "--live", "--format", "jsonl", "--top", 1)
    found = [json.loads(line) for line in shown.splitlines()]
    assert status == 0 and found and all(one["end_frame"] - one["start_frame"] == 12 for one in found)
    assert f"{len(found)} window" in said and said.rstrip().endswith("dropped")
    assert all(one["latency_seconds"] >= 0 for one in found)


def test_watching_ends_with_an_interrupt_and_keeps_what_was_found(predict, long_video, tmp_path, monkeypatch):
    class Interrupted:
        def __init__(self, *args, **kwargs):
            pass

        def __iter__(self):
            raise KeyboardInterrupt

        def close(self):
            pass

    monkeypatch.setattr(live, "watch", Interrupted)
    out = tmp_path / "out.csv"
    status, _, said = predict(long_video, "--live", "--out", out)
    assert (
        status == 0
        and said.startswith(f"{out}: 0 windows scored")
        and out.read_text().startswith("start_frame,")
    )


def test_classes_may_be_named_by_a_file(predict, refused, clip, tmp_path):
    names = tmp_path / "classes.txt"
    names.write_text("".join(f"kind {number}\n" for number in range(8)))
    assert json.loads(predict(clip, "--classes", names, "--format", "jsonl")[1])["top"][0][
        "class"
    ].startswith("kind ")
    names.write_text("one\ntwo\n")
    assert "2 names, but the model has 8 classes" in refused(clip, "--classes", names)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.mp4"], "none.mp4: no such file or folder"),
        (["{clip}", "--top", "0"], "--top is 0; write 1 or more"),
        (["{clip}", "--jobs", "0"], "--jobs is 0; write 1 or more"),
        (["{clip}", "--clips", "-1"], "--clips is -1; write 1 or more"),
        (["{clip}", "--window", "fast"], "--window is 'fast'; write seconds"),
        (["{clip}", "--timeline", "--smooth", "2"], "--smooth is 2; write an odd number"),
        (["{clip}", "--smooth", "3"], "add --timeline, or leave it out"),
        (["{clip}", "--input-format", "v4l2"], "add --live, or leave them out"),
        (["{clip}", "{clip}", "--live"], "--live watches one camera or address, but 2 were given"),
        (["{clip}", "--live", "--overlay", "a.mp4"], "goes without --timeline and --overlay"),
        (["{clip}", "--live", "--smooth", "3"], "--smooth needs the windows that follow"),
        (["none.mp4", "--live"], "none.mp4: no such file"),
        (["tcp://127.0.0.1:1", "--live"], "tcp://127.0.0.1:1: not a readable video"),
        (["{clip}", "--live", "--input-option", "fast"], "--input-option is 'fast'; write NAME=VALUE"),
        (["{clip}", "--overlay", "a.gif"], "its name must end in .mp4"),
        (["{clip}", "--overlay", "{clip}"], "is the video itself: name another file"),
        (["{data}", "--overlay", "a.mp4"], "--overlay writes one video, but 48 are to be predicted"),
        (["rtsp://camera/1"], "add --live to watch it"),
        (["NUM_GPUS", "0"], "nothing to predict"),
        (["{clip}", "TEST.NUM_SPATIAL_CROPS"], "TEST.NUM_SPATIAL_CROPS"),
        (["{clip}", "TEST.NO_SUCH_KEY", "1"], "NO_SUCH_KEY"),
        (["{clip}", "--device", "gpu"], "write cpu, cuda or cuda:N"),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_what_to_write(
    refused, clip, debug_data, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*(word.format(clip=clip, data=debug_data) for word in words))
    assert list(tmp_path.iterdir()) == []


def test_words_in_the_wrong_order_are_told(refused, clip, trained_run):
    assert "is a video; the checkpoint stands first" in refused(trained_run / "best.pyth", checkpoint=clip)


def test_help_and_scripts_are_the_same_command():
    for words in (["-m", "slowfast.cli", "predict"], [str(ROOT / "tools" / "predict.py")]):
        done = subprocess.run([sys.executable, *words, "--help"], capture_output=True, text=True)
        assert (
            done.returncode == 0 and "slowfast predict runs/mine/best.pyth a.mp4 more_videos" in done.stdout
        )


MEASURE = """
import resource, sys, threading
import slowfast
model = slowfast.load(sys.argv[1], device="cpu")
model.predict(sys.argv[2])
list(model.predict_windows(sys.argv[2]))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
found = model.timeline(sys.argv[3])
after = peak()
model.predict(sys.argv[3])
print(len(found.spans), found.spans[-1].end_frame, before, after, peak())
"""


def measured(trained_run, clip, path):
    words = [sys.executable, "-c", MEASURE, trained_run / "best.pyth", clip, path]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return map(int, done.stdout.split())


def hours(count, path):
    """Static scenes, a new one each minute, at 25 frames a second; written one frame at a time."""
    scenes = (
        np.random.default_rng(0)
        .integers(0, 256, (60 * count, 6, 8, 3), dtype=np.uint8)
        .repeat(8, 1)
        .repeat(8, 2)
    )
    frames = (scene for scene in scenes for _ in range(25 * 60))
    write_video(path, frames, 25, options={"preset": "ultrafast"})


@pytest.mark.slow
def test_an_hour_takes_less_than_300_mb_above_the_model(trained_run, clip, tmp_path):
    hours(1, tmp_path / "hour.mp4")
    windows, end, before, after, whole = measured(trained_run, clip, tmp_path / "hour.mp4")
    assert windows == 90_000 // 6 - 1 and end == 90_000
    print(
        f"peak: model {before / 1024:.0f} MB, timeline {after / 1024:.0f} MB, whole video {whole / 1024:.0f} MB"
    )
    assert after - before < 300 * 1024 and whole - before < 300 * 1024
