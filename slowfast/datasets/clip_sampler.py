"""Which frames of a video make its clips, from its length and frame rate: the rules of sampling.py, chosen once.

Imports no torch, so that processes which only decode need not load it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np

from slowfast.datasets import sampling
from slowfast.datasets.frames import UnreadableVideo


@dataclass(frozen=True)
class ClipSampler:
    """Which frames of a video are looked at: arithmetic only, from its length and frame rate.

    ``rule`` is ``dense`` (consecutive stretch of num_frames x sampling_rate frames) or ``segments`` (one frame of
    each of num_frames equal parts). ``num_clips`` None draws one clip at random; a number gives that many fixed
    clips; fixed clips of the dense rule lie as ``use_offset`` says (see sampling.clip_start). After them come the
    fixed clips of each of ``other_counts``, where they would lie if that were ``num_clips``. A random clip of segments
    is, with ``stretch`` above 0, evenly spread over a random stretch of that share of the video or more instead; a
    random dense clip is cut as if ``target_fps`` were higher by a random number up to ``jitter_fps``.
    """

    num_frames: int
    sampling_rate: int
    num_clips: int | None
    rule: str = "dense"
    use_offset: bool = True
    unit: str = "frames"
    target_fps: float = 30.0
    jitter_fps: float = 0.0
    frame_order: str = "forward"
    other_counts: tuple[int, ...] = ()
    stretch: float = 0.0

    def __call__(self, length: int, fps: float | None, rng: np.random.Generator) -> np.ndarray:
        """Frame numbers, int64 (clips, T), for a video of ``length`` frames."""
        others = [
            (replace(self, num_clips=count, other_counts=()), copy.deepcopy(rng))
            for count in self.other_counts
        ]
        return np.concatenate(
            [self._clips(length, fps, rng), *(other(length, fps, stream) for other, stream in others)]
        )

    def windows(
        self, length: int, fps: float | None, stride_seconds: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Frame numbers, int64 (windows, T), of clips over the whole video, one every so many seconds.

        Raises ValueError for the rule segments, whose clips have no length of their own, and UnreadableVideo for a
        video without a frame rate.
        """
        if self.rule == "segments":
            raise ValueError(
                "this model's clips are spread over the whole video (its recipe samples segments), so there are no "
                "windows to move along it: leave the stride out"
            )
        if not fps:
            raise UnreadableVideo("it states no frame rate, which a stride in seconds needs")
        span = self.span(fps)
        starts = sampling.window_starts(length, span, stride_seconds * fps)
        clips = [sampling.dense_indices(start, span, self.num_frames, length) for start in starts]
        return np.stack([sampling.frame_order(clip, self.frame_order, rng) for clip in clips])

    def span(self, fps: float | None, faster: float = 0.0) -> float:
        """Frames that a clip of the rule dense spans in a video at ``fps``, with ``target_fps`` higher by ``faster``.

        Raises UnreadableVideo where that needs a frame rate and the video has none.
        """
        if self.unit == "seconds" and not fps:
            raise UnreadableVideo("the file states no frame rate, which DATA.SAMPLING_UNIT seconds needs")
        return sampling.clip_span(
            self.num_frames, self.sampling_rate, unit=self.unit, fps=fps, target_fps=self.target_fps + faster
        )

    def _clips(self, length: int, fps: float | None, rng: np.random.Generator) -> np.ndarray:
        clips = self._segments(length, rng) if self.rule == "segments" else self._dense(length, fps, rng)
        return np.stack([sampling.frame_order(clip, self.frame_order, rng) for clip in clips])

    def _segments(self, length: int, rng: np.random.Generator) -> list[np.ndarray]:
        if self.num_clips is None and self.stretch:
            return [sampling.stretch_indices_random(length, self.num_frames, self.stretch, rng)]
        if self.num_clips is None:
            return [sampling.segment_indices_random(length, self.num_frames, rng)]
        clips = range(self.num_clips)
        return [sampling.segment_indices(length, self.num_frames, clip, self.num_clips) for clip in clips]

    def _dense(self, length: int, fps: float | None, rng: np.random.Generator) -> np.ndarray:
        faster = rng.uniform(0.0, self.jitter_fps) if self.num_clips is None and self.jitter_fps else 0.0
        span = self.span(fps, faster)
        if self.num_clips is not None:
            return sampling.all_clips(length, span, self.num_frames, self.num_clips, self.use_offset)
        start = sampling.random_start(length, span, rng)
        return sampling.dense_indices(start, span, self.num_frames, length)[None]
