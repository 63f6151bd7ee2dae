"""Reproducing a row, end to end on a fixture: a pass, and failures of runs that were really made wrong.

The fixture is a folder with a recipe, its published.json, 100 clips of one of 8 colours, and a network whose head was
fitted to these colours; a tenth of the labels is wrong, so the true score is known and is not 100.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slowfast import cli
from slowfast.config import load_cfg
from slowfast.datasets.build import build_device_stage, build_loader
from slowfast.datasets.video_writer import write_video
from slowfast.engine import reproduce as story
from slowfast.engine.reproduce import (
    default_output_dir,
    default_result_file,
    overridden,
    published_names,
    why_not_written,
)
from slowfast.engine.verdict import Published
from slowfast.models.build import build_model
from slowfast.utils import checkpoint

ROOT = Path(__file__).resolve().parents[2]
NUM_VIDEOS, NUM_CLASSES = 100, 8
NAMES = ["black", "blue", "green", "cyan", "red", "magenta", "yellow", "white"]
SHUFFLED = (3, 0, 7, 1, 6, 2, 5, 4)  # no class keeps its number


def write_lists(folder, labels, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test.csv").write_text(
        "".join(f"{number:03d}.mp4 {label}\n" for number, label in labels.items())
    )
    if names:
        (folder / "classes.txt").write_text("\n".join(names) + "\n")
    return folder


@pytest.fixture(scope="module")
def row(tmp_path_factory):
    """A folder with clips/, lists/, weights.pyth, configs/toy/tiny.yaml and configs/published.json."""
    folder = tmp_path_factory.mktemp("row")
    rng = np.random.default_rng(0)
    (folder / "clips").mkdir()
    labels, colours = {}, rng.integers(NUM_CLASSES, size=NUM_VIDEOS)
    for number, colour in enumerate(colours):
        pixel = np.array([colour >> 2 & 1, colour >> 1 & 1, colour & 1]) * 160 + 40
        frames = np.clip(pixel + rng.normal(0, 10, (6, 36, 48, 3)), 0, 255).astype(np.uint8)
        write_video(folder / "clips" / f"{number:03d}.mp4", frames, 25)
        labels[number] = int(colour) if number % 10 else int(colour + 1) % NUM_CLASSES
    write_lists(folder / "lists", labels)
    recipe = folder / "configs" / "toy" / "tiny.yaml"
    recipe.parent.mkdir(parents=True)
    text = (ROOT / "configs" / "debug" / "uniformer_debug.yaml").read_text()
    recipe.write_text(text.replace("NUM_WORKERS: 1", "NUM_WORKERS: 0"))
    fit_head(folder, recipe, torch.from_numpy(colours))
    entry = {"top1": 90.0, "dataset": "toy", "input_frames": 4, "crops": 3, "clips": 2}
    rows = {"toy/tiny": {"row": "tiny_toy", **entry, "num_test_videos": NUM_VIDEOS}}
    (folder / "configs" / "published.json").write_text(json.dumps(rows))
    return folder


def fit_head(folder, recipe, colours):
    """Least squares from the features of a random network to the colours."""
    cfg = load_cfg(recipe, data_words(folder))
    torch.manual_seed(0)
    model, prepare, features = build_model(cfg).eval(), build_device_stage(cfg), {}
    model.head.register_forward_pre_hook(lambda _, inputs: features.update(now=inputs[0]))
    rows, targets = [], []
    with torch.inference_mode():
        for batch in build_loader(cfg, "test"):
            model(prepare(batch.clips, batch.erase_boxes, batch.noise_seeds))
            rows.append(torch.cat([features["now"], torch.ones(len(batch), 1)], dim=1)[batch.rows])
            targets.append(torch.eye(NUM_CLASSES)[colours[batch.video_ids]])
    solution = torch.linalg.lstsq(torch.cat(rows).double(), torch.cat(targets).double()).solution.float()
    with torch.no_grad():
        model.head.weight.copy_(solution[:-1].T)
        model.head.bias.copy_(solution[-1])
    payload = {"model_state": model.state_dict(), "class_names": NAMES}
    checkpoint.save(payload, folder / "weights.pyth")
    checkpoint.save({"model_state": model.state_dict()}, folder / "nameless.pyth")


def data_words(folder):
    return ["DATA.PATH_TO_DATA_DIR", str(folder / "lists"), "DATA.PATH_PREFIX", str(folder / "clips"), "NUM_THREADS",
            "1"]  # fmt: skip


@pytest.fixture
def run(row, tmp_path):
    """A function from further words to (exit status, content of the result file)."""

    def reproduce(*words, weights="weights.pyth", recipe=None):
        out = tmp_path / "result.json"
        recipe = recipe or row / "configs" / "toy" / "tiny.yaml"
        status = cli.main(["reproduce", str(recipe), "--checkpoint", str(row / weights), "--result-file", str(out),
                           "OUTPUT_DIR", str(tmp_path / "run"), *data_words(row)[2:],
                           *([] if "DATA.PATH_TO_DATA_DIR" in words else data_words(row)[:2]),
                           *map(str, words)])  # fmt: skip
        return status, json.loads(out.read_text()) if out.exists() else {}

    return reproduce


def labels_of(row):
    lines = (row / "lists" / "test.csv").read_text().splitlines()
    return {int(line[:3]): int(line.split()[1]) for line in lines}


def causes(result):
    return [cause["name"] for cause in result["published"]["causes"]]


def test_the_right_weights_pass_and_leave_the_result_the_table_reads(run, capsys):
    status, result = run()
    block = result["published"]
    assert status == 0 and block["verdict"] == "PASS" and block["causes"] == []
    assert result["video"]["top1"] == pytest.approx(90.0, abs=3)
    assert result["num_scored"] == 100 and result["views"] == block["views"] == "4x3x2"
    # Wilson for 90 of 100 is 82.56 to 94.48
    assert block["tolerance"]["low"] == pytest.approx(82.46, abs=0.01)
    assert block["tolerance"]["high"] == pytest.approx(94.58, abs=0.01)
    out = capsys.readouterr().out
    assert "toy/tiny: published top-1 90.0, measured" in out and "over 100 videos" in out
    assert "passes from 82.46 to 94.58 (half-width 6.1 points): the 95 % Wilson interval" in out
    assert (
        "this PASS proves little: of so few videos (100) the interval's half-width is above 2 points" in out
    )
    assert block["tolerance"]["half_width"] == pytest.approx(6.06, abs=0.01)
    assert block["tolerance"]["proves_little"] is True


@pytest.mark.parametrize("weights", ["weights.pyth", "nameless.pyth"])
def test_labels_in_another_order_are_found_without_any_names(row, run, tmp_path, weights):
    moved = {number: SHUFFLED.index(label) for number, label in labels_of(row).items()}
    lists = write_lists(tmp_path / "lists", moved, names=None)
    status, result = run("DATA.PATH_TO_DATA_DIR", lists, weights=weights)
    assert status == 1 and causes(result) == ["class order"]
    assert result["video"]["top1"] < 20
    said = result["published"]["causes"][0]["said"]
    assert "class names cannot be compared" in said
    assert float(said.split("top-1 is ")[1].split()[0]) > 70


def test_labels_that_count_from_one_are_told_as_a_shift(row, run, tmp_path):
    moved = {number: (label + 1) % 8 for number, label in labels_of(row).items()}
    status, result = run(
        "DATA.PATH_TO_DATA_DIR", write_lists(tmp_path / "lists", moved)
    )  # names say nothing of it
    assert status == 1 and causes(result) == ["class order"]
    assert "labels are the numbers of the weights +1" in result["published"]["causes"][0]["said"]


def test_another_order_with_names_passes(row, run, tmp_path):
    moved = {number: SHUFFLED.index(label) for number, label in labels_of(row).items()}
    lists = write_lists(tmp_path / "lists", moved, names=[NAMES[number] for number in SHUFFLED])
    status, result = run("DATA.PATH_TO_DATA_DIR", lists)
    assert status == 0 and result["class_order"]["kind"] == "reordered"


def test_weights_without_names_follow_the_published_order_beside_the_recipes(row, run, tmp_path):
    recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
    copy_row(row, recipe)
    published = tmp_path / "data_lists" / "toy" / "classes.txt"
    published.parent.mkdir(parents=True)
    published.write_text("\n".join(name.upper() for name in NAMES))
    moved = {number: SHUFFLED.index(label) for number, label in labels_of(row).items()}
    lists = write_lists(tmp_path / "lists", moved, names=[NAMES[number] for number in SHUFFLED])
    status, result = run("DATA.PATH_TO_DATA_DIR", lists, weights="nameless.pyth", recipe=recipe)
    assert status == 0 and result["class_order"]["kind"] == "reordered"


def copy_row(row, recipe, change=lambda text: text):
    recipe.parent.mkdir(parents=True)
    recipe.write_text(change((row / "configs" / "toy" / "tiny.yaml").read_text()))
    published = row / "configs" / "published.json"
    (recipe.parents[1] / "published.json").write_bytes(published.read_bytes())


def test_one_crop_instead_of_three(row, run, tmp_path):
    recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
    copy_row(row, recipe, lambda text: text.replace("NUM_SPATIAL_CROPS: 3", "NUM_SPATIAL_CROPS: 1"))
    status, result = run(recipe=recipe)
    assert status == 1 and causes(result) == ["views"]
    assert "4x1x2" in result["published"]["checked"]["views"]


def test_a_changed_protocol_key_is_named(run, capsys):
    status, result = run("TEST.NUM_SPATIAL_CROPS", 1, "TEST.BATCH_SIZE", 6)
    assert status == 1 and causes(result) == ["views", "overrides"]
    assert result["published"]["overrides"] == {"TEST.NUM_SPATIAL_CROPS": "1"}
    out = capsys.readouterr().out
    assert "likely cause: views: 4x1x2 (frames x crops x clips), published 4x3x2" in out
    assert "looks right: videos: 100 scored" in out and "proves little" not in out
    # Clips in video files have no numbers of extracted frames.
    assert "not checked: frame rate: no numbers of extracted frames" in out
    assert "looks right: frame rate" not in out
    assert list(result["published"]["not_checked"]) == ["frame rate"]
    assert "frame rate" not in result["published"]["checked"] and len(result["published"]["checked"]) == 6


@pytest.fixture
def run_by_default(row, tmp_path):
    """As `run`, on a copy of the row without --result-file: (exit status, the row's result file, OUTPUT_DIR)."""
    recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
    copy_row(row, recipe)
    folder, file = tmp_path / "run", tmp_path / "results" / "toy" / "tiny.json"

    def reproduce(*words, weights="weights.pyth"):
        lists = [] if "DATA.PATH_TO_DATA_DIR" in words else data_words(row)[:2]
        words = ["reproduce", recipe, "--checkpoint", row / weights, "OUTPUT_DIR", folder, *data_words(row)[2:],
                 *lists, *words]  # fmt: skip
        return cli.main([str(word) for word in words]), file, folder

    return reproduce


def verdict_in(path):
    return json.loads(path.read_text())["published"]["verdict"]


def test_a_pass_is_lost_to_no_failure_and_no_other_test(row, run_by_default, tmp_path, capsys):
    kept = {number: label for number, label in labels_of(row).items() if number % 20 != 7}
    fewer = write_lists(tmp_path / "fewer", kept)
    status, file, folder = run_by_default("DATA.PATH_TO_DATA_DIR", fewer)
    assert status == 1 and verdict_in(file) == "FAIL"  # a row that nobody reproduced may say so
    assert f"written to {file}\n" in capsys.readouterr().out
    assert run_by_default()[0] == 0 and verdict_in(file) == "PASS"
    assert f"written to {file}\n" in capsys.readouterr().out
    passed = file.read_bytes()

    assert run_by_default("DATA.PATH_TO_DATA_DIR", fewer)[0] == 1
    assert file.read_bytes() == passed and verdict_in(folder / "results.json") == "FAIL"
    top1 = json.loads(passed)["video"]["top1"]
    said = f"not written to {file}: it holds an earlier PASS, top-1 {top1:.2f} over 100 videos; this result is in "
    assert said + str(folder / "results.json") in capsys.readouterr().out

    assert run_by_default("DATA.TEST_SCALE", 36)[0] in (0, 1)
    assert file.read_bytes() == passed
    assert f"not written to {file}: keys of the row's test were changed" in capsys.readouterr().out

    words = ["--result-file", file, "DATA.PATH_TO_DATA_DIR", fewer]
    assert run_by_default(*words)[0] == 1 and verdict_in(file) == "FAIL"
    assert (
        f"written to {file}, in place of an earlier PASS, top-1 {top1:.2f} over 100"
        in capsys.readouterr().out
    )


def test_a_changed_test_leaves_no_result_of_the_row(run_by_default):
    status, file, folder = run_by_default("TEST.NUM_SPATIAL_CROPS", 1)
    assert status == 1 and not file.exists() and verdict_in(folder / "results.json") == "FAIL"


def block(verdict, **overrides):
    return {
        "video": {"top1": 9.0},
        "num_scored": 5,
        "published": {"verdict": verdict, "overrides": overrides},
    }


def test_what_a_result_file_takes():
    assert why_not_written(block("PASS"), block("PASS")) == ""
    assert why_not_written(block("FAIL"), block("FAIL")) == "" == why_not_written(block("FAIL"), {})
    assert why_not_written(block("FAIL"), block("PASS", a="1")) == ""  # that was no pass of the row's test
    assert (
        why_not_written(block("FAIL"), block("PASS")) == "it holds an earlier PASS, top-1 9.00 over 5 videos"
    )
    assert why_not_written(block("PASS", a="1"), {}) == "keys of the row's test were changed"


def test_a_file_that_is_no_whole_result_holds_no_pass(tmp_path):
    (tmp_path / "broken.json").write_text("{")
    assert (
        story._read_if_whole(tmp_path / "broken.json") == {} == story._read_if_whole(tmp_path / "none.json")
    )


def test_a_process_without_a_part_in_the_test_learns_the_verdict(run_by_default, monkeypatch):
    launched = cli._launch
    monkeypatch.setattr(cli, "_launch", lambda *args: launched(*args) and None)  # as with spawned processes
    assert run_by_default()[0] == 0
    assert (
        run_by_default("TEST.NUM_SPATIAL_CROPS", 1)[0] == 1
    )  # told by this run, not by the file that it kept


def test_a_twentieth_of_the_videos_removed(row, run, tmp_path):
    kept = {number: label for number, label in labels_of(row).items() if number % 20 != 7}
    status, result = run("DATA.PATH_TO_DATA_DIR", write_lists(tmp_path / "lists", kept))
    assert status == 1 and causes(result) == ["videos"]
    assert (
        "95 scored, 95 in the list, 100 published (5.0 % missing)" in result["published"]["checked"]["videos"]
    )


def test_videos_that_are_not_there_are_the_decoders_business_too(row, run, tmp_path):
    listed = labels_of(row) | {900 + number: 0 for number in range(6)}
    status, result = run("DATA.PATH_TO_DATA_DIR", write_lists(tmp_path / "lists", listed))
    # All 100 published videos were scored, so the figure stands.
    assert status == 0 and result["num_scored"] == 100
    listed = {900 + number if number < 6 else number: label for number, label in labels_of(row).items()}
    status, result = run("DATA.PATH_TO_DATA_DIR", write_lists(tmp_path / "lists", listed))
    assert status == 1 and causes(result) == ["videos", "decoder"]
    assert "6 videos unreadable" in result["published"]["checked"]["decoder"]


def test_splits_have_their_own_videos_and_files_and_a_mean(row, tmp_path, capsys, monkeypatch):
    recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
    copy_row(row, recipe)
    entry = {"top1": 90.0, "dataset": "toy", "input_frames": 4, "crops": 3, "clips": 2}
    published = {"toy/tiny": {**entry, "num_test_videos": [100, 50]}}
    (tmp_path / "configs" / "published.json").write_text(json.dumps(published))
    half = {number: label for number, label in labels_of(row).items() if number < 50}
    folders = {1: row / "lists", 2: write_lists(tmp_path / "half", half)}
    top1 = []
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs" / "debug" / "reproduce"  # below the recipe's OUTPUT_DIR
    kept = runs / "split2" / "partial_scores" / "of a stopped test.npz"
    kept.parent.mkdir(parents=True)
    kept.touch()
    for split, folder in folders.items():
        words = ["DATA.PATH_TO_DATA_DIR", folder, *data_words(row)[2:], "DATA.SPLIT", split, "TRAIN.INIT", "a",
                 "TRAIN.INIT", ""]  # fmt: skip
        assert "top-1 of all splits" not in capsys.readouterr().out
        words = ["reproduce", recipe, "--checkpoint", row / "weights.pyth", *words]
        assert cli.main([str(word) for word in words]) == 0
        result = json.loads((tmp_path / "results" / "toy" / f"tiny_split{split}.json").read_text())
        block = result["published"]
        assert (block["split"], block["num_test_videos"]) == (split, 100 // split)
        assert block["overrides"] == {}
        assert (runs / f"split{split}" / "results.json").exists() and kept.exists() == (split == 1)
        top1.append(result["video"]["top1"])
    out = capsys.readouterr().out
    assert f"top-1 of all splits: {sum(top1) / 2:.1f} (mean of splits 1-2, 150 videos)" in out
    assert "TRAIN.INIT" in out  # notes of the config


def test_settings_that_change_no_test_are_no_overrides():
    recipe_cfg = load_cfg(ROOT / "configs" / "debug" / "uniformer_debug.yaml")
    words = {
        "AUG.NUM_SAMPLE": 3, "DATA.TRAIN_CROP_SIZE": 48, "DATA.RANDOM_FLIP": False, "DATA.SSL_COLOR_JITTER": True,
        "DATA.MAX_BAD_FRACTION": 0.1, "DATA.CACHE_GB": 1.0, "DATA.SPLIT": 2, "UNIFORMER.DROP_DEPTH_RATE": 0.3,
        "BN.WEIGHT_DECAY": 0.1, "BN.USE_PRECISE_STATS": True, "BN.NUM_BATCHES_PRECISE": 3, "MODEL.ARCH": "other",
        "MODEL.LOSS_FUNC": "bce_logit", "UNIFORMER.INIT_VALUE": 0.5, "TEST.NUM_TEMPORAL_CLIPS": [1],
        "TRAIN.ENABLE": False, "DATA.REVERSE_INPUT_CHANNEL": True,
        "DATA.TEST_CROP_SIZE": 40,
    }  # fmt: skip
    opts = [str(word) for pair in words.items() for word in pair]
    cfg = load_cfg(ROOT / "configs" / "debug" / "uniformer_debug.yaml", opts)
    assert overridden(cfg, recipe_cfg, list(words)) == {
        "DATA.REVERSE_INPUT_CHANNEL": True, "DATA.TEST_CROP_SIZE": 40,
    }  # fmt: skip


def test_places_beside_a_recipe_do_not_depend_on_where_a_run_is_started():
    published = Published(90.0, "toy", 4, 3, 2, 100)
    assert default_result_file("/a/configs/toy/t.yaml", "toy/t", published) == Path("/a/results/toy/t.json")
    assert default_output_dir("runs/t", published) == "runs/t/reproduce"
    assert default_output_dir("runs/t", replace(published, split=3)) == "runs/t/reproduce/split3"
    assert default_result_file("/t.yaml", "/t", published).name == "t.json"  # not deep enough, and no crash
    assert published_names("/t.yaml") == ""


class TestMistakes:
    def test_an_odd_number_of_words_shows_those_of_the_user_alone(self, row, capsys):
        recipe = row / "configs" / "toy" / "tiny.yaml"
        assert cli.main(["reproduce", str(recipe), "--checkpoint", "a.pyth", "NUM_GPUS"]) == cli.USER_ERROR
        assert "but these do not: NUM_GPUS\n" in capsys.readouterr().err

    def test_a_recipe_that_is_not_there(self, row, run, capsys):
        assert run(recipe=row / "configs" / "toy" / "tinny.yaml")[0] == cli.USER_ERROR
        assert "tinny.yaml does not exist" in capsys.readouterr().err

    def test_a_recipe_without_a_published_figure(self, row, run, tmp_path, capsys):
        recipe = tmp_path / "configs" / "toy" / "tinny.yaml"
        copy_row(row, recipe)
        assert run(recipe=recipe)[0] == cli.USER_ERROR
        assert "no published figure for toy/tinny; did you mean toy/tiny?" in capsys.readouterr().err

    def test_an_entry_that_lacks_something(self, row, run, tmp_path, capsys):
        recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
        copy_row(row, recipe)
        (tmp_path / "configs" / "published.json").write_text('{"toy/tiny": {"top1": 1, "dataset": "toy"}}')
        assert run(recipe=recipe)[0] == cli.USER_ERROR
        assert "the entry toy/tiny lacks 'input_frames'" in capsys.readouterr().err

    def test_a_folder_without_published_json(self, row, run, tmp_path, capsys):
        recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
        copy_row(row, recipe)
        (tmp_path / "configs" / "published.json").unlink()
        assert run(recipe=recipe)[0] == cli.USER_ERROR
        assert "published.json does not exist" in capsys.readouterr().err

    def test_a_row_of_several_labels_has_no_top1(self, row, run, capsys):
        words = ["DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit", "MIXUP.ENABLE", "False"]
        assert run(*words)[0] == cli.USER_ERROR
        assert "gives no top-1 accuracy" in capsys.readouterr().err

    def test_weights_named_twice(self, run, capsys):
        assert run("TEST.CHECKPOINT_FILE_PATH", "other.pyth")[0] == cli.USER_ERROR
        assert "with --checkpoint" in capsys.readouterr().err

    def test_weights_of_other_classes(self, row, run, tmp_path, capsys):
        lists = write_lists(tmp_path / "lists", labels_of(row), names=["ochre", *NAMES[1:]])
        assert run("DATA.PATH_TO_DATA_DIR", lists)[0] == cli.USER_ERROR
        assert "0: 'black' in the weights, 'ochre' in the data" in capsys.readouterr().err


SLOWLY = """
import sys, time
from slowfast.engine import partial
partial.SECONDS = 0.0
add = partial.PartialSink.add
def slow(*args):
    add(*args)
    time.sleep(0.2)
partial.PartialSink.add = slow
from slowfast.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_killed_test_goes_on_and_ends_like_one_that_was_not(row, run, tmp_path):
    whole = tmp_path / "whole"
    assert run("OUTPUT_DIR", whole)[0] == 0
    folder = tmp_path / "run"
    words = ["reproduce", row / "configs" / "toy" / "tiny.yaml", "--checkpoint", row / "weights.pyth", "--result-file",
             tmp_path / "killed.json", "OUTPUT_DIR", folder, *data_words(row)]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("partial_scores/*/part-*.npz"))) < 5:
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "results.json").exists() and not (tmp_path / "killed.json").exists()
    status, result = run()  # in `folder`
    assert status == 0
    log = (folder / "log.txt").read_text()
    count = int(log.split(" videos were scored by an earlier run")[0].split()[-1])
    assert 10 <= count < 100 and count % 2 == 0  # whole groups of two videos
    for name in ("predictions.csv", "scores.npz"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert result["num_scored"] == 100 and not (folder / "partial_scores").exists()


def test_frames_extracted_at_another_rate_are_blamed(row, run, tmp_path):
    recipe = tmp_path / "configs" / "toy" / "tiny.yaml"
    copy_row(row, recipe)
    entry = {"top1": 90.0, "dataset": "ssv1", "input_frames": 4, "crops": 3, "clips": 2, "num_test_videos": 8}
    (tmp_path / "configs" / "published.json").write_text(json.dumps({"toy/tiny": entry}))
    for number in range(8):
        (tmp_path / "frames" / str(number)).mkdir(parents=True)
        for frame in range(1, 22):  # the published lists have 50 frames in the median video
            image = Image.new("RGB", (48, 36), (number * 30, 0, 0))
            image.save(tmp_path / "frames" / str(number) / f"{frame:05d}.jpg")
    lists = tmp_path / "lists"
    lists.mkdir()
    text = "".join(f"{number} 21 {(number + 3) % 8}\n" for number in range(8))
    (lists / "somesomev1_rgb_validation_split.txt").write_text(text)
    words = ["DATA.PATH_TO_DATA_DIR", lists, "DATA.PATH_PREFIX", tmp_path / "frames", "TEST.DATASET", "ssv1"]
    status, result = run(*words, recipe=recipe)
    assert status == 1 and result["median_num_frames"] == 21
    assert "frame rate" in causes(result) and "views" not in causes(result)
    said = result["published"]["checked"]["frame rate"]
    assert "21 extracted frames, in the published lists 50" in said
