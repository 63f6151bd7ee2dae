"""Records of single views to scores: each view counted once, nothing invented for videos that are missing."""

import os
import re

import numpy as np
import pytest
import torch
from torch import nn

from slowfast.datasets.loader import VideoLoader, Workers, collate
from slowfast.datasets.orders import EvalOrder
from slowfast.datasets.pipeline import Views, empty_views
from slowfast.datasets.video_dataset import ItemReport, VideoItem
from slowfast.engine import evaluator
from slowfast.engine.evaluator import Records

K = 3


def records(*rows):
    """From (video, view, logits) rows."""
    videos, views, logits = zip(*rows, strict=True)
    return Records(np.array(videos), np.array(views), np.array(logits, np.float32))


def test_joined_records_are_sorted_and_each_view_is_kept_once():
    one = records((2, 1, [1, 0, 0]), (0, 0, [2, 0, 0]))
    other = records((2, 0, [3, 0, 0]), (2, 1, [9, 9, 9]))
    joined = Records.join([one, other], K)
    assert list(zip(joined.video_ids.tolist(), joined.view_ids.tolist(), strict=True)) == [
        (0, 0),
        (2, 0),
        (2, 1),
    ]
    assert joined.logits[:, 0].tolist() == [2, 3, 1]  # the first of two equal views


def test_nothing_joined_is_empty_with_the_right_width():
    assert Records.join([], K).logits.shape == (0, K)


def test_videos_with_all_views_are_scored_and_the_others_named():
    some = records(
        (0, 0, [1, 2, 3]), (0, 1, [1, 0, 0]), (3, 1, [9, 9, 9]), (5, 0, [0, 1, 0]), (5, 1, [0, 1, 5])
    )
    scored = evaluator.merge(some, views_per_video=2, method="sum")
    assert scored.video_ids.tolist() == [0, 5]
    assert scored.scores.tolist() == [[2, 2, 3], [0, 2, 5]]
    assert scored.mean_logits.tolist() == [[1, 1, 1.5], [0, 1, 2.5]]
    assert scored.incomplete == [(3, 1)]


def test_views_of_one_number_of_clips_are_numbered_anew():
    some = records((0, 1, [1, 0, 0]), (0, 2, [2, 0, 0]), (0, 3, [3, 0, 0]), (4, 2, [4, 0, 0]))
    chosen = some.of_views(range(2, 4))
    assert chosen.video_ids.tolist() == [0, 0, 4] and chosen.view_ids.tolist() == [0, 1, 0]
    assert chosen.logits[:, 0].tolist() == [2, 3, 4]


def test_equal_crops_are_counted_by_clip():
    same, other = [1, 2, 3], [1, 2, 4]
    rows = [same, same, same, same, same, other, other, other, other]
    some = records(*((0, view, logits) for view, logits in enumerate(rows)))
    assert evaluator.num_equal_crops(some, 3) == 2
    assert evaluator.num_equal_crops(some, 1) == 0


@pytest.mark.parametrize(
    ("labels", "has_labels", "num_classes", "said"),
    [
        ([0] * 20, "auto", 174, "all 20 videos of the test list have the label 0"),
        ([5] * 30, "auto", 174, "the label 5"),
        ([0] * 19, "auto", 174, ""),
        ([0] * 19 + [1], "auto", 174, ""),
        ([0] * 30, "auto", 1, ""),
        ([0] * 30, True, 174, ""),
        ([0, 1, 2], False, 3, "TEST.HAS_LABELS is False"),
        ([[0, 1]] * 20, "auto", 3, r"the label \[0, 1\]"),
    ],
)
def test_dummy_labels_are_recognised(labels, has_labels, num_classes, said):
    reason = evaluator.why_unlabelled(labels, has_labels, num_classes)
    assert re.search(said, reason) if said else reason == ""


@pytest.mark.parametrize(
    ("name", "labels", "dummies"),
    [
        ("unlabelled.csv", [0, 0], True),
        ("somesomev1_rgb_test_split.txt", [0], True),
        ("unlabelled.csv", [0, 1], False),
        ("unlabelled.csv", [], False),
        ("test.csv", [0, 0], False),
        ("unlabelled_before.csv", [0, 0], False),
    ],
)
def test_few_labels_alike_are_dummies_in_a_list_named_so(name, labels, dummies):
    reason = evaluator.why_unlabelled(labels, "auto", 174, f"/lists/{name}")
    assert reason.startswith(f"all {len(labels)} videos") if dummies else reason == ""


def test_no_more_labels_are_taken_than_it_takes_to_tell():
    labels = iter(range(1000))
    assert evaluator.why_unlabelled(labels, "auto", 1000) == ""
    assert next(labels) == 2


def test_views_that_share_a_clip_are_scored_once_and_recorded_each():
    shared = item(1, 2)
    shared = VideoItem(shared.views.repeated([0, 1, 0]), shared.labels, shared.report)
    model, sink = Mean(), evaluator.RecordSink(K)
    evaluator.run(
        model,
        [collate([shared, item(2, 1)])],
        lambda clips, boxes, noise: clips.permute(0, 4, 1, 2, 3).float(),
        sink,
        device=torch.device("cpu"),
        views_per_batch=2,
    )
    assert model.sizes == [2, 1]
    found = sink.gather().records
    assert found.video_ids.tolist() == [1, 1, 1, 2] and found.view_ids.tolist() == [0, 1, 2, 0]
    assert found.logits[:, 0].tolist() == [10, 10, 10, 20]


@pytest.mark.parametrize("name", ["sum", "max"])
def test_merging_equals_the_published_meter(golden_json, name):
    meter = golden_json("losses_metrics.json")["test_meter"]
    (case,) = [c for c in meter["cases"] if c["name"] == name]
    clips = np.array(case["clip_scores"], np.float32)
    videos, views = np.divmod(np.arange(len(clips)), meter["num_clips"])
    order = np.array(meter["clip_order"])
    scored = evaluator.merge(
        Records.join([Records(videos[order], views[order], clips[order])], meter["num_classes"]),
        meter["num_clips"],
        name,
    )
    published = np.array(case["video_preds"], np.float32)
    if name == "max":  # the published running maximum starts at 0 and loses negative scores; ours keeps them
        assert (scored.scores < 0).any()
        assert np.allclose(np.maximum(scored.scores, 0), published)
    else:
        assert np.allclose(scored.scores, published, rtol=1e-6, atol=1e-6)


def test_accuracy_clips_k_and_is_nan_without_samples():
    scores = np.array([[3, 1, 2], [1, 3, 2], [0, 1, 2]], np.float32)
    measured = evaluator.measure(scores, [0, 2, 0], multi_label=False)
    assert measured == {"top1": pytest.approx(100 / 3), "top5": 100.0}  # 3 classes: top-5 means top-3
    assert evaluator.errors(measured) == {"top1_err": pytest.approx(200 / 3), "top5_err": 0.0}
    assert np.isnan(evaluator.measure(scores[:0], [], multi_label=False)["top1"])


def test_missing_samples_count_as_wrong():
    scores = np.array([[0.1, 0.7, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]], np.float32)
    measured = evaluator.measure(scores, [1, 1, 2], False, missing=[0])
    assert measured == {"top1": 50.0, "top5": 75.0}  # 2 and 3 of 4
    assert evaluator.measure(scores[:0], [], False, missing=[0, 1]) == {"top1": 0.0, "top5": 0.0}
    # Class 0: ranks 1 and 4 of 4 (precision 1, 1/2); class 1: rank 1 of those scored; class 2: the missing one alone,
    # 4th, behind no other positive (1/4).
    hot = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.2], [0.1, 0.2, 0.1]], np.float32)
    measured = evaluator.measure(hot, [[0], [1], []], True, missing=[[0, 2]])
    assert measured == {"map": pytest.approx((3 / 4 + 1 + 1 / 4) / 3)}


def test_several_labels_are_measured_by_mean_average_precision():
    scores = np.array([[0.9, 0.1, 0.3], [0.8, 0.7, 0.2], [0.1, 0.6, 0.4]], np.float32)
    # class 0: ranks 1, 2 -> 1; class 1: positive at rank 2 -> 1/2; class 2 has no positive and is left out
    assert evaluator.measure(scores, [[0], [0], [1]], multi_label=True) == {"map": pytest.approx(0.75)}


class Mean(nn.Module):
    """Logits tell the grey level; remembers the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, clips):
        assert not self.training
        self.sizes.append(len(clips))
        return clips.mean(dim=(1, 2, 3, 4))[:, None] * torch.tensor([1.0, 2.0, 3.0])


def item(index, num_views):
    report = ItemReport(
        index, index if num_views else -1, () if num_views else ((index, "empty file"),), "cut"
    )
    clips = torch.full((num_views, 2, 4, 4, 3), 10 * index % 250, dtype=torch.uint8)
    return VideoItem(
        Views.of(clips) if num_views else empty_views(2, 4), torch.zeros(num_views, dtype=torch.int64), report
    )


def test_the_loop_scores_every_view_in_batches_and_reports_the_unreadable():
    model = Mean().train()
    seen = []
    sink = evaluator.RecordSink(K)
    evaluator.run(
        model,
        [collate([item(1, 3), item(2, 3)]), collate([item(3, 0)]), collate([item(4, 3), item(5, 0)])],
        lambda clips, boxes, noise: clips.permute(0, 4, 1, 2, 3).float(),
        sink,
        device=torch.device("cpu"),
        views_per_batch=4,
        progress=lambda logits, labels: seen.append(len(logits)),
    )
    evaluation = sink.gather()
    assert model.sizes == [4, 2, 3] and model.training
    assert seen == [2, 0, 1]  # the first view of each video
    assert evaluation.records.video_ids.tolist() == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert evaluation.records.logits[:, 0].tolist() == [10, 10, 10, 20, 20, 20, 40, 40, 40]
    assert evaluation.unreadable == [(3, "empty file"), (5, "empty file")]
    assert evaluation.damaged == [(1, "cut"), (2, "cut"), (4, "cut")]


def test_scoring_many_batches_from_a_worker_keeps_no_files_open():
    data = [item(index, 1) for index in range(120)]

    class Items(torch.utils.data.Dataset):
        def __len__(self):
            return len(data)

        def __getitem__(self, key):
            return data[key[1]]

    workers = Workers([Items()], num_workers=1, pin_memory=False, persistent=False)
    loader = VideoLoader(Items(), EvalOrder(120, 2), workers)
    sink = evaluator.RecordSink(K)
    before = len(os.listdir("/proc/self/fd"))
    evaluator.run(
        Mean(),
        loader,
        lambda clips, boxes, noise: clips.permute(0, 4, 1, 2, 3).float(),
        sink,
        device=torch.device("cpu"),
        views_per_batch=2,
    )
    assert len(os.listdir("/proc/self/fd")) < before + 10
    assert len(sink.gather().records) == 120
