"""Features of videos, as `slowfast extract` leaves them in a folder: `read` gives them back, video by video."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from slowfast.inference.feature_shards import peek, read_shard, shard_path
from slowfast.inference.video_features import VideoFeatures

SETTINGS_FILE = "features.json"


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
        for path in self.shards:
            yield from read_shard(path).videos


def read(folder: str | os.PathLike) -> FeatureFolder:
    """The features in a folder that `slowfast extract` finished; one shard at a time is in memory.

    Raises FileNotFoundError for another folder, and ValueError for one whose extraction is not finished.
    """
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
