"""The story of fine-tuning: lists, what to start from, choices with their reasons, a recipe that any run can take."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from slowfast.config.defaults import get_cfg
from slowfast.config.loading import config_in, load_cfg
from slowfast.config.sources import read_pairs
from slowfast.datasets.build import KINDS
from slowfast.datasets.preparation.folders import Shares
from slowfast.datasets.preparation.prepare import Plan, prepare_tree
from slowfast.finetuning import choosing, facts, trial
from slowfast.models import pretrained
from slowfast.models.build import build_model
from slowfast.utils import checkpoint, environment
from slowfast.utils.atomic import replace_file
from slowfast.utils.folders import make_folder

SMALL = Path(__file__).with_name("small.yaml")  # a small model for training from scratch
RECIPES = Path(__file__).resolve().parents[2] / "configs"
RECIPE, WISHES = "recipe.yaml", "finetune.json"
PUBLISHED = re.compile(r"uniformer_(?P<size>small|base)_(?P<data>k400|k600|in1k)(?:_(?P<clip>\d+x\d+))?$")
# What a recipe says of its own data and run, and a new run must not take over.
_NOT_TAKEN_OVER: dict[str, object] = {
    "TRAIN.ENABLE": True, "TRAIN.RESUME": "", "TRAIN.AUTO_RESUME": True, "TRAIN.CHECKPOINT_FILE_PATH": "",
    "TRAIN.CHECKPOINT_EPOCH_RESET": False, "TRAIN.INIT_ALLOW": [], "TRAIN.MIXED_PRECISION": "auto",
    "TEST.ENABLE": True, "TEST.LIST": "", "TEST.CHECKPOINT_FILE_PATH": "", "TEST.TEST_BEST": True,
    "TEST.NUM_TEMPORAL_CLIPS": [], "TEST.RESUME": True, "TEST.HAS_LABELS": "auto", "TEST.DATASET": "kinetics",
    "DATA.CLASS_NAMES_PATH": "", "DATA.PATH_LABEL_SEPARATOR": "", "DATA.SPLIT": 1, "DATA.SAMPLER": "uniform",
    "DATA.LABEL_PATH_TEMPLATE": "{}.csv", "MODEL.CLASS_NAMES_PATH": "", "MODEL.SLICE_HEAD": False,
    "MODEL.FREEZE": [], "MODEL.CLASS_WEIGHTS": "none", "UNIFORMER.PRETRAIN_NAME": "", "SOLVER.LAYER_DECAY": 1.0,
    "NUM_SHARDS": 1, "SHARD_ID": 0, "NUM_THREADS": 0, "LOG_PERIOD": 10,
}  # fmt: skip


@dataclass(frozen=True)
class Wishes:
    """What the user asked for. data: class folders or lists; media: of lists, "" to find out. init: "" for scratch.

    recipe: of weights without a config, or for training from scratch; "" chooses. gpus: None takes all there are.
    """

    data: str
    out: str
    init: str
    recipe: str = ""
    media: str = ""
    weights_dir: str = "path_to_models"
    gpus: int | None = None
    epochs: int | None = None
    batch: int | None = None
    freeze: tuple[str, ...] = ()
    group_by: str = ""
    val: float = 0.1
    test: float = 0.2
    seed: int = 0
    opts: tuple[str, ...] = ()


def prepare(wishes: Wishes, say) -> Path:
    """Make the recipe of a fine-tuning in its folder, telling with ``say`` what was chosen and why; returns its path.

    A folder that holds one for the same wishes is gone on with. Raises ValueError for a folder of other wishes, and
    for what the parts raise.
    """
    out = Path(wishes.out)
    recipe = out / RECIPE
    asked = json.loads(json.dumps(vars(wishes)))
    if (out / WISHES).exists():
        before = json.loads((out / WISHES).read_text("utf-8"))
        if before != asked:
            differing = sorted(key for key in asked if before.get(key) != asked[key])
            raise ValueError(
                f"{out} holds a fine-tuning that was begun with another {', '.join(differing)}: give the same words to "
                "go on with it, or another --out"
            )
        say(f"going on in {out}, as {recipe} says")
        return recipe
    _check_numbers(wishes)
    if recipe.exists() or (out / checkpoint.FOLDER).exists():
        raise ValueError(f"{out} holds another run: name another folder with --out")
    start_from = _base(wishes)  # before hours of looking into videos
    make_folder(out)
    keys = _data_keys(wishes, say)
    data = facts.look({**keys, **dict(zip(wishes.opts[::2], wishes.opts[1::2], strict=False))})
    say(f"data: {data.num_videos} training videos of {len(data.class_names)} classes")
    text = _recipe(wishes, start_from, keys, data, say)
    for path, content in ((recipe, text), (out / WISHES, json.dumps(asked, indent=1) + "\n")):
        with replace_file(path) as file:
            file.write(content.encode())
    return recipe


def _check_numbers(wishes: Wishes) -> None:
    for name, value, least in (
        ("epochs", wishes.epochs, 1),
        ("batch", wishes.batch, 1),
        ("gpus", wishes.gpus, 0),
    ):
        if value is not None and value < least:
            raise ValueError(f"--{name} is {value}; write {least} or more")
    if wishes.gpus and wishes.gpus > torch.cuda.device_count():
        raise ValueError(
            f"--gpus is {wishes.gpus}, but torch finds {torch.cuda.device_count()} here: write so many, 0 for the CPU"
        )


def _data_keys(wishes: Wishes, say) -> dict[str, object]:
    """Keys of a config that read the lists, made first where there are class folders alone."""
    folder = Path(wishes.data)
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder: give one with a folder of videos for each class, or with lists"
        )
    if (folder / "classes.txt").exists() and (folder / "train.csv").exists():
        return facts.keys_of_lists(folder, wishes.media)
    if wishes.media:
        raise ValueError(
            f"--media is for lists, and {folder} holds none (train.csv and classes.txt): leave it out"
        )
    plan = Plan(
        "folders", folder.absolute(), Path(wishes.out).absolute() / "lists", workers=environment.num_cores()
    )
    shares = Shares(wishes.val, wishes.test)
    prepared = prepare_tree(plan, shares, group_by=wishes.group_by, seed=wishes.seed)
    say(prepared.report.partition("\nfor the command line")[0])
    return {key: str(value) if isinstance(value, Path) else value for key, value in prepared.keys.items()}


def _recipe(
    wishes: Wishes, start_from: tuple[str, str, str], keys: Mapping[str, object], data: facts.DataFacts, say
) -> str:
    """The text of the recipe; ``start_from`` as `_base` gives it."""
    base, name, weights = start_from
    gpus = torch.cuda.device_count() if wishes.gpus is None else wishes.gpus
    workers = max(1, min(8, environment.num_cores() // max(1, gpus) - 1))
    fixed = {
        **_NOT_TAKEN_OVER,
        "OUTPUT_DIR": os.path.abspath(wishes.out),
        "NUM_GPUS": gpus,
        "RNG_SEED": wishes.seed,
        "TRAIN.INIT": os.path.abspath(weights) if weights else "",
        "DATA_LOADER.NUM_WORKERS": workers,
        "TEST.BATCH_SIZE": 8 * max(1, gpus),
    }
    start = _start(config_in(base, name, _words({**fixed, "NUM_GPUS": 0})), name, bool(weights))
    choices = [
        choosing.choose_solver(data, start, wishes.freeze),
        choosing.choose_clips(data, start, gpus > 0),
    ]
    keys = {**fixed, **keys, **choices[0].keys, **choices[1].keys}
    choices.append(_steps(wishes, data, base, name, keys, start.trained, say))
    for line in (line for choice in choices for line in choice.reasons):
        say(line)
    if wishes.opts:
        say(f"changed by you: {' '.join(wishes.opts)}")
    cfg = config_in(base, name, [*_words({**keys, **choices[2].keys}), *wishes.opts])
    return cfg.dump()


def _base(wishes: Wishes) -> tuple[str, str, str]:
    """(text of the recipe to start from, what to call it, file of the weights, "" for none)."""
    if not wishes.init:
        path = wishes.recipe or SMALL
        name = str(path) if wishes.recipe else "a small UniFormer of 0.48 M parameters"
        return Path(path).read_text("utf-8-sig"), name, ""
    try:
        path = str(pretrained.resolve_weights(wishes.init, wishes.weights_dir, for_training=False))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} To train from scratch write --init none") from None
    if wishes.recipe:
        return Path(wishes.recipe).read_text("utf-8-sig"), wishes.recipe, path
    text = checkpoint.load(path).get("cfg")
    if isinstance(text, str):
        return text, path, path
    recipe = _published_recipe(Path(path).stem)
    if recipe is None:
        raise ValueError(
            f"{path} holds weights without the config that they belong to: give their recipe with --cfg, such as "
            "configs/k400/uniformer_s8x8.yaml"
        )
    return recipe.read_text("utf-8-sig"), str(recipe), path


def _published_recipe(stem: str) -> Path | None:
    """The recipe of published weights, in a checkout."""
    match = PUBLISHED.match(stem)
    if not match:
        return None
    data = "k400" if match["data"] == "in1k" else match["data"]
    path = RECIPES / data / f"uniformer_{match['size'][0]}{match['clip'] or '16x4'}.yaml"
    return path if path.exists() else None


def _start(cfg, name: str, trained: bool) -> choosing.Start:
    rule = KINDS[cfg.TRAIN.DATASET].rule if cfg.TRAIN.DATASET in KINDS else "dense"
    with torch.device("meta"):
        model = build_model(cfg)
    return choosing.Start(
        name=name,
        trained=trained,
        base_lr=cfg.SOLVER.BASE_LR,
        crop_size=cfg.DATA.TRAIN_CROP_SIZE,
        num_frames=cfg.DATA.NUM_FRAMES,
        sampling_rate=cfg.DATA.SAMPLING_RATE,
        dense=rule == "dense",
        random_flip=cfg.DATA.RANDOM_FLIP,
        layered=hasattr(model, "layer_of"),
    )


def _steps(
    wishes: Wishes, data: facts.DataFacts, base: str, name: str, keys, trained: bool, say
) -> choosing.Choice:
    """Batch and epochs, after a trial of how much memory and time a step takes."""
    gpus = max(1, int(keys["NUM_GPUS"]))
    wanted = min(wishes.batch or choosing.wanted_batch(data.num_videos), data.num_videos)
    tried = config_in(base, name, [*_words({**keys, "TRAIN.BATCH_SIZE": gpus}), *wishes.opts])
    found, free = trial.measure(tried.dump())
    more: dict[str, object] = {}
    if found is None or found.most_videos(free) == 0:
        say(
            "memory: one video is more than fits, so parts of the model are computed twice (MODEL.CHECKPOINT auto)"
        )
        most, more = gpus, {"MODEL.CHECKPOINT": "auto", "MODEL.USE_CHECKPOINT": False}
    else:
        fits = found.most_videos(free)
        most = wanted if fits is None else fits * gpus
    batch = max(gpus, min(wanted, most) // gpus * gpus)
    passes = max(1, round(wanted / batch))
    choice = choosing.choose_steps(
        data.num_videos, data.num_validated, batch, passes, trained, wishes.epochs
    )
    lines = list(choice.reasons)
    if found is not None:
        lines.append(_measured(found, free, data.num_videos, batch, gpus))
    return choosing.Choice({**choice.keys, **more}, tuple(lines))


def _measured(found: trial.Trial, free: int | None, num_videos: int, batch: int, gpus: int) -> str:
    line = f"measured: about {_duration(found.seconds_per_video * num_videos / gpus)} of training an epoch"
    if found.fixed_bytes is None or free is None:
        return line
    needed = found.fixed_bytes + found.bytes_per_video * batch // gpus
    return f"{line}, {needed / 1e9:.2g} GB of the {free / 1e9:.3g} that are free"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 6000 else f"{seconds / 3600:.1f} hours"


def _words(keys: Mapping[str, Any]) -> list:
    return [word for pair in keys.items() for word in pair]


def command(recipe: Path) -> str:
    """What runs the recipe by itself."""
    return f"slowfast run --cfg {shlex.quote(os.fspath(recipe))}"


def trained_state(recipe: Path) -> Path:
    """The state of a finished fine-tuning that its recipe tests: the best or, where it chooses none, the last."""
    cfg = load_cfg(recipe)
    if cfg.TEST.TEST_BEST:
        return checkpoint.best_path(cfg.OUTPUT_DIR)
    return checkpoint.newest(Path(cfg.OUTPUT_DIR) / checkpoint.FOLDER)


def check_settings(opts: Sequence[str]) -> None:
    """Raise ValueError for settings of no key or of no value for it, and for those that have an option of their own."""
    get_cfg().merge(read_pairs(opts)[0])
    own = {"TRAIN.INIT": "--init", "OUTPUT_DIR": "--out", "NUM_GPUS": "--gpus", "RNG_SEED": "--seed"}
    own |= {"TRAIN.BATCH_SIZE": "--batch", "SOLVER.MAX_EPOCH": "--epochs", "MODEL.FREEZE": "--freeze"}
    for key in opts[0::2]:
        if key in own:
            raise ValueError(f"{key} is set by {own[key]}; leave it out of the settings")
