"""Smoothing and joining of windows, by hand."""

import numpy as np
import pytest
import torch

from slowfast.inference.prediction import Prediction, Span, WindowPrediction
from slowfast.inference.timeline import join, smooth, timeline

NAMES = ("rest", "wave")


def spans(count, length=4, stride=2, seconds=0.5):
    return [
        Span(start, start + length, start * seconds, (start + length) * seconds)
        for start in range(0, count * stride, stride)
    ]


def rows(*waving):
    return np.array([[1 - value, value] for value in waving], dtype=np.float32)


def test_smoothing_averages_with_the_neighbours_that_are_there():
    values = rows(0.0, 0.9, 0.0, 0.6)
    assert smooth(values, 3)[:, 1] == pytest.approx([0.45, 0.3, 0.5, 0.3])
    assert smooth(values, 9)[:, 1] == pytest.approx([0.375] * 4)
    assert np.array_equal(smooth(values, 1), values) and smooth(values, 3).dtype == np.float32
    assert smooth(values, 3).sum(axis=1) == pytest.approx(np.ones(4))


@pytest.mark.parametrize("count", [0, -1, 2])
def test_an_even_number_of_windows_has_no_middle(count):
    with pytest.raises(ValueError, match=f"--smooth is {count}; write an odd number of windows, 1 for none"):
        smooth(rows(0.5), count)


def test_segments_meet_midway_between_centres():
    found = join(spans(5), rows(0.1, 0.2, 0.9, 0.7, 0.4), NAMES)
    # centres lie at frames 2, 4, 6, 8, 10
    assert [(s.name, s.number) for s in found] == [("rest", 0), ("wave", 1), ("rest", 0)]
    assert [(s.span.start_frame, s.span.end_frame) for s in found] == [(0, 5), (5, 9), (9, 12)]
    assert [(s.span.start_seconds, s.span.end_seconds) for s in found] == [(0, 2.5), (2.5, 4.5), (4.5, 6.0)]
    assert [s.probability for s in found] == pytest.approx([0.85, 0.8, 0.6])


def test_of_equal_probabilities_the_lower_number_leads_and_times_may_be_unknown():
    (found,) = join([Span(0, 4), Span(2, 6)], rows(0.5, 0.5), NAMES)
    assert (found.name, found.span) == ("rest", Span(0, 6))
    halves = join([Span(0, 4), Span(2, 6)], rows(0.1, 0.9), NAMES)
    assert [segment.span for segment in halves] == [Span(0, 3), Span(3, 6)]


def window(span, waving):
    probabilities = torch.tensor([1 - waving, waving])
    return WindowPrediction(span, Prediction(NAMES, probabilities.log(), probabilities, (0, 1), 1))


def test_a_timeline_knows_every_frame():
    found = timeline(map(window, spans(4), (0.1, 0.1, 0.9, 0.9)), NAMES, smoothing=1)
    assert found.top(2) == [("wave", pytest.approx(0.9)), ("rest", pytest.approx(0.1))]
    assert [found.at(frame)[0] for frame in range(10)] == ["rest"] * 5 + ["wave"] * 5
    plain = found.as_dict(count=1)
    assert plain["windows"][0] == {
        "start_frame": 0, "end_frame": 4, "start_seconds": 0.0, "end_seconds": 2.0,
        "top": [{"class": "rest", "number": 0, "probability": pytest.approx(0.9)}],
    }  # fmt: skip
    assert [segment["class"] for segment in plain["segments"]] == ["rest", "wave"] and "damage" not in plain


def test_one_odd_window_is_smoothed_away():
    waving = (0.1, 0.1, 0.8, 0.1, 0.1)
    assert len(timeline(map(window, spans(5), waving), NAMES, smoothing=1).segments) == 3
    assert len(timeline(map(window, spans(5), waving), NAMES).segments) == 1
