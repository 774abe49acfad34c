"""Work that goes on beside other work, in a thread of its own and only so far ahead."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, Self, TypeVar

TICK = 0.2
"""Seconds after which who waits looks whether it is to end."""

T = TypeVar("T")


def ahead(items: Iterable[T], depth: int, stop: threading.Event | None = None) -> Iterator[T]:
    """Give `items`, up to `depth` of which are made in a thread before they are asked for; errors come with them.

    Who stops asking sets `stop`, by which what `items` wait for knows that nobody wants them any more.
    """
    stop = stop or threading.Event()
    made: SimpleQueue[tuple[T | None, BaseException | None, bool]] = SimpleQueue()
    room, left = threading.Semaphore(depth), threading.Event()

    def make() -> None:
        iterator = iter(items)
        try:
            while not left.is_set():
                if not room.acquire(timeout=TICK):
                    continue
                try:
                    made.put((next(iterator), None, False))
                except StopIteration:
                    made.put((None, None, True))
                    return
        except BaseException as error:  # noqa: BLE001  # raised where the item was asked for
            made.put((None, error, True))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:  # a generator that holds processes
                close()

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    ended = False
    try:
        while not ended:
            item, error, ended = made.get()
            if error is not None:
                raise error
            if not ended:
                room.release()
                yield item  # type: ignore[misc]
    finally:
        left.set()
        if not ended:
            stop.set()
        thread.join()


class Behind:
    """Calls that are carried out in order in a thread; who calls waits where more than `depth` are not done yet.

    Their errors are raised by a later call, or at the end of the `with`.
    """

    def __init__(self, depth: int) -> None:
        self._thread, self._depth, self._waiting = ThreadPoolExecutor(1), depth, deque[Future[None]]()

    def __call__(self, work: Callable[..., None], *arguments: Any) -> None:
        """Carry out `work` when what was given before is done."""
        while len(self._waiting) >= self._depth:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work, *arguments))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            while self._waiting:
                self._waiting.popleft().result()
        self._thread.shutdown()  # after a signal too: what was answered is written
