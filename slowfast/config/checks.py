"""Rules about keys and between them, looked at before anything starts; all that is broken is said at once.

A rule is a function of the config that yields one line for each fault: what was given, what is allowed, what
to write. Whether files exist, names are registered and GPUs are there is found out where they are needed, so
that a recipe loads anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from yacs.config import CfgNode

from slowfast.config.sources import ConfigError

PRECISIONS = ("auto", "bf16", "fp16", "off")
NORM_TYPES = ("batchnorm", "sync_batchnorm")
CHOICES = {
    "DIST_BACKEND": ("nccl", "gloo"),
    "TRAIN.MIXED_PRECISION": PRECISIONS,
    "TEST.MIXED_PRECISION": PRECISIONS,
    "TEST.NUM_SPATIAL_CROPS": (1, 3),
    "TEST.HAS_LABELS": ("auto", True, False),
    "DATA.SPLIT": (1, 2, 3),
    "DATA.DECODING_BACKEND": ("pyav", "decord", "torchvision"),
    "DATA.SAMPLING_UNIT": ("frames", "seconds"),
    "DATA.FRAME_ORDER": ("forward", "reversed", "shuffled"),
    "DATA.ENSEMBLE_METHOD": ("sum", "softmax", "max"),
    "DATA_LOADER.START_METHOD": ("", "fork", "spawn", "forkserver"),
    "AUG.INTERPOLATION": ("bicubic", "bilinear", "random"),
    "AUG.RE_MODE": ("pixel", "rand", "const"),
    "DATA.SAMPLER": ("uniform", "balanced"),
    "MODEL.CLASS_WEIGHTS": ("none", "balanced"),
    "MODEL.CHECKPOINT": ("", "none", "list", "auto"),
    "MODEL.DWCONV": ("auto", "native", "channels_last", "folded", "summed", "triton"),
    "MODEL.LINEAR": ("auto", "native", "onednn"),
    "MODEL.ATTENTION": ("auto", "fused", "explicit", "chunked"),
    "MODEL.LOSS_FUNC": ("cross_entropy", "soft_cross_entropy", "bce_logit"),
    "SOLVER.LR_POLICY": ("cosine", "steps_with_relative_lrs"),
    "SOLVER.OPTIMIZING_METHOD": ("sgd", "adam", "adamw"),
}
AT_LEAST_ONE = (
    "NUM_SHARDS",
    "LOG_PERIOD",
    "TRAIN.BATCH_SIZE",
    "TRAIN.ACCUMULATION_STEPS",
    "TRAIN.CHECKPOINT_PERIOD",
    "TEST.BATCH_SIZE",
    "TEST.NUM_ENSEMBLE_VIEWS",
    "DATA.NUM_FRAMES",
    "DATA.SAMPLING_RATE",
    "DATA.TRAIN_CROP_SIZE",
    "DATA.TEST_CROP_SIZE",
    "DATA_LOADER.PREFETCH_FACTOR",
    "AUG.NUM_SAMPLE",
    "AUG.RE_COUNT",
    "MODEL.NUM_CLASSES",
    "BN.NUM_BATCHES_PRECISE",
    "SOLVER.MAX_EPOCH",
    "SOLVER.MAX_NONFINITE_STEPS",
)
NOT_NEGATIVE = (
    "NUM_GPUS",
    "SHARD_ID",
    "RNG_SEED",
    "NUM_THREADS",
    "TRAIN.EVAL_PERIOD",
    "TRAIN.PATIENCE",
    "TRAIN.KEEP_CHECKPOINTS",
    "TRAIN.CHECKPOINT_SECONDS",
    "TRAIN.CHECKPOINT_STEPS",
    "DATA_LOADER.NUM_WORKERS",
    "DATA_LOADER.DEADLINE_SECONDS",
    "DATA.CACHE_SHORT_SIDE",
    "DATA.CACHE_GB",
    "MODEL.CHECKPOINT_GB",
    "MIXUP.ALPHA",
    "MIXUP.CUTMIX_ALPHA",
    "BN.WEIGHT_DECAY",
    "SOLVER.REFERENCE_BATCH",
    "SOLVER.LOSS_SPIKE",
    "DATA.TRAIN_JITTER_FPS",
    "SOLVER.WARMUP_EPOCHS",
    "SOLVER.WARMUP_START_LR",
    "SOLVER.COSINE_END_LR",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.MOMENTUM",
    "SOLVER.DAMPENING",
)
SHARES = (
    "DATA.MAX_BAD_FRACTION",
    "DATA.SPARSE_STRETCH",
    "AUG.RE_PROB",
    "AUG.BACKGROUND_PROB",
    "MIXUP.PROB",
    "MIXUP.SWITCH_PROB",
)
SHARES_BELOW_ONE = (
    "AUG.BACKGROUND_SHARE",
    "MIXUP.LABEL_SMOOTH_VALUE",
    "UNIFORMER.DROPOUT_RATE",
    "UNIFORMER.ATTENTION_DROPOUT_RATE",
    "UNIFORMER.DROP_DEPTH_RATE",
    "UNIFORMER.HEAD_DROPOUT_RATE",
)


def check(cfg: CfgNode) -> None:
    """Raises ConfigError that lists every broken rule."""
    problems = [problem for rule in RULES for problem in rule(cfg)]
    if problems:
        raise ConfigError(problems)


def _value(cfg: CfgNode, key: str) -> Any:
    node: Any = cfg
    for part in key.split("."):
        node = node[part]
    return node


def _choices(cfg: CfgNode) -> Iterator[str]:
    for key, allowed in CHOICES.items():
        value = _value(cfg, key)
        if value not in allowed:
            yield f"{key} is {value!r}; allowed: {', '.join(repr(choice) for choice in allowed)}"


def _ranges(cfg: CfgNode) -> Iterator[str]:
    for keys, allowed, holds in (
        (AT_LEAST_ONE, "1 or more", lambda value: value >= 1),
        (NOT_NEGATIVE, "0 or more", lambda value: value >= 0),
        (SHARES, "from 0 to 1", lambda value: 0 <= value <= 1),
        (SHARES_BELOW_ONE, "from 0 to below 1", lambda value: 0 <= value < 1),
    ):
        for key in keys:
            value = _value(cfg, key)
            if not holds(value):
                yield f"{key} is {value}; it must be {allowed}"


def _run(cfg: CfgNode) -> Iterator[str]:
    if not cfg.TRAIN.ENABLE and not cfg.TEST.ENABLE:
        yield "TRAIN.ENABLE and TEST.ENABLE are both False, so there is nothing to do: set one to True"
    if not cfg.OUTPUT_DIR:
        yield "OUTPUT_DIR is empty: name a folder for the run"
    if cfg.SHARD_ID >= max(1, cfg.NUM_SHARDS):
        yield f"SHARD_ID is {cfg.SHARD_ID}; with NUM_SHARDS {cfg.NUM_SHARDS} it is 0 to {cfg.NUM_SHARDS - 1}"
    if cfg.DIST_BACKEND == "nccl" and cfg.NUM_GPUS == 0:
        yield "DIST_BACKEND nccl needs GPUs, but NUM_GPUS is 0: write gloo"
    for key in ("TRAIN.BATCH_SIZE", "TEST.BATCH_SIZE"):
        size = _value(cfg, key)
        if cfg.NUM_GPUS > 1 and size % cfg.NUM_GPUS:
            nearest = max(1, round(size / cfg.NUM_GPUS)) * cfg.NUM_GPUS
            yield f"{key} {size} is not a multiple of NUM_GPUS {cfg.NUM_GPUS}: write one, such as {nearest}"


def _start(cfg: CfgNode) -> Iterator[str]:
    train = cfg.TRAIN
    if train.RESUME not in ("", "auto") and train.INIT:
        yield (
            f"TRAIN.RESUME {train.RESUME} continues a run, TRAIN.INIT {train.INIT} starts one: "
            "give one of them (RESUME auto goes with INIT)"
        )
    if unknown := sorted(set(train.RESUME_ALLOW) - {"batch", "list"}):
        yield f"TRAIN.RESUME_ALLOW has {', '.join(unknown)}; it may hold batch and list"
    named = train.INIT if train.CHECKPOINT_EPOCH_RESET else train.RESUME
    if train.CHECKPOINT_FILE_PATH and named not in ("auto", train.CHECKPOINT_FILE_PATH):
        own = "INIT" if train.CHECKPOINT_EPOCH_RESET else "RESUME"
        yield (
            f"TRAIN.CHECKPOINT_FILE_PATH {train.CHECKPOINT_FILE_PATH} is another name for TRAIN.{own}, "
            f"which is {named}: give one of them"
        )
    if train.RESUME == "auto" and not train.AUTO_RESUME:
        yield "TRAIN.RESUME auto contradicts AUTO_RESUME False: write RESUME '' or AUTO_RESUME True"


def _best(cfg: CfgNode) -> Iterator[str]:
    train, test = cfg.TRAIN, cfg.TEST
    wanted = train.ENABLE and test.ENABLE and test.TEST_BEST and not test.CHECKPOINT_FILE_PATH
    if wanted and not train.EVAL_PERIOD:
        yield (
            "TEST.TEST_BEST tests the best checkpoint, but with TRAIN.EVAL_PERIOD 0 no validation finds it: write "
            "TEST.TEST_BEST False for the last one, or an EVAL_PERIOD of 1 or more"
        )


def _reading(cfg: CfgNode) -> Iterator[str]:
    data = cfg.DATA
    if data.TARGET_FPS <= 0:
        yield f"DATA.TARGET_FPS is {data.TARGET_FPS:g}; it must be above 0"
    if len(data.INPUT_CHANNEL_NUM) != 1 or data.INPUT_CHANNEL_NUM[0] < 1:
        yield f"DATA.INPUT_CHANNEL_NUM is {data.INPUT_CHANNEL_NUM}; models here have one pathway: write [3]"
    for key in ("DATA.MEAN", "DATA.STD"):
        value = _value(cfg, key)
        if len(value) != 3:
            yield f"{key} is {value}; it must hold one number for each of the 3 channels"
    if len(data.SSL_COLOR_BRI_CON_SAT) != 3 or not all(
        0 <= value <= 1 for value in data.SSL_COLOR_BRI_CON_SAT
    ):
        yield f"DATA.SSL_COLOR_BRI_CON_SAT is {data.SSL_COLOR_BRI_CON_SAT}; it must be three numbers from 0 to 1"
    if any(value <= 0 for value in data.STD):
        yield f"DATA.STD is {data.STD}; its numbers must be above 0"
    if data.TEST_WHOLE_FRAME and cfg.TEST.NUM_SPATIAL_CROPS != 1:
        yield (
            f"TEST.NUM_SPATIAL_CROPS is {cfg.TEST.NUM_SPATIAL_CROPS}, but with DATA.TEST_WHOLE_FRAME the whole frame "
            "is the only view of a clip: write 1"
        )
    if data.TEST_SCALE and data.TEST_SCALE < data.TEST_CROP_SIZE:
        yield (
            f"DATA.TEST_SCALE {data.TEST_SCALE} is below DATA.TEST_CROP_SIZE {data.TEST_CROP_SIZE}: "
            "write 0 for the size of the crop, or a larger number"
        )


def _lists(cfg: CfgNode) -> Iterator[str]:
    for key, values, example in (
        ("DATA.IMAGE_TEMPLATE", (1, 2), "img_{:05d}.jpg for img_00001.jpg, img_00002.jpg, ..."),
        ("DATA.LABEL_PATH_TEMPLATE", ("train", "val"), "{}.txt for train.txt and val.txt"),
    ):
        template = _value(cfg, key)
        try:
            filled = {template.format(value) for value in values}
        except (IndexError, KeyError, ValueError, AttributeError):
            filled = set()
        if len(filled) != len(values):
            yield f"{key} is {template!r}; it must have one place to fill, such as {example}"
    if any(count < 1 for count in cfg.TEST.NUM_TEMPORAL_CLIPS):
        yield f"TEST.NUM_TEMPORAL_CLIPS is {cfg.TEST.NUM_TEMPORAL_CLIPS}; its numbers must be 1 or more"


def _crops(cfg: CfgNode) -> Iterator[str]:
    data = cfg.DATA
    yield from _range("DATA.TRAIN_JITTER_SCALES", data.TRAIN_JITTER_SCALES)
    area, aspect = data.TRAIN_JITTER_SCALES_RELATIVE, data.TRAIN_JITTER_ASPECT_RELATIVE
    if bool(area) != bool(aspect):
        given, missing = ("SCALES", "ASPECT") if area else ("ASPECT", "SCALES")
        yield (
            f"DATA.TRAIN_JITTER_{given}_RELATIVE needs TRAIN_JITTER_{missing}_RELATIVE: give both, "
            "such as [0.08, 1.0] for SCALES and [0.75, 1.3333] for ASPECT, or neither"
        )
    if area:
        yield from _range("DATA.TRAIN_JITTER_SCALES_RELATIVE", area)
        if len(area) == 2 and area[1] > 1:
            yield f"DATA.TRAIN_JITTER_SCALES_RELATIVE is {area}; a crop is at most its whole frame, 1.0"
    if aspect:
        yield from _range("DATA.TRAIN_JITTER_ASPECT_RELATIVE", aspect)
    if data.TRAIN_JITTER_MOTION_SHIFT and not area:
        yield "DATA.TRAIN_JITTER_MOTION_SHIFT needs TRAIN_JITTER_SCALES_RELATIVE: give it, or write False"


def _range(key: str, value: list) -> Iterator[str]:
    if len(value) != 2 or not 0 < value[0] <= value[1]:
        yield f"{key} is {value}; it must be [low, high] with 0 < low <= high"


def _augmentation(cfg: CfgNode) -> Iterator[str]:
    mixup = cfg.MIXUP
    if cfg.AUG.BACKGROUND_PROB and not cfg.AUG.ENABLE:
        yield f"AUG.BACKGROUND_PROB {cfg.AUG.BACKGROUND_PROB:g} needs AUG.ENABLE True, or write 0"
    if cfg.AUG.FUSED and cfg.DATA.ANTIALIAS:
        yield (
            "AUG.FUSED samples training clips at single places, DATA.ANTIALIAS averages what a pixel covers: write "
            "AUG.FUSED False, or DATA.ANTIALIAS False where clips are not made several times smaller"
        )
    if cfg.AUG.NUM_SAMPLE > 1 and not cfg.AUG.ENABLE:
        yield f"AUG.NUM_SAMPLE {cfg.AUG.NUM_SAMPLE} needs AUG.ENABLE True, or write AUG.NUM_SAMPLE 1"
    if not mixup.ENABLE:
        return
    if cfg.DATA.MULTI_LABEL:
        yield "MIXUP.ENABLE mixes single labels and cannot go with DATA.MULTI_LABEL: set one of them to False"
    elif cfg.TRAIN.ENABLE and cfg.MODEL.LOSS_FUNC != "soft_cross_entropy":
        yield f"MIXUP.ENABLE needs MODEL.LOSS_FUNC soft_cross_entropy, not {cfg.MODEL.LOSS_FUNC}"
    if mixup.PROB > 0 and not (mixup.ALPHA or mixup.CUTMIX_ALPHA):
        yield "MIXUP.ALPHA and CUTMIX_ALPHA are both 0: give one, or MIXUP.PROB 0 for label smoothing alone"


def _labels(cfg: CfgNode) -> Iterator[str]:
    multi, loss = cfg.DATA.MULTI_LABEL, cfg.MODEL.LOSS_FUNC
    if cfg.TRAIN.ENABLE and multi != (loss == "bce_logit"):
        yield f"DATA.MULTI_LABEL {multi} does not fit MODEL.LOSS_FUNC {loss}: bce_logit is for several labels"
    for key in ("DATA.SAMPLER", "MODEL.CLASS_WEIGHTS"):
        if multi and _value(cfg, key) == "balanced":
            yield f"{key} balanced needs one class for each video, DATA.MULTI_LABEL is True: set one of them back"
    if multi and cfg.DATA.ENSEMBLE_METHOD == "softmax":
        yield "DATA.ENSEMBLE_METHOD softmax is for one label, DATA.MULTI_LABEL is True: write sum or max"


def _schedule(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.BASE_LR <= 0:
        yield f"SOLVER.BASE_LR is {solver.BASE_LR:g}; it must be above 0"
    elif solver.LR_POLICY == "cosine" and solver.COSINE_END_LR >= solver.BASE_LR:
        yield f"SOLVER.COSINE_END_LR {solver.COSINE_END_LR:g} must be below SOLVER.BASE_LR {solver.BASE_LR:g}"
    if solver.WARMUP_EPOCHS > solver.MAX_EPOCH or (
        solver.COSINE_AFTER_WARMUP and solver.WARMUP_EPOCHS == solver.MAX_EPOCH
    ):
        yield f"SOLVER.WARMUP_EPOCHS {solver.WARMUP_EPOCHS:g} must be below MAX_EPOCH {solver.MAX_EPOCH}"
    if solver.LR_POLICY != "steps_with_relative_lrs":
        return
    steps = solver.STEPS
    if steps[:1] != [0] or steps != sorted(set(steps)):
        yield f"SOLVER.STEPS is {steps}; it must start with 0 and rise, such as [0, 40, 60]"
    if len(solver.LRS) != len(steps):
        yield f"SOLVER.LRS has {len(solver.LRS)} entries, STEPS {len(steps)}: give one rate for each"


def _optimizer(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if len(solver.BETAS) != 2 or not all(0 <= beta < 1 for beta in solver.BETAS):
        yield f"SOLVER.BETAS is {solver.BETAS}; it must be two numbers from 0 to below 1"
    if 0 < solver.LOSS_SPIKE <= 1:
        yield f"SOLVER.LOSS_SPIKE {solver.LOSS_SPIKE:g} would tell of ordinary steps: write more than 1, or 0 for off"
    if solver.OPTIMIZING_METHOD == "sgd" and solver.NESTEROV and (solver.DAMPENING or not solver.MOMENTUM):
        yield "SOLVER.NESTEROV needs MOMENTUM above 0 and DAMPENING 0: change them or write False"
    if not 0 < solver.LAYER_DECAY <= 1:
        yield f"SOLVER.LAYER_DECAY is {solver.LAYER_DECAY:g}; it must be above 0, to 1"
    for name in ("CLIP_GRADIENT", "CLIP_GRAD_L2NORM", "CLIP_GRAD_VAL"):
        limit = solver[name]
        if limit is not None and limit <= 0:
            yield f"SOLVER.{name} {limit:g} would wipe out all gradients: write a limit above 0, or null"
    if solver.CLIP_GRAD_L2NORM is not None and solver.CLIP_GRAD_VAL is not None:
        yield "SOLVER.CLIP_GRAD_L2NORM and SOLVER.CLIP_GRAD_VAL are two ways to clip: give one of them"


def _stages(cfg: CfgNode) -> Iterator[str]:
    family, ratio = cfg.UNIFORMER, cfg.UNIFORMER.MLP_RATIO
    if not cfg.MODEL.MODEL_NAME.lower().startswith("uniformer"):
        return
    for key in ("DATA.TRAIN_CROP_SIZE", "DATA.TEST_CROP_SIZE"):
        if _value(cfg, key) < 32:
            yield f"{key} is {_value(cfg, key)}; UniFormer needs 32 pixels or more"
    for name in ("DEPTH", "EMBED_DIM"):
        if len(family[name]) != 4 or min(family[name]) < 1:
            yield f"UNIFORMER.{name} is {family[name]}; it must be four numbers, 1 or more, one per stage"
    ratios = ratio if isinstance(ratio, list) else [ratio] * 4
    if len(ratios) != 4 or min(ratios) <= 0:
        yield f"UNIFORMER.MLP_RATIO is {ratio}; it must be a number above 0, or four of them, one per stage"
    if family.HEAD_DIM < 1 or any(width % family.HEAD_DIM for width in family.EMBED_DIM[2:4]):
        yield (
            f"UNIFORMER.HEAD_DIM {family.HEAD_DIM} must divide the widths of stages 3 and 4, "
            f"UNIFORMER.EMBED_DIM {family.EMBED_DIM[2:4]}"
        )


def _recomputation(cfg: CfgNode) -> Iterator[str]:
    model = cfg.MODEL
    how, counts = model.CHECKPOINT, model.CHECKPOINT_NUM
    if (how == "list" or model.USE_CHECKPOINT) and (len(counts) != 4 or min(counts) < 0):
        yield f"MODEL.CHECKPOINT_NUM is {counts}; it must be four numbers, 0 or more"
    elif how == "list" and not any(counts):
        yield (
            f"MODEL.CHECKPOINT list recomputes what MODEL.CHECKPOINT_NUM {counts} says, which is nothing: write "
            "numbers, such as [0, 0, 4, 0], or MODEL.CHECKPOINT none"
        )
    if how == "none" and model.USE_CHECKPOINT:
        yield "MODEL.CHECKPOINT none contradicts USE_CHECKPOINT True: write USE_CHECKPOINT False, or CHECKPOINT list"
    if model.CHECKPOINT_GB > 0 and how != "auto":
        yield (
            f"MODEL.CHECKPOINT_GB {model.CHECKPOINT_GB:g} is for MODEL.CHECKPOINT auto, not {how!r}: write auto, or "
            "CHECKPOINT_GB 0"
        )


def _batch_norm(cfg: CfgNode) -> Iterator[str]:
    norm = cfg.BN.NORM_TYPE
    if norm not in NORM_TYPES:
        instead = {
            "sub_batchnorm": "; for statistics of fewer clips lower TRAIN.BATCH_SIZE and raise ACCUMULATION_STEPS",
            "sync_batchnorm_apex": "; apex is not needed, write sync_batchnorm",
        }
        allowed = ", ".join(map(repr, NORM_TYPES))
        yield f"BN.NORM_TYPE is {norm!r}; allowed: {allowed}{instead.get(norm, '')}"
    if norm == "sync_batchnorm" and cfg.MODEL.COMPILE:
        yield (
            "MODEL.COMPILE cannot compile the exchange between processes of BN.NORM_TYPE sync_batchnorm: write "
            "MODEL.COMPILE False, or BN.NORM_TYPE batchnorm"
        )


def _light(cfg: CfgNode) -> Iterator[str]:
    """Lightweight models: rules for each block of stages 3 and 4, whose lists depend on the depth."""
    family = cfg.UNIFORMER
    depth = family.DEPTH
    if not cfg.MODEL.MODEL_NAME.lower().startswith("uniformer_light") or len(depth) != 4 or min(depth) < 1:
        return
    if family.SPLIT:
        yield f"UNIFORMER.SPLIT True is not for MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME}: write False"
    for name, allowed, holds in (
        ("PRUNE_RATIO", "above 0, to 1", lambda value: 0 < value <= 1),
        ("TRADE_OFF", "from 0 to 1", lambda value: 0 <= value <= 1),
    ):
        lists = family[name]
        if [len(values) for values in lists] != [0, 0, *depth[2:]]:
            published = [[], [], [1, *[0.5] * (depth[2] - 1)], [0.5] * depth[3]]
            yield (
                f"UNIFORMER.{name} is {lists}; with UNIFORMER.DEPTH {depth} it must be two empty lists, then lists of "
                f"{depth[2]} and {depth[3]} numbers, one for each block. As published, write {published}"
            )
        elif not all(holds(value) for values in lists for value in values):
            yield f"UNIFORMER.{name} is {lists}; its numbers must be {allowed}"
        elif name == "PRUNE_RATIO" and lists[2][0] != 1:
            yield (
                f"UNIFORMER.PRUNE_RATIO starts stage 3 with {lists[2][0]}; it must be 1 there, because no block before "
                "has scored the tokens"
            )


RULES = (
    _choices,
    _ranges,
    _run,
    _start,
    _best,
    _reading,
    _lists,
    _crops,
    _augmentation,
    _labels,
    _schedule,
    _optimizer,
    _stages,
    _recomputation,
    _batch_norm,
    _light,
)
