"""The story of reproducing a published row: its recipe's test, then published against measured, with causes."""

from __future__ import annotations

import csv
import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from slowfast.engine import results, zoo
from slowfast.engine.test import test
from slowfast.engine.verdict import Published, Verdict, judge
from slowfast.utils import distributed
from slowfast.utils.logging import get_logger

PUBLISHED_FILE = "published.json"
# Keys of these sections decide a score, but for the ones below: they say where things are and how fast they go, which
# one of several lists is read (a fact of the result), what is scored besides, or what training alone does. Of section
# BN a test reads nothing: the statistics are those of the weights.
PROTOCOL_SECTIONS = ("TEST.", "DATA.", "MODEL.", "UNIFORMER.")
NOT_PROTOCOL = (
    "TEST.ENABLE", "TEST.BATCH_SIZE", "TEST.CHECKPOINT_FILE_PATH", "TEST.TEST_BEST", "TEST.RESUME",
    "TEST.NUM_TEMPORAL_CLIPS",
    "DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX", "DATA.PATH_LABEL_SEPARATOR", "DATA.LABEL_PATH_TEMPLATE",
    "DATA.IMAGE_TEMPLATE", "DATA.CLASS_NAMES_PATH", "DATA.DECODING_BACKEND", "MODEL.CLASS_NAMES_PATH",
    "DATA.SPLIT", "DATA.RANDOM_FLIP", "DATA.INV_UNIFORM_SAMPLE", "DATA.MAX_BAD_FRACTION", "DATA.CACHE_GB",
    "DATA.SPARSE_STRETCH", "MODEL.DROPOUT_RATE", "UNIFORMER.DROPOUT_RATE", "UNIFORMER.ATTENTION_DROPOUT_RATE",
    "UNIFORMER.DROP_DEPTH_RATE", "UNIFORMER.HEAD_DROPOUT_RATE",
    "MODEL.WEIGHTS_DIR", "MODEL.USE_CHECKPOINT", "MODEL.CHECKPOINT_NUM", "UNIFORMER.PRETRAIN_NAME",
    "MODEL.CHECKPOINT", "MODEL.CHECKPOINT_GB",
    "MODEL.DWCONV", "MODEL.LINEAR", "MODEL.ATTENTION", "MODEL.ARCH", "MODEL.LOSS_FUNC", "UNIFORMER.INIT_VALUE",
)  # fmt: skip
TRAINING_ALONE = ("DATA.TRAIN_", "DATA.SSL_")  # beginnings of keys


def read_published(recipe: str | os.PathLike, split: int) -> tuple[str, Published]:
    """The row of a recipe, "<set>/<name>" as its file lies, and what published.json beside the sets says of it.

    ``split`` (DATA.SPLIT) counts where the row has several test lists. Raises FileNotFoundError without that file or
    the recipe, and ValueError for a recipe that is not in it.
    """
    if not Path(recipe).is_file():
        raise FileNotFoundError(f"the recipe {recipe} does not exist (looked for it from {os.getcwd()})")
    recipe = Path(recipe).resolve()
    path = recipe.parent.parent / PUBLISHED_FILE
    row = f"{recipe.parent.name}/{recipe.stem}"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: a recipe to reproduce lies in <folder>/<set>/, and <folder>/{PUBLISHED_FILE} "
            "holds the published figures"
        )
    rows = json.loads(path.read_text(encoding="utf-8"))
    if row not in rows:
        near = difflib.get_close_matches(row, rows, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{path} has no published figure for {row}{hint}")
    entry = rows[row]
    try:
        facts = {field.name: entry[field.name] for field in fields(Published) if field.default is MISSING}
    except KeyError as error:
        raise ValueError(f"{path}: the entry {row} lacks {error}") from error
    counts = facts["num_test_videos"]
    if not isinstance(counts, int):
        facts |= {"num_test_videos": counts[split - 1], "split": split, "videos_of_splits": tuple(counts)}
    return row, Published(**facts)


def published_names(recipe: str | os.PathLike) -> str:
    """The class names of a row's published weights, which hold none: data_lists/<set>/classes.txt beside the folder
    of the recipes; "" if it is not there."""
    recipe = Path(recipe).resolve()
    path = recipe.parent.parent.parent / "data_lists" / recipe.parent.name / "classes.txt"
    return str(path) if path.is_file() else ""


def default_result_file(recipe: str | os.PathLike, row: str, published: Published) -> Path:
    """Where tools/make_tables.py looks for a row's result: results/ beside the folder of the recipes."""
    return Path(recipe).resolve().parent.parent.parent / "results" / zoo.result_name(row, _part(published))


def default_output_dir(output_dir: str, published: Published) -> str:
    """Below the recipe's OUTPUT_DIR; each test of a row has its own, for a finished one removes its partial scores."""
    return str(Path(output_dir) / "reproduce" / _part(published))


def overridden(cfg, recipe_cfg, keys: Sequence[str]) -> dict[str, Any]:
    """Those of ``keys`` that decide scores and differ from the recipe's config, with their values."""
    found = {}
    for key in keys:
        if key.startswith(PROTOCOL_SECTIONS) and not (key in NOT_PROTOCOL or key.startswith(TRAINING_ALONE)):
            value, was = cfg, recipe_cfg
            for part in key.split("."):
                value, was = value[part], was[part]
            if value != was:
                found[key] = value
    return found


def reproduce(
    cfg, row: str, published: Published, overrides: Mapping[str, Any], result_file: str | os.PathLike
) -> str:
    """Test as the config says, compare, write ``result_file`` and log the report; returns PASS or FAIL.

    Runs in every process of the group. The result file holds what results.json of the test does, and "published".
    Raises ValueError for a test that gives no top-1.
    """
    cfg, _ = cfg.resolved()
    summary = test(cfg)
    word = None
    if summary:
        if "top1" not in (summary.get("video") or {}):
            raise ValueError(
                f"{row} cannot be compared: this test gives no top-1 accuracy, does its list have labels?"
            )
        verdict = judge(
            published,
            summary,
            _predictions(Path(cfg.OUTPUT_DIR) / "predictions.csv"),
            precision=cfg.TEST.MIXED_PRECISION,
            overrides=overrides,
        )
        block = _block(row, published, verdict, summary["num_scored"], overrides)
        results.write_results(result_file, {**summary, "published": block})
        log = get_logger("reproduce")
        for line in report(row, published, verdict, summary):
            log.info(line)
        log.info("written to %s", result_file)
        said = published.split and mean_of_splits(result_file, row, published.videos_of_splits)
        if said:
            log.info(said)
        word = verdict.word
    return distributed.broadcast_object(word)


def report(row: str, published: Published, verdict: Verdict, summary: Mapping[str, Any]) -> list[str]:
    """What a person wants to read: the figures, the verdict and, of a failure, the causes that were checked."""
    lines = [
        f"{row}: published top-1 {published.top1:.1f}, measured {summary['video']['top1']:.2f} over "
        f"{summary['num_scored']} videos, views {summary['views']}",
        f"passes from {verdict.low:.2f} to {verdict.high:.2f}: {_rule(summary['num_scored'])}",
        verdict.word + "".join(f"; {reason}" for reason in verdict.reasons),
    ]
    if verdict.passed:
        overrides = verdict.check("overrides")
        return lines + ([f"changed on the command line: {overrides.said}"] if overrides.likely else [])
    lines += [f"likely cause: {check.name}: {check.said}" for check in verdict.causes()]
    if not verdict.causes():
        lines.append("none of the causes checked below explains it: look at the weights themselves")
    return lines + [
        f"looks right: {check.name}: {check.said}" for check in verdict.checks if not check.likely
    ]


def mean_of_splits(result_file: str | os.PathLike, row: str, videos_of_splits: Sequence[int]) -> str:
    """The mean over the result files of all splits, of which ``result_file`` is one; "" until all are there."""
    expected, file = zoo.parts(videos_of_splits), Path(result_file)
    paths = {part: file.parent / zoo.result_name(row.split("/")[1], part) for part in expected}
    if file not in paths.values() or not all(path.is_file() for path in paths.values()):
        return ""
    try:
        found = {part: results.read_results(path) for part, path in paths.items()}
    except ValueError as error:
        return f"no mean of the splits: {error}"
    return f"top-1 of all splits: {zoo.measured(expected, found)}"


def _part(published: Published) -> str:
    """The test that is meant, as `zoo.parts` calls it."""
    return f"split{published.split}" if published.split else ""


def _rule(num_videos: int) -> str:
    return (
        f"the 95 % Wilson interval of the published figure for {num_videos} videos, 0.1 wider on both sides for its "
        "last digit"
    )


def _block(
    row: str, published: Published, verdict: Verdict, num_videos: int, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "row": row,
        "split": published.split,
        "top1": published.top1,
        "views": published.views,
        "num_test_videos": published.num_test_videos,
        "tolerance": {"low": verdict.low, "high": verdict.high, "rule": _rule(num_videos)},
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "causes": [{"name": check.name, "said": check.said} for check in verdict.causes()],
        "checked": {check.name: check.said for check in verdict.checks},
        "overrides": {key: str(value) for key, value in overrides.items()},
    }


def _predictions(path: Path) -> list[tuple[int, int]]:
    """(label, predicted class) of every scored video, from predictions.csv."""
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [(int(line["label"]), int(line["predicted"])) for line in csv.DictReader(file)]
