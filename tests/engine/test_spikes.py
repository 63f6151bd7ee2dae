"""Losses far above the median of those before are found; where the watch goes on, it finds the same."""

import pytest

from slowfast.engine import spikes
from slowfast.engine.spikes import Spike, SpikeWatch


def found(watch: SpikeWatch, losses, first=1) -> list[Spike]:
    for number, loss in enumerate(losses, start=first):
        watch.see(number, loss)
    return watch.take()


def test_a_loss_is_compared_with_the_median_of_those_before():
    losses = [1.0] * 10 + [2.0] * 10  # median 1.5
    assert found(SpikeWatch(3), [*losses, 4.5]) == []  # not more than three times
    assert found(SpikeWatch(3), [*losses, 4.6]) == [Spike(21, 4.6, 1.5)]


def test_too_few_losses_tell_nothing_and_none_is_found_when_it_is_off():
    assert found(SpikeWatch(3), [1.0] * (spikes.LEAST - 1) + [100.0]) == []
    assert found(SpikeWatch(0), [1.0] * 50 + [100.0]) == []


def test_the_window_moves_and_a_loss_below_zero_is_no_measure():
    assert found(SpikeWatch(2), [1.0] * 100 + [9.0] * 100 + [17.0])[-1].number == 150  # then 9 is the rule
    assert found(SpikeWatch(2), [-1.0] * 50 + [5.0]) == []


def test_what_was_found_is_told_once_and_counted():
    watch = SpikeWatch(3)
    assert len(found(watch, [1.0] * 20 + [9.0])) == 1 == watch.count
    assert watch.take() == []


@pytest.mark.parametrize("stop", [5, 25, 130])
def test_a_watch_that_goes_on_finds_the_same(stop):
    losses = [1 + 0.01 * (n * 37 % 11) + 8 * (n % 50 == 49) for n in range(200)]
    whole, first, second = (SpikeWatch(3) for _ in range(3))
    expected = found(whole, losses)
    assert [spike.number for spike in expected] == [50, 100, 150, 200]
    told = found(first, losses[:stop])
    second.load_state(first.state())
    assert told + found(second, losses[stop:], first=stop + 1) == expected
    assert second.state() == whole.state()
    second.load_state({})
    assert second.state() == SpikeWatch(3).state()
