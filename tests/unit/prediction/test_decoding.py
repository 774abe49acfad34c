"""One file, prepared in each of several ways."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pulmo.prediction.crew import decoded
from pulmo.prediction.decoding import DrawnLungs, Job, Reader
from pulmo.prediction.paths import Found
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess


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
    none = DrawnLungs(np.zeros((16, 16), np.float32), geometry, 0.5, (20, 20))
    assert reader(Job(Found(str(tmp_path / "x.png"), "x"), none)).error == "its lung mask is missing or empty"
    left = DrawnLungs(np.repeat([[1.0, 0.0]], 16, 0).repeat(8, 1).astype(np.float32), geometry, 0.5, (20, 20))
    (image,) = reader(Job(Found(str(tmp_path / "x.png"), "x"), left)).images
    assert image[:, :7].any()
    assert not image[:, 9:].any()


def test_reader__a_lung_mask_that_cannot_be_read_is_told_apart_from_its_image(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.arange(400, dtype=np.uint8).reshape(20, 20))
    (tmp_path / "mask.png").touch()
    reader = Reader((Preprocess(size=16, use="lungs"),))
    error = reader(Job(Found(str(tmp_path / "x.png"), "x"), str(tmp_path / "mask.png"))).error
    assert error == f"its lung mask {tmp_path / 'mask.png'}: the file is empty"


def test_reader__a_file_that_was_replaced_while_its_lungs_were_drawn_is_told(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), np.arange(400, dtype=np.uint8).reshape(20, 20))
    geometry = Geometry.fit((0, 0, 30, 30), 16, keep_aspect=False)
    drawn = DrawnLungs(np.ones((16, 16), np.float32), geometry, 0.5, (30, 30))
    result = Reader((Preprocess(size=16, use="lungs"),))(Job(Found(str(tmp_path / "x.png"), "x"), drawn))
    assert "replaced while its lungs were drawn" in result.error
