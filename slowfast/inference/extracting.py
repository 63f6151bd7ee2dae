"""The story of an extraction: which videos, in which shards; what is done already; decode and compute; write."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast.datasets.annotations import VideoTable, table_of_paths
from slowfast.datasets.checking.listing import read_listing
from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.preparation.lists import csv_text
from slowfast.datasets.preparation.media import look
from slowfast.datasets.video_dataset import VideoFiles
from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.clip_features import decode, gather
from slowfast.inference.feature_shards import (
    FORMATS,
    DamagedShard,
    Head,
    Shard,
    peek,
    read_shard,
    shard_path,
    write_shard,
)
from slowfast.inference.features import SETTINGS_FILE
from slowfast.inference.video_features import VideoFeatures
from slowfast.utils.atomic import replace_file
from slowfast.utils.plural import counted
from slowfast.utils.read_ahead import read_ahead

UNFINISHED = ".unfinished"  # folder of the videos of shards that are not whole yet, a file each
FAILURES_FILE = "failures.csv"
_ROOM = 2  # batches of a video that wait for the model


@dataclass(frozen=True)
class Wanted:
    """What is extracted. stride_seconds: 0 for the clips of the test. shard_size: videos a file."""

    layer: str
    dense: bool
    dtype: str
    stride_seconds: float
    file_format: str
    shard_size: int

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ValueError(f"--shard-size {self.shard_size}: write 1 video or more")


@dataclass(frozen=True)
class Videos:
    """What is to be read. open_media: (table, index) -> a reader of frames."""

    table: VideoTable
    open_media: Callable[[VideoTable, int], Any]

    def label(self, index: int) -> str:
        return ";".join(map(str, self.table.label(index)))


def find_videos(path: Path, media: str, spare_folder: str) -> Videos:
    """The videos of a list, or all in a folder and below. Raises ValueError for a folder without any."""
    if not path.is_dir():
        listing = read_listing(path, media=media, spare_folder=spare_folder)
        return Videos(listing.table, listing.open_media)
    if media:
        raise ValueError(
            f"--media is for lists; {path} is a folder, whose videos are found in it: leave it out"
        )
    found = list(look(path).videos)
    if not found:
        raise ValueError(
            f"{path}: no video files in this folder or below it; for folders of frames give a list (prepare_data "
            "writes one)"
        )
    return Videos(table_of_paths(found, prefix=str(path)), VideoFiles())


def extract(
    classifier: VideoClassifier,
    videos: Videos,
    out: Path,
    wanted: Wanted,
    *,
    jobs: int,
    say: Callable = print,
) -> int:
    """Write the features of all videos that are not in ``out`` yet; how many videos could not be read.

    Raises ValueError where ``out`` holds features of other settings, which are left as they are.
    """
    _try(classifier, wanted)
    out.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(videos.table), wanted.shard_size)
    _claim(out, _settings(classifier, videos, wanted, len(starts)))
    failures: list[tuple[str, str]] = []
    done = num_videos = 0
    for number, start in enumerate(starts):
        indices = range(start, min(start + wanted.shard_size, len(videos.table)))
        path = shard_path(out, number, wanted.file_format)
        head = _whole(path, len(indices), say)
        if head is None:
            _extract_shard(classifier, videos, path, indices, wanted, jobs)
            head = peek(path)
        else:
            done += 1
        failures += head.failures
        num_videos += head.num_videos
        _write_failures(out, failures)
    if done:
        say(f"{counted(done, 'shard')} of {len(starts)} {'was' if done == 1 else 'were'} there already")
    say(f"features of {counted(num_videos, 'video')} in {counted(len(starts), 'shard')} in {out}")
    if failures:
        say(f"{counted(len(failures), 'video')} could not be read, see {out / FAILURES_FILE}")
    return len(failures)


def _try(classifier: VideoClassifier, wanted: Wanted) -> None:
    """Raise ValueError for what no video could be extracted with, before anything is written."""
    sampler, side = classifier.views.sampler, classifier.views.make_views.crop_size
    clip = torch.zeros((1, sampler.num_frames, side, side, 3), dtype=torch.uint8)
    classifier.layer_values(clip, wanted.layer, wanted.dense)
    if wanted.stride_seconds:
        sampler.windows(1, 1.0, wanted.stride_seconds, np.random.default_rng(0))


def _whole(path: Path, num_entries: int, say: Callable) -> Head | None:
    """The head of a shard that is whole and about as many videos as belong into it; else None."""
    if not path.exists():
        return None
    try:
        head = peek(path)
    except DamagedShard as error:
        say(f"{error}: it is made again")
        return None
    if head.num_entries != num_entries:
        say(f"{path} is about {counted(head.num_entries, 'video')}, not {num_entries}: it is made again")
        return None
    return head


def _extract_shard(
    classifier: VideoClassifier,
    videos: Videos,
    path: Path,
    indices: range,
    wanted: Wanted,
    jobs: int,
) -> None:
    """Each video gets a file of its own first, so that none is done twice when this is stopped in the middle."""
    folder = path.parent / UNFINISHED
    names = {index: videos.table.name(index) for index in indices}
    parts = {index: folder / f"{index:08d}.npz" for index in indices}
    missing = [index for index, part in parts.items() if not _has(part, names[index])]
    failures = {}
    for index, features in _computed(classifier, videos, missing, wanted, jobs):
        if isinstance(features, str):
            failures[index] = (names[index], features)
        else:
            write_shard(parts[index], Shard((features,), {}))
    videos_read = [read_shard(parts[index]).videos[0] for index in indices if index not in failures]
    write_shard(path, Shard(tuple(videos_read), list(failures.values())))
    shutil.rmtree(folder, ignore_errors=True)


def _has(part: Path, name: str) -> bool:
    try:
        return part.exists() and read_shard(part).videos[0].name == name
    except DamagedShard:
        return False


def _computed(
    classifier: VideoClassifier, videos: Videos, indices: Sequence[int], wanted: Wanted, jobs: int
) -> Iterator[tuple[int, VideoFeatures | str]]:
    """The features of each video, or why it cannot be read."""
    from tqdm import tqdm

    sources = [
        partial(
            decode,
            classifier.views,
            partial(videos.open_media, videos.table, index),
            wanted.stride_seconds,
            classifier.views_per_batch,
        )
        for index in indices
    ]
    events = read_ahead(sources, threads=jobs, room=_ROOM)
    progress = tqdm(total=len(indices), unit="video", disable=None)  # None: unless stderr is a terminal
    for index, of_video in zip(indices, events, strict=True):
        try:
            yield (
                index,
                gather(
                    of_video,
                    partial(classifier.layer_values, layer=wanted.layer, dense=wanted.dense),
                    name=videos.table.name(index),
                    label=videos.label(index),
                    dtype=wanted.dtype,
                ),
            )
        except UnreadableVideo as error:
            yield index, str(error)
        progress.update()
    progress.close()


def _settings(classifier: VideoClassifier, videos: Videos, wanted: Wanted, num_shards: int) -> dict[str, Any]:
    """What decides about the content of the folder, in plain values, and what tells people of it."""
    return {
        "checkpoint_sha256": _sha256(classifier.facts["checkpoint"]),
        "list_sha256": videos.table.digest(),
        "layer": wanted.layer,
        "dense": wanted.dense,
        "dtype": wanted.dtype,
        "stride_seconds": wanted.stride_seconds,
        "format": wanted.file_format,
        "shard_size": wanted.shard_size,
        "num_shards": num_shards,
        "precision": str(classifier.dtype or "float32").removeprefix("torch."),
        "preprocessing": classifier.description["preprocessing"],
        "class_names": list(classifier.class_names),
        "model": classifier.facts["model"],
    }


def _sha256(path: str | os.PathLike) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _claim(out: Path, settings: dict[str, Any]) -> None:
    """Say in the folder what its features are of; raise ValueError where it holds others."""
    path = out / SETTINGS_FILE
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        different = [key for key in settings if there.get(key) != json.loads(json.dumps(settings[key]))]
        if different:
            shown = ", ".join(
                f"{key} {_short(there.get(key))} there, {_short(settings[key])} here" for key in different[:3]
            )
            raise ValueError(
                f"{out} holds features of other settings ({shown}): give another --out, or remove that folder"
            )
        return
    strangers = [shard for suffix in FORMATS.values() for shard in out.glob(f"shard-*{suffix}")]
    if strangers:
        raise ValueError(f"{out} holds {strangers[0].name} without {SETTINGS_FILE}: give another --out")
    with replace_file(path) as file:
        file.write((json.dumps(settings, indent=1) + "\n").encode())


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else text[:21] + "..."


def _write_failures(out: Path, failures: Sequence[tuple[str, str]]) -> None:
    with replace_file(out / FAILURES_FILE) as file:
        file.write(csv_text(("path", "reason"), failures).encode("utf-8", errors="backslashreplace"))
