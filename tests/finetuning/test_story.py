"""From a folder of videos, or lists, to a recipe that runs; what does not fit is told."""

import json
import shutil

import numpy as np
import pytest
import torch

from slowfast import cli
from slowfast.config import load_cfg
from slowfast.datasets.synthetic import render_clip
from slowfast.datasets.video_writer import write_video
from slowfast.finetuning import choosing, story, trial
from slowfast.finetuning.story import Wishes
from slowfast.utils import checkpoint


@pytest.fixture
def no_trial(monkeypatch):
    """A trial that measures nothing."""
    found = trial.Trial(50_000_000, 10_000_000, 0.05)
    monkeypatch.setattr(trial, "measure", lambda text: (found, 10_000_000_000))


@pytest.fixture
def class_folders(debug_data, tmp_path):
    """Three folders of five videos each."""
    for line in (debug_data / "train.csv").read_text().splitlines() + (
        debug_data / "test.csv"
    ).read_text().splitlines():
        path, label = line.rsplit(" ", 1)
        if int(label) < 3:
            folder = tmp_path / "videos" / f"class_{label}"
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(debug_data / path, folder / path.replace("/", "_"))
    return tmp_path / "videos"


def prepared(wishes):
    said = []
    return load_cfg(story.prepare(wishes, said.append)), "\n".join(said)


def test_class_folders_become_lists_and_a_recipe_of_a_small_model(class_folders, tmp_path, no_trial):
    cfg, said = prepared(Wishes(str(class_folders), str(tmp_path / "out"), "", gpus=0, test=0.4))
    assert (tmp_path / "out" / "lists" / "train.csv").exists()
    assert cfg.MODEL.NUM_CLASSES == 3 and cfg.TRAIN.DATASET == "kinetics_sparse" and not cfg.TRAIN.INIT
    assert cfg.DATA.TRAIN_CROP_SIZE == 48 and cfg.SOLVER.LAYER_DECAY == 1 and not cfg.TEST.TEST_BEST
    assert cfg.OUTPUT_DIR == str(tmp_path / "out") and not cfg.UNIFORMER.PRETRAIN_NAME
    for part in ("data: ", "model: a small UniFormer", "clips: 16 frames", "steps: ", "measured: about"):
        assert part in said


def test_a_checkpoint_brings_its_model_and_clips(debug_data, trained_run, tmp_path, no_trial):
    wishes = Wishes(
        str(debug_data), str(tmp_path / "out"), str(trained_run / "best.pyth"), gpus=0, freeze=("blocks1.*",)
    )
    cfg, said = prepared(wishes)
    assert cfg.UNIFORMER.EMBED_DIM == [8, 16, 16, 16] and cfg.DATA.NUM_FRAMES == 4
    assert cfg.TRAIN.INIT == str(trained_run / "best.pyth") and cfg.MODEL.FREEZE == ["blocks1.*"]
    assert cfg.SOLVER.BASE_LR == pytest.approx(5e-4) and cfg.SOLVER.LAYER_DECAY == 0.75
    assert cfg.DATA.PATH_PREFIX == str(debug_data) and cfg.TRAIN.RESUME == "auto"
    assert "best.pyth, all but blocks1.* trained" in said


def test_the_same_words_go_on_and_others_are_refused(debug_data, tmp_path, no_trial):
    wishes = Wishes(str(debug_data), str(tmp_path / "out"), "", gpus=0)
    first = prepared(wishes)[0]
    again, said = prepared(wishes)
    assert again == first and said.startswith("going on in")
    with pytest.raises(ValueError, match="begun with another epochs, seed: give the same words"):
        story.prepare(Wishes(str(debug_data), str(tmp_path / "out"), "", gpus=0, epochs=3, seed=1), print)


def test_memory_has_the_last_word_on_the_batch(debug_data, tmp_path, monkeypatch):
    def cfg_with(found, free, name):
        monkeypatch.setattr(trial, "measure", lambda text: (found, free))
        return prepared(Wishes(str(debug_data), str(tmp_path / name), "", gpus=0, batch=8))

    small = trial.Trial(10**9, 10**9, 1.0)
    cfg, said = cfg_with(small, 4 * 10**9, "a")
    assert (cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.ACCUMULATION_STEPS) == (2, 4) and "4 times 2 videos" in said
    cfg, said = cfg_with(small, 10**9, "b")
    assert (cfg.TRAIN.BATCH_SIZE, cfg.MODEL.CHECKPOINT) == (1, "auto") and "computed twice" in said
    cfg, _ = cfg_with(None, 10**9, "c")
    assert cfg.MODEL.CHECKPOINT == "auto"
    cfg, said = cfg_with(trial.Trial(None, None, 1.0), None, "d")
    assert cfg.TRAIN.BATCH_SIZE == 8 and "that are free" not in said


def test_a_trial_measures_a_step(debug_cfg):
    found, free = trial.measure(debug_cfg().dump())
    assert found.bytes_per_video > 0 and found.seconds_per_video > 0 and free > 2**28
    assert found.most_videos(free) > 8


def test_settings_change_what_was_chosen(debug_data, tmp_path, no_trial):
    opts = ("DATA.NUM_FRAMES", "8", "SOLVER.BASE_LR", "1e-3")
    cfg, said = prepared(Wishes(str(debug_data), str(tmp_path / "out"), "", gpus=0, opts=opts))
    assert said.endswith("changed by you: DATA.NUM_FRAMES 8 SOLVER.BASE_LR 1e-3")
    assert cfg.DATA.NUM_FRAMES == 8 and cfg.SOLVER.BASE_LR == 1e-3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--init", "none", "--epochs", "0"], "--epochs is 0; write 1 or more"),
        (["--init", "none", "--gpus", "999"], "--gpus is 999, but torch finds"),
        (["--init", "none", "NUM_GPUS", "1"], "NUM_GPUS is set by --gpus"),
        (["--init", "none", "DATA.NUM_FRAMS", "8"], "unknown key DATA.NUM_FRAMS; did you mean DATA.NUM_FRAMES?"),
        (["--init", "nonsense.pyth"], "weights 'nonsense.pyth' do not exist"),
        (["--init", "nonsense.pyth"], "To train from scratch write --init none"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(debug_data, tmp_path, capsys, words, said):
    assert cli.main(["finetune", str(debug_data), "--out", str(tmp_path / "out"), *words]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()  # nothing was begun, no video looked into


def test_folders_that_are_of_no_use_are_told(tmp_path, debug_data, capsys):
    assert cli.main(["finetune", str(tmp_path / "none"), "--init", "none"]) == 2
    assert "is no folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    words = ["--init", "none", "--media", "x", "--out", str(tmp_path / "out")]
    assert cli.main(["finetune", str(tmp_path / "empty"), *words]) == 2
    assert "--media is for lists" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["finetune", str(debug_data), "--init", "none", "--out", str(tmp_path / "file" / "out")]) == 2
    assert f"{tmp_path / 'file'} is a file; name another folder" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "recipe.yaml").write_text("NUM_GPUS: 0\n")
    assert cli.main(["finetune", str(debug_data), "--init", "none", "--out", str(tmp_path / "other")]) == 2
    assert "holds another run" in capsys.readouterr().err


def test_weights_without_a_config_need_a_recipe(trained_run, debug_data, tmp_path, no_trial):
    weights = tmp_path / "weights.pyth"
    checkpoint.save({"model_state": checkpoint.load(trained_run / "best.pyth")["model_state"]}, weights)
    with pytest.raises(ValueError, match="give their recipe with --cfg"):
        story.prepare(Wishes(str(debug_data), str(tmp_path / "a"), str(weights), gpus=0), print)
    recipe = str(trained_run / "config.yaml")
    cfg, _ = prepared(Wishes(str(debug_data), str(tmp_path / "a"), str(weights), recipe=recipe, gpus=0))
    assert cfg.UNIFORMER.EMBED_DIM == [8, 16, 16, 16]
    assert story._published_recipe("uniformer_small_k400_8x8").name == "uniformer_s8x8.yaml"
    assert story._published_recipe("uniformer_base_in1k").name == "uniformer_b16x4.yaml"
    assert story._published_recipe("something") is None


def test_one_command_trains_tests_and_leaves_a_model(
    class_folders, tmp_path, capsys, trained_run, monkeypatch
):
    """And given again it has nothing left to train."""
    monkeypatch.setattr(choosing, "ENOUGH_TO_JUDGE", 1)
    out = tmp_path / "out"
    words = [
        "finetune",
        class_folders,
        "--init",
        trained_run / "best.pyth",
        "--out",
        out,
        "--gpus",
        0,
        "--epochs",
        2,
    ]
    words += ["--test", 0.4, "--batch", 4, "NUM_THREADS", 1, "DATA_LOADER.NUM_WORKERS", 1]
    assert cli.main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "model: " in said and f"try it: slowfast predict {out / 'model.pyth'}" in said
    results = json.loads((out / "results.json").read_text())
    assert results["num_scored"] == results["num_total"] > 0
    model = checkpoint.load(out / "model.pyth")
    assert model["class_names"] == ["class_0", "class_1", "class_2"] and "optimizer_state" not in model
    assert torch.equal(
        model["model_state"]["head.bias"], checkpoint.load(out / "best.pyth")["model_state"]["head.bias"]
    )
    assert (out / "model.pyth").stat().st_size < 0.6 * (out / "best.pyth").stat().st_size
    assert cli.main([str(word) for word in words]) == 0
    assert "going on in" in capsys.readouterr().out


def test_without_videos_to_validate_or_test_on_the_last_state_is_the_model(class_folders, tmp_path, capsys):
    """As the refusal of classes with few videos advises."""
    out = tmp_path / "an out"
    words = ["finetune", class_folders, "--init", "none", "--out", out, "--gpus", 0, "--epochs", 1]
    words += ["--val", 0, "--test", 0, "NUM_THREADS", 1, "UNIFORMER.DEPTH", "[1,1,1,1]"]
    assert cli.main([str(word) for word in words]) == 0
    said = capsys.readouterr().out
    assert "1 epoch, none of them validated" in said and f"slowfast predict '{out / 'model.pyth'}' VIDEO" in said
    (last,) = (out / "checkpoints").iterdir()
    assert checkpoint.load(out / "model.pyth")["epoch"] == checkpoint.load(last)["epoch"] == 0
    assert not (out / "best.pyth").exists() and not (out / "results.json").exists()


@pytest.mark.slow
def test_three_classes_are_learned_by_one_command(tmp_path):
    """20 made-up clips of each of three motions, no setting given: a minute or two on a CPU.

    All of the 12 test clips were right; one may be wrong.
    """
    for label, name in ((0, "right"), (2, "down"), (4, "grow")):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for number in range(20):
            rng = np.random.default_rng((label, number))
            clip = render_clip(label, rng, num_frames=20, height=64, width=80)
            write_video(tmp_path / "videos" / name / f"{number}.mp4", clip, 25)
    words = ["finetune", tmp_path / "videos", "--init", "none", "--out", tmp_path / "out", "--gpus", "0"]
    assert cli.main([*map(str, words), "NUM_THREADS", "1"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["num_scored"] == 12 and results["video"]["top1"] > 90
