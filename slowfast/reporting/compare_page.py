"""compare.html and its short table: several tests side by side, the others against the first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slowfast.reporting import charts, curves, sections, statistics
from slowfast.reporting.comparing import Comparison, Difference, warnings
from slowfast.reporting.markup import Markup, details, document, element, join, number, section, table
from slowfast.reporting.page import frame
from slowfast.reporting.reading import TestRun
from slowfast.reporting.sections import Part, percent


def compare_page(names: Sequence[str], runs: Sequence[TestRun], found: Sequence[Comparison]) -> bytes:
    """The whole page, UTF-8; ``found`` are the runs after the first against the first, in their order."""
    parts = [_results(names, runs), _paired(names, runs, found), _learning(names, runs)]
    parts += [_classes(names, found)]
    title = f"Comparison of {len(runs)} runs"
    drawn = {ident: data for part in parts for ident, data in part.charts.items()}
    body = frame(title, [part.markup for part in parts])
    return document(title, body, {"charts": drawn, "confusion": None})


def short_table(names: Sequence[str], runs: Sequence[TestRun], found: Sequence[Comparison]) -> list[str]:
    """Lines for a terminal."""
    rows = [("run", "videos", found[0].differences[0].name, "against the first (95 %)", "p")]
    for name, run, comparison in zip(names, runs, [None, *found], strict=True):
        shown = _own(run)
        if comparison is None:
            rows.append((name, str(run.results["num_scored"]), shown, "", ""))
            continue
        main = comparison.differences[0]
        rows.append((name, str(run.results["num_scored"]), shown, _change(main), _p(main)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    lines += [
        f"{name}: {one.pairing.said()} left out"
        for name, one in zip(names[1:], found, strict=True)
        if one.pairing.said()
    ]
    return lines + [f"warning: {line}" for line in warnings(runs)]


def _own(run: TestRun) -> str:
    video = run.results["video"]
    return f"{video['map']:.4f}" if run.multi_label else f"{video['top1']:.2f}"


def _change(one: Difference) -> str:
    digits = 4 if one.name == "mAP" else 2
    return f"{one.difference:+.{digits}f} ({one.low:+.{digits}f} to {one.high:+.{digits}f})"


def _p(one: Difference) -> str:
    return "-" if one.test is None else f"{one.test.mid_p:.2g}"


def _results(names: Sequence[str], runs: Sequence[TestRun]) -> Part:
    """A column for each run."""
    rows = [[what, *(of(run) for run in runs)] for what, of in _FACTS]
    if not runs[0].multi_label:
        ranks = [statistics.label_ranks(run.scores, run.label_array) for run in runs]
        for k in (5, 1):
            if k < min(len(run.class_names) for run in runs):
                cells = [
                    f"{percent(100 * float((own < k).mean()))} ({sections.interval(float((own < k).mean()), len(own))})"
                    for own in ranks
                ]
                rows.insert(0, [f"top-{k} (95 % interval)", *cells])
    else:
        rows.insert(0, ["mAP", *map(_own, runs)])
    said = [element("p", element("strong", "Warning: "), line, class_="warning") for line in warnings(runs)]
    listed = table(["", *names], rows, caption="Each test as it was, on its own list")
    return Part(section("results", "Results", listed, *said))


def _missing_wrong(run: TestRun) -> str:
    found = run.results.get("video_missing_wrong", {})
    return f"{found['map']:.4f}" if "map" in found else percent(found.get("top1"))


_FACTS = (
    ("if missing were wrong", _missing_wrong),
    ("videos scored", lambda run: f"{run.results['num_scored']} of {run.results['num_total']}"),
    ("views", lambda run: run.results["views"]),
    ("recipe", lambda run: run.results.get("recipe", "")),
    ("checkpoint", lambda run: run.results.get("checkpoint", "")),
    ("list", lambda run: run.results.get("list", "")),
    ("commit", lambda run: run.results.get("commit") or ""),
    ("folder", lambda run: str(run.folder)),
)


def _paired(names: Sequence[str], runs: Sequence[TestRun], found: Sequence[Comparison]) -> Part:
    """Differences to the first run with their tests."""
    rows = [
        (
            name,
            one.name,
            len(comparison.pairing.first),
            number(one.first, _form(one)),
            number(one.second, _form(one)),
            _change(one),
            *_tested(one),
        )
        for name, comparison in zip(names[1:], found, strict=True)
        for one in comparison.differences
    ]
    header = [
        "run", "figure", "videos of both", "first run", "this run", "difference (95 %)", "right in the first alone",
        "right in this alone", "p (mid-p)", "p (exact)",
    ]  # fmt: skip
    left_out = [
        element("p", f"{name}: left out are {comparison.pairing.said()}.", class_="note")
        for name, comparison in zip(names[1:], found, strict=True)
        if comparison.pairing.said()
    ]
    said = (
        "On the same videos: p is that of McNemar's test of the videos that one of the two alone has right, two-sided; "
        "intervals are of a bootstrap of videos. They speak of these weights on videos such as these, not of what "
        "another seed would give; and of several comparisons some will look significant by chance."
    )
    title = f"Against {names[0]}"
    listed = table(header, rows, caption=f"Differences to {names[0]} on the videos that both scored")
    return Part(section("paired", title, listed, *left_out, element("p", said, class_="note")))


def _form(one: Difference) -> str:
    return "{:.4f}" if one.name == "mAP" else "{:.2f} %"


def _tested(one: Difference) -> tuple:
    if one.test is None:
        return (number(math.nan, ""),) * 4
    p_values = (number(value, "{:.2g}") for value in (one.test.mid_p, one.test.exact))
    return one.test.only_first, one.test.only_second, *p_values


def _learning(names: Sequence[str], runs: Sequence[TestRun]) -> Part:
    """Every curve once, with a line for each run that has it."""
    lines: dict[tuple[str, str, str], list[charts.Series]] = {}
    for name, run in zip(names, runs, strict=True):
        own = curves.learning_curves(run.metrics)
        for title, series in own.charts.items():
            for one in series:
                lines.setdefault((title, one.name, own.x), []).append(charts.Series(name, one.points))
    if not lines:
        return Part(
            section("learning", "Learning curves", element("p", "No training was recorded in these folders."))
        )
    drawn = {}
    for place, ((title, which, unit), series) in enumerate(lines.items()):
        points = [point for one in series for point in one.points]
        x = charts.axis(unit, [at for at, _ in points], whole=True)
        y = charts.axis(
            title, [value for _, value in points], within=(0, 100) if title == curves.ACCURACY else None
        )
        ident = f"learning{place}"
        drawn[ident] = charts.line_chart(ident, f"{title}: {which}", series, x, y)
    last = [
        (f"{title}: {which}", one.name, int(one.points[-1][0]), number(one.points[-1][1], "{:.5g}"))
        for (title, which, _), series in lines.items()
        for one in series
    ]
    figures = element("div", *(one.figure for one in drawn.values()), class_="charts")
    numbers = details(
        "Last values", table(["curve", "run", "at", "value"], last, caption="Ends of the curves")
    )
    return Part(section("learning", "Learning curves", figures, numbers), charts.data_of(drawn))


def _classes(names: Sequence[str], found: Sequence[Comparison]) -> Part:
    """What each class gained or lost."""
    parts: list[Markup] = []
    for name, comparison in zip(names[1:], found, strict=True):
        form = _form(comparison.differences[0])
        rows = [
            (
                one.name,
                one.videos,
                number(one.first, form),
                number(one.second, form),
                number(one.second - one.first, form.replace(":", ":+")),
            )
            for one in comparison.classes
        ]
        header = ["class", "videos of both", names[0], name, "difference"]
        listed = table(
            header, rows, caption=f"{name} against {names[0]}, largest change first", sortable=True
        )
        parts.append(element("div", listed, class_="tall"))
    return Part(section("classes", "Classes", join(parts)))
