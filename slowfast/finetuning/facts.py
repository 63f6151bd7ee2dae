"""What lists and videos of a data set are like, as far as a recipe depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from slowfast.datasets.annotations import lists_frame_folders, read_class_names, read_list
from slowfast.datasets.frame_folders import open_frame_folder
from slowfast.datasets.frames import UnreadableVideo, open_video

SAMPLED = 12  # videos that are opened, spread over the training list


@dataclass(frozen=True)
class DataFacts:
    """counts: training videos of each class. The others are medians over some videos; fps None for frame folders."""

    class_names: tuple[str, ...]
    counts: tuple[int, ...]
    frame_folders: bool
    short_side: int
    num_frames: int
    fps: float | None

    @property
    def num_videos(self) -> int:
        return sum(self.counts)

    @property
    def seconds(self) -> float | None:
        """How long a video is."""
        return self.num_frames / self.fps if self.fps else None


def look(keys: Mapping[str, object]) -> DataFacts:
    """The facts of the lists and media that these keys of a config name.

    Raises FileNotFoundError for a missing list, ValueError for one that cannot be used, and where none of the videos
    that were opened can be read.
    """
    folder = Path(str(keys["DATA.PATH_TO_DATA_DIR"]))
    path = _train_list(folder, str(keys.get("DATA.LABEL_PATH_TEMPLATE", "")))
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
    )


def _train_list(folder: Path, template: str) -> Path:
    names = [template.format("train")] if template else []
    tried = [folder / name for name in (*names, "train.csv")]
    found = next((path for path in tried if path.exists()), None)
    if found is None:
        raise FileNotFoundError(f"{tried[0]}: no such file (the list of training videos)")
    return found


def sided(names: Sequence[str]) -> list[str]:
    """Class names that tell left from right, which a mirror would exchange."""
    words = [set(name.lower().replace("_", " ").replace("-", " ").split()) for name in names]
    return [name for name, parts in zip(names, words, strict=True) if parts & {"left", "right"}]
