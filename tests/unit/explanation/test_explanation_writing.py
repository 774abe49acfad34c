"""Pictures of an image's heat: in the file's own geometry, the heat where the network saw it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pulmo.data.preparing import Prepared
from pulmo.explanation.looking import Look
from pulmo.explanation.writing import LARGEST, Folder, write_pictures
from pulmo.transforms.preprocess import Preprocess

SIDE = 40


def drawn(tmp_path: Path, shape: tuple[int, int], **settings: object) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A film that is bright in its upper right eighth, the network's heat there, and the two pictures."""
    film = np.full(shape, 60, np.uint8)
    film[: shape[0] // 4, -shape[1] // 2 :] = 220
    cv2.imwrite(str(tmp_path / "film.png"), film)
    lungs = np.zeros(shape, np.uint8)
    lungs[: shape[0] // 2] = 1
    image, geometry = Preprocess(size=SIDE, **settings)(film, lungs, shape)  # type: ignore[arg-type]
    heat = np.asarray(image > 150, np.float32)
    look = Look(0, Prepared(image, None, geometry, {}), np.array([0.2, 0.8]), heat)
    write_pictures(Folder(tmp_path / "out"), look, str(tmp_path / "film.png"), "film")
    overlay, alone = (
        cv2.imread(str(tmp_path / "out" / "images" / f"film_{name}.png"), cv2.IMREAD_UNCHANGED)
        for name in ("overlay", "heat")
    )
    return film, overlay, alone


@pytest.mark.parametrize("shape", [(96, 96), (60, 120), (120, 60)])
@pytest.mark.parametrize("settings", [{}, {"keep_aspect": True}, {"use": "crop", "margin": 0.05}])
def test_pictures__heat_lies_on_what_is_hot(
    tmp_path: Path, shape: tuple[int, int], settings: dict[str, object]
) -> None:
    film, overlay, alone = drawn(tmp_path, shape, **settings)
    assert alone.shape == film.shape
    assert overlay.shape == (*film.shape, 3)
    hot, bright = alone > 127, film > 150
    assert (hot & bright).sum() / (hot | bright).sum() > 0.75
    colours = np.ptp(overlay.astype(int), axis=2)  # grey where nothing is hot
    assert colours[hot & bright].mean() > 3 * max(1.0, colours[~hot & ~bright].mean())


def test_pictures__of_a_large_film_are_smaller_and_keep_their_shape(tmp_path: Path) -> None:
    _, overlay, alone = drawn(tmp_path, (1500, 2 * LARGEST))
    assert alone.shape == overlay.shape[:2] == (750, LARGEST)
