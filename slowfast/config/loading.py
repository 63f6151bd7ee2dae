"""Defaults + recipe + command line -> a checked, frozen config."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from slowfast.config.checks import check
from slowfast.config.defaults import get_cfg
from slowfast.config.node import CfgNode
from slowfast.config.sources import ConfigError, read_pairs, read_recipe


def load_cfg(path: str | os.PathLike, opts: Sequence = (), notes: list[str] | None = None) -> CfgNode:
    """The config of a run: the defaults, overlaid with a recipe, then with ``[KEY, VALUE, KEY, VALUE, ...]``.

    ``notes`` receives one line for every key that was translated, to be logged once there is a log. Raises
    FileNotFoundError for a missing recipe, and ConfigError (a ValueError) with everything else that is wrong.
    """
    cfg = get_cfg()
    overrides, repeated = read_pairs(opts)
    problems: list[str] = []
    for entries in (read_recipe(path), overrides):
        try:
            cfg.merge(entries)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    cfg.RECIPE = cfg.RECIPE or os.fspath(path)  # a resolved config keeps the name of its recipe
    if notes is not None:
        notes += repeated
    return resolve(cfg, notes)


def resolve(cfg: CfgNode, notes: list[str] | None = None) -> CfgNode:
    """A frozen copy of ``cfg`` with names of PySlowFast translated and all rules checked.

    Resolving a second time changes nothing. Raises ConfigError with every rule that is broken.
    """
    cfg = cfg.clone()
    cfg.defrost()
    said = list(_translate(cfg))
    check(cfg)
    cfg.freeze()
    if notes is not None:
        notes += said
    return cfg


def _translate(cfg: CfgNode) -> Iterator[str]:
    """Write what other names and values mean into the keys that are read; one line for each."""
    yield from _precision(cfg)
    yield from _reading(cfg)
    yield from _start(cfg)
    yield from _clipping(cfg)
    if cfg.DIST_BACKEND == "nccl" and cfg.NUM_GPUS == 0:
        cfg.DIST_BACKEND = "gloo"
        yield "DIST_BACKEND nccl needs GPUs; with NUM_GPUS 0 it means gloo"


def _precision(cfg: CfgNode) -> Iterator[str]:
    for name in ("TRAIN", "TEST"):
        given = cfg[name].MIXED_PRECISION
        if isinstance(given, bool):
            cfg[name].MIXED_PRECISION = "auto" if given else "off"
            yield f"{name}.MIXED_PRECISION {given} means {cfg[name].MIXED_PRECISION}"


def _reading(cfg: CfgNode) -> Iterator[str]:
    data, unit = cfg.DATA, cfg.DATA.SAMPLING_UNIT
    if data.DECODING_BACKEND != "pyav":
        yield f"DATA.DECODING_BACKEND {data.DECODING_BACKEND} means pyav, with DATA.SAMPLING_UNIT {unit}"
    if unit == "frames" and data.TARGET_FPS != 30:
        yield f"DATA.TARGET_FPS {data.TARGET_FPS:g} has no effect: DATA.SAMPLING_UNIT is frames, not seconds"


def _start(cfg: CfgNode) -> Iterator[str]:
    """TRAIN.AUTO_RESUME, CHECKPOINT_FILE_PATH and CHECKPOINT_EPOCH_RESET, in the published order of loading.

    First comes what OUTPUT_DIR holds, then the named file, whose epoch and optimizer count unless reset.
    """
    train = cfg.TRAIN
    path = train.CHECKPOINT_FILE_PATH
    if path and train.CHECKPOINT_EPOCH_RESET:
        if not train.INIT:
            train.INIT = path
            yield f"TRAIN.CHECKPOINT_FILE_PATH with CHECKPOINT_EPOCH_RESET means TRAIN.INIT {path}"
    elif path and train.RESUME in ("", "auto", path):
        automatic = train.AUTO_RESUME or train.RESUME == "auto"
        if not (automatic and _has_checkpoint(cfg.OUTPUT_DIR)):
            if train.RESUME != path:
                yield f"TRAIN.CHECKPOINT_FILE_PATH means TRAIN.RESUME {path}"
            train.RESUME = path
            return
        train.RESUME = ""
    if train.AUTO_RESUME and not train.RESUME:
        train.RESUME = "auto"
        yield "TRAIN.AUTO_RESUME True means TRAIN.RESUME auto: a checkpoint in OUTPUT_DIR is continued"


def _has_checkpoint(output_dir: str) -> bool:
    folder = os.path.join(output_dir, "checkpoints")
    return os.path.isdir(folder) and any(name.endswith(".pyth") for name in os.listdir(folder))


def _clipping(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.CLIP_GRAD_L2NORM is not None and solver.CLIP_GRAD_L2NORM != solver.CLIP_GRADIENT:
        solver.CLIP_GRADIENT = solver.CLIP_GRAD_L2NORM
        yield f"SOLVER.CLIP_GRAD_L2NORM means SOLVER.CLIP_GRADIENT {solver.CLIP_GRADIENT:g}"
    elif (
        solver.CLIP_GRAD_L2NORM is None
        and solver.CLIP_GRAD_VAL is not None
        and solver.CLIP_GRADIENT is not None
    ):
        solver.CLIP_GRADIENT = None
        yield f"SOLVER.CLIP_GRAD_VAL {solver.CLIP_GRAD_VAL:g} limits every value; the norm has no limit then"
