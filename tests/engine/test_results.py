"""The files of a test: exact bytes."""

import csv
import errno
import json
import os
import zipfile

import numpy as np
import pytest

from slowfast.engine.results import (
    Prediction,
    write_per_class,
    write_predictions,
    write_results,
    write_scores,
    write_submission,
)


def row(path="a.mp4", label=1, scores=(0.0, 2.0, 1.0)) -> Prediction:
    scores = np.array(scores, np.float32)
    exponentials = np.exp(scores)
    return Prediction(path, label, scores, exponentials / exponentials.sum())


def test_results_are_json_that_anyone_can_read(tmp_path):
    write_results(tmp_path / "results.json", {"video": {"top1": 50.0, "map": float("nan")}, "views": "8x1x4"})
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text) == {"video": {"top1": 50.0, "map": None}, "views": "8x1x4"}
    assert text.endswith("}\n")


def test_predictions_to_the_letter(tmp_path):
    rows = [row(), row("b, c.mp4", [0, 2], (1.0, 0.0, 1.0))]
    write_predictions(tmp_path / "p.csv", rows, ["run", "jump", "sit, down"])
    assert (tmp_path / "p.csv").read_text() == (
        "path,label,predicted,probability,top1_name,top1_prob,top2_name,top2_prob,top3_name,top3_prob\n"
        'a.mp4,1,1,0.665241,jump,0.665241,"sit, down",0.244729,run,0.090031\n'
        '"b, c.mp4",0;2,0,0.422319,run,0.422319,"sit, down",0.422319,jump,0.155362\n'
    )


def test_predictions_name_five_classes_at_most_by_number_without_names(tmp_path):
    write_predictions(tmp_path / "p.csv", [row(scores=range(7))])
    with open(tmp_path / "p.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    assert [line[f"top{place}_name"] for place in range(1, 6)] == ["6", "5", "4", "3", "2"]
    assert "top6_name" not in line


def test_predicted_follows_the_scores_and_the_probability_is_that_of_the_class(tmp_path):
    one = Prediction("a", 0, np.array([1.0, 0.0]), np.array([0.4, 0.6]))
    write_predictions(tmp_path / "p.csv", [one])
    assert (tmp_path / "p.csv").read_text().splitlines()[1] == "a,0,0,0.400000,0,0.400000,1,0.600000"


def test_classes_to_the_letter(tmp_path):
    rows = [
        row("a", 1, (0, 2, 1, 0, 0, 0)),  # right
        row("b", 1, (2, 2, 1, 0, 0, 0)),  # of equal scores the lower number comes first
        row("c", 1, (5, 0, 4, 3, 2, 1)),  # taken for 0, not among the best five
        row("d", 2, (0, 2, 1, 0, 0, 0)),
    ]
    write_per_class(tmp_path / "c.csv", rows, 6, ["run", "jump", "sit, down", "eat", "go", "see"])
    assert (tmp_path / "c.csv").read_text() == (
        "label,name,videos,correct,top1,top5,predicted,confused_with,confused\n"
        "0,run,0,0,,,2,,\n"
        "1,jump,3,1,33.33,66.67,2,run,2\n"
        '2,"sit, down",1,0,0.00,100.00,0,jump,1\n'
        "3,eat,0,0,,,0,,\n"
        "4,go,0,0,,,0,,\n"
        "5,see,0,0,,,0,,\n"
    )


def test_two_classes_and_no_videos_have_lines_too(tmp_path):
    write_per_class(tmp_path / "c.csv", [row(label=1, scores=(1, 0))], 2)
    assert (tmp_path / "c.csv").read_text().splitlines()[1:] == ["0,0,0,0,,,1,,", "1,1,1,0,0.00,100.00,0,0,1"]
    write_per_class(tmp_path / "c.csv", [], 2)
    assert (tmp_path / "c.csv").read_text().splitlines()[1:] == ["0,0,0,0,,,0,,", "1,1,0,0,,,0,,"]


def test_a_submission_has_a_line_for_each_video(tmp_path):
    rows = [
        row("videos/100218.webm"),
        row("videos/74225", scores=(1.0, 0.0, 0.0)),
        row("a/v1.25", scores=(0, 0, 1)),
    ]
    write_submission(tmp_path / "s.csv", rows, ["Opening it", "Closing, it", "Moving it"])
    assert (tmp_path / "s.csv").read_text() == "100218;Closing, it\n74225;Opening it\nv1.25;Moving it\n"
    write_submission(tmp_path / "s.csv", [row("a/1.mp4"), row("b/1.mp4")])
    assert (tmp_path / "s.csv").read_text() == "a/1.mp4;1\nb/1.mp4;1\n"


def test_without_true_labels_the_column_is_empty(tmp_path):
    write_predictions(tmp_path / "p.csv", [row(label=())])
    assert (tmp_path / "p.csv").read_text().splitlines()[1].startswith("a.mp4,,1,")


def test_no_predictions_leave_a_header(tmp_path):
    write_predictions(tmp_path / "p.csv", [])
    assert (tmp_path / "p.csv").read_text().startswith("path,label,predicted,probability,top1_name,")


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    write_predictions(tmp_path / "p.csv", [row(os.fsdecode(b"caf\xe9.mp4"))])
    assert b"\ncaf\xe9.mp4,1," in (tmp_path / "p.csv").read_bytes()


def test_scores_are_sorted_and_load_without_pickle(tmp_path):
    path = tmp_path / "scores.npz"
    logits = np.arange(6, dtype=np.float64).reshape(3, 2)
    write_scores(path, video_ids=np.array([1, 0, 1]), view_ids=np.array([1, 0, 0]), logits=logits)
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["video_ids"].tolist() == [0, 1, 1]
        assert arrays["view_ids"].tolist() == [0, 0, 1]
        assert arrays["logits"].tolist() == [[2, 3], [4, 5], [0, 1]]
        assert arrays["logits"].dtype == np.float32


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("one", "two"):
        write_predictions(tmp_path / f"{name}.csv", [row()])
        write_scores(tmp_path / f"{name}.npz", video_ids=[0], view_ids=[0], logits=[[1.0]])
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.npz") as archive:  # the time of writing is not in the file
        assert {part.date_time for part in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_a_full_disk_keeps_the_old_results(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_results(tmp_path / "results.json", {"run": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="cannot write .*results.json: No space left"):
        write_results(tmp_path / "results.json", {"run": 2})
    assert json.loads((tmp_path / "results.json").read_text()) == {"run": 1}
    assert len(list(tmp_path.iterdir())) == 1
