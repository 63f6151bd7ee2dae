"""Which frames make a clip: arithmetic on frame numbers, without pixels and without torch.

Dense sampling takes a clip of `span` consecutive frames and spreads T frame numbers over it; segment sampling
cuts the whole video into T segments and takes one frame of each. Frame numbers count from 0 in presentation
order. Random choices come from the numpy Generator that the caller passes.

The multi-view protocol of testing is defined here: a video has num_clips x num_crops views, and view
v = clip * num_crops + crop. Where one test serves several numbers of clips, the views of each stand one after
the other, in the order of `clip_counts`.

Source: the published UniFormer and PySlowFast code; every deterministic rule equals it frame by frame.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

SAMPLING_UNITS = ("frames", "seconds")
FRAME_ORDERS = ("forward", "reversed", "shuffled")


# ----------------------------------------------------------------------------------------------------------
# Dense clips
# ----------------------------------------------------------------------------------------------------------
def clip_span(
    num_frames: int,
    sampling_rate: int,
    *,
    unit: str = "frames",
    fps: float | None = None,
    target_fps: float = 30,
) -> float:
    """Length of the stretch of video, in frames, over which the frames of one clip are spread.

    unit "frames" counts native frames, num_frames * sampling_rate, whatever the frame rate: what all
    published UniFormer numbers were made with. unit "seconds" makes clips equally long in time: num_frames *
    sampling_rate frames of a video at target_fps, which are that many times fps / target_fps of this one; at
    least one frame. Raises ValueError for an unknown unit, and for "seconds" when the frame rate is not
    known.
    """
    if unit == "frames":
        return float(num_frames * sampling_rate)
    if unit != "seconds":
        raise ValueError(f"sampling unit {unit!r} is unknown; write one of {', '.join(SAMPLING_UNITS)}")
    if fps is None or not fps > 0:
        raise ValueError(
            f"the video states no usable frame rate ({fps}), so its clips cannot be measured in seconds"
        )
    return max(1.0, num_frames * sampling_rate * fps / target_fps)


def random_start(length: int, span: float, rng: np.random.Generator) -> float:
    """Uniform random start, not rounded, of `span` frames in a video of `length`; 0 in a shorter one."""
    return float(rng.uniform(0.0, max(length - span, 0.0)))


def clip_start(length: int, span: float, clip: int, num_clips: int, use_offset: bool) -> float:
    """Start of clip number `clip` (0 <= clip < num_clips) of a video of `length` frames.

    With use_offset (DATA.USE_OFFSET_SAMPLING, as published for Kinetics) the first clip starts at 0 and the
    last one ends within num_clips - 1 frames of the end; a single clip lies in the middle, which is also the
    clip of validation. Without it the free stretch is cut into num_clips parts and each clip starts where its
    part does, so that the first frames are always seen and the last ones never.
    """
    assert 0 <= clip < num_clips, (clip, num_clips)
    free = max(length - span, 0.0)
    if not use_offset:
        return free * clip / num_clips
    if num_clips == 1:
        return float(math.floor(free / 2))
    return float(clip * math.floor(free / (num_clips - 1)))


def dense_indices(start: float, span: float, num_frames: int, length: int) -> np.ndarray:
    """Frame numbers of one clip: int64 (num_frames,), evenly from start to start + span - 1, inclusive.

    Both ends belong to the clip, so the spacing is (span - 1) / (num_frames - 1): 9 for "8x8", not 8. Points
    past the end of the video repeat its last frame. Raises ValueError for a video without frames.
    """
    _check_length(length)
    points = linspace_float32(start, start + span - 1, num_frames)
    return np.clip(points, 0, length - 1).astype(np.int64)


def all_clips(length: int, span: float, num_frames: int, num_clips: int, use_offset: bool) -> np.ndarray:
    """Frame numbers of all test clips of a video: int64 (num_clips, num_frames)."""
    starts = [clip_start(length, span, clip, num_clips, use_offset) for clip in range(num_clips)]
    return np.stack([dense_indices(start, span, num_frames, length) for start in starts])


def window_starts(length: int, span: float, stride: float) -> list[float]:
    """Starts of windows of `span` frames every `stride` frames from 0, and of one more that ends with the video.

    A video that is shorter than a window has one, from 0. Raises ValueError unless `stride` is above 0.
    """
    if not stride > 0:
        raise ValueError(f"windows every {stride:g} frames: the stride must be above 0")
    free = max(length - span, 0.0)
    return [number * stride for number in range(math.ceil(free / stride))] + [free]


def linspace_float32(start: float, end: float, num: int) -> np.ndarray:
    """float32 (num,): equally spaced points from start to end inclusive, rounded as torch.linspace rounds.

    The published code truncates such points to frame numbers, so the last bit matters. torch counts from the
    near end and rounds once per point, after multiplying and adding; so does this, by way of float64.
    """
    first, last = np.float32(start), np.float32(end)
    if num == 1:
        return np.array([first])
    step = np.float64((last - first) / np.float32(num - 1))
    number = np.arange(num)
    from_start = np.float64(first) + step * number
    from_end = np.float64(last) - step * (num - 1 - number)
    return np.where(number < num // 2, from_start, from_end).astype(np.float32)


# ----------------------------------------------------------------------------------------------------------
# One frame per segment
# ----------------------------------------------------------------------------------------------------------
def segment_indices_random(length: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """One random frame of each of num_frames equal segments: int64 (num_frames,), never decreasing.

    Both ends of a segment belong to it, so neighbours may share a frame; videos shorter than num_frames
    repeat frames. Raises ValueError for a video without frames.
    """
    bounds = _segment_bounds(length, num_frames)
    return np.asarray(rng.integers(bounds[:-1], bounds[1:], endpoint=True), dtype=np.int64)


def stretch_indices_random(
    length: int, num_frames: int, shortest: float, rng: np.random.Generator
) -> np.ndarray:
    """Frames evenly spread over a random stretch of the video: int64 (num_frames,), never decreasing.

    The stretch is a share of the video, uniform in shortest..1, anywhere in it, and each frame has the same random
    place in its part of the stretch. Where segments shake the frames one by one, this keeps motion smooth and changes
    its speed and place in time. Raises ValueError for a video without frames.
    """
    _check_length(length)
    span = length * rng.uniform(shortest, 1.0)
    start = rng.uniform(0.0, length - span)
    points = start + (np.arange(num_frames) + rng.random()) * span / num_frames
    return np.minimum(points.astype(np.int64), length - 1)


def segment_indices(length: int, num_frames: int, clip: int, num_clips: int) -> np.ndarray:
    """The frame at (clip + 1) / (num_clips + 1) of each segment: int64 (num_frames,).

    A single clip takes the middle of each segment; several are spread equally inside it. Raises ValueError
    for a video without frames.
    """
    assert 0 <= clip < num_clips, (clip, num_clips)
    bounds = _segment_bounds(length, num_frames)
    inside = int((length - 1) / num_frames / (num_clips + 1) * (clip + 1))
    return np.minimum(bounds[:-1] + inside, length - 1)


def _segment_bounds(length: int, num_frames: int) -> np.ndarray:
    """int64 (num_frames + 1,): where segments begin and end; neighbours share a bound."""
    _check_length(length)
    return np.round((length - 1) / num_frames * np.arange(num_frames + 1)).astype(np.int64)


# ----------------------------------------------------------------------------------------------------------
# Views and order
# ----------------------------------------------------------------------------------------------------------
def crop_position(crop: int, num_crops: int) -> int:
    """Where a crop lies on the long side of the frame: 0 left or top, 1 centre, 2 right or bottom.

    A single crop is the centre one, three crops are all of them; any other number is a ValueError. (Published
    frame-folder data sets take the left crop when there is one; the centre is meant.)
    """
    if num_crops not in (1, 3):
        raise ValueError(
            f"{num_crops} spatial crops were asked for; TEST.NUM_SPATIAL_CROPS is 1 (centre) or 3"
        )
    assert 0 <= crop < num_crops, (crop, num_crops)
    return 1 if num_crops == 1 else crop


def clip_counts(num_clips: int, others: Sequence[int]) -> tuple[int, ...]:
    """The different numbers of clips that one test serves: the main one, then the others in their order."""
    return tuple(dict.fromkeys((num_clips, *others)))


def view_ranges(counts: Sequence[int], num_crops: int) -> dict[int, range]:
    """Number of clips -> view numbers that a test with it alone would have as 0, 1, ...; see `clip_counts`."""
    ends = [num_crops * end for end in itertools.accumulate(counts)]
    return {count: range(end - num_crops * count, end) for count, end in zip(counts, ends, strict=True)}


def distinct_clips(clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frame numbers int64 (n, T) -> the different clips (d, T), first come first, and which of them each is (n,)."""
    _, first, which = np.unique(clips, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return clips[first[order]], np.argsort(order)[which.ravel()]


def frame_order(indices: np.ndarray, order: str, rng: np.random.Generator) -> np.ndarray:
    """The frame numbers (..., T) in the order the model shall see them: "forward", "reversed" or "shuffled".

    The last two take the order of time away from a model, to measure how much it relies on it. Only
    "shuffled" draws (one permutation, the same for all clips given). Raises ValueError for an unknown order.
    """
    if order == "forward":
        return indices
    if order == "reversed":
        return indices[..., ::-1].copy()
    if order == "shuffled":
        return indices[..., rng.permutation(indices.shape[-1])]
    raise ValueError(f"frame order {order!r} is unknown; write one of {', '.join(FRAME_ORDERS)}")


def _check_length(length: int) -> None:
    if length < 1:
        raise ValueError(f"a video of {length} frames has no frame to sample")
