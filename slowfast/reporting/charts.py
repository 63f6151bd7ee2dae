"""Line charts and reliability diagrams as SVG; numbers in, markup out.

A drawing is 400 units wide and scales down no further than a phone is wide, so that its text stays readable. Colours
are classes of page.css, which knows light and dark; series differ in their dashes too. The script of the page finds
the values at a place in the chart's data (`Chart.data`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from slowfast.reporting.markup import Markup, element
from slowfast.reporting.statistics import Bin

WIDTH, HEIGHT = 400, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 10, 10, 40
NUM_COLOURS = 6


@dataclass(frozen=True)
class Series:
    """A line: (x, y) by rising x. ``band`` are (low, high) around its points, or nothing."""

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Axis:
    """What an axis shows, and its range; ``ticks`` are values within."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """A figure, and what its script needs: the places of all points in units of the drawing."""

    figure: Markup
    data: dict


def data_of(drawn: Mapping[str, Chart]) -> dict[str, dict]:
    """What the script of a page needs of charts, by their ids."""
    return {ident: chart.data for ident, chart in drawn.items()}


def axis(
    label: str, values: Sequence[float], *, whole: bool = False, within: tuple[float, float] | None = None
) -> Axis:
    """An axis that holds all values, with about five ticks at round numbers; ``whole``: at whole ones.

    ``within``: no tick or end lies outside of it.
    """
    low, high = min(values), max(values)
    if high == low:
        low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
        if whole:
            low, high = math.floor(low), math.ceil(high)
    step = _round_step((high - low) / 5)
    if whole:
        step = max(1, round(step))
    else:
        low, high = math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step
    if within:
        low, high = max(low, within[0]), min(high, within[1])
    first = math.ceil(low / step - 1e-9)
    ticks = [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return Axis(label, low, high, tuple(round(tick, 12) for tick in ticks))


def _round_step(rough: float) -> float:
    """The number of the form 1, 2 or 5 times a power of ten at or above."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def line_chart(ident: str, title: str, series: Sequence[Series], x: Axis, y: Axis) -> Chart:
    """Lines with points over common axes, and a legend that can hide them."""
    parts = [*_frame(x, y)]
    for number, one in enumerate(series):
        places = [(_across(value, x), _up(height, y)) for value, height in one.points]
        shape = []
        if one.band:
            xs = [place for place, _ in places]
            upper = [(place, _up(high, y)) for place, (_, high) in zip(xs, one.band, strict=True)]
            lower = [(place, _up(low, y)) for place, (low, _) in zip(xs, one.band, strict=True)]
            shape.append(element("polygon", points=_coordinates([*upper, *reversed(lower)]), class_="band"))
        shape.append(element("polyline", points=_coordinates(places), class_="line"))
        if len(places) <= 60:
            shape += [element("circle", cx=f"{at:.1f}", cy=f"{height:.1f}", r=2.5) for at, height in places]
        parts.append(element("g", *shape, class_=f"series c{number % NUM_COLOURS}", data_series=number))
    names = [one.name for one in series]
    data = {
        "x": x.label,
        "series": [
            {
                "name": one.name,
                "points": [[round(_across(a, x), 1), round(_up(b, y), 1), a, b] for a, b in one.points],
            }
            for one in series
        ],
    }
    return Chart(_figure(ident, title, parts, names), data)


def reliability_diagram(ident: str, title: str, groups: Sequence[tuple[str, Sequence[Bin]]]) -> Chart:
    """Accuracy against confidence; on the diagonal a probability is what it says. Points are as large as bins."""
    x, y = axis("confidence (%)", (0, 100)), axis("right (%)", (0, 100))
    parts = [*_frame(x, y)]
    ends = {"x1": _across(0, x), "y1": _up(0, y), "x2": _across(100, x), "y2": _up(100, y)}
    parts.append(element("line", class_="diagonal", **ends))
    for number, (_, bins) in enumerate(groups):
        most = max(one.count for one in bins)
        places = [(_across(100 * one.confidence, x), _up(100 * one.accuracy, y)) for one in bins]
        dots = [
            element(
                "circle", cx=f"{at:.1f}", cy=f"{height:.1f}", r=f"{2.5 + 5 * math.sqrt(one.count / most):.1f}"
            )
            for (at, height), one in zip(places, bins, strict=True)
        ]
        line = element("polyline", points=_coordinates(places), class_="line")
        parts.append(element("g", line, *dots, class_=f"series c{number}", data_series=number))
    data = {
        "x": "confidence",
        "series": [
            {
                "name": name,
                "points": [
                    [
                        round(_across(100 * one.confidence, x), 1),
                        round(_up(100 * one.accuracy, y), 1),
                        round(100 * one.confidence, 1),
                        round(100 * one.accuracy, 1),
                    ]
                    for one in bins
                ],
            }
            for name, bins in groups
        ],
    }
    return Chart(_figure(ident, title, parts, [name for name, _ in groups]), data)


def _frame(x: Axis, y: Axis) -> list[Markup]:
    """Grid, ticks and names of the axes."""
    left, right, top, bottom = _LEFT, WIDTH - _RIGHT, _TOP, HEIGHT - _BOTTOM
    parts = []
    for tick in y.ticks:
        at = f"{_up(tick, y):.1f}"
        parts.append(element("line", x1=left, x2=right, y1=at, y2=at, class_="grid"))
        parts.append(element("text", f"{tick:g}", x=left - 6, y=at, dy="0.35em", class_="end"))
    for tick in x.ticks:
        at = f"{_across(tick, x):.1f}"
        parts.append(element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(element("text", f"{tick:g}", x=at, y=bottom + 16, class_="middle"))
    parts.append(element("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(element("text", x.label, x=(left + right) / 2, y=HEIGHT - 6, class_="middle"))
    middle = (top + bottom) / 2
    turned = f"rotate(-90 12 {middle:g})"
    parts.append(element("text", y.label, x=12, y=middle, transform=turned, class_="middle"))
    return parts


def _figure(ident: str, title: str, parts: Sequence[Markup], names: Sequence[str]) -> Markup:
    drawing = element(
        "svg",
        element("title", title, id=f"{ident}-title"),
        *parts,
        element("line", class_="cursor", y1=_TOP, y2=HEIGHT - _BOTTOM, x1=-9, x2=-9),
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_labelledby=f"{ident}-title",
    )
    legend = [
        element(
            "button", element("i", class_=f"key c{n % NUM_COLOURS}"), name, type="button", aria_pressed="true"
        )
        for n, name in enumerate(names)
    ]
    return element(
        "figure",
        element("figcaption", title),
        drawing,
        element("div", *legend, class_="legend"),
        element("p", class_="readout", aria_live="polite"),
        class_="chart",
        id=ident,
    )


def _across(value: float, x: Axis) -> float:
    return _LEFT + (value - x.low) / (x.high - x.low) * (WIDTH - _LEFT - _RIGHT)


def _up(value: float, y: Axis) -> float:
    return HEIGHT - _BOTTOM - (value - y.low) / (y.high - y.low) * (HEIGHT - _TOP - _BOTTOM)


def _coordinates(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{at:.1f},{height:.1f}" for at, height in places)
