"""The parts of the report of one test: a TestRun in, markup out, each with the data that its script needs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slowfast.engine.verdict import Published, proves_little, wilson
from slowfast.reporting import charts, curves, statistics, views
from slowfast.reporting.markup import Markup, details, element, join, number, section, table
from slowfast.reporting.mistakes import Mistake
from slowfast.reporting.reading import TestRun
from slowfast.reporting.thumbnails import Picture
from slowfast.utils.plural import counted

MOST_LISTED = 200  # videos that could not be read
SHORT_TABLE = 60  # rows; longer ones are folded


@dataclass(frozen=True)
class Part:
    """A section, and what the script knows of it: ``charts`` by their id."""

    markup: Markup
    charts: dict[str, Any] = field(default_factory=dict)


def percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.2f} %"


def interval(share: float, count: int) -> str:
    """The 95 % Wilson interval of a share of ``count`` videos."""
    low, high = wilson(share * count, count)
    return f"{100 * low:.2f} to {100 * high:.2f} %"


def headline(run: TestRun, published: Published | None) -> Part:
    """The figures that are asked for first."""
    found = run.results
    scored = f"{found['num_scored']} of {found['num_total']}"
    facts: list[tuple[str, Any, str]] = [
        ("videos scored", scored, ""),
        ("views", found["views"], "frames x crops x clips of a video"),
    ]
    if not run.labelled:
        facts.insert(0, ("accuracy", "none", found["no_accuracy"]))
    elif run.multi_label:
        facts.insert(0, ("mAP", f"{found['video']['map']:.4f}", "mean over classes of the average precision"))
    else:
        facts = [*_accuracies(run), *_published(published, found), *facts]
    if found["num_scored"] < found["num_total"] and run.labelled:
        wrong = found["video_missing_wrong"]
        shown = f"{wrong['map']:.4f} mAP" if run.multi_label else percent(wrong["top1"])
        facts.append(
            ("if missing were wrong", shown, "the same with the videos without a score counted as wrong")
        )
    cards = [
        element("div", element("dt", name), element("dd", value), element("dd", remark, class_="remark"))
        for name, value, remark in facts
    ]
    warnings = [
        element("p", element("strong", "Warning: "), said, class_="warning")
        for said in run.results.get("warnings", ())
    ]
    return Part(
        section("headline", "Result", element("dl", *cards, class_="cards"), *warnings, _by_clips(run))
    )


def _accuracies(run: TestRun) -> list[tuple[str, str, str]]:
    """Video and clip accuracies with their intervals. Views of one video are no draws of their own: the interval of a
    clip figure is that of as many draws as there are videos."""
    labels, (count, num_views, num_classes) = run.label_array, run.logits.shape
    ranks = statistics.label_ranks(run.scores, labels)
    flat = statistics.label_ranks(run.logits.reshape(-1, num_classes), np.repeat(labels, num_views))
    facts = []
    for name, found in (("video", ranks), ("clip", flat)):
        for k in (1, 5):
            if k < num_classes:
                share = float((found < k).mean())
                remark = f"95 % interval {interval(share, count)}"
                if name == "clip":
                    remark += f", of single views; as wide as {counted(count, 'video')} give"
                facts.append((f"{name} top-{k}", percent(100 * share), remark))
    return facts


def _published(published: Published | None, found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    if published is None:
        return []
    remark = f"views {published.views}, {published.num_test_videos} videos"
    verdict = found.get("published", {}).get("verdict")
    if verdict:
        remark += f"; reproduction: {verdict}"
    elif published.views != found["views"]:
        remark += "; other views than here"
    if proves_little(published.top1, found["num_scored"]):
        remark += f"; so few videos as {found['num_scored']} prove little"
    return [("published top-1", f"{published.top1:.1f} %", remark)]


def _by_clips(run: TestRun) -> Markup | None:
    """The other numbers of clips that the same test served (TEST.NUM_TEMPORAL_CLIPS)."""
    rows = [
        (
            entry["views"],
            entry["num_scored"],
            *(
                percent(entry[name]) if name != "map" else f"{entry[name]:.4f}"
                for name in ("top1", "top5", "map")
                if name in entry
            ),
        )
        for entry in run.results.get("by_clips", {}).values()
    ]
    if not rows:
        return None
    names = ["mAP"] if run.multi_label else ["top-1", "top-5"]
    header = ["views", "videos scored", *(names if run.labelled else [])]
    return table(
        header, rows, caption="The numbers of clips that this test served, each with clips of its own"
    )


def learning(run: TestRun) -> Part:
    """Curves of the training in the same folder."""
    found = curves.learning_curves(run.metrics)
    if not found.charts:
        return Part(
            section("learning", "Learning curves", element("p", "No training was recorded in this folder."))
        )
    drawn = {}
    for place, (title, series) in enumerate(found.charts.items()):
        points = [point for one in series for point in one.points]
        x = charts.axis(found.x, [at for at, _ in points], whole=True)
        y = charts.axis(
            title, [value for _, value in points], within=(0, 100) if title == curves.ACCURACY else None
        )
        drawn[f"learning{place}"] = charts.line_chart(f"learning{place}", title, series, x, y)
    everything = [one for series in found.charts.values() for one in series]
    names = [f"{title}: {one.name}" for title, series in found.charts.items() for one in series]
    by_place = [dict(one.points) for one in everything]
    places = sorted({at for one in everything for at, _ in one.points})
    rows = [(int(at), *(f"{one[at]:.5g}" if at in one else "" for one in by_place)) for at in places]
    note = (
        "Accuracy in training is that of augmented clips, mixed ones where the recipe mixes them, and so often lies "
        "below that of validation (one centre clip of every video)."
    )
    body = [
        element("div", *(one.figure for one in drawn.values()), class_="charts"),
        element("p", note, class_="note"),
        details("Numbers", table([found.x, *names], rows, caption="Learning curves in numbers")),
    ]
    return Part(section("learning", "Learning curves", *body), charts.data_of(drawn))


def by_views(run: TestRun) -> Part | None:
    """Accuracy against the number of views; None without labels."""
    if not run.labelled:
        return None
    protocol = {"clips": run.clips, "crops": run.crops, "method": run.results["ensemble_method"]}
    if run.multi_label:
        points, unit = views.map_by_views(run.logits, run.hot(), **protocol), "mAP"
        said = "The first clips of every video, in their order."
    else:
        points, unit = views.top1_by_views(run.logits, run.label_array, **protocol), "top-1 (%)"
        said = (
            "Means over sets of clips of every video: all sets of that many clips, or "
            f"{views.MAX_SUBSETS} drawn ones where there are more; bands reach from the worst set to the best."
        )
    series = [
        charts.Series(
            crops,
            [(one.clips, one.mean) for one in points if one.crops == crops],
            [(one.low, one.high) for one in points if one.crops == crops],
        )
        for crops in dict.fromkeys(one.crops for one in points)
    ]
    title = f"{unit} by number of clips"
    x = charts.axis("clips of a video", [one.clips for one in points], whole=True)
    y = charts.axis(unit, [value for one in points for value in (one.low, one.high)], within=(0, 100))
    drawn = {"views": charts.line_chart("views", title, series, x, y)}
    rows = [
        (
            one.clips,
            one.crops,
            *(number(value, "{:.4g}") for value in (one.mean, one.low, one.high)),
            one.num_subsets,
        )
        for one in points
    ]
    header = ["clips", "crops", "mean", "worst set", "best set", "sets"]
    numbers = table(header, rows, caption=f"{title}, in numbers")
    body = [
        element("div", drawn["views"].figure, numbers, class_="charts"),
        element("p", said, class_="note"),
    ]
    return Part(section("by-views", "Accuracy by number of views", *body), charts.data_of(drawn))


def worst(run: TestRun, found: Sequence[Mistake], pictures: Sequence[Picture]) -> Part | None:
    """The mistakes made with the most confidence, with frames; None without labels."""
    if not run.labelled:
        return None
    if not found:
        return Part(section("mistakes", "Worst mistakes", element("p", "There is no mistake.")))
    cards = [_card(run, mistake, picture) for mistake, picture in zip(found, pictures, strict=True)]
    said = "Wrong first guesses with the largest probability, three frames of each."
    return Part(
        section(
            "mistakes",
            "Worst mistakes",
            element("p", said, class_="note"),
            element("div", *cards, class_="mistakes"),
        )
    )


def _card(run: TestRun, mistake: Mistake, picture: Picture) -> Markup:
    own = ", ".join(run.class_names[label] for label in run.labels[mistake.row])
    shown = (
        element(
            "img",
            src=picture.uri,
            width=picture.width,
            height=picture.height,
            alt=f"three frames of {run.paths[mistake.row]}",
        )
        if picture.uri
        else element("p", f"No frames: {picture.why_not}", class_="nothing")
    )
    lines = [
        element("strong", run.class_names[mistake.predicted]),
        f" {100 * mistake.probability:.1f} %, is ",
        element("strong", own),
        f" {100 * mistake.label_probability:.1f} % (rank {mistake.rank})",
    ]
    return element(
        "article", shown, element("p", *lines), element("p", run.paths[mistake.row], class_="path")
    )


def unread(run: TestRun) -> Part:
    """Videos that could not be read, or not wholly, with reasons."""
    found = run.results
    groups = [
        ("Could not be read, and so have no score", found.get("unreadable", []), "reason"),
        ("Views are missing, and so have no score", found.get("incomplete", []), "views"),
        ("Damaged, and scored from what could be decoded", found.get("damaged", []), "reason"),
    ]
    parts = []
    for title, entries, what in groups:
        if entries:
            rows = [(entry["path"], str(entry[what])) for entry in entries[:MOST_LISTED]]
            more = f"; the first {MOST_LISTED}, all are in results.json" if len(entries) > MOST_LISTED else ""
            listed = table(["video", what], rows, caption=f"{title}: {len(entries)}{more}")
            parts.append(listed if len(rows) <= SHORT_TABLE else element("div", listed, class_="tall"))
    if not parts:
        parts = [element("p", "Every video of the list was read and scored.")]
    return Part(section("unread", "Videos not read", *parts))


def facts(run: TestRun) -> Part:
    """What was run on what."""
    found = run.results
    hardware = found.get("hardware", {})
    rows = [
        ("recipe", found.get("recipe", "")),
        ("checkpoint", found.get("checkpoint", "")),
        ("list", found.get("list", "")),
        ("merging of views", found["ensemble_method"]),
        ("class order", found.get("class_order", {}).get("said", "")),
        ("commit", found.get("commit") or "an installed copy"),
        ("versions", ", ".join(f"{name} {value}" for name, value in found.get("versions", {}).items())),
        ("processor", f"{hardware.get('cpu', '')}, {hardware.get('cores', '')} cores"),
        ("GPUs", ", ".join(hardware.get("gpus", ())) or "none"),
        ("system", hardware.get("os", "")),
        ("compiled", "yes" if found.get("compiled") else "no"),
    ]
    operators = [*found.get("operators", {}).items()]
    body = [
        table(["what", "value"], [(name, str(value)) for name, value in rows if value], caption="The run")
    ]
    if operators:
        chosen = table(["operator", "way"], operators, caption="How operators were computed")
        body.append(details(f"Operators ({len(operators)})", chosen))
    return Part(section("facts", "Run facts", join(body)))
