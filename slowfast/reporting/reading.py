"""The files that a test left in its folder -> a TestRun."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slowfast.engine import results
from slowfast.engine.evaluator import Records
from slowfast.engine.metrics import merge_views
from slowfast.utils.logging import read_json_lines

RESULTS, PREDICTIONS, SCORES, METRICS = "results.json", "predictions.csv", "scores.npz", "metrics.jsonl"


@dataclass(frozen=True)
class TestRun:
    """A test as its files tell of it. N videos of which all V views were scored, K classes.

    results: what results.json holds. metrics: the records of metrics.jsonl, none where there is no such file. paths:
    N names as the list has them. labels: N tuples of class numbers, empty ones without true labels. video_ids: int64
    (N,), places in the list. logits: float32 (N, V, K), crops varying fastest. scores: float32 (N, K), as they rank
    the classes. mean_logits: float32 (N, K), over the views; their softmax are the probabilities that predictions.csv
    gives. class_names: K, numbers for those that no file names.
    """

    __test__ = False  # for pytest, which takes its name for that of a test

    folder: Path
    results: dict[str, Any]
    metrics: list[dict[str, Any]]
    paths: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    video_ids: np.ndarray
    logits: np.ndarray
    scores: np.ndarray
    mean_logits: np.ndarray
    class_names: tuple[str, ...]

    @property
    def name(self) -> str:
        """Of its folder, for headings."""
        return self.folder.resolve().name

    @property
    def labelled(self) -> bool:
        return "no_accuracy" not in self.results

    @property
    def multi_label(self) -> bool:
        return "map" in self.results["video"]

    @property
    def clips(self) -> int:
        return _views(self.results)[1]

    @property
    def crops(self) -> int:
        return _views(self.results)[0]

    @property
    def label_array(self) -> np.ndarray:
        """The one label of each video, int64 (N,)."""
        return np.array([label for (label,) in self.labels], dtype=np.int64)

    def hot(self) -> np.ndarray:
        """1 for each label of a video, else 0; float32 (N, K)."""
        table = np.zeros(self.scores.shape, dtype=np.float32)
        for row, own in zip(table, self.labels, strict=True):
            row[list(own)] = 1.0
        return table


def read_run(folder: str | os.PathLike, class_names: Sequence[str] | None = None) -> TestRun:
    """The test that lies in a folder; ``class_names`` are those of its list, where they are known.

    Raises FileNotFoundError for a folder without a finished test, and ValueError for files that are damaged or not of
    one test.
    """
    folder = Path(folder)
    _check_folder(folder)
    summary = _read_results(folder / RESULTS)
    rows = _read_predictions(folder / PREDICTIONS)
    crops, clips = _views(summary)
    video_ids, logits = _whole_videos(_read_scores(folder / SCORES), crops * clips)
    views = torch.from_numpy(logits)
    scores = merge_views(views, summary["ensemble_method"]).numpy()
    if len(rows) != len(video_ids) or _first_guesses(rows) != scores.argmax(axis=1).tolist():
        raise ValueError(
            f"{folder}: {PREDICTIONS} and {SCORES} are not of one test ({len(rows)} and {len(video_ids)} videos "
            "scored, or other classes predicted): test again"
        )
    names = class_names if class_names is not None else _names(rows, scores)
    if len(names) != scores.shape[1]:
        raise ValueError(f"{folder}: {len(names)} class names for scores of {scores.shape[1]} classes")
    metrics = folder / METRICS
    return TestRun(
        folder=folder,
        results=summary,
        metrics=read_json_lines(metrics) if metrics.is_file() else [],
        paths=tuple(row["path"] for row in rows),
        labels=tuple(_labels(row["label"]) for row in rows),
        video_ids=video_ids,
        logits=logits,
        scores=scores,
        mean_logits=views.mean(dim=1).numpy(),
        class_names=tuple(names),
    )


def _check_folder(folder: Path) -> None:
    if folder.is_file():
        raise ValueError(f"{folder} is a file: give the OUTPUT_DIR of a run, the folder that it lies in")
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; give the OUTPUT_DIR of a run")
    missing = [name for name in (RESULTS, PREDICTIONS, SCORES) if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder} holds no finished test ({', '.join(missing)} missing): give the OUTPUT_DIR of a run that was "
            "tested (TEST.ENABLE True)"
        )


def _read_results(path: Path) -> dict[str, Any]:
    """Of any test, also of one without labels, which `results.read_results` refuses."""
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    except ValueError as error:
        raise ValueError(f"{path} is not a whole result file: {error}") from error
    needed = ("video", "num_scored", "num_total", "views", "ensemble_method")
    missing = [name for name in needed if not isinstance(found, dict) or name not in found]
    if missing:
        raise ValueError(f"{path} is not the result of a test: it lacks {', '.join(missing)}")
    return found


def _read_predictions(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    columns = {"path", "label", "predicted", "top1_name"}
    if not rows or not columns <= rows[0].keys() or any(None in row.values() for row in rows):
        raise ValueError(
            f"{path} is not a whole list of predictions with {', '.join(sorted(columns))}: test again"
        )
    return rows


def _read_scores(path: Path) -> Records:
    try:
        with np.load(path) as arrays:
            return Records(*(arrays[name] for name in ("video_ids", "view_ids", "logits")))
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a whole file of scores ({error}): test again") from error


def _whole_videos(records: Records, views_per_video: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 (N,) of the videos with all views, and their logits (N, V, K); no copy where all videos have them."""
    videos, counts = np.unique(records.video_ids, return_counts=True)
    whole = counts == views_per_video
    logits = records.logits if whole.all() else records.logits[np.isin(records.video_ids, videos[whole])]
    return videos[whole], logits.reshape(int(whole.sum()), views_per_video, records.logits.shape[1])


def _views(summary: dict[str, Any]) -> tuple[int, int]:
    """(crops, clips) of a video, from frames x crops x clips."""
    try:
        _, crops, clips = (int(number) for number in summary["views"].split("x"))
    except (ValueError, AttributeError):
        raise ValueError(f"{RESULTS}: views are {summary['views']!r}, not frames x crops x clips") from None
    return crops, clips


def _labels(cell: str) -> tuple[int, ...]:
    return tuple(int(word) for word in cell.split(";") if word)


def _first_guesses(rows: list[dict[str, str]]) -> list[int]:
    return [int(row["predicted"]) for row in rows]


def _names(rows: list[dict[str, str]], scores: np.ndarray) -> list[str]:
    """Names by class number as far as the best classes of any video show them, else numbers."""
    names = [str(number) for number in range(scores.shape[1])]
    unknown = set(range(len(names)))
    for row, values in zip(rows, scores, strict=True):
        if not unknown:
            break
        best = np.argsort(-values, kind="stable")[: results.TOP].tolist()
        for place, number in enumerate(best, start=1):
            names[number] = row[f"top{place}_name"]
        unknown.difference_update(best)
    return names
