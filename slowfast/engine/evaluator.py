"""The one inference loop, for validation and test: views in, records out; then records to scores.

A record is (video, view, logits). Merging, metrics and reports read records only, so they do not care where or in
which order the views were computed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from slowfast.engine import metrics, precision
from slowfast.utils import distributed

DUMMY_LISTS = re.compile(r"^unlabelled\.|_test_split\.")  # of tools/prepare_data.py; published, for Something-Something
MIN_ALIKE = 20  # videos with one and the same label that are not taken for labelled any more


@dataclass(frozen=True)
class Records:
    """Scores of single views. Shapes: ``video_ids`` int64 (M,), ``view_ids`` int64 (M,), ``logits`` float32 (M, K)."""

    video_ids: np.ndarray
    view_ids: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.video_ids)

    def of_views(self, views: range) -> Records:
        """Those of some views, numbered anew from 0."""
        chosen = (self.view_ids >= views.start) & (self.view_ids < views.stop)
        return Records(self.video_ids[chosen], self.view_ids[chosen] - views.start, self.logits[chosen])

    @staticmethod
    def join(parts: Iterable[Records], num_classes: int) -> Records:
        """Sorted by video, then view; a view that comes twice is kept once."""
        parts = [part for part in parts if len(part)]
        videos = np.concatenate([part.video_ids for part in parts] + [np.zeros(0, np.int64)])
        views = np.concatenate([part.view_ids for part in parts] + [np.zeros(0, np.int64)])
        logits = np.concatenate([part.logits for part in parts] + [np.zeros((0, num_classes), np.float32)])
        order = np.lexsort((views, videos))
        videos, views, logits = videos[order], views[order], logits[order]
        first = np.ones(len(videos), dtype=bool)
        first[1:] = (videos[1:] != videos[:-1]) | (views[1:] != views[:-1])
        return Records(videos[first], views[first], logits[first])


@dataclass(frozen=True)
class Evaluation:
    """All records of a data set with what happened to its videos, on rank 0.

    ``unreadable`` and ``damaged`` hold (list index, reason) in list order.
    """

    records: Records
    unreadable: list[tuple[int, str]]
    damaged: list[tuple[int, str]]


class RecordSink:
    """Takes what the inference loop emits and keeps it in memory until it is gathered, once, at the end."""

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._records: list[Records] = []
        self._reports: list = []

    def add(self, records: Records, reports: Iterable) -> None:
        """Records of some views, and reports of the videos asked for (see slowfast.datasets.video_dataset)."""
        self._records.append(records)
        self._reports.extend(reports)

    def gather(self) -> Evaluation | None:
        """Everything that the sinks of all processes took, on rank 0; None on the others. All must call it."""
        mine = Records.join(self._records, self._num_classes), self._reports
        gathered = distributed.gather_objects(mine)
        if gathered is None:
            return None
        latest = {report.index: report for _, part in gathered for report in part}
        reports = [latest[index] for index in sorted(latest)]
        return Evaluation(
            Records.join([records for records, _ in gathered], self._num_classes),
            [(report.index, report.failures[-1][1]) for report in reports if not report.readable],
            [(report.index, report.damage) for report in reports if report.readable and report.damage],
        )


@torch.inference_mode()
def run(
    model: nn.Module,
    loader,
    prepare: Callable[..., torch.Tensor],
    sink: RecordSink,
    *,
    device: torch.device,
    views_per_batch: int,
    dtype: torch.dtype | None = None,
    progress: Callable[[torch.Tensor, torch.Tensor], None] = lambda logits, labels: None,
) -> None:
    """Score every view the loader brings and emit the records of each batch to ``sink``.

    ``prepare`` turns (clips on the device, erase boxes, noise seeds) into model input; ``progress`` is told
    logits (N, K) and labels of the first view of each video of a batch, on the CPU. The model is put in eval mode
    and back.
    """
    was_training = model.training
    model.eval()
    for batch in loader:
        scores = []
        for piece in batch.split(views_per_batch):
            clips = piece.clips.to(device, non_blocking=True)
            with precision.autocast(device, dtype):
                logits = model(prepare(clips, piece.erase_boxes, piece.noise_seeds))
            scores.append(logits.float().cpu())
        logits = torch.cat(scores) if scores else torch.zeros(0, 1)
        # What a batch holds lies in a worker's shared memory, and each tensor kept holds a file open: copy.
        ids = batch.video_ids.numpy().copy(), batch.view_ids.numpy().copy()
        sink.add(Records(*ids, logits.numpy()[batch.rows.numpy()]), batch.reports)
        first = batch.rows[torch.from_numpy(np.unique(ids[0], return_index=True)[1])]
        progress(logits[first], batch.labels[first])
    model.train(was_training)


@dataclass(frozen=True)
class VideoScores:
    """Merged scores of the videos of which every view was seen.

    Shapes: ``video_ids`` int64 (N,) ascending, ``scores`` float32 (N, K) merged by the ensemble method,
    ``mean_logits`` float32 (N, K). ``incomplete`` lists (video, views seen) of the others that have any view.
    """

    video_ids: np.ndarray
    scores: np.ndarray
    mean_logits: np.ndarray
    incomplete: list[tuple[int, int]]


def merge(records: Records, views_per_video: int, method: str) -> VideoScores:
    """Combine the views of each video; ``method`` is sum (of logits, as published), softmax or max."""
    videos, starts, counts = np.unique(records.video_ids, return_index=True, return_counts=True)
    whole = counts == views_per_video
    rows = starts[whole][:, None] + np.arange(views_per_video)
    logits = torch.from_numpy(records.logits[rows])  # (N, V, K)
    return VideoScores(
        video_ids=videos[whole],
        scores=metrics.merge_views(logits, method).numpy(),
        mean_logits=logits.mean(dim=1).numpy(),
        incomplete=[(int(v), int(c)) for v, c in zip(videos[~whole], counts[~whole], strict=True)],
    )


def check_scored(
    scored: VideoScores, evaluation: Evaluation, name_of: Callable[[int], str], num_total: int
) -> None:
    """Raise ValueError if there is nothing to measure: no video could be read, or scores are not finite."""
    if not len(scored.video_ids):
        index, reason = evaluation.unreadable[0] if evaluation.unreadable else (0, "its views are incomplete")
        hint = "; is DATA.PATH_PREFIX right?" if "no such" in reason else ""
        raise ValueError(
            f"none of the {num_total} videos could be scored, such as {name_of(index)}: {reason}{hint}"
        )
    finite = np.isfinite(evaluation.records.logits).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{(~finite).sum()} of {len(finite)} views have scores that are not finite, so no accuracy is given: "
            "the weights are damaged, or the precision is too low for them (TEST.MIXED_PRECISION)"
        )


def measure(
    scores: np.ndarray,
    labels: Sequence[int] | Sequence[Sequence[int]],
    multi_label: bool,
    missing: Sequence[int] | Sequence[Sequence[int]] = (),
) -> dict[str, float]:
    """``{"top1": …, "top5": …}`` in percent, or ``{"map": …}`` from 0 to 1 with several labels per sample.

    ``scores`` (N, K); k is at most the number of classes. ``missing`` are labels of further samples, without scores,
    which count as wrong: no hits, or ranked last for every class. Without any sample the values are NaN.
    """
    table = torch.from_numpy(scores)
    count = len(scores) + len(missing)
    if not count:
        return dict.fromkeys(("map",) if multi_label else ("top1", "top5"), float("nan"))
    if multi_label:
        table = torch.cat([table, table.new_full((len(missing), table.shape[1]), -float("inf"))])
        hot = torch.zeros(table.shape)
        for row, classes in zip(hot, [*labels, *missing], strict=True):
            row[list(classes)] = 1.0
        return {"map": metrics.mean_average_precision(table, hot)}
    hits = metrics.topk_correct(table, torch.tensor(labels, dtype=torch.int64), (1, 5))
    return {f"top{k}": 100.0 * int(hit) / count for k, hit in hits.items()}


def why_unlabelled(labels: Iterable, has_labels: bool | str, num_classes: int, list_path: str = "") -> str:
    """ "" if accuracy can be measured with these labels of a test list, else the reason in one line.

    ``has_labels`` is TEST.HAS_LABELS. auto takes labels for dummies when ``MIN_ALIKE`` videos or more all have the
    same one: so the published test list of Something-Something comes, whose owners keep the true labels. Fewer are
    enough in a list that is named as such lists are (DUMMY_LISTS). No more labels are taken than it needs to see two
    different ones.
    """
    if has_labels is False:
        return "TEST.HAS_LABELS is False: the labels of the test list are not true ones"
    if has_labels != "auto" or num_classes <= 1:
        return ""
    count, first = 0, None
    for count, label in enumerate(labels, start=1):
        first = label if count == 1 else first
        if label != first:
            return ""
    if count < (1 if DUMMY_LISTS.search(os.path.basename(list_path)) else MIN_ALIKE):
        return ""
    return (
        f"all {count} videos of the test list have the label {first}, which is taken for a dummy "
        "(TEST.HAS_LABELS True if it is meant)"
    )


def num_equal_crops(records: Records, num_crops: int) -> int:
    """Views (clips) of which all crops have exactly the same scores, as those of square frames do."""
    if num_crops == 1 or not len(records) or len(records) % num_crops:
        return 0
    logits = records.logits.reshape(-1, num_crops, records.logits.shape[1])
    return int((logits == logits[:, :1]).all(axis=(1, 2)).sum())


def errors(measures: dict) -> dict[str, float]:
    """The same numbers under the names PySlowFast logs, top1_err and top5_err in percent, or map; others left out."""
    if "map" in measures:
        return {"map": measures["map"]}
    return {f"{name}_err": 100.0 - measures[name] for name in ("top1", "top5") if name in measures}


def batch_errors(logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Top-k errors of single views, for a log line; empty with several labels per sample or without any view."""
    if labels.dim() == 2 or not len(labels):
        return {}
    return errors(measure(logits.numpy(), labels.tolist(), multi_label=False))
