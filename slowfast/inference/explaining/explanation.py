"""One view of a video explained, as values: what the model says of it, where, and which tokens draw from which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from slowfast.datasets.frame_folders import FrameFolder
from slowfast.datasets.frames import UnreadableVideo, VideoReader
from slowfast.datasets.pipeline import Views
from slowfast.datasets.video_dataset import read_clips
from slowfast.datasets.video_views import Video
from slowfast.inference.classifier import Prediction, VideoClassifier
from slowfast.inference.explaining.blocks import block_named, last_of_stage
from slowfast.inference.explaining.class_maps import ClassMap, grad_cam
from slowfast.inference.explaining.grids import Place, TokenGrid
from slowfast.inference.explaining.kept_tokens import kept_tokens
from slowfast.inference.explaining.relations import Relation, relations

NO_RATE = 25.0  # frames a second of files that state none


@dataclass(frozen=True)
class VideoClips:
    """All views of a video, and where they come from.

    views: as a test makes them, clips x crops. frame_numbers: int64 (clips, T), of the video. fps: of the video.
    crops: of each crop top, left, height and width in pixels of the video. damage: "" or what the file lacks.
    """

    views: Views
    frame_numbers: np.ndarray
    fps: float
    crops: tuple[tuple[float, float, float, float], ...]
    damage: str


@dataclass(frozen=True)
class View:
    """One clip in one crop. pixels: uint8 (T, S, S, 3) RGB. frame_numbers: int64 (T,). clip, crop: from 1.

    box: top, left, height and width of the crop in pixels of the video. fps: of the video.
    """

    pixels: Tensor
    frame_numbers: np.ndarray
    fps: float
    clip: int
    crop: int
    num_clips: int
    num_crops: int
    box: tuple[float, float, float, float]

    @property
    def times_seconds(self) -> np.ndarray:
        """When each frame is seen, float64 (T,), from the video's mean frame rate."""
        return self.frame_numbers / self.fps

    @property
    def name(self) -> str:
        return f"clip {self.clip} of {self.num_clips}, crop {self.crop} of {self.num_crops}"


@dataclass(frozen=True)
class Explanation:
    """What is known about one view. probability: from 0 to 1, that the view alone gives to the class of the map.

    prediction: of the video from all its views. kept: see `kept_tokens`.
    """

    view: View
    prediction: Prediction
    class_name: str
    probability: float
    class_map: ClassMap
    relations: list[Relation]
    kept: dict[str, tuple[Tensor, TokenGrid]]

    @property
    def top_of_view(self) -> int:
        """The class that the view alone is taken for."""
        return int(self.class_map.logits.argmax())


def explained(
    classifier: VideoClassifier,
    video: Video,
    *,
    class_name: str = "",
    block: str = "",
    clip: int | None = None,
    crop: int | None = None,
    token: Place | None = None,
    relation_blocks: Sequence[str] = (),
    head: int | None = None,
) -> Explanation:
    """Explain one view of a video.

    class_name: "" for what the video is predicted as. block: of the map, "" for the default of `grad_cam`. clip, crop:
    from 1, None for the middle one. token: whose relations are given: frame number, row and column in pixels of the
    video; None for the peak of the map. relation_blocks: none for the last block of stages 2 and 3, where relations are
    local and global and the grids finest of what is near the decision. head: see `relations`.

    Raises UnreadableVideo, and ValueError for names and numbers that do not exist, telling those that do.
    """
    model = classifier.model
    blocks = list(relation_blocks) or [last_of_stage(model, stage) for stage in (2, 3)]
    for name in [*blocks, *([block] if block else [])]:
        block_named(model, name)  # before the work
    asked = classifier.numbers_of([class_name])[0] if class_name else None
    clips = read_video(classifier, video)
    view = choose_view(clips, clip, crop)
    place = None if token is None else place_in(view, token)
    prediction = classifier.merge(classifier.score(clips.views), clips.damage)
    number = prediction.ranking[0] if asked is None else asked
    found = grad_cam(classifier, view.pixels, number, block)
    return Explanation(
        view=view,
        prediction=prediction,
        class_name=classifier.class_names[number],
        probability=float(found.logits.softmax(dim=0)[number]),
        class_map=found,
        relations=relations(
            classifier, view.pixels, blocks, found.grid.centre(found.peak) if place is None else place, head
        ),
        kept=kept_tokens(classifier, view.pixels),
    )


def read_video(classifier: VideoClassifier, video: Video) -> VideoClips:
    """The views of a video, decoded once; raises UnreadableVideo, which names a path."""
    make = classifier.views
    try:
        with make.reader(video) as reader:
            frames = make.shrunk(reader)
            clips, which = read_clips(
                frames, make.sampler, lambda: np.random.default_rng(0)
            )  # fixed clips: no draw
            return VideoClips(
                views=make.make_views(clips, ()).repeated(which),
                frame_numbers=make.clips(frames),
                fps=reader.fps or NO_RATE,
                crops=tuple(make.make_views.shown(*_size(reader))),
                damage=reader.damage,
            )
    except UnreadableVideo as error:
        named = f"{video}: " if isinstance(video, str | os.PathLike) else ""
        raise UnreadableVideo(f"{named}{error}") from None


def _size(reader: VideoReader | FrameFolder) -> tuple[int, int]:
    """Height and width of the frames of a video."""
    if isinstance(reader, FrameFolder):
        return reader.read([0]).shape[1:3]
    return reader.height, reader.width


def choose_view(clips: VideoClips, clip: int | None, crop: int | None) -> View:
    """The view of that clip and crop, counted from 1, the middle ones for None; raises ValueError for others."""
    num_clips, num_crops = len(clips.frame_numbers), len(clips.crops)
    clip = _number("clip", clip, num_clips)
    crop = _number("crop", crop, num_crops)
    row = int(clips.views.rows[(clip - 1) * num_crops + crop - 1])
    return View(
        pixels=clips.views.clips[row],
        frame_numbers=clips.frame_numbers[clip - 1],
        fps=clips.fps,
        clip=clip,
        crop=crop,
        num_clips=num_clips,
        num_crops=num_crops,
        box=clips.crops[crop - 1],
    )


def _number(what: str, given: int | None, count: int) -> int:
    if given is None:
        return count // 2 + 1
    if not 1 <= given <= count:
        known = "there is 1 alone" if count == 1 else f"there are 1 to {count}"
        raise ValueError(f"{what} is {given}: of this video {known}")
    return given


def place_in(view: View, token: Place) -> Place:
    """A place of the video, (frame number, row, column), as one of the view: the nearest frame of its clip.

    Raises ValueError for a place that the crop does not show, or a time outside of the clip.
    """
    frame, row, column = token
    first, last = int(view.frame_numbers.min()), int(view.frame_numbers.max())
    if not first <= frame <= last:
        raise ValueError(
            f"frame {frame:g} is not in {view.name}, which shows frames {first} to {last}; write one of these, or "
            "choose another clip"
        )
    top, left, height, width = view.box
    if not (top <= row < top + height and left <= column < left + width):
        raise ValueError(
            f"row {row:g}, column {column:g} is not in {view.name}, which shows rows {top:.0f} to {top + height:.0f} "
            f"and columns {left:.0f} to {left + width:.0f} of the video; write a place in there, or choose another crop"
        )
    side_height, side_width = view.pixels.shape[1:3]
    nearest = int(np.abs(view.frame_numbers - frame).argmin())
    return float(nearest), (row - top) / height * side_height, (column - left) / width * side_width
