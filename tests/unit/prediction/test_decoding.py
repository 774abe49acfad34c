"""Files decoded in processes: in order, and one that dies costs one file."""

import os
import signal
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from pulmo.errors import PulmoError
from pulmo.prediction.decoding import DrawnLungs, Job, Prepared, Reader, decoded
from pulmo.prediction.paths import Found
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess


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
    with pytest.raises(PulmoError, match="ended with status 5 before it began: give --workers 0"):
        next(decoded(jobs("a"), Unimportable(), 1))  # type: ignore[arg-type]


def test_reader__reads_a_file_once_for_several_preprocesses(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (60, 80), np.uint8)
    cv2.imwrite(str(tmp_path / "x.png"), image)
    ways = (Preprocess(size=16), Preprocess(size=32, keep_aspect=True), Preprocess(size=16, clahe=2.0))
    (prepared,) = decoded([Job(Found(str(tmp_path / "x.png"), "x"))], Reader(ways), 0)
    assert prepared.error == ""
    assert prepared.shape == (60, 80)
    for way, made, geometry in zip(ways, prepared.images, prepared.geometries, strict=True):
        expected, where = way(image)
        np.testing.assert_array_equal(made, expected)
        assert geometry == where


@pytest.mark.parametrize(
    ("picture", "size"), [(np.full((20, 30), 7, np.uint8), "30×20"), (np.zeros((1, 1), np.uint8), "1×1")]
)
def test_reader__an_image_without_any_difference_is_refused(tmp_path: Path, picture: np.ndarray, size: str) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), picture)
    result = Reader((Preprocess(size=16),))(Job(Found(str(tmp_path / "x.png"), "x")))
    assert result.error == f"all of its {size} pixels are alike: there is nothing on it"


def test_reader__lungs_that_are_not_there_are_told(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.arange(400, dtype=np.uint8).reshape(20, 20))
    reader = Reader((Preprocess(size=16, use="lungs"),))
    geometry = Geometry.fit((0, 0, 20, 20), 16, keep_aspect=False)
    none = DrawnLungs(np.zeros((16, 16), np.float32), geometry, 0.5)
    assert reader(Job(Found(str(tmp_path / "x.png"), "x"), none)).error == "its lung mask is missing or empty"
    left = DrawnLungs(np.repeat([[1.0, 0.0]], 16, 0).repeat(8, 1).astype(np.float32), geometry, 0.5)
    (image,) = reader(Job(Found(str(tmp_path / "x.png"), "x"), left)).images
    assert image[:, :7].any()
    assert not image[:, 9:].any()
