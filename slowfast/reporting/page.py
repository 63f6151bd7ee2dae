"""report.html of one test, put together from its sections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from slowfast.engine.verdict import Published
from slowfast.reporting import calibration, classes, sections
from slowfast.reporting.markup import Markup, document, element, join
from slowfast.reporting.mistakes import Mistake
from slowfast.reporting.reading import TestRun
from slowfast.reporting.thumbnails import Picture


def report_page(
    run: TestRun, published: Published | None, mistakes: Sequence[Mistake], pictures: Sequence[Picture]
) -> bytes:
    """The whole page, UTF-8; ``pictures`` are of the mistakes, in their order. Equal arguments give equal bytes."""
    matrix = classes.confused(run)
    parts = [
        sections.headline(run, published),
        sections.learning(run),
        sections.by_views(run),
        matrix and matrix[0],
        classes.per_class(run),
        calibration.calibration(run),
        sections.worst(run, mistakes, pictures),
        sections.unread(run),
        sections.facts(run),
    ]
    shown = [part for part in parts if part is not None]
    charts = {ident: data for part in shown for ident, data in part.charts.items()}
    recipe = PurePath(run.results.get("recipe", "")).stem
    title = f"{run.name}: {recipe}" if recipe else run.name
    body = frame(title, [part.markup for part in shown])
    return document(title, body, {"charts": charts, "confusion": matrix and matrix[1]})


def frame(title: str, parts: Sequence[Markup]) -> Markup:
    """What a page shows: its heading, then its sections."""
    return join([element("header", element("h1", title)), element("main", *parts)])
