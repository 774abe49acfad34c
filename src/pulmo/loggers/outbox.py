"""Calls to a server that may go away, made in a thread of their own."""

import logging
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread

log = logging.getLogger(__name__)

Call = Callable[[], object]
LONGEST_WAIT = 300.0  # seconds


class Outbox:
    """Makes calls one after another, in their order, each until it succeeds; who puts them in never waits.

    name     of the server, for the log
    away     errors by which a call is made again later
    refused  whether such an error is the server's own no: that call is left out, with a line in the log
    reason   what the log says of an error
    wait     seconds before a call is made again, doubled each time
    """

    def __init__(
        self,
        name: str,
        away: tuple[type[Exception], ...],
        refused: Callable[[Exception], bool],
        reason: Callable[[Exception], str] = str,
        wait: float = 5.0,
    ) -> None:
        self._name, self._away, self._refused, self._reason = name, away, refused, reason
        self._first_wait = wait
        self._calls: deque[Call] = deque()
        self._changed = Condition()
        self._closing = self._told = False
        self._thread: Thread | None = None

    def put(self, call: Call) -> None:
        """Have the call made as soon as those before it are."""
        with self._changed:
            self._calls.append(call)
            if self._thread is None:
                self._thread = Thread(target=self._work, name=f"{self._name} outbox", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> int:
        """Make what is left, until a call fails; give the number of those given up, which are told."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        left = len(self._calls)
        if left:
            log.warning(
                "%s does not answer: %d entries are lost to it; the run folder has all figures", self._name, left
            )
        self._calls.clear()
        self._thread, self._closing = None, False
        return left

    def _work(self) -> None:
        wait = self._first_wait
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._closing)
                if not self._calls:
                    return
            if self._made(self._calls[0]):
                self._calls.popleft()
                wait = self._first_wait
                continue
            with self._changed:
                if self._closing:
                    return
                self._changed.wait_for(lambda: self._closing, timeout=wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _made(self, call: Call) -> bool:
        try:
            call()
        except self._away as error:
            if self._refused(error):
                log.warning("%s refused an entry: %s", self._name, self._reason(error))
                return True
            if not self._told:
                log.warning(
                    "%s does not answer; training goes on, entries wait for it: %s", self._name, self._reason(error)
                )
            self._told = True
            return False
        except Exception as error:  # noqa: BLE001 (the thread has nobody to tell, and other entries to send)
            log.warning("an entry for %s could not be sent: %s: %s", self._name, type(error).__name__, error)
            return True
        if self._told:
            log.info("%s answers again", self._name)
        self._told = False
        return True
