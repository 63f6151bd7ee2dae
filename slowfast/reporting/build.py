"""From the config of a run to what its report needs besides the files of its test: media, and a published figure."""

from __future__ import annotations

import os
from pathlib import Path

from slowfast.config.loading import load_cfg
from slowfast.datasets.build import build_dataset
from slowfast.datasets.video_dataset import VideoDataset
from slowfast.engine.reproduce import read_published
from slowfast.engine.verdict import Published
from slowfast.reporting.thumbnails import Media

CONFIG = "config.yaml"


def read_config(folder: str | os.PathLike):
    """The config that a run has left in its folder; None where there is none that can be read."""
    path = Path(folder) / CONFIG
    try:
        return load_cfg(path)
    except (OSError, ValueError):
        return None


def build_media(cfg) -> Media | None:
    """The videos of the test list; None where that cannot be read now, or is of a data set made elsewhere.

    All processes of a group call it.
    """
    try:
        dataset = build_dataset(cfg, "test")
    except (OSError, ValueError):
        return None
    if not isinstance(dataset, VideoDataset):
        return None
    return Media(lambda index: dataset.open_media(dataset.table, index), dataset.name, dataset.class_names)


def find_published(cfg) -> Published | None:
    """The figure that was published for the recipe of a run, if it has one."""
    try:
        return read_published(cfg.RECIPE, cfg.DATA.SPLIT)[1]
    except (OSError, ValueError, IndexError):
        return None
