"""Is the exported file the model? Its outputs for real clips beside those of the model, how long each takes, how large
each is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from slowfast.datasets import synthetic
from slowfast.datasets.frames import UnreadableVideo
from slowfast.inference.classifier import VideoClassifier
from slowfast.utils import seeds

TOLERANCE = 1e-4
TIMED_RUNS = 7
Outputs = Callable[[Tensor], Tensor]  # clips as a file takes them -> logits or probabilities (N, K)


@dataclass(frozen=True)
class Check:
    """What was compared. source: in words, what clips; clips: uint8 (N, T, S, S, 3), RGB."""

    source: str
    clips: Tensor


def check_clips(classifier: VideoClassifier, videos: Sequence[str]) -> Check:
    """The first view of each video, or without videos three of generated ones, whose frames are as varied as real ones.

    Raises ValueError for a video that cannot be read.
    """
    if not videos:
        made = [_generated_clip(classifier, number) for number in range(3)]
        return Check("3 generated clips", torch.cat(made))
    return Check(", ".join(videos), torch.cat([_first_views(classifier, video) for video in videos]))


def _first_views(classifier: VideoClassifier, video: str) -> Tensor:
    try:
        views, _ = classifier.views(video)
    except UnreadableVideo as error:
        raise ValueError(f"--check {video}: {error}; give a video that can be read") from error
    return views.clips[:1]


def _generated_clip(classifier: VideoClassifier, number: int) -> Tensor:
    """(1, T, S, S, 3): a scene of slowfast.datasets.synthetic, with the noise of a camera."""
    make, num_frames = classifier.views.make_views, classifier.views.sampler.num_frames
    side = max(make.crop_size, make.scale)
    rng = seeds.numpy_generator("export check", number)
    scene = synthetic.draw_scene(rng, side, side, num_frames)
    frames = synthetic.render_scene(scene, number, num_frames)  # (T, 3, H, W), 0..255
    noisy = (frames + rng.normal(0, 3, frames.shape)).clip(0, 255).round().astype("uint8")
    return make(torch.from_numpy(noisy.transpose(0, 2, 3, 1).copy())[None], ()).clips[:1]


def difference(expected: Tensor, found: Tensor) -> float:
    """The largest difference of any output; infinite where one is no number."""
    gap = (expected - found).abs().max().item()
    return gap if gap == gap else float("inf")


def agreement(expected: Tensor, found: Tensor) -> int:
    """For how many clips both give the same class the most."""
    return int((expected.argmax(dim=-1) == found.argmax(dim=-1)).sum())


def milliseconds(runners: Sequence[Outputs], clips: Tensor) -> list[float]:
    """The median time of each for one clip; they take turns, so that what else the machine does hits all alike."""
    times: list[list[float]] = [[] for _ in runners]
    for turn in range(TIMED_RUNS + 1):
        for run, spent in zip(runners, times, strict=True):
            start = time.perf_counter()
            run(clips[:1])
            if turn:  # the first warms up
                spent.append(1000 * (time.perf_counter() - start))
    return [statistics.median(spent) for spent in times]


def megabytes(path: Path) -> float:
    """Size of a file, in 10**6 bytes."""
    return path.stat().st_size / 1e6
