"""Ways of doing the same thing, timed in turns, and what their times say."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence


def take_turns(ways: Mapping[str, Callable[[int], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in every round; each is called once a round, with the number of the round.

    A round before the first, number 0, warms up and is not counted. What else happens on the machine then falls on
    all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way(number)
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def summary(seconds: Mapping[str, Sequence[float]], base: str = "plain") -> dict[str, dict]:
    """For each way median and quartiles in milliseconds, and how many times faster than `base` it is.

    The last is the median over rounds of the two times' ratio.
    """
    out = {}
    for name, times in seconds.items():
        several = times if len(times) > 1 else [*times, *times]  # quartiles are asked of two at least
        low, middle, high = (1e3 * value for value in statistics.quantiles(several, n=4, method="inclusive"))
        ratios = [other / own for other, own in zip(seconds[base], times, strict=True)]
        out[name] = {
            "median_ms": middle,
            "quartiles_ms": [low, high],
            "times_faster": statistics.median(ratios),
        }
    return out


def cell(numbers: Mapping) -> str:
    """Median (quartiles) in milliseconds, for a table."""
    low, high = numbers["quartiles_ms"]
    digits = 0 if numbers["median_ms"] >= 10 else 2
    return f"{numbers['median_ms']:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"
