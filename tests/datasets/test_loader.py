"""The order of videos: a function of integers, equal for any number of processes, entered anywhere."""

import os

import numpy as np
import pytest
import torch

from slowfast.datasets.loader import VideoLoader, Workers, collate
from slowfast.datasets.orders import EvalOrder, TrainOrder, eval_group_size
from slowfast.datasets.pipeline import Views, empty_views
from slowfast.datasets.video_dataset import ItemReport, VideoItem


def indices(order):
    return [[index for _, index in batch] for batch in order]


def test_an_epoch_is_one_permutation_cut_into_batches():
    order = TrainOrder(num_videos=23, global_batch=4, seed=7)
    batches = indices(order)
    assert len(batches) == len(order) == 5  # the last three videos make no whole batch
    seen = [index for batch in batches for index in batch]
    assert len(set(seen)) == 20 and set(seen) <= set(range(23))
    assert seen != sorted(seen)


def test_epochs_and_seeds_give_other_orders_and_travel_in_the_index():
    orders = {(seed, epoch): TrainOrder(23, 4, seed, epoch=epoch) for seed in (1, 2) for epoch in (0, 1)}
    assert len({str(indices(order)) for order in orders.values()}) == 4
    assert {epoch for batch in orders[1, 1] for epoch, _ in batch} == {1}
    assert indices(orders[1, 0]) == indices(TrainOrder(23, 4, 1, epoch=0))


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_split_the_same_global_batches(world_size):
    whole = indices(TrainOrder(37, 8, 3, epoch=5))
    shares = [
        indices(TrainOrder(37, 8, 3, rank=r, world_size=world_size, epoch=5)) for r in range(world_size)
    ]
    joined = [[index for share in shares for index in share[step]] for step in range(len(whole))]
    assert joined == whole


def test_starting_in_the_middle_gives_the_tail():
    whole = indices(TrainOrder(37, 8, 3, epoch=2))
    assert indices(TrainOrder(37, 8, 3, epoch=2, start=3)) == whole[3:]
    assert len(TrainOrder(37, 8, 3, epoch=2, start=3)) == 4  # steps of the epoch, for the schedule


@pytest.mark.parametrize("world_size", [1, 2])
def test_passes_cut_the_share_of_each_process(world_size):
    for rank in range(world_size):
        sharing = dict(rank=rank, world_size=world_size, epoch=5)
        whole, order = TrainOrder(37, 8, 3, **sharing), TrainOrder(37, 8, 3, **sharing, passes=2)
        assert len(order) == len(whole) == 4  # steps, not batches
        pieces = indices(order)
        assert [pieces[n] + pieces[n + 1] for n in range(0, 8, 2)] == indices(whole)


def test_fewer_videos_than_a_step_is_refused_with_the_fix():
    with pytest.raises(ValueError, match=r"3 videos.*\(8\).*TRAIN.BATCH_SIZE to at most 3"):
        TrainOrder(3, 8, 0)
    with pytest.raises(ValueError, match=r"\(8\): lower TRAIN.ACCUMULATION_STEPS or TRAIN.BATCH_SIZE"):
        TrainOrder(3, 8, 0, passes=2)
    with pytest.raises(ValueError, match=r"3 videos .* cannot be shared by 2 processes: make TRAIN.BATCH_SIZE"):
        TrainOrder(37, 12, 0, passes=4, world_size=2)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_evaluation_deals_whole_groups_without_padding(world_size):
    whole = indices(EvalOrder(11, 3))
    assert whole == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10]]
    shares = [EvalOrder(11, 3, rank, world_size) for rank in range(world_size)]
    assert sorted(group for share in shares for group in indices(share)) == whole
    assert [len(share) for share in shares] == [len(indices(share)) for share in shares]


def test_a_group_fills_the_batch_with_views_and_holds_at_least_one_video():
    assert eval_group_size(views_per_batch=64, views_per_video=4) == 16
    assert eval_group_size(views_per_batch=64, views_per_video=15) == 4
    assert eval_group_size(views_per_batch=8, views_per_video=15) == 1


def item(index, num_views, label=1):
    clips = torch.full((num_views, 2, 4, 4, 3), index, dtype=torch.uint8)
    report = ItemReport(index, index if num_views else -1)
    views = Views.of(clips) if num_views else empty_views(2, 4)
    return VideoItem(views, torch.full((num_views,), label), report)


def test_views_of_a_video_stay_together_and_unreadable_ones_leave_a_report():
    batch = collate([item(5, 2), item(9, 0), item(7, 3)])
    assert batch.video_ids.tolist() == [5, 5, 7, 7, 7]
    assert batch.view_ids.tolist() == [0, 1, 0, 1, 2]
    assert batch.clips[:, 0, 0, 0, 0].tolist() == [5, 5, 7, 7, 7]
    assert [report.readable for report in batch.reports] == [True, False, True]


def test_a_batch_of_unreadable_videos_has_no_views():
    batch = collate([item(5, 0), item(9, 0)])
    assert len(batch) == 0 and len(batch.reports) == 2
    assert list(batch.split(4)) == []


def test_splitting_keeps_every_view_in_order():
    batch = collate([item(1, 3), item(2, 3)])
    pieces = list(batch.split(4))
    assert [len(piece) for piece in pieces] == [4, 2]
    assert np.concatenate([piece.view_ids for piece in pieces]).tolist() == [0, 1, 2, 0, 1, 2]


def test_views_that_share_a_clip_stay_with_it():
    shared = VideoItem(item(3, 2).views.repeated([1, 0, 1]), torch.ones(2), ItemReport(3, 3))
    batch = collate([item(1, 1), shared])
    assert batch.rows.tolist() == [0, 2, 1, 2]
    assert batch.video_ids.tolist() == [1, 3, 3, 3] and batch.view_ids.tolist() == [0, 0, 1, 2]
    first, second = batch.split(2)
    assert (first.video_ids.tolist(), first.view_ids.tolist(), first.rows.tolist()) == ([1, 3], [0, 1], [0, 1])
    assert (second.video_ids.tolist(), second.view_ids.tolist(), second.rows.tolist()) == ([3, 3], [0, 2], [0, 0])


# Workers -----
class Numbered(torch.utils.data.Dataset):
    """Items that tell, in their label, the process that read them."""

    def __init__(self, start):
        self.start = start

    def __getitem__(self, key):
        return item(self.start + key[1], 2, label=os.getpid())


def shared_loaders(num_workers):
    datasets = Numbered(0), Numbered(100)
    workers = Workers(datasets, num_workers=num_workers, pin_memory=False, persistent=True)
    return (
        VideoLoader(datasets[0], TrainOrder(6, 2, seed=1), workers),
        VideoLoader(datasets[1], EvalOrder(5, 2), workers, 1),
    )


@pytest.mark.parametrize("num_workers", [0, 2])
def test_training_and_validation_are_read_by_the_same_processes(num_workers):
    train, val = shared_loaders(num_workers)
    processes = set()
    for epoch in range(2):
        batches = list(train.epoch(epoch))
        assert sorted(i for batch in batches for i in batch.video_ids[::2].tolist()) == list(range(6))
        checked = list(val)
        assert [batch.video_ids[::2].tolist() for batch in checked] == [[100, 101], [102, 103], [104]]
        assert [batch.clips[::2, 0, 0, 0, 0].tolist() for batch in checked] == [[100, 101], [102, 103], [104]]
        processes |= {pid for batch in batches + checked for pid in batch.labels.tolist()}
    assert len(processes) == max(1, num_workers)
    assert (os.getpid() in processes) is (num_workers == 0)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_steps_from_the_middle_are_the_last_of_a_whole_epoch(num_workers):
    datasets = (Numbered(0),)
    workers = Workers(datasets, num_workers=num_workers, pin_memory=False, persistent=True)
    loader = VideoLoader(datasets[0], TrainOrder(13, 4, seed=1, passes=2), workers)
    whole, tail = (
        [[batch.video_ids.tolist() for batch in step] for step in loader.steps(1, first)] for first in (0, 2)
    )
    assert [[len(ids) for ids in step] for step in whole] == [[4, 4]] * 3 and tail == whole[2:]
    assert list(loader.steps(1, 3)) == []


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_pass_that_was_left_does_not_mix_with_the_next(num_workers):
    train, val = shared_loaders(num_workers)
    left = train.epoch(0)
    next(left)
    assert [batch.video_ids[0].item() for batch in val] == [100, 102, 104]
    with pytest.raises(AssertionError, match="another pass has begun"):
        next(left)
    assert len(list(train.epoch(0, start=1))) == 2


def test_a_worker_joins_clips_where_the_training_process_can_read_them(monkeypatch):
    items = [item(5, 2), item(9, 0), item(7, 1)]
    assert not collate(items).clips.is_shared()
    monkeypatch.setattr(torch.utils.data, "get_worker_info", object)  # as in a worker: not None
    batch = collate(items)
    assert batch.clips.is_shared() and batch.clips[:, 0, 0, 0, 0].tolist() == [5, 5, 7]
