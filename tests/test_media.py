"""The published recipe on real clips, malformed files among them; needs the media folder."""

import csv
import json
import os
import re
from pathlib import Path

import pytest

from slowfast import cli

ROOT = Path(__file__).resolve().parents[1]
# What PyAV cannot get one frame out of; the other malformed files hold some frames and are used as far as they go.
UNREADABLE = {
    "audio_only.mp4", "corrupt_mdat.mp4", "empty.mp4", "no_frames.avi", "random_bytes.mp4", "text_as_video.mp4",
    "truncated.mp4", "zeroed_header.avi",
}  # fmt: skip
DAMAGED = {"truncated.avi", "corrupt_middle.avi"}


@pytest.fixture(scope="module")
def clips() -> Path:
    media = os.environ.get("SLOWFAST_TEST_MEDIA")
    if not media:
        pytest.skip(
            "SLOWFAST_TEST_MEDIA is not set: real clips are not tested (generated ones are, in test_run.py)"
        )
    return Path(media) / "clips"


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """A few steps of training and the whole 4x1 test of configs/k400/uniformer_s8x8.yaml: its output folder."""
    folder = tmp_path_factory.mktemp("media")
    with open(clips / "clips.csv", newline="") as file:
        good = [row["file"] for row in csv.DictReader(file)]
    bad = [
        f"malformed/{path.name}" for path in sorted((clips / "malformed").iterdir()) if path.suffix != ".csv"
    ]
    lists = {"train": [*good[:5], *bad[:4]], "val": good[:2], "test": [*good, *bad]}
    for split, names in lists.items():
        lines = [f"{name},{(7 * number) % 400}" for number, name in enumerate(names)]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
    words = {
        "NUM_GPUS": 0, "TRAIN.BATCH_SIZE": 2, "TEST.BATCH_SIZE": 4, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_EPOCHS": 0,
        "UNIFORMER.PRETRAIN_NAME": "", "DATA_LOADER.NUM_WORKERS": 1, "LOG_PERIOD": 1,
        "DATA.PATH_TO_DATA_DIR": folder, "DATA.PATH_PREFIX": clips, "OUTPUT_DIR": folder / "run",
    }  # fmt: skip
    words = [str(word) for pair in words.items() for word in pair]
    assert cli.main(["run", "--cfg", str(ROOT / "configs" / "k400" / "uniformer_s8x8.yaml"), *words]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def malformed(clips, tmp_path_factory):
    """A folder of lists that hold every malformed file, three of four times; the rest of each is sound."""
    folder = tmp_path_factory.mktemp("malformed")
    bad = sorted(path for path in (clips / "malformed").iterdir() if path.suffix != ".csv")
    assert len(bad) == 13, "a new malformed file: say above what it is"
    sound = [clips / "mmaction2" / "rawvideo_dataset" / f"part_{number}.mp4" for number in (0, 1)]
    paths = [*bad, sound[0], *sound]
    for split in ("train", "val", "test"):
        lines = [f"{path.relative_to(clips)},{number % 8}\n" for number, path in enumerate(paths)]
        (folder / f"{split}.csv").write_text("".join(lines))
    return folder


def test_every_malformed_file_is_named_by_training_and_testing_and_ends_neither(malformed, clips):
    words = {
        "DATA.PATH_TO_DATA_DIR": malformed, "DATA.PATH_PREFIX": clips, "OUTPUT_DIR": malformed / "run",
        "DATA.MAX_BAD_FRACTION": 0.9, "SOLVER.MAX_EPOCH": 1, "SOLVER.WARMUP_EPOCHS": 0, "NUM_THREADS": 1,
    }  # fmt: skip
    words = [str(word) for pair in words.items() for word in pair]
    recipe = ROOT / "configs" / "debug" / "uniformer_debug.yaml"
    assert cli.main(["run", "--cfg", str(recipe), *words]) == 0
    log = (malformed / "run" / "log.txt").read_text()
    trained = set(re.findall(r"unreadable video, replaced by another: malformed/(\S+): \S", log))
    assert trained == UNREADABLE
    results = json.loads((malformed / "run" / "results.json").read_text())
    assert {Path(entry["path"]).name for entry in results["unreadable"]} == UNREADABLE
    assert {Path(entry["path"]).name for entry in results["damaged"]} == DAMAGED
    reasons = [entry["reason"] for entry in results["unreadable"] + results["damaged"]]
    assert all(reason and len(reason.splitlines()) == 1 for reason in reasons)
    assert results["num_total"] == 16 and results["num_scored"] == 16 - len(UNREADABLE)


def test_every_malformed_file_is_named_by_a_check(malformed, clips, capsys):
    path, out = malformed / "test.csv", malformed / "check"
    words = ["check", path, "--media", clips, "--out", out, "--jobs", 1]
    assert cli.main([str(word) for word in words]) == 1
    with open(out / "bad.csv", newline="") as file:
        found = {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}
    assert set(found) == UNREADABLE | DAMAGED and all(found.values())
    assert {name for name, reason in found.items() if reason.startswith("damaged: ")} == DAMAGED
    assert "6 of 16 videos are good" in capsys.readouterr().out


def test_real_clips_train_and_malformed_ones_are_replaced_by_name(finished):
    steps = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    (epoch,) = [record for record in steps if record.get("_type") == "train_epoch"]
    assert epoch["global_step"] == 4 and epoch["skipped_steps"] == 0
    log = (finished / "log.txt").read_text()
    assert "unreadable video, replaced by another: malformed/audio_only.mp4" in log


def test_the_test_scores_what_decodes_and_names_the_rest(finished):
    results = json.loads((finished / "results.json").read_text())
    named = {Path(entry["path"]).name: entry["reason"] for entry in results["unreadable"]}
    assert set(named) == UNREADABLE and all(named.values())
    assert {Path(entry["path"]).name for entry in results["damaged"]} >= DAMAGED
    assert results["num_total"] == 35 and results["num_scored"] == 35 - len(UNREADABLE)
    assert results["views"] == "8x1x4"
    with open(finished / "predictions.csv", newline="") as file:
        assert len(list(csv.DictReader(file))) == results["num_scored"]
