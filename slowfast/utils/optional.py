"""Packages that are not needed by everyone: imported where they are used, and asked for in words if missing."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

EXTRAS = {
    "onnx": "onnx", "onnxruntime": "onnx", "onnxscript": "onnx", "pyarrow": "parquet", "safetensors": "safetensors",
}  # fmt: skip
"""Package -> the extra of setup.py that installs it."""


def require(name: str, purpose: str) -> ModuleType:
    """The module ``name``. Raises ValueError that says what ``purpose`` needs installed, where it is missing."""
    package = name.partition(".")[0]
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != package:
            raise
        raise ValueError(
            f'{purpose} need the package {package}, which is not installed: pip install "slowfast[{EXTRAS[package]}]", '
            f"or pip install {package}"
        ) from None
