"""The parts of a report about classes: which are confused, and how each one fares."""

from __future__ import annotations

from typing import Any

import numpy as np

from slowfast.reporting import statistics
from slowfast.reporting.markup import Markup, element, number, section, table
from slowfast.reporting.reading import TestRun
from slowfast.reporting.sections import Part, interval
from slowfast.utils.plural import counted

MOST_PAIRS = 50  # most confused pairs that are listed


def confused(run: TestRun) -> tuple[Part, dict[str, Any]] | None:
    """The confusion matrix with the pairs most confused, and the cells for the script; None where labels are none or
    several."""
    if not run.labelled or run.multi_label:
        return None
    matrix = statistics.confusion(run.label_array, run.scores.argmax(axis=1), len(run.class_names))
    counts = np.bincount(run.label_array, minlength=len(run.class_names))
    pairs = matrix.pairs()
    rows = [
        (run.class_names[label], run.class_names[predicted], videos, number(share, "{:.1f} %"))
        for label, predicted, videos in pairs[:MOST_PAIRS]
        for share in [100 * videos / counts[label]]
    ]
    wrong = sum(videos for _, _, videos in pairs)
    shown = f"{min(len(pairs), MOST_PAIRS)} of {len(pairs)}"
    caption = f"Most confused pairs: {shown}, of {counted(wrong, 'mistake')} in all"
    header = ["class", "taken for", "videos", "of the class"]
    listed = (
        table(header, rows, caption=caption, sortable=True) if rows else element("p", "There is no mistake.")
    )
    controls = element(
        "div",
        element(
            "label",
            "order ",
            element(
                "select",
                *(element("option", text, value=value) for value, text in _ORDERS),
                id="order",
            ),
        ),
        *(element("button", text, type="button", id=ident) for ident, text in _ZOOMS),
        class_="controls",
    )
    canvas = element(
        "canvas",
        "A picture of the table beside.",
        id="matrix",
        tabindex="0",
        role="img",
        aria_label=f"Confusion matrix of {len(run.class_names)} classes; the pairs most confused stand in the table",
    )
    hint = (
        "Rows are true classes, columns predicted ones; the darker, the larger the share of the row. Wheel, pinch or "
        "+ and - zoom, dragging or arrow keys move."
    )
    drawing = element(
        "div",
        controls,
        canvas,
        element("p", " ", id="cell", class_="readout", aria_live="polite"),
        element("p", hint, class_="note"),
    )
    body = element("div", drawing, element("div", listed, class_="tall"), class_="charts wide")
    data = {"names": list(run.class_names), "cells": _flat(matrix), "counts": counts.tolist()}
    return Part(section("confusion", "Confusion matrix", body)), data


_ORDERS = (("number", "of class numbers"), ("name", "of names"), ("accuracy", "worst class first"))
_ZOOMS = (("zoom-in", "+"), ("zoom-out", "-"), ("zoom-all", "whole"))


def _flat(matrix: statistics.Confusion) -> list[int]:
    """label, predicted, count, label, ..."""
    return np.stack([matrix.labels, matrix.predicted, matrix.counts], axis=1).ravel().tolist()


def per_class(run: TestRun) -> Part:
    """A row for each class: how many videos, and how well it went; how often predicted where there are no labels."""
    predicted = np.bincount(run.scores.argmax(axis=1), minlength=len(run.class_names)).tolist()
    if not run.labelled:
        header, columns = ["class", "predicted"], [predicted]
    elif run.multi_label:
        hot = run.hot()
        ranked = statistics.RankedClasses(run.scores, hot > 0).average_precisions(np.ones(len(hot)))
        header = ["class", "videos", "average precision", "predicted first"]
        columns = [
            hot.sum(axis=0).astype(int).tolist(),
            [number(value, "{:.4f}") for value in ranked],
            predicted,
        ]
    else:
        columns = [*_class_columns(run), predicted]
        header = ["class", "videos", "top-1", "95 % interval", "top-5", "predicted"]
    rows = list(zip(run.class_names, *columns, strict=True))
    listed = table(
        header, rows, caption="All classes; a click on a heading sorts", sortable=True, id="class-table"
    )
    search = element(
        "p",
        element("label", "show classes with ", element("input", type="search", id="filter")),
        class_="controls",
    )
    return Part(section("classes", "Classes", search, element("div", listed, class_="tall"), _balance(run)))


def _class_columns(run: TestRun) -> list[list[Any]]:
    labels = run.label_array
    ranks = statistics.label_ranks(run.scores, labels)
    counts, top1 = statistics.class_means(ranks < 1, labels, len(run.class_names))
    top5 = statistics.class_means(ranks < 5, labels, len(run.class_names))[1]
    intervals = [
        interval(share, count) if count else "-"
        for share, count in zip(top1.tolist(), counts.tolist(), strict=True)
    ]
    shares = [[number(100 * value, "{:.2f} %") for value in column] for column in (top1, top5)]
    return [counts.tolist(), shares[0], intervals, shares[1]]


def _balance(run: TestRun) -> Markup | None:
    """The mean over classes, which a test list with unequal classes hides."""
    if not run.labelled or run.multi_label:
        return None
    labels = run.label_array
    hits = run.scores.argmax(axis=1) == labels
    mean = float(np.nanmean(statistics.class_means(hits, labels, len(run.class_names))[1]))
    empty = int((np.bincount(labels, minlength=len(run.class_names)) == 0).sum())
    said = f"Mean over classes of top-1: {100 * mean:.2f} %."
    if empty:
        said += f" {counted(empty, 'class', 'classes')} without any scored video left out."
    return element("p", said, class_="note")
