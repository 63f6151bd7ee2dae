"""What was computed for the clips of one video, with where in it they lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class VideoFeatures:
    """What a layer gave for the clips of one video.

    name, label: as in the list; several labels are joined by ";", without a list it is "".
    features: float32 or float16 (clips, crops, C), or if they are dense (clips, crops, ..., C).
    frames: int32 (clips, T), the frames of each clip, counted from 0.
    start_seconds, end_seconds: float64 (clips,), when its first frame begins and its last one ends, by the average
    frame rate of the file; not a number for folders of frames, which tell no time.
    """

    name: str
    label: str
    features: np.ndarray = field(repr=False)
    frames: np.ndarray = field(repr=False)
    start_seconds: np.ndarray = field(repr=False)
    end_seconds: np.ndarray = field(repr=False)

    def mean(self) -> np.ndarray:
        """One vector for the video: float32 (C,), the mean over clips, crops and, of dense features, places."""
        return self.features.reshape(-1, self.features.shape[-1]).mean(axis=0, dtype=np.float32)
