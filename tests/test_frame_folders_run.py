"""Frame folders end to end: training and testing, several numbers of clips at once, lists without true labels."""

import csv
import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from slowfast import cli
from slowfast.datasets.synthetic import render_clip
from slowfast.reporting import report

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "configs" / "debug" / "uniformer_debug.yaml"
NUM_FRAMES = 14


def run(out, *words):
    """The debug recipe in this process; returns results.json of its test."""
    words = [*words, "OUTPUT_DIR", out, "NUM_THREADS", "1", "DATA_LOADER.NUM_WORKERS", "0"]
    assert cli.main(["run", "--cfg", str(RECIPE), *map(str, words)]) == 0
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """24 folders of frames of 8 classes, wider than high but for the last 8, which are square, and their lists."""
    root = tmp_path_factory.mktemp("frames")
    lines = []
    for number in range(24):
        label, width = number % 8, 40 if number >= 16 else 56
        folder = root / "videos" / f"{1000 + number}"
        folder.mkdir(parents=True)
        clip = render_clip(
            label, np.random.default_rng(number), num_frames=NUM_FRAMES, height=40, width=width
        )
        for place, frame in enumerate(clip, start=1):
            Image.fromarray(np.asarray(frame)).save(folder / f"img_{place:05d}.jpg")
        lines.append(f"{folder.name} {NUM_FRAMES} {label}")
    lists = root / "lists"
    lists.mkdir()
    (lists / "somesomev2_rgb_train_split.txt").write_text("\n".join([*lines[:16], "gone 9 1"]) + "\n")
    (lists / "somesomev2_rgb_validation_split.txt").write_text("\n".join([*lines[12:], "gone 9 1"]) + "\n")
    return root


def data_of(frames, lists="lists", name="ssv2"):
    return [
        "TRAIN.DATASET", name, "TEST.DATASET", name, "DATA.PATH_TO_DATA_DIR", frames / lists, "DATA.PATH_PREFIX",
        frames / "videos", "DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg", "DATA.LABEL_PATH_TEMPLATE",
        "somesomev2_rgb_{}_split.txt",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def trained(frames, tmp_path_factory):
    """(output folder, results) of a training and test on frame folders with sparse sampling."""
    out = tmp_path_factory.mktemp("trained")
    words = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0", "TEST.NUM_ENSEMBLE_VIEWS", "1"]
    return out, run(out, *data_of(frames), *words)


def test_frame_folders_train_and_test_and_bad_ones_are_named(trained):
    out, results = trained
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    (epoch,) = [record for record in steps if record.get("_type") == "train_epoch"]
    assert epoch["global_step"] == 2 and epoch["skipped_steps"] == 0
    assert (results["num_scored"], results["num_total"], results["views"]) == (12, 13, "4x3x1")
    assert results["unreadable"] == [{"path": "gone", "reason": "no such folder"}]
    assert Path(results["list"]).name == "somesomev2_rgb_validation_split.txt"
    assert (
        set(results["video"]) == {"top1", "top5"}
        and "no_accuracy" not in results
        and "by_clips" not in results
    )
    assert not (out / "submission.csv").exists() and (out / "per_class.csv").exists()
    log = (out / "log.txt").read_text()
    assert "8 clips are square: all their crops are the same and were computed once" in log
    with np.load(out / "scores.npz") as scores:
        logits = scores["logits"].reshape(12, 3, 8)
    assert (logits[4:] == logits[4:, :1]).all() and (logits[:4] != logits[:4, :1]).any()


def predictions(out):
    with open(out / "predictions.csv", newline="") as file:
        return [(row["path"], row["predicted"]) for row in csv.DictReader(file)]


@pytest.mark.parametrize("media", ["folders", "files"])
def test_several_numbers_of_clips_score_as_tests_of_their_own(
    trained, frames, debug_data, tmp_path, monkeypatch, media
):
    """Sparse sampling of frame folders, dense sampling of video files; every file is opened once."""
    words = ["TRAIN.ENABLE", "False", "TEST.CHECKPOINT_FILE_PATH", trained[0] / "best.pyth"]
    if media == "folders":
        words += data_of(frames)
    else:
        words += ["DATA.PATH_TO_DATA_DIR", debug_data, "DATA.PATH_PREFIX", debug_data]
    alone = {n: run(tmp_path / str(n), *words, "TEST.NUM_ENSEMBLE_VIEWS", n) for n in (1, 2, 4)}
    opened = []
    for module, name in ((av, "open"), (Image, "open")):
        original = getattr(module, name)

        def counted(*args, original=original, **kwargs):
            opened.append(str(args[0]))
            return original(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)
    monkeypatch.setattr(report, "report_after_test", lambda cfg: None)  # which looks at frames of mistakes again
    several = run(
        tmp_path / "all", *words, "TEST.NUM_ENSEMBLE_VIEWS", 2, "TEST.NUM_TEMPORAL_CLIPS", "[1, 2, 4]"
    )
    assert opened and len(set(opened)) == len(opened)
    assert list(several["by_clips"]) == ["1", "2", "4"]
    for n, single in alone.items():
        measured = several["by_clips"][str(n)]
        assert {key: measured[key] for key in ("top1", "top5")} == pytest.approx(single["video"])
        assert (measured["views"], measured["num_scored"]) == (single["views"], single["num_scored"])
    log = (tmp_path / "all" / "log.txt").read_text()
    assert [log.count(f"videos, views 4x3x{n}") for n in (1, 2, 4)] == [1, 1, 1]
    assert several["video"] == pytest.approx(alone[2]["video"]) and several["views"] == "4x3x2"
    assert predictions(tmp_path / "all") == predictions(tmp_path / "2")
    with np.load(tmp_path / "all" / "scores.npz") as all_, np.load(tmp_path / "2" / "scores.npz") as single:
        assert np.array_equal(all_["view_ids"], single["view_ids"])
        np.testing.assert_allclose(all_["logits"], single["logits"], rtol=1e-4, atol=1e-5)


def test_dummy_labels_give_a_submission_and_no_accuracy(trained, frames, tmp_path, capsys):
    lists = tmp_path / "lists"
    lists.mkdir()
    names = sorted(path.name for path in (frames / "videos").iterdir())
    (lists / "unlabelled.csv").write_text("".join(f"{name} {NUM_FRAMES} 0\n" for name in names))
    (lists / "classes.txt").write_text("".join(f"Doing {number}\n" for number in range(8)))
    words = [*data_of(frames), "DATA.PATH_TO_DATA_DIR", lists, "TRAIN.ENABLE", "False",
             "TEST.CHECKPOINT_FILE_PATH", trained[0] / "best.pyth", "TEST.NUM_ENSEMBLE_VIEWS", "1",
             "TEST.LIST", "unlabelled.csv"]  # fmt: skip
    out = tmp_path / "out"
    results = run(out, *words, "TEST.NUM_TEMPORAL_CLIPS", "[2]")
    assert results["video"] == results["clip"] == {} and results["num_scored"] == 24
    assert "all 24 videos of the test list have the label 0" in results["no_accuracy"]
    assert results["by_clips"]["2"] == {"num_scored": 24, "views": "4x3x2"}
    log = (out / "log.txt").read_text()
    assert log.count("no accuracy will be given, but submission.csv: all 24 videos") == 1
    assert "top1" not in log and "top1_acc" not in (out / "metrics.jsonl").read_text()
    with open(out / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {""}
    assert not (out / "per_class.csv").exists()
    lines = (out / "submission.csv").read_text().splitlines()
    assert lines == [f"{row['path']};Doing {row['predicted']}" for row in rows] and len(lines) == 24
    meant = run(tmp_path / "meant", *words, "TEST.HAS_LABELS", "True")
    assert "top1" in meant["video"] and not (tmp_path / "meant" / "submission.csv").exists()
    unlabelled = run(tmp_path / "said", *words, "TEST.HAS_LABELS", "False")
    assert unlabelled["video"] == {} and "TEST.HAS_LABELS is False" in unlabelled["no_accuracy"]


def test_real_frame_folders_train_and_test(tmp_path):
    """A few steps and the whole test on folders of real frames; needs the media folder."""
    media = os.environ.get("SLOWFAST_TEST_MEDIA")
    if not media:
        pytest.skip(
            "SLOWFAST_TEST_MEDIA is not set: frame folders of real clips are not tested (made-up ones are)"
        )
    data = Path(media) / "minidata_frames"
    words = ["TRAIN.DATASET", "ssv1", "TEST.DATASET", "ssv1", "DATA.PATH_TO_DATA_DIR", data, "DATA.PATH_PREFIX", data,
             "DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg", "MODEL.NUM_CLASSES", "4", "TRAIN.BATCH_SIZE", "5"]  # fmt: skip
    results = run(tmp_path / "run", *words)
    assert (results["num_scored"], results["num_total"], results["views"]) == (12, 12, "4x3x2")
    assert results["unreadable"] == results["damaged"] == []
    with open(tmp_path / "run" / "predictions.csv", newline="") as file:
        names = {row["top1_name"] for row in csv.DictReader(file)}
    assert names <= {"wave_one_hand", "wave_two_hands", "jumping_jack", "bend"}
