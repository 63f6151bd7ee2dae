"""Ways in turns, and what their times say."""

import pytest

from slowfast.benchmarking.turns import cell, summary, take_turns


def test_every_way_has_its_turn_in_every_round_and_the_first_is_not_counted():
    calls = []
    ways = {name: lambda number, name=name: calls.append((name, number)) for name in ("plain", "ours")}
    seconds = take_turns(ways, 2)
    assert calls == [("plain", 0), ("ours", 0), ("plain", 1), ("ours", 1), ("plain", 2), ("ours", 2)]
    assert {name: len(times) for name, times in seconds.items()} == {"plain": 2, "ours": 2}


def test_medians_quartiles_and_multiples():
    numbers = summary({"plain": [0.8, 0.4, 0.6], "ours": [0.2, 0.2, 0.1]})
    assert numbers["plain"]["median_ms"] == pytest.approx(600)
    assert numbers["plain"]["quartiles_ms"] == pytest.approx([500, 700])
    assert numbers["ours"]["times_faster"] == pytest.approx(4)  # of 4, 2 and 6
    assert cell(numbers["plain"]) == "600 (500-700)"
    assert cell({"median_ms": 1.234, "quartiles_ms": [1.0, 2.0]}) == "1.23 (1.00-2.00)"
