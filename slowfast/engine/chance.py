"""Trained weights that score like guessing: a warning early in a test, with what is usually wrong.

The rule: top-1 over the first 500 videos is below three times chance. Fewer videos are judged only where their hits
are so few that weights at three times chance would have as few or fewer in less than 1 % of such tests (binomial):
with 20 classes from 29 videos on, with 100 from 152; with 400, never before 500.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

NUM_VIDEOS = 500  # looked at, from the start of the list; all of a shorter list
FACTOR = 3
# Fewer videos are judged if so few hits, or fewer, have less than this probability at FACTOR times chance.
LEVEL = 0.01
# With fewer classes three times chance is above 15 %, and a weak but sound model may be below that.
MIN_CLASSES = 20
CAUSES = (
    "class numbers of the lists in another order than those of the weights (published Kinetics weights follow "
    "data_lists/k400 or k600/classes.txt, which is not alphabetical), frames prepared in another way (DATA.MEAN, "
    "DATA.STD, DATA.REVERSE_INPUT_CHANNEL, DATA.TEST_CROP_SIZE), or weights that were hardly trained"
)


def complaint(predicted: Sequence[int], labels: Sequence[int], num_classes: int) -> str:
    """What to say about top-1 predictions that hit fewer than `FACTOR` times chance; "" if there is nothing to say.

    Nothing is said below `MIN_CLASSES` classes, nor of labels that are all equal, as in lists whose labels are secret,
    nor of fewer than `NUM_VIDEOS` videos whose hits are not improbable enough (see above).
    """
    if num_classes < MIN_CLASSES or len(set(labels)) < 2:
        return ""
    hits = sum(one == other for one, other in zip(predicted, labels, strict=True))
    if hits * num_classes >= FACTOR * len(labels):
        return ""
    if len(labels) < NUM_VIDEOS and lower_tail(hits, len(labels), FACTOR / num_classes) >= LEVEL:
        return ""
    return (
        f"top-1 is {100 * hits / len(labels):.2f} % over the first {len(labels)} videos, below {FACTOR} times chance "
        f"({100 * FACTOR / num_classes:.2f} %). Likely causes: {CAUSES}"
    )


def lower_tail(hits: int, total: int, share: float) -> float:
    """The probability of at most ``hits`` hits in ``total`` independent tries that each hit with ``share``."""
    return sum(
        math.comb(total, count) * share**count * (1 - share) ** (total - count) for count in range(hits + 1)
    )


class ChanceWatch:
    """Follows the views of a test and calls ``warn`` once, after ``NUM_VIDEOS`` videos, if there is a complaint.

    It looks at the first view of each video, so it may say what the merged scores then do not confirm. Each process
    watches its own videos; a list too short for that is judged when the test ends.
    """

    def __init__(self, num_classes: int, warn: Callable[[str], None]) -> None:
        self._num_classes, self._warn = num_classes, warn
        self._predicted: list[int] = []
        self._labels: list[int] = []
        self._done = False

    def see(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Logits (N, K) of one view of each of N videos, and their labels int64 (N,)."""
        if self._done or not len(labels):
            return
        self._predicted += logits.argmax(dim=1).tolist()
        self._labels += labels.tolist()
        if len(self._labels) >= NUM_VIDEOS:
            self._done = True
            said = complaint(self._predicted, self._labels, self._num_classes)
            if said:
                self._warn(said)
