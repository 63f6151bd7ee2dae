"""Sources are read in order, ahead but boundedly, and let go when the reader stops."""

import threading

import pytest

from slowfast.utils.read_ahead import read_ahead


def counting(start, count, made=None):
    def source():
        for number in range(start, start + count):
            if made is not None:
                made.append(number)
            yield number

    return source


@pytest.mark.parametrize("threads", [1, 3])
def test_items_come_in_order_of_sources(threads):
    sources = [counting(10 * index, index) for index in range(6)]
    found = [list(items) for items in read_ahead(sources, threads=threads, room=2)]
    assert found == [[10 * index + number for number in range(index)] for index in range(6)]


def test_only_so_many_items_wait():
    made = []
    sources = read_ahead([counting(0, 1000, made)], threads=1, room=3)
    items = next(sources)
    assert next(items) == 0
    # One taken, three that wait, one made that finds no room, and the one that may be made in place of the taken.
    assert len(made) <= 6
    sources.close()
    assert len(made) <= 7


def test_an_error_is_raised_where_the_items_are_taken_and_others_come():
    def failing():
        yield 1
        raise ValueError("broken")

    found = []
    for items in read_ahead([counting(0, 1), failing, counting(5, 1)], threads=2, room=1):
        try:
            found += list(items)
        except ValueError as error:
            found.append(str(error))
    assert found == [0, "broken", 5]


def test_a_reader_that_stops_closes_what_was_begun():
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    sources = read_ahead([endless, endless], threads=2, room=1)
    next(next(sources))
    sources.close()  # waits for the threads
    assert closed.is_set()
