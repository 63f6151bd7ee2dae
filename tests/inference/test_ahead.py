"""Work ahead: in order, no further than there is room, and over when it is closed."""

import pytest

from slowfast.inference.ahead import map_ahead


def test_results_come_in_the_order_of_the_items():
    assert list(map_ahead(lambda number: number**2, range(20), 3)) == [number**2 for number in range(20)]
    assert list(map_ahead(str, [], 2)) == []


def test_an_error_is_raised_when_its_turn_has_come():
    found = map_ahead(lambda number: 1 // number, [1, 0, 1], 2)
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_no_more_are_begun_than_there_are_threads_besides_the_one_awaited():
    begun = []
    found = map_ahead(begun.append, range(20), 2)
    next(found)
    assert len(begun) <= 3
    found.close()
    assert len(begun) <= 3
