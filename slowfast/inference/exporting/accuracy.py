"""Accuracy of exported files on the videos of a list, beside that of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from slowfast.datasets.checking.listing import read_listing
from slowfast.datasets.frames import UnreadableVideo
from slowfast.inference.classifier import VideoClassifier
from slowfast.inference.exporting.checking import Outputs
from slowfast.utils.plural import counted


def top1(
    classifier: VideoClassifier, runners: Mapping[str, Outputs], path: str, media: str, softmax: bool
) -> Iterator[str]:
    """Lines on the top-1 accuracy of each runner: all views of every video, each video decoded once.

    A video with several labels counts as right for any of them. Raises what reading the list raises, and ValueError
    for a label that is no class of the model or a list without any readable video.
    """
    listing = read_listing(Path(path), media=media, spare_folder=str(Path(path).parent))
    table, right, unreadable = listing.table, dict.fromkeys(runners, 0), 0
    largest = int(table.labels.max())
    if largest >= len(classifier.class_names):
        raise ValueError(
            f"--check-list {path}: label {largest}, but the model knows {len(classifier.class_names)} classes, "
            "numbered from 0; give a list of its data set"
        )
    for index in range(len(table)):
        try:
            with classifier.views.shrunk(listing.open_media(table, index)) as reader:
                views = classifier.views.of(reader)
        except UnreadableVideo:
            unreadable += 1
            continue
        for name, run in runners.items():
            right[name] += _best(classifier, run(views.clips)[views.rows], softmax) in table.label(index)
    scored = len(table) - unreadable
    if not scored:
        raise ValueError(
            f"--check-list {path}: none of its {counted(len(table), 'video')} can be read (--media?)"
        )
    for name, count in right.items():
        yield f"top-1 of {name} on {counted(scored, 'video')}: {count / scored:.1%} ({count})"
    if unreadable:
        yield f"{counted(unreadable, 'video')} of {path} could not be read, and did not count"


def _best(classifier: VideoClassifier, outputs: Tensor, softmax: bool) -> int:
    """The class of a video from the outputs for its views; the logarithm of probabilities is as good as logits."""
    return classifier.merge(outputs.clamp_min(1e-30).log() if softmax else outputs).ranking[0]
