"""Weights in the safetensors format, with all that `slowfast.load` needs besides them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from slowfast.utils.optional import require

WHY = "files of safetensors"


def write(weights: Mapping[str, Tensor], path: str | os.PathLike, metadata: Mapping[str, str]) -> None:
    """Write tensors by name, and texts by name."""
    save_file = require("safetensors.torch", WHY).save_file
    save_file({name: value.contiguous() for name, value in weights.items()}, path, dict(metadata))


def read(path: str | os.PathLike) -> dict[str, Any]:
    """The content as of a checkpoint: model_state, and of files that `write` wrote cfg and class_names.

    Raises FileNotFoundError, or ValueError for what is no such file.
    """
    module = require("safetensors", WHY)
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file (weights)")
    try:
        with module.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
    except module.SafetensorError as error:
        raise ValueError(f"{path} cannot be read as a file of safetensors ({error})") from error
    payload: dict[str, Any] = {"model_state": weights}
    if "config" in metadata:
        payload |= {"cfg": metadata["config"], "class_names": json.loads(metadata["class_names"])}
    return payload
