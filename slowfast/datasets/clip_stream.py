"""Clips of one video in one pass over it, however many there are and however they overlap, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from slowfast.datasets.pipeline import EvalViews

CHUNK = 16  # frames decoded at once


def stream_clips(reader: Any, numbers: np.ndarray, make_views: EvalViews) -> Iterator[tuple[int, Tensor]]:
    """(number of the clip, its crops uint8 (crops, T, S, S, 3)) for clips of the frames ``numbers``, int64 (n, T).

    Clips come when their last frame is there, every frame is decoded once, and it is kept, cropped, as long as a
    clip to come needs it. Pixels are those that ``make_views`` makes of whole clips. Raises what the reader raises.
    """
    last = numbers.max(axis=1)
    waiting = deque(np.argsort(last, kind="stable").tolist())
    firsts = numbers.min(axis=1)[list(waiting)]
    needed = deque(np.minimum.accumulate(firsts[::-1])[::-1].tolist())  # the first frame of all that wait
    wanted, kept = np.unique(numbers), {}
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        views = make_views(torch.from_numpy(reader.read(chunk))[None], ())
        for place, number in enumerate(chunk.tolist()):
            kept[number] = views.clips[:, place]
        while waiting and last[waiting[0]] <= chunk[-1]:
            clip = waiting.popleft()
            needed.popleft()
            yield clip, torch.stack([kept[number] for number in numbers[clip].tolist()], dim=1)[views.rows]
        if waiting:
            for number in [number for number in kept if number < needed[0]]:
                del kept[number]
