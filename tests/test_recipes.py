"""The 39 published experiments: each recipe is what was published, costs what was published, trains and tests."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from slowfast.config import get_cfg, load_cfg
from slowfast.config.node import leaves
from slowfast.config.sources import read_recipe
from slowfast.datasets.build import build_loader
from slowfast.datasets.video_writer import write_video
from slowfast.engine import optimizer as optimizers
from slowfast.engine.build import build_step, describe_rate, learning_rate, view_cost
from slowfast.engine.test import test as run_test
from slowfast.models.build import build_model
from slowfast.utils import checkpoint, seeds

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
PUBLISHED = json.loads((ROOT / "configs" / "published.json").read_text())
ROWS = json.loads((GOLDEN / "recipes.json").read_text())
COSTS = {Path(row["recipe"]).name: row for row in json.loads((GOLDEN / "flops.json").read_text())["rows"]}
RECIPES = sorted(PUBLISHED)
PARAMETERS = {  # with 400 classes
    ("S", "Uniformer"): 21_400_400,
    ("B", "Uniformer"): 49_813_200,
    ("XXS", "Uniformer_light"): 9_833_896,
    ("XXS", "Uniformer_light_fp32"): 9_833_896,
    ("XXS", "Uniformer_light_ls_fp32"): 9_840_616,
    ("XS", "Uniformer_light_fp32"): 16_099_552,
}


def path_of(key):
    return ROOT / "configs" / f"{key}.yaml"


# --------------------------------------------------------------------------------- what the recipes say
# Where a recipe leaves what was published: each key with the value of ours, and why.
FRAME_FOLDERS = ("ssv1", "ssv2", "hmdb51")
SPLITS = ("ucf101", "hmdb51")
DATASETS = {"ucf101": "ucf101", "ssv2": "ssv2"}  # names here that know splits, and videos without extraction


def expected(key):
    """Everything a recipe writes: the row with its fixes and test protocol, and what is ours."""
    published = PUBLISHED[key]
    row, dataset = ROWS[published["row"]], published["dataset"]
    settings = {**row["effective"], **row["fixes"], **row["eval_protocol"]}
    settings["OUTPUT_DIR"] = f"runs/{published['row']}"
    settings["DATA.PATH_PREFIX"] = ""
    settings["DATA.PATH_TO_DATA_DIR"] = f"data_lists/{dataset}"
    settings["SOLVER.REFERENCE_BATCH"] = settings["TRAIN.BATCH_SIZE"]
    if dataset in FRAME_FOLDERS:  # published code hands on B, G, R as its image reader gives it
        settings["DATA.REVERSE_INPUT_CHANNEL"] = True
    if settings["MODEL.MODEL_NAME"] == "Uniformer_light_ls_fp32":  # published code ignores what is missing
        settings["TRAIN.INIT_ALLOW"] = ["*.gamma_*"]
    if dataset in SPLITS:
        settings["DATA.SPLIT"] = 1
    if dataset in DATASETS:
        settings["TRAIN.DATASET"] = settings["TEST.DATASET"] = DATASETS[dataset]
    return settings


def test_there_is_one_recipe_for_each_published_row():
    assert {entry["row"] for entry in PUBLISHED.values()} == set(ROWS) - {"_meta"}
    assert len(PUBLISHED) == len(RECIPES) == 39
    written = {path.relative_to(ROOT / "configs").with_suffix("") for path in ROOT.glob("configs/*/*.yaml")}
    others = {"debug", "demo"}
    assert {str(name) for name in written if name.parts[0] not in others} == set(RECIPES)


@pytest.mark.parametrize("key", RECIPES)
def test_files_are_named_after_their_rows(key):
    folder, name = key.split("/")
    published = {"ssv1": "sthv1", "ssv2": "sthv2"}.get(folder, folder)
    row = PUBLISHED[key]["row"]
    assert name == row.replace(f"_{published}", "", 1) and PUBLISHED[key]["dataset"] == folder


@pytest.mark.parametrize("key", RECIPES)
def test_recipes_are_whole_and_equal_to_what_was_published(key):
    merged = get_cfg()
    merged.merge_from_file(path_of(key))
    assert dict(leaves(merged)) == {**dict(leaves(get_cfg())), **expected(key)}
    assert sorted(entry.key for entry in read_recipe(path_of(key))) == sorted(expected(key))


@pytest.mark.parametrize("key", RECIPES)
def test_recipes_pass_the_checks_and_mean_what_they_say(key):
    cfg = load_cfg(path_of(key))
    said = {**dict(leaves(get_cfg())), **expected(key)}
    changed = {name: value for name, value in leaves(cfg) if value != said[name]}
    # Loading adds where it comes from and what TRAIN.AUTO_RESUME means.
    assert changed == {"RECIPE": str(path_of(key)), "TRAIN.RESUME": "auto"}


@pytest.mark.parametrize("key", RECIPES)
def test_rates_are_the_published_ones_in_all_machines_by_both_rules(key):
    derived = ROWS[PUBLISHED[key]["row"]]["derived"]
    names = ("warmup_start", "peak", "end")
    published = pytest.approx([derived[f"{name}_lr_after_shard_scaling"] for name in names], rel=1e-12)
    for pairs in ([], ["SOLVER.SCALE_LR", "False"]):
        cfg = load_cfg(path_of(key), pairs)
        times = (0.0, cfg.SOLVER.WARMUP_EPOCHS, float(cfg.SOLVER.MAX_EPOCH))
        assert [learning_rate(cfg, time) for time in times] == published


def test_a_recipe_of_eight_gpus_on_one_follows_its_batch():
    cfg = load_cfg(path_of("k400/uniformer_s8x8"), ["NUM_GPUS", "1", "TRAIN.BATCH_SIZE", "8"])
    assert describe_rate(cfg) == "4e-4 @ 128 -> 2.5e-5 @ 8"


@pytest.mark.parametrize("key", RECIPES)
def test_published_facts_are_those_of_the_row_and_stand_in_the_header(key):
    entry, row = PUBLISHED[key], ROWS[PUBLISHED[key]["row"]]
    facts = row["readme"]
    for name in ("top1", "gflops", "input_frames", "crops", "clips", "weights_published"):
        assert entry[name] == facts[name], name
    assert entry["flags"] == row["flags"] and entry["pretrain"] == row["effective"]["UNIFORMER.PRETRAIN_NAME"]
    assert entry["weights_published"] == (entry["weights_hosted_at"] is not None)
    assert entry["weights_hosted_at"] is None or f"({entry['weights_hosted_at']})" in facts["model"]
    text = path_of(key).read_text()
    comments = [line.lstrip("#") for line in text.splitlines() if line.startswith("#")]
    header = " ".join(" ".join(comments).split())
    views = f"{entry['input_frames']}x{entry['crops']}x{entry['clips']} (frames x crops x clips)"
    assert f"Published {entry['top1']} % top-1" in header and f"{views}, {entry['gflops']:g} GMACs" in header
    assert f"--cfg configs/{key}.yaml" in header and f"{entry['pretrain']} of the UniFormer project" in header
    assert f"{row['derived']['videos_per_optimizer_step']} videos a step" in header
    assert "Hardware" in header and "Here" in header


def test_rows_of_several_splits_say_how_many_videos_each_has():
    """As the owners' test lists have them, which the README of each data set counts too."""
    counts = {
        entry["dataset"]: entry["num_test_videos"]
        for entry in PUBLISHED.values()
        if not isinstance(entry["num_test_videos"], int)
    }
    assert counts == {"ucf101": [3783, 3734, 3696], "hmdb51": [1530] * 3}
    ucf101, hmdb51 = ((ROOT / "data_lists" / name / "README.md").read_text() for name in ("ucf101", "hmdb51"))
    assert all(f" | {count:,} |" in ucf101 for count in counts["ucf101"]) and " | 1,530 |" in hmdb51


def test_views_of_the_published_numbers_are_those_of_the_recipes():
    for key, entry in PUBLISHED.items():
        cfg = load_cfg(path_of(key))
        views = (cfg.DATA.NUM_FRAMES, cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.NUM_ENSEMBLE_VIEWS)
        assert views == (entry["input_frames"], entry["crops"], entry["clips"]), key


@pytest.mark.parametrize("key", RECIPES)
def test_parameters_and_multiply_accumulates_are_the_published_ones(key):
    entry, cfg = PUBLISHED[key], load_cfg(path_of(key))
    row, golden = ROWS[entry["row"]], COSTS[entry["row"]]
    cost = view_cost(cfg)
    assert cost["macs"] / 1e9 == pytest.approx(golden["gmacs_per_view"], abs=1e-9)
    # The head, or both heads of a light model, is all that depends on the classes.
    heads = 1 if cfg.MODEL.MODEL_NAME == "Uniformer" else 2
    width = cfg.UNIFORMER.EMBED_DIM[-1] + 1
    base = PARAMETERS[row["size"], cfg.MODEL.MODEL_NAME]
    assert cost["parameters"] == base + heads * (cfg.MODEL.NUM_CLASSES - 400) * width
    total = cost["macs"] / 1e9 * entry["crops"] * entry["clips"]
    assert total == pytest.approx(entry["gflops"], rel=0.02)


# ------------------------------------------------------------------------------- what the recipes do
@dataclass(frozen=True)
class Media:
    """Two training and two test videos in the format that a data set has at its owners."""

    lists: Path
    prefix: Path


def frames_of(number, count, size=(72, 96)):
    """uint8 (count, H, W, 3): a grey square that wanders over noise."""
    rng = np.random.default_rng(number)
    frames = np.repeat(rng.integers(0, 256, (1, *size, 3), dtype=np.uint8), count, axis=0)
    for time, frame in enumerate(frames):
        frame[8 + time % 48 : 24 + time % 48, 20:40] = 128
    return frames


def write_files(folder, names, count=40):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames_of(number, count), 25)


def write_folders(folder, names, template, count=40):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for time, frame in enumerate(frames_of(number, count)):
            Image.fromarray(frame).save(folder / name / template.format(time + 1))


def write_lists(folder, lists):
    for name, lines in lists.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture(scope="session")
def media(tmp_path_factory):
    """A function from the name of a data set to its Media, written once."""
    written = {}

    def kinetics(folder):
        names = [f"{split}/abseiling/{name}_000001_000011.mp4" for split in ("train", "val") for name in "ab"]
        write_files(folder / "media", names)
        lines = [f"{name},{label}" for label, name in enumerate(names)]
        write_lists(folder, {"train.csv": lines[:2], "val.csv": lines[2:], "test.csv": lines[2:]})

    def something(folder, version, template):
        names = ["1", "2", "100218", "100219"]
        write_folders(folder / "media", names, template)
        lines = [f"{name} 40 {label}" for label, name in enumerate(names, 170)]
        pattern = f"somesomev{version}_rgb_{{}}_split.txt"
        write_lists(folder, {pattern.format("train"): lines[:2], pattern.format("validation"): lines[2:]})

    def ucf101(folder):
        names = [f"Archery/v_Archery_g0{group}_c0{clip}.avi" for group in (8, 1) for clip in (1, 2)]
        write_files(folder / "media", names)
        lines = [f"{name} {label}" for label, name in enumerate(names, 97)]
        lists = {"train.csv": lines[:2], "val.csv": lines[2:], "test.csv": lines[2:]}
        write_lists(folder, {f"split1/{name}": part for name, part in lists.items()})

    def hmdb51(folder):
        names = [f"brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_{number}" for number in range(4)]
        write_folders(folder / "media", names, "img_{:05d}.jpg")
        lines = [f"{name} 40 {label}" for label, name in enumerate(names, 47)]
        write_lists(folder, {"split1/train.txt": lines[:2], "split1/val.txt": lines[2:]})

    writers = {
        "k400": kinetics,
        "k600": kinetics,
        "ssv1": lambda folder: something(folder, 1, "{:05d}.jpg"),
        "ssv2": lambda folder: something(folder, 2, "img_{:05d}.jpg"),
        "ucf101": ucf101,
        "hmdb51": hmdb51,
    }

    def of(dataset):
        if dataset not in written:
            folder = tmp_path_factory.mktemp(dataset)
            writers[dataset](folder)
            written[dataset] = Media(folder, folder / "media")
        return written[dataset]

    return of


def small(key, media, folder):
    """The recipe on two videos of 64 pixels in this process; depth, widths, frames and views are as published."""
    data = media(PUBLISHED[key]["dataset"])
    return load_cfg(
        path_of(key),
        ["DATA.PATH_TO_DATA_DIR", str(data.lists), "DATA.PATH_PREFIX", str(data.prefix)]
        + [
            "OUTPUT_DIR",
            str(folder / "run"),
            "NUM_GPUS",
            "0",
            "NUM_SHARDS",
            "1",
            "DATA_LOADER.NUM_WORKERS",
            "0",
        ]
        + ["TRAIN.BATCH_SIZE", "2", "TEST.BATCH_SIZE", "2", "TENSORBOARD.ENABLE", "False"]
        + ["MODEL.DWCONV", "channels_last", "MODEL.LINEAR", "native", "MODEL.ATTENTION", "fused"]
        + ["DATA.TRAIN_CROP_SIZE", "64", "DATA.TEST_CROP_SIZE", "64", "UNIFORMER.PRETRAIN_NAME", "null"]
        + ["TEST.CHECKPOINT_FILE_PATH", str(folder / "weights.pyth")],
    )


@pytest.mark.parametrize("key", RECIPES)
def test_recipes_take_a_step_and_run_their_whole_test(key, media, tmp_path):
    cfg = small(key, media, tmp_path)
    with seeds.forked_torch_stream(0, "init"):
        model = build_model(cfg)
    before = model.head.weight.detach().clone()
    step = build_step(cfg, torch.device("cpu"), model)
    optimizers.set_lr(step.optimizer, learning_rate(cfg, 0.0))
    (batches,) = build_loader(cfg, "train").steps(0)
    assert len(batches[0]) == 2 * cfg.AUG.NUM_SAMPLE and all(report.readable for report in batches[0].reports)
    result = step(batches, 0)
    assert torch.isfinite(result.loss) and step.guard.check(0, 0.0) == 0
    assert not torch.equal(model.head.weight, before)

    checkpoint.save({"model_state": model.state_dict()}, tmp_path / "weights.pyth")
    summary = run_test(cfg)
    os.remove(tmp_path / "weights.pyth")
    entry = PUBLISHED[key]
    assert summary["views"] == f"{entry['input_frames']}x{entry['crops']}x{entry['clips']}"
    assert summary["num_scored"] == summary["num_total"] == 2
    assert summary["incomplete"] == summary["unreadable"] == summary["damaged"] == []
    with np.load(tmp_path / "run" / "scores.npz") as scores:
        assert scores["logits"].shape == (2 * entry["crops"] * entry["clips"], cfg.MODEL.NUM_CLASSES)
