"""What lists and videos of a data set are like, as far as a recipe depends on it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from slowfast.datasets.annotations import list_lines, lists_frame_folders, read_class_names, read_list
from slowfast.datasets.checking.listing import read_listing
from slowfast.datasets.frame_folders import open_frame_folder
from slowfast.datasets.frames import UnreadableVideo, open_video
from slowfast.datasets.video_dataset import FrameFolders

SAMPLED = 12  # videos that are opened, spread over the training list


@dataclass(frozen=True)
class DataFacts:
    """counts: training videos of each class. num_validated: videos to validate on. short_side, num_frames and fps are
    medians over some videos; fps None for frame folders."""

    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    frame_folders: bool
    short_side: int
    num_frames: int
    fps: float | None
    num_validated: int = 0

    @property
    def num_videos(self) -> int:
        return sum(self.counts)

    @property
    def seconds(self) -> float | None:
        """How long a video is."""
        return self.num_frames / self.fps if self.fps else None


def keys_of_lists(folder: Path, media: str) -> dict[str, object]:
    """Keys of a config that read the lists in a folder; ``media``: where their paths start from, "" to find out.

    That is the folder of the lists if one of the first videos lies there; what lies elsewhere has whole paths. Of
    folders of frames the pictures tell their names. What has no list is switched off. Raises as `look` does.
    """
    own = os.path.abspath(folder)
    listing = read_listing(folder / "train.csv", media=os.path.abspath(media) if media else own)
    table = listing.table
    beside = any(os.path.exists(table.path(index)) for index in range(min(SAMPLED, len(table))))
    keys: dict[str, object] = {
        "DATA.PATH_TO_DATA_DIR": own,
        "DATA.PATH_PREFIX": table.prefix if media or beside else "",
    }
    if not (folder / "val.csv").exists():
        keys |= {"TRAIN.EVAL_PERIOD": 0, "TEST.TEST_BEST": False}
    if not (folder / "test.csv").exists():
        keys["TEST.ENABLE"] = False
    if isinstance(listing.open_media, FrameFolders):
        keys["DATA.IMAGE_TEMPLATE"] = listing.open_media.template
    return keys


def look(keys: Mapping[str, object]) -> DataFacts:
    """The facts of the lists and media that these keys of a config name.

    Raises FileNotFoundError for a missing list, ValueError for one that cannot be used, and where none of the videos
    that were opened can be read.
    """
    folder = Path(str(keys["DATA.PATH_TO_DATA_DIR"]))
    template = str(keys.get("DATA.LABEL_PATH_TEMPLATE", ""))
    path = _list(folder, template, "train")
    if path is None:
        raise FileNotFoundError(
            f"{folder / (template or '{}.csv').format('train')}: no such file (the list of training videos)"
        )
    validated = _list(folder, template, "val")
    names = tuple(read_class_names(folder / "classes.txt"))
    folders = lists_frame_folders(path)
    prefix = str(keys.get("DATA.PATH_PREFIX", ""))
    table = read_list(path, num_classes=len(names), prefix=prefix, frame_folders=folders)
    labels = np.fromiter((table.label(index) for index in range(len(table))), np.int64, len(table))
    sizes, lengths, rates, reason = [], [], [], ""
    for index in np.unique(np.linspace(0, len(table) - 1, SAMPLED).astype(int)).tolist():
        try:
            if folders:
                template = str(keys.get("DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg"))
                reader = open_frame_folder(table.path(index), table.num_frames(index), template)
                sizes.append(min(reader.read([0]).shape[1:3]))
                lengths.append(reader.num_frames)
            else:
                with open_video(table.path(index)) as reader:
                    sizes.append(min(reader.height, reader.width))
                    lengths.append(reader.num_frames)
                    rates += [reader.fps] if reader.fps else []
        except UnreadableVideo as error:
            reason = f"{table.name(index)}: {error}"
    if not sizes:
        raise ValueError(f"{path}: none of the videos looked at can be read, such as {reason}")
    return DataFacts(
        class_names=names,
        counts=tuple(np.bincount(labels, minlength=len(names)).tolist()),
        frame_folders=folders,
        short_side=int(median(sizes)),
        num_frames=int(median(lengths)),
        fps=float(median(rates)) if rates else None,
        num_validated=sum(1 for _ in list_lines(validated)) if validated else 0,
    )


def _list(folder: Path, template: str, split: str) -> Path | None:
    names = [template.format(split)] if template else []
    return next((path for name in (*names, f"{split}.csv") if (path := folder / name).exists()), None)


def sided(names: Sequence[str]) -> list[str]:
    """Class names that tell left from right, which a mirror would exchange."""
    words = [set(name.lower().replace("_", " ").replace("-", " ").split()) for name in names]
    return [name for name, parts in zip(names, words, strict=True) if parts & {"left", "right"}]
