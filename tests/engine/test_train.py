"""The story of training on a tiny recipe: what it leaves, and that it can be stopped and continued to the bit."""

import json
import pickletools
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.datasets.build import DATASET_REGISTRY
from slowfast.datasets.pipeline import Views, empty_views
from slowfast.datasets.video_dataset import ItemReport, VideoItem
from slowfast.datasets.video_writer import write_video
from slowfast.engine.test import test as run_test
from slowfast.engine.train import train
from slowfast.models.build import MODEL_REGISTRY
from slowfast.utils import checkpoint, environment, seeds, stopping

ROOT = Path(__file__).resolve().parents[2]
BUILTIN_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch FloatStorage",
    "torch LongStorage",
}


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def assert_same_state(one, other, name="state"):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), name
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), name
        for key in one:
            assert_same_state(one[key], other[key], f"{name}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), name
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_state(a, b, f"{name}[{index}]")
    else:
        assert one == other, name


@pytest.fixture(scope="module")
def finished(debug_data, tmp_path_factory):
    """A finished training run of two epochs: (cfg, result)."""
    from slowfast.config import load_cfg

    folder = tmp_path_factory.mktemp("finished")
    recipe = "configs/debug/uniformer_debug.yaml"
    cfg = load_cfg(
        ROOT / recipe,
        ["DATA.PATH_TO_DATA_DIR", str(debug_data), "DATA.PATH_PREFIX", str(debug_data), "NUM_THREADS", "1"]
        + ["OUTPUT_DIR", str(folder), "TENSORBOARD.ENABLE", "True"],
    )
    return cfg, train(cfg), folder


def test_training_leaves_log_metrics_config_and_checkpoints(finished):
    _, result, folder = finished
    assert result["epochs"] == 2 and result["steps"] == 6 and result["skipped_steps"] == 0
    assert result["unreadable"] == {}
    assert (folder / "best.pyth").exists() and (folder / "config.yaml").exists()
    assert [p.name for p in sorted((folder / "checkpoints").iterdir())] == [
        "checkpoint_epoch_00001.pyth",
        "checkpoint_epoch_00002.pyth",
    ]
    assert "training from scratch" in (folder / "log.txt").read_text()
    kinds = [record["_type"] for record in read_lines(folder / "metrics.jsonl")]
    assert kinds.count("train_epoch") == kinds.count("val_epoch") == 2
    assert kinds.count("train_iter") == 2  # steps 2 of the 3 of each epoch
    assert list((folder / "runs-kinetics").iterdir())


def test_a_checkpoint_says_all_and_holds_tensors_and_builtins_only(finished):
    cfg, result, folder = finished
    saved = checkpoint.load(result["checkpoint"])
    assert set(saved) == {
        "format", "epoch", "global_step", "batch_in_epoch", "so_far", "global_batch", "dataset", "train_list",
        "rng_seed", "model_state", "optimizer_state", "scaler_state", "guard", "bad_videos", "loss_spikes", "rollbacks",
        "best", "origin", "cfg", "operators", "num_threads", "class_names", "preprocessing", "versions",
    }  # fmt: skip
    assert (saved["epoch"], saved["global_step"], saved["batch_in_epoch"], saved["global_batch"]) == (
        1,
        6,
        0,
        8,
    )
    assert saved["class_names"][0] == "move right" and len(saved["class_names"]) == 8
    assert "BASE_LR: 0.001" in saved["cfg"]
    assert saved["preprocessing"]["test_scale"] == 32
    with zipfile.ZipFile(result["checkpoint"]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("data.pkl")]
        found = {arg for op, arg, _ in pickletools.genops(archive.read(name)) if op.name == "GLOBAL"}
    assert found <= BUILTIN_GLOBALS


def test_a_run_stopped_after_an_epoch_ends_like_one_that_was_not(finished, debug_cfg, tmp_path):
    cfg, result, folder = finished
    resumed = debug_cfg("OUTPUT_DIR", str(tmp_path / "resumed"))
    (tmp_path / "resumed" / "checkpoints").mkdir(parents=True)
    shutil.copy(folder / "checkpoints" / "checkpoint_epoch_00001.pyth", tmp_path / "resumed" / "checkpoints")
    torch.manual_seed(1234)  # a checkpoint holds no random state, and needs none
    again = train(resumed)
    one, other = checkpoint.load(result["checkpoint"]), checkpoint.load(again["checkpoint"])
    for key in ("model_state", "optimizer_state", "epoch", "global_step", "best"):
        assert_same_state(one[key], other[key], key)


def test_a_finished_run_is_not_trained_again(finished):
    cfg, result, _ = finished
    before = checkpoint.load(result["checkpoint"])
    assert train(cfg)["steps"] == 6
    assert_same_state(checkpoint.load(result["checkpoint"])["model_state"], before["model_state"])


def test_a_validation_names_and_counts_bad_videos(debug_cfg, debug_data, tmp_path):
    frames = np.random.default_rng(0).integers(256, size=(16, 40, 48, 3), dtype=np.uint8)
    write_video(tmp_path / "whole.avi", frames, 25)
    whole = (tmp_path / "whole.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    lists = tmp_path / "lists"
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("*.mp4"))
    with open(lists / "val.csv", "a") as file:
        file.write(f"{tmp_path / 'cut.avi'} 0\n{tmp_path / 'gone.avi'} 0\n")
    words = ["SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0.0", "DATA.PATH_TO_DATA_DIR", str(lists)]
    val = train(debug_cfg(*words))["val"]
    assert (val["num_scored"], val["num_total"]) == (9, 10)
    log = (tmp_path / "run" / "log.txt").read_text()
    promised = "the header promises 16 frames, the file holds 9"
    assert f"validation scores a damaged video as far as it goes: {tmp_path / 'cut.avi'}: {promised}" in log
    assert f"validation leaves out an unreadable video: {tmp_path / 'gone.avi'}: " in log
    assert "validation: 1 unreadable, 1 damaged, 9 of 10 videos scored" in log


def test_a_run_without_validations_ends_with_the_same_weights(finished, debug_cfg, debug_data, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    shutil.copy(debug_data / "train.csv", lists)
    result = train(debug_cfg("TRAIN.EVAL_PERIOD", "0", "DATA.PATH_TO_DATA_DIR", str(lists)))
    assert result["best"] == {} == result["val"] and not (tmp_path / "run" / "best.pyth").exists()
    one, other = (checkpoint.load(run["checkpoint"]) for run in (result, finished[1]))
    assert_same_state(one["model_state"], other["model_state"])


def test_no_global_stream_is_read_or_set_by_a_run(debug_cfg):
    torch.manual_seed(77)
    before = torch.get_rng_state()
    train(debug_cfg("SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0"))
    assert torch.equal(torch.get_rng_state(), before)


def test_resuming_with_another_global_batch_is_refused(finished, debug_cfg):
    _, result, _ = finished
    with pytest.raises(ValueError, match=r"8 videos a step, this run has 4.*TRAIN.INIT"):
        train(debug_cfg("TRAIN.RESUME", result["checkpoint"], "TRAIN.BATCH_SIZE", "4"))


def test_another_batch_goes_on_from_an_epoch_where_that_is_allowed(finished, debug_cfg, tmp_path):
    _, _, folder = finished
    first = str(folder / "checkpoints" / "checkpoint_epoch_00001.pyth")
    other = ("TRAIN.RESUME", first, "TRAIN.BATCH_SIZE", "4", "TRAIN.RESUME_ALLOW", "['batch']")
    assert train(debug_cfg(*other))["steps"] == 3 + 6
    steps = [line["global_step"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert steps == [5, 7, 9, 9, 9]  # every second step, the epoch and its validation, counted on from 3
    assert train(debug_cfg(*other, "SOLVER.MAX_EPOCH", "3"))["steps"] == 3 + 6 + 6
    assert read_lines(tmp_path / "run" / "metrics.jsonl")[-1]["global_step"] == 15


def test_another_list_is_refused_or_goes_on_from_an_epoch_where_that_is_allowed(
    finished, debug_cfg, debug_data, tmp_path
):
    _, _, folder = finished
    lists = tmp_path / "lists"
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("clips"))
    rows = (debug_data / "train.csv").read_text().splitlines(keepends=True)
    (lists / "train.csv").write_text("".join(rows[1:]))  # two steps an epoch instead of three
    first = str(folder / "checkpoints" / "checkpoint_epoch_00001.pyth")
    other = ("TRAIN.RESUME", first, "DATA.PATH_TO_DATA_DIR", str(lists))
    with pytest.raises(ValueError, match="was trained with another list.*RESUME_ALLOW"):
        train(debug_cfg(*other))
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert train(debug_cfg(*other, "TRAIN.RESUME_ALLOW", "['list']"))["steps"] == 3 + 2


def test_a_run_goes_on_with_no_other_data_set(finished, debug_cfg):
    if "Other" not in DATASET_REGISTRY:
        DATASET_REGISTRY._do_register("Other", DATASET_REGISTRY.get("kinetics"))
    _, result, _ = finished
    with pytest.raises(ValueError, match="was trained on the data set kinetics, this run is on other"):
        train(debug_cfg("TRAIN.RESUME", result["checkpoint"], "TRAIN.DATASET", "other"))


def test_the_same_command_with_a_named_file_goes_on_with_what_it_has_done(finished, debug_cfg, tmp_path, monkeypatch):
    _, result, folder = finished
    cfg = debug_cfg("TRAIN.RESUME", str(folder / "checkpoints" / "checkpoint_epoch_00001.pyth"))
    asked = iter([0, 15])
    with monkeypatch.context() as patched:
        patched.setattr(stopping, "asked", lambda: next(asked, 15))
        with pytest.raises(stopping.Stopped, match="after step 2 of 3 of epoch 2"):
            train(cfg)
    again = train(cfg)
    own = tmp_path / "run" / "checkpoints" / "checkpoint_step_00000005.pyth"
    assert f"resuming {own}" in (tmp_path / "run" / "log.txt").read_text()
    one, other = checkpoint.load(result["checkpoint"]), checkpoint.load(again["checkpoint"])
    for key in ("model_state", "optimizer_state", "epoch", "global_step", "best"):
        assert_same_state(one[key], other[key], key)
    assert train(cfg)["steps"] == 6  # it is finished


def test_unreadable_videos_are_named_before_a_save_in_the_middle(debug_cfg, debug_data, tmp_path, monkeypatch):
    lists = tmp_path / "lists"
    shutil.copytree(debug_data, lists, ignore=shutil.ignore_patterns("clips"))
    rows = (debug_data / "train.csv").read_text().splitlines()
    (lists / "train.csv").write_text("\n".join([*rows[:-4], *(f"gone_{n}.mp4 1" for n in range(4))]) + "\n")
    monkeypatch.setattr(stopping, "asked", lambda: 15)
    pairs = ("DATA.PATH_TO_DATA_DIR", str(lists), "TRAIN.BATCH_SIZE", "12", "DATA.MAX_BAD_FRACTION", "1")
    with pytest.raises(stopping.Stopped, match="after step 1 of 2 of epoch 1"):
        train(debug_cfg(*pairs, "LOG_PERIOD", "10"))
    order = seeds.numpy_generator(debug_cfg().RNG_SEED, "order", 0).permutation(24)[:12]
    gone = [f"gone_{index - 20}.mp4" for index in order if index >= 20]
    log = (tmp_path / "run" / "log.txt").read_text()
    assert gone and all(name in log for name in gone)


def test_a_test_that_is_asked_to_stop_says_so(finished, debug_cfg, monkeypatch):
    _, result, _ = finished
    monkeypatch.setattr(stopping, "asked", lambda: 15)
    with pytest.raises(stopping.Stopped, match="stopped by SIGTERM in the test"):
        run_test(debug_cfg("TEST.CHECKPOINT_FILE_PATH", result["checkpoint"]))


def test_weights_alone_start_a_new_run_and_cannot_be_resumed(finished, debug_cfg, tmp_path):
    _, result, _ = finished
    weights = tmp_path / "weights.pyth"
    checkpoint.save({"model_state": checkpoint.load(result["checkpoint"])["model_state"]}, weights)
    with pytest.raises(ValueError, match="no training state.*TRAIN.INIT"):
        train(debug_cfg("TRAIN.RESUME", str(weights)))
    started = train(
        debug_cfg("TRAIN.INIT", str(weights), "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0")
    )
    assert started["epochs"] == 1


def test_only_the_newest_checkpoints_are_kept(debug_cfg, tmp_path):
    train(debug_cfg("SOLVER.MAX_EPOCH", "4", "TRAIN.KEEP_CHECKPOINTS", "2", "TRAIN.EVAL_PERIOD", "4"))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["checkpoint_epoch_00003.pyth", "checkpoint_epoch_00004.pyth"]


def test_checkpoints_and_validation_are_due_as_published(golden_json):
    from slowfast.engine.train import _due

    periods = golden_json("checkpoint_format.json")["periods"]
    for key, name in (("CHECKPOINT_PERIOD", "checkpoint_at_cur_epoch"), ("EVAL_PERIOD", "eval_at_cur_epoch")):
        last = periods["MAX_EPOCH"]
        assert [epoch for epoch in range(last) if _due(periods[key], epoch, last)] == periods[name]


def test_precise_statistics_take_the_place_of_running_ones(debug_cfg):
    options = (
        "BN.USE_PRECISE_STATS",
        "True",
        "BN.NUM_BATCHES_PRECISE",
        "2",
        "SOLVER.MAX_EPOCH",
        "1",
        "SOLVER.WARMUP_EPOCHS",
        "0",
    )
    # Two epochs: training goes on with the statistics that were put in place.
    plain = train(debug_cfg("OUTPUT_DIR", str(debug_cfg().OUTPUT_DIR) + "-plain", *options[4:]))
    precise = train(debug_cfg(*options))
    one, other = (checkpoint.load(run["checkpoint"])["model_state"] for run in (plain, precise))
    assert torch.equal(one["head.weight"], other["head.weight"])
    assert not torch.equal(one["norm.running_mean"], other["norm.running_mean"])


def test_bf16_training_takes_finite_steps(debug_cfg):
    result = train(
        debug_cfg("TRAIN.MIXED_PRECISION", "bf16", "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0")
    )
    assert result["steps"] == 3 and result["skipped_steps"] == 0


class Counting:
    """A data set from outside the package: the label is the grey level."""

    views_per_video, class_names = 1, None

    def __len__(self):
        return 16

    def name(self, index):
        return f"made/{index}"

    def label(self, index):
        return index % 2

    def __getitem__(self, key):
        _, index = key
        clips = torch.full((1, 4, 32, 32, 3), 200 * self.label(index), dtype=torch.uint8)
        assert clips.shape == (1, *empty_views(4, 32).clips.shape[1:])
        return VideoItem(Views.of(clips), torch.tensor([self.label(index)]), ItemReport(index, index))


class Grey(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.head = nn.Linear(3, cfg.MODEL.NUM_CLASSES)

    def forward(self, clips):
        return self.head(clips.mean(dim=(2, 3, 4)))


def test_a_model_and_a_data_set_from_outside_train_and_test(debug_cfg):
    if "Grey" not in MODEL_REGISTRY:
        MODEL_REGISTRY.register(Grey)
        DATASET_REGISTRY._do_register("Counting", lambda cfg, split: Counting())
    cfg = debug_cfg(
        "MODEL.MODEL_NAME", "Grey", "MODEL.NUM_CLASSES", "2", "TRAIN.DATASET", "counting", "TEST.DATASET", "Counting",
        "AUG.NUM_SAMPLE", "1", "MIXUP.ENABLE", "False", "MODEL.LOSS_FUNC", "cross_entropy", "SOLVER.BASE_LR", "0.5",
        "TEST.NUM_ENSEMBLE_VIEWS", "1", "TEST.NUM_SPATIAL_CROPS", "1", "SOLVER.MAX_EPOCH", "4",
    )  # fmt: skip
    train(cfg)
    assert run_test(cfg)["video"]["top1"] == 100.0


def test_unknown_data_sets_and_short_lists_are_refused(debug_cfg):
    with pytest.raises(ValueError, match=r"unknown data set 'nope' for the train split; known: .*kinetics"):
        train(debug_cfg("TRAIN.DATASET", "nope"))
    with pytest.raises(ValueError, match="TRAIN.BATCH_SIZE to at most 24"):
        train(debug_cfg("TRAIN.BATCH_SIZE", "32"))


def test_too_many_unreadable_videos_stop_training_with_their_names(debug_cfg, tmp_path):
    cfg = debug_cfg("DATA.PATH_PREFIX", str(tmp_path / "wrong"))
    with pytest.raises(
        ValueError, match=r"could not be read .*DATA.PATH_PREFIX(.|\n)*clips/train/.*no such file"
    ):
        train(cfg)


def test_a_run_goes_on_in_another_precision(finished, debug_cfg):
    _, result, _ = finished
    resumed = train(
        debug_cfg(
            "TRAIN.RESUME", result["checkpoint"], "TRAIN.MIXED_PRECISION", "bf16", "SOLVER.MAX_EPOCH", "3"
        )
    )
    assert resumed["epochs"] == 3 and resumed["steps"] == 9


def test_resuming_names_what_changed_in_the_config(finished, debug_cfg, tmp_path):
    _, result, _ = finished
    train(debug_cfg("TRAIN.RESUME", result["checkpoint"], "SOLVER.BASE_LR", "0.5"))
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "the config has changed since: SOLVER.BASE_LR: 0.001 -> 0.5" in log
    assert "matched" in log


def test_the_file_of_pyslowfasts_name_is_resumed_unless_the_run_has_its_own(finished, debug_cfg, tmp_path):
    _, result, folder = finished
    first = str(folder / "checkpoints" / "checkpoint_epoch_00001.pyth")
    assert train(debug_cfg("TRAIN.CHECKPOINT_FILE_PATH", first, "SOLVER.MAX_EPOCH", "2"))["steps"] == 6
    again = train(debug_cfg("TRAIN.CHECKPOINT_FILE_PATH", first, "SOLVER.MAX_EPOCH", "3"))
    assert again["steps"] == 9
    assert "resuming " + str(tmp_path / "run") in (tmp_path / "run" / "log.txt").read_text()


def test_between_periods_only_the_best_is_written_where_the_latest_is_not_wanted(debug_cfg, tmp_path):
    train(debug_cfg("TRAIN.CHECKPOINT_PERIOD", "3", "TRAIN.SAVE_LATEST", "False", "SOLVER.MAX_EPOCH", "3"))
    names = sorted(path.name for path in (tmp_path / "run").rglob("*.pyth"))
    assert names == ["best.pyth", "checkpoint_epoch_00003.pyth"]


def test_a_test_given_again_is_recorded_once(finished, debug_cfg, tmp_path):
    path = ("TEST.CHECKPOINT_FILE_PATH", finished[1]["checkpoint"])
    file = tmp_path / "run" / "metrics.jsonl"
    counts = []
    for _ in range(2):
        run_test(debug_cfg(*path))
        counts.append([line["split"] for line in read_lines(file)].count("test_final"))
        counts.append(len(read_lines(file)))
        assert file.read_text().count("train_iter") == 0
    assert counts[:2] == counts[2:] and counts[0] == 1
    lines = len(read_lines(finished[2] / "metrics.jsonl"))
    for _ in range(2):  # what training recorded stays
        run_test(finished[0])
    assert len(read_lines(finished[2] / "metrics.jsonl")) == lines + counts[1]


@pytest.fixture
def threads_put_back():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_run_goes_on_and_is_tested_with_the_threads_it_began_with(
    debug_cfg, tmp_path, monkeypatch, threads_put_back
):
    monkeypatch.setattr(environment, "num_cores", lambda: 2)  # one for the worker, and one
    one_epoch = ("SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0")
    first = train(debug_cfg(*one_epoch, "NUM_THREADS", "3"))
    assert checkpoint.load(first["checkpoint"])["num_threads"] == 3
    here = ("NUM_THREADS", "0")
    again = train(debug_cfg(*here))
    assert torch.get_num_threads() == 3 == checkpoint.load(again["checkpoint"])["num_threads"]
    said = "3 thread(s) as in the checkpoint, since bits follow from them; NUM_THREADS 0 would mean 1 here"
    assert said in (tmp_path / "run" / "log.txt").read_text()
    assert run_test(debug_cfg(*here))["num_threads"] == 3
    assert run_test(debug_cfg("NUM_THREADS", "2"))["num_threads"] == 2  # asked for
    other = train(debug_cfg("NUM_THREADS", "2", "SOLVER.MAX_EPOCH", "3"))
    assert checkpoint.load(other["checkpoint"])["num_threads"] == 2


def test_a_file_in_place_of_the_folder_is_named(debug_cfg, tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(NotADirectoryError, match=f"OUTPUT_DIR.*{tmp_path}/run is a file"):
        train(debug_cfg())


def test_a_list_is_no_checkpoint(debug_cfg, debug_data):
    with pytest.raises(ValueError, match="train.csv is not a checkpoint"):
        train(debug_cfg("TRAIN.RESUME", str(debug_data / "train.csv")))


def test_a_test_leaves_the_global_stream_alone(finished):
    torch.manual_seed(78)
    before = torch.get_rng_state()
    run_test(finished[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_tree_that_nobody_resolved_is_checked_and_translated_first(finished, debug_cfg, tmp_path):
    from slowfast.config import ConfigError

    tree = debug_cfg().clone()
    tree.defrost()
    tree.TRAIN.RESUME, tree.TRAIN.CHECKPOINT_FILE_PATH = "", str(tmp_path / "none.pyth")
    with pytest.raises(FileNotFoundError, match="none.pyth"):
        train(tree)
    tree.TEST.NUM_SPATIAL_CROPS = 2
    with pytest.raises(ConfigError, match="NUM_SPATIAL_CROPS"):
        run_test(tree)


@pytest.mark.parametrize("change", [("SOLVER.OPTIMIZING_METHOD", "sgd"), ("SOLVER.OPTIMIZING_METHOD", "adam"),
                                    ("SOLVER.ZERO_WD_1D_PARAM", "False")])  # fmt: skip
def test_the_state_of_another_optimizer_is_refused(finished, debug_cfg, change):
    _, result, _ = finished
    with pytest.raises(ValueError, match=r"checkpoint_epoch_00002.pyth holds the state of another optimizer"):
        train(debug_cfg("TRAIN.RESUME", result["checkpoint"], *change))


def test_settings_of_the_optimizer_are_those_of_the_config_also_after_resuming(finished, debug_cfg):
    _, result, _ = finished
    changed = ("SOLVER.WEIGHT_DECAY", "0.5", "SOLVER.BETAS", "[0.5, 0.6]", "SOLVER.MAX_EPOCH", "3")
    again = train(debug_cfg("TRAIN.RESUME", result["checkpoint"], *changed))
    groups = checkpoint.load(again["checkpoint"])["optimizer_state"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}
    assert all(tuple(group["betas"]) == (0.5, 0.6) for group in groups)


def test_a_refused_start_leaves_the_config_of_the_run(finished, debug_cfg):
    cfg, _, folder = finished
    before = (folder / "config.yaml").read_bytes()
    with pytest.raises(ValueError, match="videos a step"):
        train(debug_cfg("OUTPUT_DIR", str(folder), "TRAIN.BATCH_SIZE", "4"))
    assert (folder / "config.yaml").read_bytes() == before


def test_weights_that_are_not_finite_give_no_accuracy(finished, debug_cfg, tmp_path):
    _, result, _ = finished
    saved = checkpoint.load(result["checkpoint"])
    saved["model_state"]["head.bias"][0] = float("nan")
    checkpoint.save(saved, tmp_path / "nan.pyth")
    with pytest.raises(ValueError, match="96 of 96 views have scores that are not finite"):
        run_test(debug_cfg("TEST.CHECKPOINT_FILE_PATH", str(tmp_path / "nan.pyth")))


def test_a_test_without_one_readable_video_fails(finished, debug_cfg, tmp_path):
    _, result, _ = finished
    path = ("TEST.CHECKPOINT_FILE_PATH", result["checkpoint"])
    with pytest.raises(ValueError, match=r"none of the 16 videos could be scored.*no such file.*PATH_PREFIX"):
        run_test(debug_cfg("DATA.PATH_PREFIX", str(tmp_path / "wrong"), *path))


def test_a_published_name_is_looked_up_for_a_test_too(debug_cfg):
    with pytest.raises(FileNotFoundError, match="uniformer_small_k400_8x8.pth.*hosted|hosts? it"):
        run_test(debug_cfg("TEST.CHECKPOINT_FILE_PATH", "uniformer_small_k400_8x8"))


def test_a_light_model_trains_resumes_and_tests_and_is_not_taken_for_the_other_family(finished, debug_cfg):
    plain = finished[1]["checkpoint"]
    rules = "[[], [], [1, 0.5], [0.5]]"
    light = (
        "MODEL.MODEL_NAME", "Uniformer_light_ls_fp32", "UNIFORMER.DEPTH", "[1, 1, 2, 1]",
        "UNIFORMER.PRUNE_RATIO", rules, "UNIFORMER.TRADE_OFF", rules, "MODEL.USE_CHECKPOINT", "True",
        "MODEL.CHECKPOINT_NUM", "[0, 0, 2, 0]", "TRAIN.MIXED_PRECISION", "bf16",
    )  # fmt: skip
    first = train(debug_cfg(*light, "SOLVER.MAX_EPOCH", "1", "SOLVER.WARMUP_EPOCHS", "0"))
    result = train(debug_cfg(*light))
    assert (first["steps"], result["steps"], result["skipped_steps"]) == (3, 6, 0)
    assert run_test(debug_cfg(*light))["num_scored"] == 16
    file, other = "The file looks like a lightweight UniFormer", "the model is a UniFormer"
    with pytest.raises(ValueError, match=f"{file} .*; {other} "):
        run_test(debug_cfg("TEST.CHECKPOINT_FILE_PATH", result["checkpoint"]))
    with pytest.raises(ValueError, match=f"{file} .*; {other} "):
        train(debug_cfg("TRAIN.RESUME", "", "TRAIN.AUTO_RESUME", "False", "TRAIN.INIT", result["checkpoint"]))
    with pytest.raises(ValueError, match="looks like a UniFormer .*; the model is a lightweight UniFormer"):
        run_test(debug_cfg(*light, "TEST.CHECKPOINT_FILE_PATH", plain))


def test_training_ends_when_validations_bring_nothing_better_also_when_given_again(debug_cfg, caplog):
    """With a rate of almost nothing, every validation is as good as the first."""
    options = ("SOLVER.MAX_EPOCH", "9", "TRAIN.PATIENCE", "2", "SOLVER.BASE_LR", "1e-12")
    rates = ("SOLVER.WARMUP_START_LR", "1e-13", "SOLVER.COSINE_END_LR", "1e-13", "TEST.ENABLE", "False")
    cfg = debug_cfg(*options, *rates, "TRAIN.AUTO_RESUME", "True", "BN.USE_PRECISE_STATS", "False")
    outcome = train(cfg)
    assert outcome["epochs"] == outcome["best"]["epoch"] + 3 < 9
    assert "2 validations in a row were no better than that after epoch" in caplog.text
    again = train(cfg)
    assert again["epochs"] == outcome["epochs"] and again["steps"] == outcome["steps"]
