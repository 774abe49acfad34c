"""Work beside other work: in order, so far ahead and no further, its errors told."""

import threading
from collections.abc import Iterator

import pytest

from pulmo.prediction.ahead import Behind, ahead


def test_ahead__gives_all_in_order_and_makes_no_more_than_its_depth_before() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    taken = []
    for number in ahead(numbers(), 3):
        taken.append(number)
        assert len(made) <= number + 1 + 3
    assert taken == [*range(20)]


def test_ahead__an_error_comes_where_its_item_would_have_come() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise KeyError("second")

    items = ahead(broken(), 2)
    assert next(items) == 1
    with pytest.raises(KeyError, match="second"):
        next(items)


def test_ahead__who_stops_asking_closes_what_it_took_from() -> None:
    closed = threading.Event()

    def held() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.set()

    items = ahead(held(), 2)
    next(items)
    items.close()  # type: ignore[attr-defined]
    assert closed.is_set()


def test_behind__carries_out_in_order_and_waits_for_the_end() -> None:
    done: list[int] = []
    with Behind(2) as later:
        for number in range(50):
            later(done.append, number)
    assert done == [*range(50)]


def test_behind__an_error_of_the_last_call_is_not_lost() -> None:
    def fails() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), Behind(2) as later:
        later(fails)
