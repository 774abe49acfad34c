"""Work that goes on beside other work, in a thread of its own and only so far ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar, cast

_END = object()


T = TypeVar("T")


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Give `items`, up to `depth` of which are made in a thread before they are asked for; errors come with them."""
    iterator = iter(items)
    thread = ThreadPoolExecutor(1)
    try:
        waiting = deque(thread.submit(next, iterator, cast(Any, _END)) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, iterator, cast(Any, _END)))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)
        close = getattr(iterator, "close", None)
        if close is not None:  # a generator that holds processes
            close()


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
