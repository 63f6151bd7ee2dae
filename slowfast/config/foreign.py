"""Keys of PySlowFast and of the published UniFormer tree that have no counterpart here.

Published yaml files carry them along. A key is accepted, and forgotten, where its value changes nothing for a
UniFormer run; it is refused where it would switch on something that this project does not have.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from slowfast.config.values import literal

ANY = object()  # every value is without effect
_OFF = (False,)
_ZERO = (0,)
_EMPTY = ("", [])

# (key or pattern, values without effect, what any other value would switch on); the first match counts.
FOREIGN: tuple[tuple[str, Any, str], ...] = (
    # Other families of models, and the programs around them
    ("MULTIGRID.SHORT_CYCLE", _OFF, "multigrid training"),
    ("MULTIGRID.LONG_CYCLE", _OFF, "multigrid training"),
    ("MULTIGRID.*", ANY, ""),
    ("DETECTION.ENABLE", _OFF, "detection of boxes (AVA)"),
    ("DETECTION.*", ANY, ""),
    ("AVA.*", ANY, ""),
    ("DEMO.ENABLE", _OFF, "the drawing demo of PySlowFast"),
    ("DEMO.*", ANY, ""),
    ("MASK.ENABLE", _OFF, "masked pre-training"),
    ("MASK.*", ANY, ""),
    ("VIS_MASK.ENABLE", _OFF, "drawing of masked inputs"),
    ("VIS_MASK.*", ANY, ""),
    ("TASK", _EMPTY, "self-supervised training"),
    ("CONTRASTIVE.*", ANY, ""),
    ("SLOWFAST.*", ANY, ""),
    ("RESNET.*", ANY, ""),
    ("NONLOCAL.*", ANY, ""),
    ("X3D.*", ANY, ""),
    ("MVIT.*", ANY, ""),
    ("BENCHMARK.*", ANY, ""),
    # TRAIN, TEST
    ("TRAIN.CHECKPOINT_TYPE", ("pytorch",), "reading of caffe2 files"),
    ("TEST.CHECKPOINT_TYPE", ("pytorch",), "reading of caffe2 files"),
    ("TRAIN.CHECKPOINT_INFLATE", ANY, ""),  # 2D weights are always inflated, and reported
    ("TRAIN.CHECKPOINT_CLEAR_NAME_PATTERN", _EMPTY, "renaming of parameters while loading"),
    ("TRAIN.CHECKPOINT_IN_INIT", _OFF, "the image-to-video surgery for MViT"),
    (
        "TRAIN.KILL_LOSS_EXPLOSION_FACTOR",
        _ZERO,
        "stopping on a loss explosion (see SOLVER.MAX_NONFINITE_STEPS)",
    ),
    (
        "TEST.SAVE_RESULTS_PATH",
        _EMPTY,
        "the pickle of results (scores.npz and predictions.csv are always written)",
    ),
    # SOLVER, BN, MODEL, UNIFORMER
    ("SOLVER.LARS_ON", _OFF, "LARS"),
    ("SOLVER.GAMMA", ANY, ""),  # read by multigrid training alone
    ("SOLVER.STEP_SIZE", ANY, ""),  # never read in either tree, like the next
    ("SOLVER.WARMUP_FACTOR", ANY, ""),
    ("BN.NORM_TYPE", ("batchnorm",), "batch normalisation other than the plain one"),
    ("BN.GLOBAL_SYNC", _OFF, "synchronised batch normalisation"),
    ("BN.NUM_SPLITS", ANY, ""),  # of sub_batchnorm, which NORM_TYPE refuses; the next likewise
    ("BN.NUM_SYNC_DEVICES", ANY, ""),
    ("MODEL.ACT_CHECKPOINT", _OFF, "the activation checkpointing of MViT (see MODEL.USE_CHECKPOINT)"),
    ("MODEL.DETACH_FINAL_FC", _OFF, "training of the head alone"),
    ("MODEL.DROPCONNECT_RATE", _ZERO, "drop-connect (see UNIFORMER.DROP_DEPTH_RATE)"),
    ("MODEL.FROZEN_BN", _OFF, "frozen batch normalisation"),
    ("MODEL.FP16_ALLREDUCE", _OFF, "compression of gradients"),
    ("MODEL.FC_INIT_STD", ANY, ""),  # heads of other models, like the next
    ("MODEL.HEAD_ACT", ANY, ""),
    ("MODEL.SINGLE_PATHWAY_ARCH", ANY, ""),  # models here have one pathway, like the next
    ("MODEL.MULTI_PATHWAY_ARCH", ANY, ""),
    ("UNIFORMER.REPRESENTATION_SIZE", ("", None), "a layer before the head"),
    ("UNIFORMER.STAGE_TYPE", ANY, ""),  # never read
    # DATA, AUG
    ("DATA.TRAIN_CROP_NUM_TEMPORAL", (1,), "several clips of one video in a training step"),
    (
        "DATA.TRAIN_CROP_NUM_SPATIAL",
        (1,),
        "several crops of one clip in a training step (see AUG.NUM_SAMPLE)",
    ),
    ("DATA.LOADER_CHUNK_SIZE", _ZERO, "reading of a list in chunks"),
    ("DATA.LOADER_CHUNK_OVERALL_SIZE", _ZERO, "reading of a list in chunks"),
    ("DATA.SKIP_ROWS", _ZERO, "skipping of rows of a list"),
    ("DATA.COLOR_RND_GRAYSCALE", _ZERO, "random grey clips"),
    ("DATA.TIME_DIFF_PROB", _ZERO, "temporal differences as input"),
    ("DATA.SSL_*", ANY, ""),
    ("DATA.DUMMY_LOAD", _OFF, "re-use of one sample for all"),
    ("DATA.DECODING_SHORT_SIZE", ANY, ""),  # never read
    ("DATA.PATH_TO_PRELOAD_IMDB", ANY, ""),  # ImageNet and AVA loaders alone, like the next
    ("DATA.TRAIN_PCA_*", ANY, ""),
    ("DATA.IN*_VAL_*", ANY, ""),
    ("DATA.IN22K_TRAINVAL", ANY, ""),
    ("AUG.GEN_MASK_LOADER", _OFF, "masked pre-training"),
    ("AUG.MASK_*", ANY, ""),
    ("AUG.MAX_MASK_PATCHES_PER_BLOCK", ANY, ""),
    # TENSORBOARD
    ("TENSORBOARD.CONFUSION_MATRIX.ENABLE", _OFF, "confusion matrices in TensorBoard"),
    ("TENSORBOARD.HISTOGRAM.ENABLE", _OFF, "histograms in TensorBoard"),
    ("TENSORBOARD.MODEL_VIS.ENABLE", _OFF, "drawing of weights and activations"),
    ("TENSORBOARD.WRONG_PRED_VIS.ENABLE", _OFF, "drawing of wrong predictions"),
    ("TENSORBOARD.PREDICTIONS_PATH", _EMPTY, "plots from saved predictions"),
    ("TENSORBOARD.CONFUSION_MATRIX.*", ANY, ""),
    ("TENSORBOARD.HISTOGRAM.*", ANY, ""),
    ("TENSORBOARD.MODEL_VIS.*", ANY, ""),
    ("TENSORBOARD.WRONG_PRED_VIS.*", ANY, ""),
    ("TENSORBOARD.CATEGORIES_PATH", ANY, ""),  # for those plots alone, like the next
    ("TENSORBOARD.CLASS_NAMES_PATH", ANY, ""),
)


def is_foreign(key: str) -> bool:
    """Whether a key, or a whole section, is known from PySlowFast and has no place in the tree."""
    return any(fnmatchcase(key, pattern) or pattern == f"{key}.*" for pattern, _, _ in FOREIGN)


def refusal(key: str, value: Any) -> str | None:
    """Why a foreign key cannot have this value, in one line, or None where it changes nothing."""
    for pattern, inert, feature in FOREIGN:
        if fnmatchcase(key, pattern):
            if inert is ANY or _plain(value) in [_plain(item) for item in inert]:
                return None
            return (
                f"{key} asks for {feature}, which does not exist here: remove the key or write {inert[0]!r}"
            )
    return None


def _plain(value: Any) -> Any:
    """A value to compare: text as what it spells, tuples as lists, nothing as an empty text."""
    value = literal(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return "" if value is None else value
