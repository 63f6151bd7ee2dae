"""Orders that give each class the same share; the others are tested with the loader."""

import numpy as np
import pytest

from slowfast.datasets.orders import TrainOrder, balanced_order

CLASSES = np.array([0] * 70 + [1] * 20 + [2] * 9 + [5] * 4)  # 103 videos


def test_each_class_has_the_same_share_and_its_videos_take_turns():
    order = balanced_order(CLASSES, np.random.default_rng(0))
    assert len(order) == len(CLASSES)
    shares = np.unique(CLASSES[order], return_counts=True)
    assert shares[0].tolist() == [0, 1, 2, 5] and sorted(shares[1]) == [25, 26, 26, 26]
    for label in (0, 1, 2, 5):
        counts = np.bincount(order[CLASSES[order] == label], minlength=103)[CLASSES == label]
        assert counts.max() - counts.min() <= 1
    first_half = CLASSES[order][:52]
    assert len(np.unique(first_half)) == 4  # mixed, not class after class


def test_epochs_differ_and_frequent_classes_show_other_videos():
    epochs = [balanced_order(CLASSES, np.random.default_rng(epoch)) for epoch in range(8)]
    assert not np.array_equal(epochs[0], epochs[1])
    assert len(set(np.concatenate(epochs)) & set(range(70))) > 60  # of which an epoch shows 26


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_processes_share_it_and_a_resumed_epoch_goes_on(world_size):
    def keys(**place):
        return [index for batch in TrainOrder(103, 8, 3, classes=CLASSES, **place) for _, index in batch]

    whole = keys(epoch=2)
    shares = [list(TrainOrder(103, 8, 3, rank, world_size, epoch=2, classes=CLASSES)) for rank in range(world_size)]
    joined = [index for step in zip(*shares, strict=True) for batch in step for _, index in batch]
    assert joined == whole and keys(epoch=2, start=5) == whole[40:]
    assert len(whole) == 96 and abs(np.bincount(CLASSES[whole])[[0, 1, 2, 5]] - 24).max() <= 7
