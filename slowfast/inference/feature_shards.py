"""Files of features: the videos of a stretch of a list, in one .npz (no pickle) or .parquet."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from slowfast.inference.video_features import VideoFeatures
from slowfast.utils.atomic import replace_file
from slowfast.utils.optional import require

FORMATS = {"npz": ".npz", "parquet": ".parquet"}
WHY = "parquet files"
Failures = Sequence[tuple[str, str]]
_PER_CLIP = ("features", "frames", "start_seconds", "end_seconds")


@dataclass(frozen=True)
class Shard:
    """Features of some videos, and (name, reason) of those that could not be read."""

    videos: tuple[VideoFeatures, ...]
    failures: Failures


@dataclass(frozen=True)
class Head:
    """What `peek` tells of a file: how many videos have features, and (name, reason) of those without."""

    num_videos: int
    failures: Failures

    @property
    def num_entries(self) -> int:
        """List entries that the file is about."""
        return self.num_videos + len(self.failures)


class DamagedShard(ValueError):
    """A file that is no whole shard."""


def shard_path(folder: Path, number: int, file_format: str) -> Path:
    return folder / f"shard-{number:05d}{FORMATS[file_format]}"


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard as the suffix of its file says, as a whole or not at all."""
    with replace_file(path) as file:
        (_write_parquet if path.suffix == FORMATS["parquet"] else _write_npz)(file, shard)


def read_shard(path: Path) -> Shard:
    """The content of a shard. Raises DamagedShard for what is none."""
    columns, clips, failures = _columns(path)
    ends = np.cumsum(clips).tolist()
    videos = [
        VideoFeatures(name, label, *(columns[key][end - count : end] for key in _PER_CLIP))
        for name, label, count, end in zip(columns["videos"], columns["labels"], clips, ends, strict=True)
    ]
    return Shard(tuple(videos), failures)


def peek(path: Path) -> Head:
    """How many videos a shard holds, without reading features. Raises DamagedShard for what is none, or cut short."""
    try:
        if path.suffix == FORMATS["parquet"]:
            file = require("pyarrow.parquet", WHY).ParquetFile(path)
            facts = _facts(file.schema_arrow)
            rows, failures = file.metadata.num_rows, facts["failures"]
            counts = facts["clips_per_video"]
        else:
            with np.load(path, allow_pickle=False) as arrays:
                counts = arrays["clips_per_video"].tolist()
                rows, failures = len(arrays["start_seconds"]), _failures(arrays)
            with zipfile.ZipFile(path) as archive:
                rows = min(rows, _length(archive, "features.npy"))
    except _DAMAGE as error:
        raise DamagedShard(f"{path} is no whole shard ({error})") from error
    if sum(counts) != rows:
        raise DamagedShard(f"{path} is no whole shard ({rows} clips where {sum(counts)} belong)")
    return Head(len(counts), failures)


_DAMAGE = (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError)


def _length(archive: zipfile.ZipFile, name: str) -> int:
    """The first dimension of an array, from its header."""
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        reader = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        return reader(file)[0][0]


def _columns(path: Path) -> tuple[dict[str, Any], list[int], Failures]:
    """Arrays by name, clips of each video, and failures."""
    try:
        if path.suffix == FORMATS["parquet"]:
            return _read_parquet(path)
        with np.load(path, allow_pickle=False) as arrays:
            columns = {name: arrays[name] for name in _PER_CLIP}
            columns |= {name: arrays[name].tolist() for name in ("videos", "labels")}
            return columns, arrays["clips_per_video"].tolist(), _failures(arrays)
    except _DAMAGE as error:
        raise DamagedShard(f"{path} is no whole shard ({error})") from error


def _failures(arrays: Mapping[str, np.ndarray]) -> Failures:
    return list(zip(arrays["failed"].tolist(), arrays["reasons"].tolist(), strict=True))


def _write_npz(file: BinaryIO, shard: Shard) -> None:
    np.savez(
        file,
        allow_pickle=False,
        **_joined(shard.videos),
        clips_per_video=np.array([len(video.frames) for video in shard.videos], dtype=np.int64),
        videos=_texts([video.name for video in shard.videos]),
        labels=_texts([video.label for video in shard.videos]),
        failed=_texts([name for name, _ in shard.failures]),
        reasons=_texts([reason for _, reason in shard.failures]),
    )


def _joined(videos: Sequence[VideoFeatures]) -> dict[str, np.ndarray]:
    """The clips of all videos one after the other."""
    if not videos:
        return {key: np.zeros(0, dtype=np.float32) for key in _PER_CLIP}
    return {key: np.concatenate([getattr(video, key) for video in videos]) for key in _PER_CLIP}


def _texts(words: Sequence[str]) -> np.ndarray:
    return np.array(words, dtype=np.str_) if words else np.empty(0, dtype="U1")


def _write_parquet(file: BinaryIO, shard: Shard) -> None:
    """A row for each clip: video, label, features of all its crops in one list, frames, times."""
    arrow, parquet = require("pyarrow", WHY), require("pyarrow.parquet", WHY)
    joined = _joined(shard.videos)
    counts = [len(video.frames) for video in shard.videos]
    facts = {
        "shapes": {name: joined[name].shape[1:] for name in ("features", "frames")},
        "clips_per_video": counts,
        "videos": [video.name for video in shard.videos],
        "labels": [video.label for video in shard.videos],
        "failures": list(shard.failures),
    }
    columns = {
        "video": np.repeat(np.array(facts["videos"], dtype=object), counts).tolist(),
        "label": np.repeat(np.array(facts["labels"], dtype=object), counts).tolist(),
        "start_seconds": joined["start_seconds"],
        "end_seconds": joined["end_seconds"],
        "frames": _lists(arrow, joined["frames"]),
        "features": _lists(arrow, joined["features"]),
    }
    table = arrow.table(columns).replace_schema_metadata({"slowfast": json.dumps(facts)})
    parquet.write_table(table, file)


def _lists(arrow: Any, values: np.ndarray) -> Any:
    """An arrow array of lists of one length, one for each row of (n, ...)."""
    size = int(np.prod(values.shape[1:])) if values.ndim > 1 else 1
    return arrow.FixedSizeListArray.from_arrays(arrow.array(values.reshape(-1)), size)


def _facts(schema: Any) -> dict[str, Any]:
    facts = json.loads(schema.metadata[b"slowfast"])
    return facts | {"failures": [(name, reason) for name, reason in facts["failures"]]}


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[int], Failures]:
    parquet = require("pyarrow.parquet", WHY)
    table = parquet.read_table(path)
    facts = _facts(table.schema)
    columns: dict[str, Any] = {name: table[name].to_numpy() for name in ("start_seconds", "end_seconds")} | {
        "videos": facts["videos"],
        "labels": facts["labels"],
    }
    for name, shape in facts["shapes"].items():
        flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        columns[name] = flat.reshape(table.num_rows, *shape)
    return columns, facts["clips_per_video"], facts["failures"]
