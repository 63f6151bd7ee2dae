"""One file to hand on: the weights of a run with what it takes to use them, and nothing that only training needs."""

from __future__ import annotations

import os

from slowfast.utils import checkpoint

KEPT = (
    "format",
    "epoch",
    "model_state",
    "cfg",
    "class_names",
    "preprocessing",
    "operators",
    "best",
    "versions",
)


def write(source: str | os.PathLike, path: str | os.PathLike) -> None:
    """From a checkpoint of a run, such as best.pyth, to a file for `slowfast.load` and TRAIN.INIT.

    Raises what reading and writing checkpoints raise.
    """
    payload = checkpoint.load(source)
    checkpoint.save({name: payload[name] for name in KEPT if name in payload}, path)
