"""A list → the videos to decode, each once, and the frames that clips take of them."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from slowfast.datasets import annotations, shards
from slowfast.datasets.annotations import VideoTable
from slowfast.datasets.checking.sources import FolderSource, LostSource, ShardSource, Source, VideoSource
from slowfast.datasets.clip_sampler import ClipSampler
from slowfast.datasets.frames import UnreadableVideo
from slowfast.datasets.preparation.media import VIDEO_SUFFIXES, pictures_in
from slowfast.datasets.video_dataset import FrameFolders, ShardFiles, VideoFiles

# Without a recipe: as most published ones have it, and any label that a table can hold.
_CLIP = ClipSampler(num_frames=16, sampling_rate=4, num_clips=1)
_TEMPLATE = "img_{:05d}.jpg"
_ANY_LABEL = 2**31

Key = tuple[
    str, int | None
]  # path as listed and, of a folder of frames, their number: what one verdict is about


@dataclass(frozen=True)
class Listing:
    """What is to be checked. clips: the frames of one clip in the middle. class_names: in order, None if unknown."""

    table: VideoTable
    clips: ClipSampler
    open_media: VideoFiles | ShardFiles | FrameFolders
    class_names: list[str] | None = None

    def keys(self) -> list[Key]:
        """One for each line of the list, in its order; lines that name the same video share one."""
        table = self.table
        if table.frame_counts is None:
            return [(table.name(index), None) for index in range(len(table))]
        return [(table.name(index), table.num_frames(index)) for index in range(len(table))]

    def source(self, key: Key) -> Source:
        """Where the video lies. What is in no shard becomes a source that says so when it is opened."""
        name, num_frames = key
        path = os.path.join(self.table.prefix, name)
        if num_frames is not None:
            return FolderSource(path, num_frames, self.open_media.template)
        if isinstance(self.open_media, VideoFiles):
            return VideoSource(path)
        try:
            shard, offset, size = self.open_media.index.locate(name)
        except UnreadableVideo as error:
            return LostSource(str(error))
        return ShardSource(shard, offset, size)

    def settings(self) -> dict[str, Any]:
        """What decides about verdicts, as plain values; the list by its digest."""
        folders = isinstance(self.open_media, FrameFolders)
        return {
            "list": self.table.digest(),
            "media": os.path.abspath(self.table.prefix),
            "template": self.open_media.template if folders else "",
            **asdict(self.clips),
            "other_counts": list(self.clips.other_counts),
        }


def read_listing(path: Path, *, media: str = "", classes: str = "", spare_folder: str = "") -> Listing:
    """What a list by itself says: of video files or folders of frames, with one label or several.

    `media` is the folder that paths start from, or a pattern of tar shards, whose index goes to `spare_folder` where
    it cannot lie beside them. Class names come from the file `classes`, else from beside the list, if anywhere.

    Raises what `read_list`, `find_class_names` and `open_index` raise, and ValueError for a video in place of the list.
    """
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise ValueError(f"{path} is a video, not a list of them: give a text file with a path a line")
    names = annotations.find_class_names(path.parent, classes)
    folders = annotations.lists_frame_folders(path)
    table = annotations.read_list(
        path,
        num_classes=len(names) if names else _ANY_LABEL,
        multi_label=True,
        prefix=media,
        frame_folders=folders,
    )
    if folders:
        return Listing(table, _CLIP, FrameFolders(_found_template(table)), names)
    if shards.names_shards(media):
        return Listing(table, _CLIP, ShardFiles(shards.open_index(media, spare_folder)), names)
    return Listing(table, _CLIP, VideoFiles(), names)


def _found_template(table: VideoTable) -> str:
    """How pictures are named in the first listed folder whose pictures have names of one kind."""
    for index in range(len(table)):
        try:
            found = pictures_in(table.path(index))
        except OSError:
            continue
        if found and not found.problem:
            return found.template
    return _TEMPLATE
