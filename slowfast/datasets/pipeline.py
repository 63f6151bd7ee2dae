"""The order of steps between decoded frames and model input, readable at a glance.

In a loader worker, on uint8 frames: RandAugment at decoded size, crop, resize, flip. On the device, on floats:
scale to 0..1, normalise, erase, channel order. Normalising after resizing equals the published order (the resize
is linear and its weights sum to one) up to the rounding to uint8 in between, at most half a grey level. Fused, these
steps are one sampling of the frames; what is drawn at random is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from slowfast.datasets import augment, clip_sampling, rand_augment, sampling, transforms
from slowfast.datasets.clip_ops import Operation, apply_and_sample, apply_operations, ends_in_geometry


@dataclass(frozen=True)
class Views:
    """Views of one video, ready to travel. Views with equal pixels share a clip, which then is computed once.

    Shapes: ``clips`` uint8 (N, T, S, S, 3) in RGB; ``view_ids`` int64 (V,), clip x crops + crop, or the number of
    the augmented copy; ``rows`` int64 (V,), which of the N clips a view shows; ``erase_boxes`` int64 (N, R, 4) as
    top, left, height, width (height 0: nothing); ``noise_seeds`` int64 (N,), for the noise that fills erased boxes.
    """

    clips: torch.Tensor
    view_ids: torch.Tensor
    rows: torch.Tensor
    erase_boxes: torch.Tensor
    noise_seeds: torch.Tensor

    @staticmethod
    def of(
        clips: torch.Tensor, erase_boxes: torch.Tensor | None = None, rows: torch.Tensor | None = None
    ) -> Views:
        """Views numbered in order: one for each clip, or as ``rows`` says; no erasing unless boxes are given."""
        count = len(clips)
        if erase_boxes is None:
            erase_boxes = torch.zeros((count, 0, 4), dtype=torch.int64)
        rows = torch.arange(count) if rows is None else rows
        return Views(clips, torch.arange(len(rows)), rows, erase_boxes, torch.zeros(count, dtype=torch.int64))

    def repeated(self, which: Sequence[int]) -> Views:
        """Views of a longer sequence of clips: clip i of it is number which[i] of the clips these were made of."""
        num_clips = max(which) + 1
        rows = self.rows.unflatten(0, (num_clips, -1))[torch.as_tensor(which)].flatten()
        return replace(self, rows=rows, view_ids=torch.arange(len(rows)))


def empty_views(num_frames: int, crop_size: int) -> Views:
    """Zero views, with the other sizes of a full item."""
    return Views.of(torch.zeros((0, num_frames, crop_size, crop_size, 3), dtype=torch.uint8))


Cut = augment.JitteredCrop | list[transforms.Box]
"""What a training clip is cut to: resized, then cropped; or the boxes to resize, one for all frames or one for each."""


@dataclass(frozen=True)
class TrainViews:
    """Augmented copies of one training clip: RandAugment, crop, resize, colours, flip, boxes to erase.

    With ``area`` and ``aspect`` the crop is a random resized crop (or two, moving from the first to the second,
    with ``motion_shift``); without them the short side is jittered within ``jitter`` and a random crop is cut.
    ``fused``: the same draws, but crop, resize, flip and the geometric operations right before them are one sampling,
    not antialiased, where that saves steps.
    """

    crop_size: int
    policy: rand_augment.RandAugmentPolicy | None = None
    area: tuple[float, float] | None = None
    aspect: tuple[float, float] | None = None
    motion_shift: bool = False
    jitter: tuple[int, int] = (256, 320)
    inverse_jitter: bool = False
    colour_strengths: tuple[float, float, float] | None = None
    random_flip: bool = True
    antialias: bool = False
    fused: bool = False
    erase_probability: float = 0.0
    erase_count: int = 1

    def __call__(self, clips: torch.Tensor, rngs: Sequence[np.random.Generator]) -> Views:
        """``clips`` uint8 (1, T, H, W, 3); one copy for each generator."""
        copies, boxes = zip(*(self._copy(clips[0], rng) for rng in rngs), strict=True)
        return Views.of(torch.stack(copies), torch.from_numpy(np.stack(boxes)))

    def _copy(self, clip: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, np.ndarray]:
        operations = rand_augment.draw_rand_augment(self.policy, rng) if self.policy is not None else []
        cut = self._draw_cut(*clip.shape[:3], rng)
        colours = None
        if self.colour_strengths is not None:
            colours = augment.draw_colour_jitter(self.colour_strengths, rng)
        mirrored = self.random_flip and augment.draw_flip(rng)
        size = self.crop_size
        erase_boxes = augment.draw_erase_boxes(size, size, self.erase_probability, self.erase_count, rng)
        at_once = self.fused and self._saves_steps(operations, cut)
        if at_once:
            grid = self._grid(cut, *clip.shape[1:3])
            clip = apply_and_sample(clip, operations, grid, mirrored)
        else:
            clip = self._augment_and_cut(clip, operations, cut)
        if colours is not None:
            clip = transforms.jitter_colours(clip, *colours)
        if mirrored and not at_once:
            clip = transforms.flip(clip)
        return clip, erase_boxes

    def _draw_cut(self, num_frames: int, height: int, width: int, rng: np.random.Generator) -> Cut:
        if self.area is None:
            return augment.draw_jittered_crop(
                height, width, *self.jitter, self.crop_size, self.inverse_jitter, rng
            )
        if self.motion_shift:
            boxes = augment.draw_moving_crop_boxes(height, width, self.area, self.aspect, num_frames, rng)
            return [tuple(box) for box in boxes.tolist()]
        return [augment.draw_resized_crop_box(height, width, self.area, self.aspect, rng)]

    def _augment_and_cut(self, clip: torch.Tensor, operations: Sequence[Operation], cut: Cut) -> torch.Tensor:
        if isinstance(cut, augment.JitteredCrop):
            clip = apply_operations(clip, operations)
            resized = transforms.resize(clip, cut.height, cut.width, self.antialias)
            return transforms.crop(resized, cut.box)
        if self.motion_shift:
            clip = apply_operations(clip, operations)
            return transforms.crop_and_resize_moving(clip, cut, self.crop_size, self.antialias)
        clip = apply_operations(clip, operations, cut[0])  # of which the rest would be thrown away
        return transforms.resize(clip, self.crop_size, self.crop_size, self.antialias)

    def _saves_steps(self, operations: Sequence[Operation], cut: Cut) -> bool:
        """Whether one sampling does the work of several steps: a crop that is resized alone is one step already."""
        return ends_in_geometry(operations) or isinstance(cut, augment.JitteredCrop)

    def _grid(self, cut: Cut, height: int, width: int) -> clip_sampling.Grid:
        if isinstance(cut, augment.JitteredCrop):
            return clip_sampling.grid_of_resized_crop(height, width, *cut)
        return clip_sampling.grid_of_boxes(cut, self.crop_size)


@dataclass(frozen=True)
class EvalViews:
    """Fixed crops of fixed clips: short side to ``scale``, then 1 (centre) or 3 (left or top, centre, right or
    bottom) square crops of ``crop_size``.

    With ``whole_frame`` the one view is the whole frame, squeezed into a square of ``crop_size``: nothing at the
    borders is lost. ``scale`` and ``num_crops`` then have no say.
    """

    scale: int
    crop_size: int
    num_crops: int
    whole_frame: bool = False
    antialias: bool = False

    def __call__(self, clips: torch.Tensor, rngs: Sequence[np.random.Generator]) -> Views:
        """``clips`` uint8 (clips, T, H, W, 3) -> clips x crops views, crops varying fastest; no draw is made.

        Crops that coincide, as all do on square video, share their pixels.
        """
        if self.whole_frame:
            frames = transforms.resize(clips.flatten(0, 1), self.crop_size, self.crop_size, self.antialias)
            return Views.of(frames.unflatten(0, clips.shape[:2]))
        frames = transforms.resize_short_side(clips.flatten(0, 1), self.scale, self.antialias)
        frames = frames.unflatten(0, clips.shape[:2])
        boxes = self._boxes(*frames.shape[2:4])
        different = list(dict.fromkeys(boxes))
        views = [transforms.crop(clip, box) for clip in frames for box in different]
        places = torch.tensor([different.index(box) for box in boxes])
        rows = len(different) * torch.arange(len(frames))[:, None] + places
        return Views.of(torch.stack(views), rows=rows.flatten())

    def shown(self, height: int, width: int) -> list[tuple[float, float, float, float]]:
        """What each crop shows of frames of this size: top, left, height and width in pixels of these frames."""
        if self.whole_frame:
            return [(0.0, 0.0, float(height), float(width))]
        resized = transforms.short_side_size(height, width, self.scale)
        down, across = height / resized[0], width / resized[1]
        return [
            (top * down, left * across, box_height * down, box_width * across)
            for top, left, box_height, box_width in self._boxes(*resized)
        ]

    def _boxes(self, height: int, width: int) -> list[transforms.Box]:
        """The crops of frames that are resized already."""
        positions = [sampling.crop_position(crop, self.num_crops) for crop in range(self.num_crops)]
        return [transforms.uniform_crop_box(height, width, self.crop_size, at) for at in positions]


@dataclass(frozen=True)
class DeviceStage:
    """The part that runs on the device: uint8 views to normalised model input.

    ``mean`` and ``std`` are per channel on the 0..1 scale; ``reverse_channels`` turns RGB into BGR, last, as the
    published order of steps has it; ``erase_mode`` is pixel, rand or const.
    """

    mean: Sequence[float]
    std: Sequence[float]
    reverse_channels: bool = False
    erase_mode: str = "pixel"

    def __call__(
        self, clips: torch.Tensor, erase_boxes: torch.Tensor, noise_seeds: torch.Tensor
    ) -> torch.Tensor:
        """uint8 (N, T, S, S, 3) on the device -> float32 (N, 3, T, S, S), a channels-last view.

        ``erase_boxes`` (N, R, 4) and ``noise_seeds`` (N,) stay on the CPU: they steer, they are not data.
        """
        frames = transforms.normalise(clips, self.mean, self.std)
        for view, boxes in enumerate(erase_boxes.tolist()):
            if any(height for _, _, height, _ in boxes):
                generator = torch.Generator(clips.device).manual_seed(int(noise_seeds[view]))
                transforms.erase_(frames[view], boxes, self.erase_mode, generator)
        if self.reverse_channels:
            frames = transforms.reverse_channels(frames)
        return frames.permute(0, 4, 1, 2, 3)
