"""The values that pass between the steps of a preparation."""

from __future__ import annotations

from dataclasses import dataclass

SPLITS = ("train", "val", "test")
UNLABELLED = "unlabelled"  # videos of a challenge's test set: listed with label 0, never scored


@dataclass(frozen=True)
class Entry:
    """One video that an annotation file names.

    names: what its file (without suffix) or frame folder may be called, best first. class_name: as the owner
    writes it, "" in the split `unlabelled`. label: from 0. where: "file:line" of the annotation. names_repeat: whether
    another class may have a video of the same name, so that one in the folder of another class is not meant.
    """

    names: tuple[str, ...]
    class_name: str
    label: int
    split: str
    where: str
    names_repeat: bool = False


@dataclass(frozen=True)
class Item:
    """One line of a list. path: relative to the media folder, "/" between parts. num_frames: None for a video file."""

    path: str
    label: int
    split: str
    num_frames: int | None = None


@dataclass(frozen=True)
class LeftOut:
    """A video that is not listed where it might be, and why.

    label and split: where it would have stood; -1 and "" if unknown. cause: "", or what the reason has in common with
    others that the report tells together.
    """

    path: str
    reason: str
    label: int = -1
    split: str = ""
    cause: str = ""
