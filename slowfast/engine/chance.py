"""Trained weights that score like guessing: a warning early in a test, with what is usually wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slowfast.engine.evaluator import Records

NUM_VIDEOS = 500  # looked at, from the start of the list; all of a shorter list
FACTOR = 3
# With fewer classes three times chance is above 15 %, and a weak but sound model may be below that.
MIN_CLASSES = 20
CAUSES = (
    "class numbers of the lists in another order than those of the weights (published Kinetics weights follow "
    "data_lists/k400 or k600/classes.txt, which is not alphabetical), frames prepared in another way (DATA.MEAN, "
    "DATA.STD, DATA.REVERSE_INPUT_CHANNEL, DATA.TEST_CROP_SIZE), or weights that were hardly trained"
)


def complaint(predicted: Sequence[int], labels: Sequence[int], num_classes: int) -> str:
    """What to say about top-1 predictions that hit fewer than `FACTOR` times chance; "" if there is nothing to say.

    Nothing is said below `MIN_CLASSES` classes, nor of labels that are all equal, as in lists whose labels are secret.
    """
    if num_classes < MIN_CLASSES or len(set(labels)) < 2:
        return ""
    hits = sum(one == other for one, other in zip(predicted, labels, strict=True))
    if hits * num_classes >= FACTOR * len(labels):
        return ""
    return (
        f"top-1 is {100 * hits / len(labels):.2f} % over the first {len(labels)} videos, below {FACTOR} times chance "
        f"({100 * FACTOR / num_classes:.2f} %). Likely causes: {CAUSES}"
    )


class ChanceWatch:
    """Follows the records of a test and calls ``warn`` once, after ``NUM_VIDEOS`` videos, if there is a complaint.

    It looks at the first view of each video, so it may say what the merged scores then do not confirm.
    """

    def __init__(self, num_classes: int, label_of: Callable[[int], int], warn: Callable[[str], None]) -> None:
        self._num_classes, self._label_of, self._warn = num_classes, label_of, warn
        self._predicted: dict[int, int] = {}
        self._done = False

    def see(self, records: Records) -> None:
        """Take the next records of this process."""
        if self._done:
            return
        first = records.view_ids == 0
        classes = records.logits[first].argmax(axis=1)
        self._predicted.update(zip(records.video_ids[first].tolist(), classes.tolist(), strict=True))
        if len(self._predicted) >= NUM_VIDEOS:
            self._done = True
            labels = [self._label_of(video) for video in self._predicted]
            said = complaint(list(self._predicted.values()), labels, self._num_classes)
            if said:
                self._warn(said)
