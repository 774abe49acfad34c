"""Files decoded and prepared in processes of their own: one that dies over a file costs that file and no other."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pulmo.data.reading import Reading, read_grey, read_mask
from pulmo.errors import DataError, PulmoError, UnreadableImageError
from pulmo.interruption import leave_group
from pulmo.prediction.paths import Found
from pulmo.transforms.components import largest_components
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess

WINDOW = 8  # files that a process may be ahead of the one that is waited for
IDS = {"patient_id": "PatientID", "study_uid": "StudyInstanceUID", "sop_uid": "SOPInstanceUID"}


@dataclass(frozen=True)
class DrawnLungs:
    """Lungs as a network drew them: (S, S) probabilities, how they lie in the file, and the network's cut-off."""

    probabilities: npt.NDArray[np.float32]
    geometry: Geometry
    cut_off: float

    def mask(self, shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """Both lungs, filled, as (H, W) uint8 {0, 1} of the file's `shape`."""
        shares = self.geometry.unmask(self.probabilities, shape)
        return largest_components((shares >= np.float32(self.cut_off)).astype(np.uint8), 2, fill=True)


@dataclass(frozen=True)
class Job:
    """A file to prepare, and its lungs where preprocess asks for them: a mask's path, or drawn ones."""

    image: Found
    lungs: str | DrawnLungs | None = None


@dataclass(frozen=True)
class Prepared:
    """A file's (S, S) uint8 image for each preprocess, and its geometry; or the `error` that there is in its place.

    `shape` (H, W) is the file's; `ids` are those of `IDS` that a DICOM file has.
    """

    image: Found
    error: str = ""
    images: tuple[npt.NDArray[np.uint8], ...] = ()
    geometries: tuple[Geometry, ...] = ()
    shape: tuple[int, int] = (0, 0)
    ids: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reader:
    """Reads a file once and prepares it in each of several ways; `with_ids` also gives its DICOM ids."""

    preprocesses: tuple[Preprocess, ...]
    with_ids: bool = False

    def __call__(self, job: Job) -> Prepared:
        """Give the prepared file; what is wrong with it is its `error`."""
        if job.image.error:
            return Prepared(job.image, job.image.error)
        try:
            return self._prepared(job)
        except UnreadableImageError as error:
            return Prepared(job.image, error.cause or str(error))
        except DataError as error:
            return Prepared(job.image, str(error))
        except MemoryError:
            return Prepared(job.image, "there is not enough memory to decode it")

    def _prepared(self, job: Job) -> Prepared:
        readings: dict[int | None, Reading] = {}
        lungs, made = None, []
        for preprocess in self.preprocesses:
            side = preprocess.side
            if side not in readings:
                readings[side] = read_grey(job.image.path, side)
                _refuse_blank(readings[side], job.image.path)
            reading = readings[side]
            if preprocess.needs_mask and lungs is None:
                lungs = _lungs(job, reading.shape)
            made.append(preprocess(reading.image, lungs, reading.shape))
        images, geometries = zip(*made, strict=True)
        shape = next(iter(readings.values())).shape
        return Prepared(job.image, "", images, geometries, shape, _ids(job.image.path) if self.with_ids else {})


def _lungs(job: Job, shape: tuple[int, int]) -> npt.NDArray[np.uint8] | None:
    if isinstance(job.lungs, DrawnLungs):
        return job.lungs.mask(shape)
    return read_mask(job.lungs, shape) if job.lungs else None


def _refuse_blank(reading: Reading, path: str) -> None:
    """Raise where all pixels are alike: a network would answer, and its answer would mean nothing."""
    if reading.image.min() == reading.image.max():
        height, width = reading.shape
        raise UnreadableImageError(path, f"all of its {width}×{height} pixels are alike: there is nothing on it")


def _ids(path: str) -> dict[str, str]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(IDS.values()))
    except (InvalidDicomError, OSError, ValueError, LookupError, AttributeError):
        return {}
    return {column: str(header.get(tag) or "") for column, tag in IDS.items()}


def decoded(jobs: Iterable[Job], reader: Callable[[Job], Prepared], workers: int, depth: int = 2) -> Iterator[Prepared]:
    """Give each job's result, in their order, from `workers` processes; from this one where there are none.

    A process that ends over a file (a decoder that aborts, the kernel out of memory, an error nobody foresaw) is
    replaced, and the file's result is that error. `depth` jobs are given to a process at a time: 1 where they are
    large, since the other end may be writing too. Raises `PulmoError` where processes cannot be started.
    """
    if workers < 1:
        yield from map(reader, jobs)
        return
    pending, numbers = iter(jobs), count()
    crew = [_Worker(reader) for _ in range(workers)]
    results: dict[int, Prepared] = {}
    wanted, given, more = 0, 0, True
    try:
        while more or wanted < given:
            for worker in crew:
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
            busy = {worker.connection: worker for worker in crew if worker.jobs}
            for connection in wait(list(busy)) if busy and wanted not in results else ():
                worker = busy[connection]  # type: ignore[index]
                results |= worker.taken()
                if worker.dead:
                    crew[crew.index(worker)] = worker.successor(reader)
    finally:
        for worker in crew:
            worker.end()


class _Worker:
    """A process that reads, and the jobs that it has, the one it is at first."""

    def __init__(self, reader: Callable[[Job], Prepared]) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in the midst of their work
        self.connection, theirs = context.Pipe()
        self.jobs: deque[tuple[int, Job]] = deque()
        self.dead, self._ready = False, False
        self._process = context.Process(target=_serve, args=(theirs, reader), daemon=True)
        self._process.start()
        theirs.close()  # so that reading from it ends with the process

    def give(self, number: int, job: Job) -> None:
        self.jobs.append((number, job))
        with suppress(OSError):  # it has ended: `taken` will see it
            self.connection.send((number, job))

    def taken(self) -> dict[int, Prepared]:
        """What has come: a result, the error of the job it died over, or nothing but that it is there."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            return self._died()
        if answer is None:
            self._ready = True
            return {}
        number, prepared = answer
        self.jobs.popleft()
        return {number: prepared}

    def _died(self) -> dict[int, Prepared]:
        self._process.join()
        status = self._process.exitcode or 0
        how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        if not self._ready:
            raise PulmoError(f"a process that reads images ended {how} before it began: give --workers 0")
        self.dead = True
        number, job = self.jobs.popleft()
        return {number: Prepared(job.image, f"the process that decoded it ended {how}")}

    def successor(self, reader: Callable[[Job], Prepared]) -> "_Worker":
        """A new one that has the jobs left."""
        self.end()
        worker = _Worker(reader)
        for number, job in self.jobs:
            worker.give(number, job)
        return worker

    def end(self) -> None:
        self.connection.close()
        self._process.terminate()
        self._process.join()


def _serve(connection: "Connection[Any, Any]", reader: Callable[[Job], Prepared]) -> None:
    leave_group()  # Ctrl-C is the parent's affair, whose end closes the connection
    cv2.setNumThreads(1)
    connection.send(None)
    while True:
        try:
            number, job = connection.recv()
        except EOFError:
            return
        try:
            connection.send((number, reader(job)))
        except BrokenPipeError:
            return
