"""Processes that decode: one that dies or hangs over a file costs that file and no other."""

import multiprocessing
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from pulmo.errors import PulmoError
from pulmo.interruption import leave_group
from pulmo.prediction.ahead import TICK
from pulmo.prediction.decoding import Job, Prepared

WINDOW = 8  # files that a process may be ahead of the one that is waited for
TRIES = 2  # of a file that a process died over: it may have been another's fault
STARTS = 3  # of processes that end as they begin, one after the other
PATIENCE = 5.0  # seconds that a process has to end when it is told to


def decoded(
    jobs: Iterable[Job],
    reader: Callable[[Job], Prepared],
    workers: int,
    depth: int = 2,
    *,
    seconds: float | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Prepared]:
    """Give each job's result, in their order, from `workers` processes; from this one where there are none.

    A process that ends over a file (a decoder that aborts, the kernel out of memory, an error nobody foresaw) or takes
    more than so many `seconds` is replaced; over a file that it ends over again, that is the file's error. `depth` jobs
    are given to a process at a time: 1 where they are large, since the other end may be writing too. Nothing more comes
    once `stop` is set. Raises `PulmoError` where processes cannot be started.
    """
    if workers < 1:
        yield from map(reader, jobs)
        return
    pending, numbers = iter(jobs), count()
    crew = _Crew(reader, workers, seconds)
    results: dict[int, Prepared] = {}
    wanted, given, more = 0, 0, True
    try:
        while (more or wanted < given) and not (stop is not None and stop.is_set()):
            for worker in crew.workers:
                while more and len(worker.jobs) < depth and given < wanted + WINDOW * workers:
                    job = next(pending, None)
                    if job is None:
                        more = False
                        break
                    worker.give(next(numbers), job)
                    given += 1
            while wanted in results:
                yield results.pop(wanted)
                wanted += 1
            if wanted not in results:
                results |= crew.answers()
    finally:
        crew.end()


class _Crew:
    """The processes, each of which is replaced when it dies or takes too long over a file."""

    def __init__(self, reader: Callable[[Job], Prepared], workers: int, seconds: float | None) -> None:
        self._reader, self._seconds = reader, seconds
        self._tries: dict[int, int] = {}
        self._stillborn = 0
        self.workers = [_Worker(reader) for _ in range(workers)]

    def answers(self) -> dict[int, Prepared]:
        """What comes within a tick."""
        found: dict[int, Prepared] = {}
        busy = {worker.connection: worker for worker in self.workers if worker.jobs}
        for connection in wait(list(busy), TICK) if busy else ():
            worker = busy[connection]  # type: ignore[index]
            answer = worker.taken()
            if answer is None:
                found |= self._replaced(worker, worker.how_it_ended())
            else:
                self._stillborn = 0
                found |= answer
        for worker in self.workers:
            if self._seconds is not None and worker.at_work > self._seconds:
                worker.end()
                said = f"it took longer than {self._seconds:g} s to decode"
                found |= self._replaced(worker, said, again=False)
        return found

    def _replaced(self, worker: "_Worker", how: str, *, again: bool = True) -> dict[int, Prepared]:
        """Put another in the worker's place; the result of the file that it was at, unless that is tried again."""
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= STARTS:
                raise PulmoError(f"processes that read images end as they begin, the last one {how}: give --workers 0")
        found = {}
        if worker.ready and worker.jobs:
            number, job = worker.jobs[0]
            tries = self._tries.pop(number, 0) + 1
            if again and tries < TRIES:
                self._tries[number] = tries
            else:
                worker.jobs.popleft()
                found[number] = Prepared(job.image, f"the process that decoded it ended {how}" if again else how)
        successor = _Worker(self._reader)
        for number, job in worker.jobs:
            successor.give(number, job)
        worker.end()
        self.workers[self.workers.index(worker)] = successor
        return found

    def end(self) -> None:
        for worker in self.workers:
            worker.end()


class _Worker:
    """A process that reads, and the jobs that it has, the one it is at first."""

    def __init__(self, reader: Callable[[Job], Prepared]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in the midst of their work
        self.connection, theirs = context.Pipe()
        self.jobs: deque[tuple[int, Job]] = deque()
        self.ready = False
        self._since = 0.0
        self._process = context.Process(target=_serve, args=(theirs, reader), daemon=True)
        self._process.start()
        theirs.close()  # so that reading from it ends with the process

    @property
    def at_work(self) -> float:
        """Seconds for which it has been at its first job; 0 without one, or before it has begun."""
        return time.monotonic() - self._since if self.ready and self.jobs else 0.0

    def give(self, number: int, job: Job) -> None:
        if not self.jobs:
            self._since = time.monotonic()
        self.jobs.append((number, job))
        with suppress(OSError):  # it has ended: `taken` will see it
            self.connection.send((number, job))

    def taken(self) -> dict[int, Prepared] | None:
        """What has come: a result, nothing but that it is there, or None where it has died."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            return None
        self._since = time.monotonic()
        if answer is None:
            self.ready = True
            return {}
        number, prepared = answer
        self.jobs.popleft()
        return {number: prepared}

    def how_it_ended(self) -> str:
        """By which signal, or with which status."""
        self._process.join(PATIENCE)
        status = self._process.exitcode or 0
        return f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"

    def end(self) -> None:
        """End the process, stopped or not."""
        self.connection.close()
        self._process.terminate()
        self._process.join(PATIENCE)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(connection: "Connection[Any, Any]", reader: Callable[[Job], Prepared]) -> None:
    leave_group()  # Ctrl-C is the parent's affair, whose end closes the connection
    cv2.setNumThreads(1)
    with suppress(OSError):
        connection.send(None)
    while True:
        try:
            number, job = connection.recv()
        except (EOFError, OSError):  # nobody listens any more
            return
        prepared = reader(job)
        try:
            connection.send((number, prepared))
        except OSError:
            return
