"""Axes and drawings from numbers."""

import pytest

from slowfast.reporting import charts
from slowfast.reporting.charts import Series
from slowfast.reporting.statistics import Bin


@pytest.mark.parametrize(
    ("values", "options", "ends", "ticks"),
    [
        ((0.3, 9.7), {}, (0, 10), (0, 2, 4, 6, 8, 10)),
        ((1, 6), {"whole": True}, (1, 6), (1, 2, 3, 4, 5, 6)),
        ((1, 300), {"whole": True}, (1, 300), (100, 200, 300)),
        ((96.2, 99.9), {"within": (0, 100)}, (96, 100), (96, 97, 98, 99, 100)),
        ((0.0002, 0.001), {}, (0.0002, 0.001), (0.0002, 0.0004, 0.0006, 0.0008, 0.001)),
        ((4, 4), {"whole": True}, (3, 5), (3, 4, 5)),
        ((0, 0), {}, (-1, 1), (-1, -0.5, 0, 0.5, 1)),
        ((100, 100), {"within": (0, 100)}, (90, 100), (90, 95, 100)),
    ],
)
def test_axes_have_round_ticks(values, options, ends, ticks):
    found = charts.axis("x", values, **options)
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.ticks == pytest.approx(ticks)


def test_lines_lie_where_their_values_are():
    x, y = charts.axis("epoch", (0, 10)), charts.axis("%", (0, 100))
    series = [Series("one", [(0, 0), (10, 100)], [(0, 10), (90, 100)]), Series("<b>", [(5, 50)])]
    found = charts.line_chart("c", "Title", series, x, y)
    left, right, top, bottom = 52.0, 390.0, 10.0, 220.0
    assert f'points="{left},{bottom} {right},{top}"' in found.figure
    assert [one["points"] for one in found.data["series"]] == [
        [[left, bottom, 0, 0], [right, top, 10, 100]],
        [[221.0, 115.0, 5, 50]],
    ]
    assert "&lt;b&gt;" in found.figure and "<b>" not in found.figure
    assert found.figure.count("<polygon") == 1 and found.figure.count("aria-pressed") == 2


def test_a_reliability_diagram_has_a_point_for_each_bin():
    bins = [Bin(0, 0.5, 1, 0.25, 0.5), Bin(0.5, 1, 4, 0.75, 0.75)]
    found = charts.reliability_diagram("r", "Title", [("as it is", bins)])
    assert found.figure.count("<circle") == 2 and "diagonal" in found.figure
    assert [point[2:] for point in found.data["series"][0]["points"]] == [[25.0, 50.0], [75.0, 75.0]]
