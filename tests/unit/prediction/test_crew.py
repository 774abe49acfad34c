"""Files decoded in processes: in order, and one that dies or hangs costs one file."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pulmo.errors import PulmoError
from pulmo.prediction.crew import decoded
from pulmo.prediction.decoding import Job, Prepared
from pulmo.prediction.paths import Found


class Deadly:
    """Stands for decoders that abort: by the file's name."""

    def __call__(self, job: Job) -> Prepared:
        name = job.image.name
        if name == "exits":
            os._exit(3)
        if name == "aborts":
            os.kill(os.getpid(), signal.SIGABRT)
        if name == "slow":
            time.sleep(0.3)
        if name == "hangs":
            time.sleep(3600)
        if name.startswith("once ") and not os.path.exists(name[5:]):
            open(name[5:], "w").close()
            os._exit(3)
        if name == "unforeseen":
            raise ZeroDivisionError("a bug of somebody's")
        return Prepared(job.image, shape=(len(name), os.getpid()))


def jobs(*names: str) -> list[Job]:
    return [Job(Found(f"/{name}", name)) for name in names]


def test_decoded__a_process_that_dies_is_the_error_of_its_file_alone(capfd: pytest.CaptureFixture[str]) -> None:
    given = jobs("a", "exits", "b", "slow", "aborts", "aborts", "c", "unforeseen", *(f"f{i}" for i in range(30)))
    results = [*decoded(given, Deadly(), 2)]
    assert [result.image.name for result in results] == [job.image.name for job in given], "in their order"
    errors = {result.image.name: result.error for result in results if result.error}
    assert errors == {
        "exits": "the process that decoded it ended with status 3",
        "aborts": "the process that decoded it ended by SIGABRT",
        "unforeseen": "the process that decoded it ended with status 1",
    }
    assert "ZeroDivisionError: a bug of somebody's" in capfd.readouterr().err, "whose trace is not lost"
    assert all(result.shape[1] != os.getpid() for result in results if not result.error)


def test_decoded__runs_no_further_ahead_than_its_window() -> None:
    taken = []

    def many() -> object:
        for number in range(1000):
            taken.append(number)
            yield Job(Found(str(number), str(number)))

    results = decoded(many(), Deadly(), 1)  # type: ignore[arg-type]
    for _ in range(5):
        next(results)
    assert len(taken) <= 5 + 8 + 2
    results.close()  # type: ignore[attr-defined]


class Unimportable:
    def __reduce__(self) -> object:
        return os._exit, (5,)


def test_decoded__processes_that_cannot_begin_are_told() -> None:
    with pytest.raises(PulmoError, match="end as they begin, the last one with status 5: give --workers 0"):
        next(decoded(jobs("a"), Unimportable(), 1))  # type: ignore[arg-type]


def test_decoded__a_file_that_takes_too_long_is_an_error_and_the_others_are_not(tmp_path: Path) -> None:
    began = time.monotonic()
    results = {
        result.image.name: result.error for result in decoded(jobs("a", "hangs", "b", "c"), Deadly(), 1, seconds=1)
    }
    assert results == {"a": "", "hangs": "it took longer than 1 s to decode", "b": "", "c": ""}
    assert time.monotonic() - began < 40


def test_decoded__a_file_that_a_process_died_over_once_is_tried_again(tmp_path: Path) -> None:
    results = {result.image.name: result.error for result in decoded(jobs("a", f"once {tmp_path}/x", "b"), Deadly(), 1)}
    assert set(results.values()) == {""}


def test_decoded__a_process_that_is_stopped_is_ended_all_the_same() -> None:
    stop = threading.Event()
    results = decoded(jobs("a", "hangs"), Deadly(), 1, stop=stop)
    assert next(results).image.name == "a"
    (child,) = multiprocessing.active_children()
    os.kill(child.pid or 0, signal.SIGSTOP)
    stop.set()
    began = time.monotonic()
    assert [*results] == []
    assert time.monotonic() - began < 15
    assert not child.is_alive()
