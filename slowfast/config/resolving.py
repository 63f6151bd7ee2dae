"""What names of PySlowFast mean here, the rules between keys, and freezing: the last step before a config is used."""

from __future__ import annotations

from collections.abc import Iterator

import yacs.config

from slowfast.config.checks import check


def resolve(cfg: yacs.config.CfgNode, notes: list[str] | None = None) -> yacs.config.CfgNode:
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


def _translate(cfg: yacs.config.CfgNode) -> Iterator[str]:
    """Write what other names and values mean into the keys that are read; one line for each."""
    yield from _precision(cfg)
    yield from _reading(cfg)
    yield from _start(cfg)
    yield from _clipping(cfg)
    yield from _rates(cfg)
    yield from _surplus(cfg)
    yield from _recomputation(cfg)
    if cfg.DIST_BACKEND == "nccl" and cfg.NUM_GPUS == 0:
        cfg.DIST_BACKEND = "gloo"
        yield "DIST_BACKEND nccl needs GPUs; with NUM_GPUS 0 it means gloo"


def _precision(cfg: yacs.config.CfgNode) -> Iterator[str]:
    for name in ("TRAIN", "TEST"):
        given = cfg[name].MIXED_PRECISION
        if isinstance(given, bool):
            cfg[name].MIXED_PRECISION = "auto" if given else "off"
            yield f"{name}.MIXED_PRECISION {given} means {cfg[name].MIXED_PRECISION}"


def _reading(cfg: yacs.config.CfgNode) -> Iterator[str]:
    data, unit = cfg.DATA, cfg.DATA.SAMPLING_UNIT
    if data.DECODING_BACKEND != "pyav":
        yield f"DATA.DECODING_BACKEND {data.DECODING_BACKEND} means pyav, with DATA.SAMPLING_UNIT {unit}"
    for name, idle in (("TARGET_FPS", 30), ("TRAIN_JITTER_FPS", 0)):
        if unit == "frames" and data[name] != idle:
            yield f"DATA.{name} {data[name]:g} has no effect: DATA.SAMPLING_UNIT is frames, not seconds"


def _start(cfg: yacs.config.CfgNode) -> Iterator[str]:
    """TRAIN.AUTO_RESUME, CHECKPOINT_FILE_PATH and CHECKPOINT_EPOCH_RESET, in the published order of loading.

    First comes what OUTPUT_DIR holds, then the named file, whose epoch and optimizer count unless reset.
    """
    train = cfg.TRAIN
    path = train.CHECKPOINT_FILE_PATH
    if path and train.CHECKPOINT_EPOCH_RESET:
        if not train.INIT:
            train.INIT = path
            yield f"TRAIN.CHECKPOINT_FILE_PATH with CHECKPOINT_EPOCH_RESET means TRAIN.INIT {path}"
    elif path and not train.AUTO_RESUME and train.RESUME in ("", path):
        if not train.RESUME:
            train.RESUME = path
            yield f"TRAIN.CHECKPOINT_FILE_PATH means TRAIN.RESUME {path}"
    elif path and not train.RESUME:
        yield f"TRAIN.CHECKPOINT_FILE_PATH {path} is continued if OUTPUT_DIR holds no checkpoint"
    if train.AUTO_RESUME and not train.RESUME:
        train.RESUME = "auto"
        yield "TRAIN.AUTO_RESUME True means TRAIN.RESUME auto: a checkpoint in OUTPUT_DIR is continued"


def _clipping(cfg: yacs.config.CfgNode) -> Iterator[str]:
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


def _rates(cfg: yacs.config.CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.BASE_LR_SCALE_NUM_SHARDS and solver.SCALE_LR and solver.REFERENCE_BATCH and cfg.NUM_SHARDS > 1:
        yield (
            "SOLVER.BASE_LR_SCALE_NUM_SHARDS adds nothing: rates follow the videos of a step over "
            f"SOLVER.REFERENCE_BATCH {solver.REFERENCE_BATCH}, which count the shards (SOLVER.SCALE_LR)"
        )


def _recomputation(cfg: yacs.config.CfgNode) -> Iterator[str]:
    model = cfg.MODEL
    if model.CHECKPOINT == "auto" and any(model.CHECKPOINT_NUM):
        yield f"MODEL.CHECKPOINT_NUM {model.CHECKPOINT_NUM} has no effect: with MODEL.CHECKPOINT auto memory decides"


def _surplus(cfg: yacs.config.CfgNode) -> Iterator[str]:
    """Cut rules for more blocks than there are: the published XXS recipes rely on a default made for XS."""
    family = cfg.UNIFORMER
    if not cfg.MODEL.MODEL_NAME.lower().startswith("uniformer_light"):
        return
    for name in ("PRUNE_RATIO", "TRADE_OFF"):
        cut = [values[:depth] for values, depth in zip(family[name], family.DEPTH, strict=False)]
        if len(cut) == len(family[name]) and cut != family[name]:
            family[name] = cut
            yield f"UNIFORMER.{name} has numbers for more blocks than UNIFORMER.DEPTH {family.DEPTH}; used: {cut}"
