"""Entries for a server that may be away: in order, none twice, and nobody waits for them."""

import logging
import threading
import time

import pytest

from pulmo.loggers.outbox import Outbox


class Server:
    """Takes entries, unless it is away or knows better."""

    def __init__(self) -> None:
        self.got: list[int] = []
        self.tried = 0
        self.away = False
        self.there = threading.Event()

    def take(self, entry: int) -> None:
        self.tried += 1
        if self.away:
            raise ConnectionError("nobody there")
        if entry < 0:
            raise ValueError("a negative entry")
        self.got.append(entry)
        self.there.set()


def outbox(wait: float = 0.01) -> Outbox:
    return Outbox("server", (ConnectionError, ValueError), lambda error: isinstance(error, ValueError), wait=wait)


def fill(box: Outbox, server: Server, *entries: int) -> None:
    for entry in entries:
        box.put(lambda entry=entry: server.take(entry))  # type: ignore[misc]


def test_outbox__closed_has_made_all_calls_in_their_order() -> None:
    server, box = Server(), outbox()
    fill(box, server, *range(50))
    assert box.close() == 0
    assert server.got == list(range(50))


def test_outbox__keeps_entries_while_the_server_is_away_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server, box = Server(), outbox()
    server.away = True
    fill(box, server, 1, 2, 3)
    while server.tried < 3:
        time.sleep(0.005)
    assert server.got == []
    server.away = False
    assert server.there.wait(5)
    assert box.close() == 0
    assert server.got == [1, 2, 3]
    said = [record.message for record in caplog.records]
    assert [line for line in said if "does not answer" in line] == [
        "server does not answer; training goes on, entries wait for it: nobody there"
    ]
    assert said[-1] == "server answers again"


def test_outbox__a_refused_entry_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    server, box = Server(), outbox()
    fill(box, server, 1, -1, 2)
    assert box.close() == 0
    assert server.got == [1, 2]
    assert "server refused an entry: a negative entry" in caplog.text


def test_outbox__an_entry_that_breaks_does_not_hold_up_the_others(caplog: pytest.LogCaptureFixture) -> None:
    server, box = Server(), outbox()
    fill(box, server, 1)
    box.put(lambda: {}["nothing"])
    fill(box, server, 2)
    assert box.close() == 0
    assert server.got == [1, 2]
    assert "an entry for server could not be sent: KeyError: 'nothing'" in caplog.text


def test_outbox__closes_at_once_where_the_server_stays_away_and_counts_what_is_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, box = Server(), outbox(wait=60)
    server.away = True
    fill(box, server, 1, 2, 3)
    began = time.perf_counter()
    assert box.close() == 3
    assert time.perf_counter() - began < 5, "it did not wait for the next attempt"
    assert "3 entries are lost" in caplog.text


def test_outbox__takes_entries_again_after_closing() -> None:
    server, box = Server(), outbox()
    fill(box, server, 1)
    box.close()
    fill(box, server, 2)
    box.close()
    assert server.got == [1, 2]
