"""The story of a diagnosis: look at everything, say each in a line."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from slowfast.config import load_cfg
from slowfast.datasets import shards
from slowfast.diagnosis import convolution, machine
from slowfast.diagnosis.finding import Finding
from slowfast.engine import precision

OPTIONAL = {
    "tensorboard": "draws the curves of a run",
    "submitit": "sends runs to Slurm",
    "onnxruntime": "runs exported models",
    "pyarrow": "writes features as parquet",
}


def diagnose(recipe: str, opts: list[str]) -> Iterator[Finding]:
    """Findings, one after the other; with a recipe also of its folders, precision and batches."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield machine.versions()
    yield from machine.devices()
    yield from machine.decoders()
    cudnn = torch.backends.cudnn.version() if device.type == "cuda" else None
    if (pair := convolution.known(torch.__version__, cudnn)) is not None:
        yield pair
    cfg = None
    if recipe:
        cfg = load_cfg(recipe, [*opts, *([] if device.type == "cuda" else ["NUM_GPUS", "0"])])
    mode = cfg.TRAIN.MIXED_PRECISION if cfg else "auto"
    yield from convolution.probe(device, precision.resolve(mode, device))
    if (shared := machine.shared_memory()) is not None:
        yield shared
    yield machine.launcher(os.environ, max(1, cfg.NUM_GPUS) * cfg.NUM_SHARDS if cfg else 1)
    if cfg:
        yield machine.output_folder(cfg.OUTPUT_DIR)
        prefix = cfg.DATA.PATH_PREFIX
        if prefix:
            yield machine.media_folder(os.path.dirname(prefix) if shards.names_shards(prefix) else prefix)
    yield from machine.optional(OPTIONAL)
