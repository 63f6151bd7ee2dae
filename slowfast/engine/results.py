"""The files a test leaves: results.json, which can be read again, tables of videos and classes, scores of views.

Equal content gives equal bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from slowfast.utils.atomic import replace_file
from slowfast.utils.logging import finite

TOP = 5


@dataclass(frozen=True)
class Prediction:
    """One scored video.

    `scores` float (K,) rank the classes, `probabilities` float (K,) are what is reported, `label` is the
    class number, or several, or none.
    """

    path: str
    label: int | Sequence[int]
    scores: np.ndarray
    probabilities: np.ndarray


def write_results(path: str | os.PathLike, results: dict[str, Any]) -> None:
    """Write a JSON object, keys in the order given; a number that is not finite becomes null."""
    text = json.dumps(finite(results), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with replace_file(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def read_results(path: str | os.PathLike) -> dict[str, Any]:
    """What `write_results` wrote of a test that gave a top-1; a ValueError that names the file for anything else."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            found = json.load(file)
    except ValueError as error:
        raise ValueError(f"{path} is not a whole result file: {error}") from error
    video = found.get("video") if isinstance(found, dict) else None
    top1 = video.get("top1") if isinstance(video, dict) else None
    if not isinstance(top1, int | float) or "num_scored" not in found:
        raise ValueError(
            f"{path} is not the result of a test with labels: it must hold video.top1 and num_scored"
        )
    return found


def write_predictions(
    path: str | os.PathLike, rows: Iterable[Prediction], class_names: Sequence[str] | None = None
) -> None:
    """Write one line per video: path, label, predicted class, its probability, then the five best classes.

    Classes are numbers in `label` (several joined by `;`) and `predicted`; the best ones are name and
    probability in top1_name, top1_prob, ..., with the number as name where there are no `class_names`. Of
    equal scores the lower class number comes first. Probabilities have six decimals. A path that is not
    UTF-8 keeps its bytes.
    """
    rows = list(rows)
    num_best = min(TOP, len(rows[0].scores)) if rows else TOP
    columns = [f"top{place}_{what}" for place in range(1, num_best + 1) for what in ("name", "prob")]
    cells = [_cells(row, num_best, class_names) for row in rows]
    _write_table(path, [["path", "label", "predicted", "probability", *columns], *cells])


def write_per_class(
    path: str | os.PathLike,
    rows: Sequence[Prediction],
    num_classes: int,
    class_names: Sequence[str] | None = None,
) -> None:
    """Write one line per class, for rows that have one label each.

    `label` and `name`; `videos` of it that were scored, how many of them are `correct`, and `top1` and `top5` in
    percent, two decimals, empty where it has no videos; how often it was `predicted`, for any video; and the class
    that its videos were most often taken for, `confused_with`, of equals the first, and `confused`, how often, both
    empty where none was. Classes rank as in `write_predictions`.
    """
    labels = np.array([row.label for row in rows], np.int64)
    best = [np.argsort(-row.scores, kind="stable")[:TOP] for row in rows]
    ranked = np.array(best, np.int64).reshape(len(rows), min(TOP, num_classes))
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, ranked[:, 0]), 1)
    in_top5 = np.bincount(labels[(ranked == labels[:, None]).any(axis=1)], minlength=num_classes)
    videos, correct, predicted = confusion.sum(axis=1), confusion.diagonal().copy(), confusion.sum(axis=0)
    np.fill_diagonal(confusion, 0)
    header = ["label", "name", "videos", "correct", "top1", "top5", "predicted", "confused_with", "confused"]
    lines: list[list[Any]] = [header]
    for label in range(num_classes):
        other, count = int(confusion[label].argmax()), int(confusion[label].max())
        hits = (correct[label], in_top5[label])
        shares = [f"{100 * one / videos[label]:.2f}" if videos[label] else "" for one in hits]
        taken_for = [_name(other, class_names), count] if count else ["", ""]
        lines.append(
            [label, _name(label, class_names), videos[label], correct[label], *shares, predicted[label], *taken_for]
        )
    _write_table(path, lines)


def _name(label: int, class_names: Sequence[str] | None) -> str:
    return class_names[label] if class_names else str(label)


def _write_table(path: str | os.PathLike, lines: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(lines)
    with replace_file(path) as file:
        file.write(text.getvalue().encode("utf-8", "surrogateescape"))


def _cells(row: Prediction, num_best: int, class_names: Sequence[str] | None) -> list[Any]:
    best = np.argsort(-row.scores, kind="stable")[:num_best]
    label = row.label if isinstance(row.label, int) else ";".join(str(one) for one in row.label)
    cells: list[Any] = [row.path, label, int(best[0]), f"{row.probabilities[best[0]]:.6f}"]
    for index in best:
        cells += [_name(int(index), class_names), f"{row.probabilities[index]:.6f}"]
    return cells


def write_submission(
    path: str | os.PathLike, rows: Iterable[Prediction], class_names: Sequence[str] | None = None
) -> None:
    """Write one line `id;class` per video, without a header: what the owners of Something-Something score.

    The id is the name of the video's folder or file without suffix, or the whole path where two videos would
    have the same id. The class is its name, or its number where there are no `class_names`.
    """
    rows = list(rows)
    ids = [_video_id(row.path) for row in rows]
    if len(set(ids)) < len(ids):
        ids = [row.path for row in rows]
    best = [int(np.argsort(-row.scores, kind="stable")[0]) for row in rows]
    lines = [
        f"{name};{_name(top, class_names)}\n" for name, top in zip(ids, best, strict=True)
    ]
    with replace_file(path) as file:
        file.write("".join(lines).encode("utf-8", "surrogateescape"))


def _video_id(path: str) -> str:
    name = PurePath(path)
    return name.name if name.suffix[1:].isdigit() else name.stem


def write_scores(
    path: str | os.PathLike, *, video_ids: np.ndarray, view_ids: np.ndarray, logits: np.ndarray
) -> None:
    """Write every view's logits as an npz file that loads without pickle.

    Arrays `video_ids` and `view_ids` int64 (M,), `logits` float32 (M, K), sorted by video, then view.
    """
    order = np.lexsort((view_ids, video_ids))
    with replace_file(path) as file:
        np.savez(
            file,
            video_ids=np.asarray(video_ids, np.int64)[order],
            view_ids=np.asarray(view_ids, np.int64)[order],
            logits=np.asarray(logits, np.float32)[order],
        )
