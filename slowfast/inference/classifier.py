"""A trained model with all that it takes to use it on a video: class names, clips, crops, normalising.

The views of a video, their scores and how these are merged are those of the test of slowfast.engine.test, so that a
video gets the scores here that it gets there.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from slowfast.datasets.pipeline import DeviceStage, Views
from slowfast.datasets.video_views import Video, VideoViews
from slowfast.engine import metrics, precision
from slowfast.inference.clip_features import decode, gather
from slowfast.inference.layer_values import HEAD_INPUT, check_layer, layer_values
from slowfast.inference.prediction import Prediction, WindowPrediction
from slowfast.inference.streaming import VideoWindows
from slowfast.inference.timeline import SMOOTHING, Timeline, check_smoothing, timeline
from slowfast.inference.video_features import VideoFeatures
from slowfast.inference.windows import Extent, plan


@dataclass(frozen=True)
class VideoClassifier:
    """Scores videos; made by `slowfast.load`.

    model: in evaluation mode on ``device``, clips float32 (B, 3, T, S, S) -> logits (B, K). views: a video -> uint8
    views (see slowfast.datasets.video_views). prepare: those on the device -> model input. dtype: of the arithmetic,
    None for float32. views_per_batch: that go through the model at once. ensemble_method: how views are merged.
    facts: where it comes from, plain values: checkpoint, recipe, versions. description: what a file made from it takes
    along: config, the text of its whole config, and preprocessing, plain values.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    views: VideoViews
    prepare: DeviceStage
    device: torch.device
    dtype: torch.dtype | None
    views_per_batch: int
    ensemble_method: str
    facts: dict
    description: dict = field(default_factory=dict, repr=False)

    def predict(self, video: Video) -> Prediction:
        """The classes of a video, decoded once for all views: a path of a file or of a folder of numbered pictures, the
        bytes of a file, or a binary file object.

        Raises UnreadableVideo, a ValueError, with the reason.
        """
        views, damage = self.views(video)
        return self.merge(self.score(views), damage)

    def predict_windows(
        self, video: Video, *, window: Extent | None = None, stride: Extent | None = None
    ) -> Iterator[WindowPrediction]:
        """The classes of one window of a long video after the other, in memory that does not grow with its length.

        window, stride: how long each is, and how far one begins after the other; seconds, or frames as "64f". Unless
        given, a window is what one clip of the model spans, and they overlap by half; see slowfast.inference.windows.
        Each is scored like a video of its own. Raises UnreadableVideo; ValueError for lengths that cannot be used.
        """
        with self.open_windows(video, window=window, stride=stride) as windows:
            yield from windows

    def timeline(
        self,
        video: Video,
        *,
        window: Extent | None = None,
        stride: Extent | None = None,
        smoothing: int = SMOOTHING,
    ) -> Timeline:
        """What happens when in a long video: windows as of `predict_windows`, and segments in which one class leads.

        smoothing: windows that each is averaged with before segments are made, an odd number; 1 for none.
        """
        check_smoothing(smoothing)
        with self.open_windows(video, window=window, stride=stride) as windows:
            found = timeline(windows, self.class_names, smoothing)
            return replace(found, damage=windows.damage)

    def open_windows(
        self, video: Video, *, window: Extent | None = None, stride: Extent | None = None
    ) -> VideoWindows:
        """What `predict_windows` goes through, as a context that also tells what is known of the video."""
        with ExitStack() as stack:
            stream = stack.enter_context(self.views.stream(video))
            windows = plan(self.views.sampler, stream.fps, window, stride)
            stack.pop_all()  # what is returned closes it
        return VideoWindows(
            stream, self.views, windows, self.score_together, self.merge, self.views_per_batch
        )

    def score_together(self, videos: Sequence[Views]) -> list[Tensor]:
        """`score` of each; they go through the model together, `views_per_batch` at a time."""
        sizes = [len(views.clips) for views in videos]
        clips = torch.cat([views.clips for views in videos])
        logits = torch.cat([self.logits(batch) for batch in clips.split(self.views_per_batch)])
        return [part[views.rows] for part, views in zip(logits.split(sizes), videos, strict=True)]

    def score(self, views: Views) -> Tensor:
        """Logits float32 (V, K) of views, on the CPU."""
        return self.score_together([views])[0]

    @torch.inference_mode()
    def logits(self, clips: Tensor) -> Tensor:
        """Logits float32 (N, K), on the CPU, of clips uint8 (N, T, S, S, 3), RGB, that go through the model at once."""
        with precision.autocast(self.device, self.dtype):
            return self.model(self.model_input(clips)).float().cpu()

    def model_input(self, clips: Tensor) -> Tensor:
        """Clips uint8 (N, T, S, S, 3), RGB -> float32 (N, 3, T, S, S) on the device, as the model takes them."""
        no_boxes = torch.zeros((len(clips), 0, 4), dtype=torch.int64)
        return self.prepare(clips.to(self.device), no_boxes, torch.zeros(len(clips), dtype=torch.int64))

    def layer_values(self, clips: Tensor, layer: str = HEAD_INPUT, dense: bool = False) -> Tensor:
        """What a layer gives for clips uint8 (N, T, S, S, 3), RGB, that go through the model at once.

        float32 (N, C) on the CPU, or with ``dense`` (N, ..., C). See slowfast.inference.layer_values for the names of
        layers and what is refused.
        """
        return layer_values(self.model, layer, dense, lambda: self.logits(clips))

    def features(
        self,
        video: Video,
        layer: str = HEAD_INPUT,
        *,
        dense: bool = False,
        stride_seconds: float = 0.0,
        dtype: str = "float32",
    ) -> VideoFeatures:
        """What a layer gives for the clips of a video, with their frames and times; the video is decoded once.

        The clips are those of the test, or with ``stride_seconds`` windows over the whole video. Raises
        UnreadableVideo with the reason, and ValueError for a layer that is none, as `layer_values` does.
        """
        check_layer(self.model, layer)
        events = decode(
            self.views,
            lambda: self.views.reader(video),
            stride_seconds,
            self.views_per_batch,
        )
        name = os.fspath(video) if isinstance(video, str | os.PathLike) else ""
        return gather(events, lambda clips: self.layer_values(clips, layer, dense), name=name, dtype=dtype)

    def merge(self, logits: Tensor, damage: str = "") -> Prediction:
        """The prediction for one video from the logits (V, K) of its views.

        Classes are ranked by the scores of the ensemble method; probabilities are the softmax of the mean logits.
        """
        scores = metrics.merge_views(logits[None], self.ensemble_method)[0]
        mean = logits.mean(dim=0)
        ranking = scores.argsort(descending=True, stable=True)
        return Prediction(
            self.class_names, mean, mean.softmax(dim=0), tuple(ranking.tolist()), len(logits), damage
        )

    def numbers_of(self, names: Sequence[str]) -> list[int]:
        """Class numbers of names; raises ValueError for one that is not among the classes, naming the nearest."""
        known = {name: number for number, name in enumerate(self.class_names)}
        unknown = [name for name in names if name not in known]
        if unknown:
            near = difflib.get_close_matches(unknown[0], self.class_names, n=5, cutoff=0.5)
            said = f"near it are {', '.join(near)}" if near else f"it knows {_some(self.class_names)}"
            raise ValueError(
                f"{unknown[0]!r} is none of the {len(known)} classes of this model; {said}"
            )
        return [known[name] for name in names]


def _some(names: Sequence[str], count: int = 10) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")
