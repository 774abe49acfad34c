"""Copies that do not lie on their original, and other films that do not become one by being laid over it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.unit.inspection.films import Grey, film

from pulmo.inspection.aligning import CLOSE, aligned, alike_closely
from pulmo.inspection.hashing import SIDE, detail, small


def moved(image: Grey, turned: float = 0.0, scale: float = 1.0, shift: float = 0.0) -> Grey:
    height, width = image.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turned, scale)
    matrix[:, 2] += shift * width
    return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)


@pytest.mark.parametrize(
    "move", [{"turned": 2.0}, {"scale": 1.04}, {"shift": 0.02}], ids=["turned", "cropped", "shifted"]
)
def test_aligned__a_moved_copy_shows_its_detail_again(move: dict[str, float], tmp_path: Path) -> None:
    image = film(0, (CLOSE, CLOSE))
    copy = moved(image, **move)
    one, other = small(image), small(copy)
    before = float(np.prod(detail(np.stack([one, other])), axis=0).sum())
    correlation, warp = aligned(one, other, 2.0)
    assert before < 0.85 < 0.95 < correlation
    paths = [str(tmp_path / name) for name in ("a.png", "b.png")]
    for path, picture in zip(paths, (image, copy), strict=True):
        cv2.imwrite(path, picture)
    assert alike_closely(paths[0], paths[1], warp, SIDE, "near", 2.0)


def test_aligned__tells_by_how_much_a_copy_was_shifted() -> None:
    image = cv2.resize(film(1), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    _, warp = aligned(image, moved(image, shift=2 / SIDE), 2.0)
    np.testing.assert_allclose(warp, [[1, 0, 2], [0, 1, 2]], atol=0.1)


def test_aligned__another_film_stays_another() -> None:
    for seed in range(1, 5):
        assert aligned(small(film(0)), small(film(seed)), 2.0)[0] < 0.6


def test_aligned__pictures_of_one_grey_are_like_none() -> None:
    black = np.zeros((SIDE, SIDE), np.uint8)
    assert aligned(black, black, 2.0)[0] == 0
    assert aligned(small(film(0)), black, 2.0)[0] == 0


def test_alike_closely__one_anatomy_with_other_fine_detail_is_no_copy(tmp_path: Path) -> None:
    """Alike at 64 pixels, where the finest detail is averaged away."""
    rng = np.random.default_rng(0)
    coarse = film(2, (CLOSE, CLOSE)).astype(float)
    paths = []
    for number in range(2):
        picture = np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype(np.uint8)
        paths.append(str(tmp_path / f"{number}.png"))
        cv2.imwrite(paths[-1], picture)
    thumbs = [small(np.asarray(cv2.imread(path, cv2.IMREAD_GRAYSCALE), np.uint8)) for path in paths]
    correlation, warp = aligned(thumbs[0], thumbs[1], 2.0)
    assert correlation > 0.8
    assert not alike_closely(paths[0], paths[1], warp, SIDE, "near", 2.0)


@pytest.mark.parametrize("change", ["mirrored", "inverted"])
def test_alike_closely__takes_the_change_back(change: str, tmp_path: Path) -> None:
    image = film(3, (CLOSE, CLOSE))
    copy = moved(image, turned=1.0)
    written = copy[:, ::-1] if change == "mirrored" else 255 - copy
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    cv2.imwrite(paths[0], image)
    cv2.imwrite(paths[1], written)
    _, warp = aligned(small(image), small(copy), 2.0)
    assert alike_closely(paths[0], paths[1], warp, SIDE, change, 2.0)
    assert not alike_closely(paths[0], paths[1], warp, SIDE, "near", 2.0)
