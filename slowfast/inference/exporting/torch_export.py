"""Models as programs of torch.export: read by torch alone, in Python or C++, without this package."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor


def write(
    program: torch.export.ExportedProgram, path: str | os.PathLike, metadata: Mapping[str, str]
) -> None:
    """Write a program, and beside it a JSON file of its metadata (see `description_path`)."""
    torch.export.save(program, path)
    description_path(path).write_text(json.dumps(dict(metadata), indent=1) + "\n", encoding="utf-8")


def description_path(path: str | os.PathLike) -> Path:
    """model.pt2 -> model.pt2.json."""
    return Path(f"{path}.json")


def runner(path: str | os.PathLike) -> Callable[[Tensor], Tensor]:
    """A function from clips to outputs, of the program in a file."""
    return torch.inference_mode()(torch.export.load(path).module())
