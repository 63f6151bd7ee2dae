"""From a checkpoint to what it is used with: besides the config of a run the only reader of one in this package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from slowfast.config.loading import config_in, load_cfg
from slowfast.datasets.annotations import read_class_names
from slowfast.datasets.build import build_device_stage, build_video_views, preprocessing
from slowfast.engine import operators, precision
from slowfast.engine.reproduce import published_names
from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.exporting import safetensors_file
from slowfast.models import pretrained
from slowfast.models.build import build_model
from slowfast.models.folding import fold
from slowfast.utils import checkpoint, environment, logging, seeds

_FOR_OTHERS = (".onnx", ".pt2")  # as slowfast.inference.exporting names them


def load(
    path: str | os.PathLike,
    *,
    recipe: str | os.PathLike | None = None,
    device: str = "",
    opts: Sequence = (),
) -> VideoClassifier:
    """A checkpoint of a run, ready to be used on videos: its weights, class names, config and preprocessing.

    recipe: for weights that hold no config, such as published ones, the recipe that they belong to. device: cpu or
    cuda; "" takes a GPU where there is one. opts: KEY, VALUE, ... that change its config, such as
    TEST.NUM_SPATIAL_CROPS. Raises FileNotFoundError, or ValueError for a file that is no checkpoint, has no config, or
    holds weights that do not fit it.
    """
    payload = _read(path)
    on = _device(device)
    cfg = _config(
        path, payload, recipe, [*opts, "NUM_GPUS", int(on.type == "cuda"), "NUM_SHARDS", 1, "SHARD_ID", 0]
    )
    model = _trained(cfg, payload)
    fold(model, head=False)  # whose input are the features that users ask for
    model.eval().requires_grad_(False).to(on)
    views = build_video_views(cfg)
    num_views = min(cfg.TEST.NUM_ENSEMBLE_VIEWS * cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.BATCH_SIZE)
    dtype = precision.resolve(cfg.TEST.MIXED_PRECISION, on)
    _choose_operators(cfg, model, num_views, dtype, on, payload.get("operators", {}))
    return VideoClassifier(
        model=model,
        class_names=_class_names(cfg, payload, recipe),
        views=views,
        prepare=build_device_stage(cfg),
        device=on,
        dtype=dtype,
        views_per_batch=num_views,
        ensemble_method=cfg.DATA.ENSEMBLE_METHOD,
        facts=_facts(cfg, path, payload),
        description={"config": cfg.dump(), "preprocessing": preprocessing(cfg)},
    )


def load_weights(
    path: str | os.PathLike, *, recipe: str | os.PathLike | None = None, opts: Sequence = ()
) -> dict[str, Tensor]:
    """The weights of a checkpoint as its model has them, nothing folded, on the CPU; arguments as of `load`."""
    payload = _read(path)
    return _trained(_config(path, payload, recipe, opts), payload).state_dict()


def _read(path: str | os.PathLike) -> dict[str, Any]:
    """What a checkpoint holds, or a file of weights that `slowfast export --to safetensors` wrote."""
    if Path(path).suffix in _FOR_OTHERS:
        raise ValueError(
            f"{path} was exported for other programs, which run it: give the checkpoint that it was made from"
        )
    return safetensors_file.read(path) if Path(path).suffix == ".safetensors" else checkpoint.load(path)


def _trained(cfg, payload: Mapping[str, Any]) -> nn.Module:
    with seeds.forked_torch_stream(cfg.RNG_SEED, "init"):
        model = build_model(cfg)
    pretrained.fit(payload, model, replace_head=False)
    return model


def _device(name: str) -> torch.device:
    if not name:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"device is {name!r}; write cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {name}, but torch finds {torch.cuda.device_count()} CUDA devices here: write cpu"
        )
    return device


def _config(
    path: str | os.PathLike, payload: Mapping[str, Any], recipe: str | os.PathLike | None, opts: Sequence
):
    if recipe is not None:
        return load_cfg(recipe, opts)
    text = payload.get("cfg")
    if not isinstance(text, str):
        raise ValueError(
            f"{path} holds weights without the config that they belong to: give their recipe besides (--cfg FILE, in "
            "Python recipe=FILE), such as configs/k400/uniformer_s8x8.yaml"
        )
    return config_in(text, f"the config in {path}", opts)


def _class_names(cfg, payload: Mapping[str, Any], recipe: str | os.PathLike | None) -> tuple[str, ...]:
    """As the checkpoint has them, else from MODEL.CLASS_NAMES_PATH, else those of the data set that a recipe of ours is
    for, if there are as many, else numbers."""
    names = payload.get("class_names")
    if names is None and cfg.MODEL.CLASS_NAMES_PATH:
        names = read_class_names(cfg.MODEL.CLASS_NAMES_PATH)
    elif names is None and recipe is not None and (published := published_names(recipe)):
        names = read_class_names(published)
        names = names if len(names) == cfg.MODEL.NUM_CLASSES else None
    if names is None:
        return tuple(f"class {number}" for number in range(cfg.MODEL.NUM_CLASSES))
    if len(names) != cfg.MODEL.NUM_CLASSES:
        raise ValueError(f"there are {len(names)} class names for weights of {cfg.MODEL.NUM_CLASSES} classes")
    return tuple(names)


def _choose_operators(
    cfg, model, clips: int, dtype: torch.dtype | None, device: torch.device, saved: dict
) -> None:
    """The ways of the model's operators: those saved with it, else those that this machine remembers or measures."""
    side = cfg.DATA.TEST_CROP_SIZE
    shape = (clips, cfg.DATA.INPUT_CHANNEL_NUM[0], cfg.DATA.NUM_FRAMES, side, side)
    facts = environment.facts()
    operators.choose(
        model,
        [operators.Pass(shape, dtype or torch.float32, training=False)],
        device,
        logging.get_logger("inference"),
        saved=saved,
        forced={"depthwise": cfg.MODEL.DWCONV, "linear": cfg.MODEL.LINEAR, "attention": cfg.MODEL.ATTENTION},
        machine={"torch": facts["versions"]["torch"], **facts["hardware"]},
    )


def _facts(cfg, path: str | os.PathLike, payload: Mapping[str, Any]) -> dict:
    return {
        "checkpoint": os.fspath(path),
        "recipe": cfg.RECIPE,
        "model": cfg.MODEL.MODEL_NAME,
        "num_frames": cfg.DATA.NUM_FRAMES,
        "crop_size": cfg.DATA.TEST_CROP_SIZE,
        "num_clips": cfg.TEST.NUM_ENSEMBLE_VIEWS,
        "num_crops": cfg.TEST.NUM_SPATIAL_CROPS,
        "epochs": payload.get("epoch", -1) + 1,
        "versions": payload.get("versions", {}),
    }
