"""Features of videos, as `slowfast extract` leaves them in a folder: `read` gives them back, video by video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SETTINGS_FILE = "features.json"


@dataclass(frozen=True)
class VideoFeatures:
    """What a layer gave for the clips of one video.

    name, label: as in the list; several labels are joined by ";", without a list it is "".
    features: float32 or float16 (clips, crops, C), or if they are dense (clips, crops, ..., C).
    frames: int32 (clips, T), the frames of each clip, counted from 0.
    start_seconds, end_seconds: float64 (clips,), when its first frame begins and its last one ends, by the average
    frame rate of the file; not a number for folders of frames, which tell no time.
    """

    name: str
    label: str
    features: np.ndarray = field(repr=False)
    frames: np.ndarray = field(repr=False)
    start_seconds: np.ndarray = field(repr=False)
    end_seconds: np.ndarray = field(repr=False)

    def mean(self) -> np.ndarray:
        """One vector for the video: float32 (C,), the mean over clips, crops and, of dense features, places."""
        return self.features.reshape(-1, self.features.shape[-1]).mean(axis=0, dtype=np.float32)


@dataclass(frozen=True)
class FeatureFolder:
    """The features of a list; iterating gives a VideoFeatures for each video that could be read, in its order.

    settings: what they are of: checkpoint, layer, ..., class_names among them. failures: reason by name of video.
    """

    folder: Path
    settings: dict
    shards: tuple[Path, ...] = field(repr=False)
    failures: dict[str, str] = field(repr=False)
    num_videos: int

    def __len__(self) -> int:
        return self.num_videos

    def __iter__(self) -> Iterator[VideoFeatures]:
        from slowfast.inference.feature_shards import read_shard

        for path in self.shards:
            yield from read_shard(path).videos


def read(folder: str | os.PathLike) -> FeatureFolder:
    """The features in a folder that `slowfast extract` finished; one shard at a time is in memory.

    Raises FileNotFoundError for another folder, and ValueError for one whose extraction is not finished.
    """
    from slowfast.inference.feature_shards import peek, shard_path

    folder = Path(folder)
    if not (folder / SETTINGS_FILE).is_file():
        raise FileNotFoundError(
            f"{folder}: no features here (no {SETTINGS_FILE}); slowfast extract writes them"
        )
    content = json.loads((folder / SETTINGS_FILE).read_text(encoding="utf-8"))
    paths = [shard_path(folder, number, content["format"]) for number in range(content["num_shards"])]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} of {len(paths)} shards are missing, the first is {missing[0]}: the extraction "
            "is not finished; run the same command again"
        )
    heads = [peek(path) for path in paths]
    failures = {name: reason for head in heads for name, reason in head.failures}
    return FeatureFolder(folder, content, tuple(paths), failures, sum(head.num_videos for head in heads))
