"""Work ahead: in order, no further than there is room, and over when it is closed."""

import threading

import pytest

from slowfast.inference.ahead import iterate_ahead, map_ahead


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


def test_items_are_made_ahead_but_only_so_many():
    made, second = [], threading.Event()

    def numbers():
        for number in range(10):
            made.append(number)
            if number == 2:
                second.set()
            yield number

    found = iterate_ahead(numbers(), 2)
    assert next(found) == 0
    assert second.wait(10)  # while 0 is being used, 1 and 2 are made
    assert made == [0, 1, 2]
    assert list(found) == list(range(1, 10))


def test_what_fails_is_raised_in_its_place():
    def numbers():
        yield 1
        raise OSError("gone")

    found = iterate_ahead(numbers(), 4)
    assert next(found) == 1
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_closing_ends_the_thread():
    found = iterate_ahead(iter(range(10**9)), 2)
    assert next(found) == 0
    found.close()
    assert "ahead" not in {thread.name for thread in threading.enumerate()}
