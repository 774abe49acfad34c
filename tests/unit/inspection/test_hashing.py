"""Which copies of a film are found, and that other films are not taken for copies."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from tests.unit.inspection.films import Grey, film

from pulmo.inspection import hashing
from pulmo.inspection.hashing import detail, hashes, pairs, small


def jpeg_again(image: Grey) -> Grey:
    done = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return np.asarray(cv2.imdecode(done, cv2.IMREAD_GRAYSCALE), np.uint8)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda image: image.copy(), "near"),
        (jpeg_again, "near"),
        (lambda image: cv2.resize(image, (97, 150), interpolation=cv2.INTER_AREA), "near"),
        (lambda image: (255 * (image / 255) ** 0.7).astype(np.uint8), "near"),
        (lambda image: image.astype(np.uint16) * 257, "near"),
        (lambda image: image[:, ::-1].copy(), "mirrored"),
        (lambda image: 255 - image, "inverted"),
    ],
    ids=["itself", "JPEG 30", "half the size", "gamma 0.7", "16 bits", "mirrored", "inverted"],
)
def test_pairs__a_changed_copy_is_found_and_no_other_film(change: Callable[[Grey], Grey], kind: str) -> None:
    films = [film(seed) for seed in range(6)]
    found = list(pairs(np.stack([small(image) for image in [*films, change(films[2])]])))
    assert [(pair.one, pair.other, pair.kind) for pair in found] == [(2, 6, kind)]
    assert found[0].correlation > 0.95


def test_pairs__films_alike_in_shape_alone_are_no_copies() -> None:
    coarse = film(0).astype(float)
    other = cv2.GaussianBlur(coarse, (0, 0), 12) + film(1) - cv2.GaussianBlur(film(1).astype(float), (0, 0), 12)
    thumbs = np.stack([small(film(0)), small(np.clip(other, 0, 255).astype(np.uint8))])
    assert list(pairs(thumbs)) == []


def test_pairs__black_and_one_coloured_pictures_are_like_no_other() -> None:
    thumbs = np.stack([np.full((64, 64), grey, np.uint8) for grey in (0, 0, 7, 255)])
    assert list(pairs(thumbs)) == []


def test_pairs__are_the_same_whatever_is_compared_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    films = [film(seed) for seed in range(5)]
    copies = [*films, films[4], films[1][:, ::-1].copy(), 255 - films[3]]
    thumbs = np.stack([small(image) for image in copies])
    whole = sorted(pairs(thumbs))
    monkeypatch.setattr(hashing, "TILE", 3)
    monkeypatch.setattr(hashing, "CHUNK", 1)
    assert [pair[:3] for pair in sorted(pairs(thumbs))] == [pair[:3] for pair in whole]
    assert [pair[:3] for pair in whole] == [(1, 6, "mirrored"), (3, 7, "inverted"), (4, 5, "near")]


def test_hashes__of_a_mirrored_picture_differ_in_the_sign_of_odd_columns() -> None:
    thumb = small(film(3))
    one, mirrored = hashes(np.stack([thumb, thumb[:, ::-1]]))
    np.testing.assert_array_equal(mirrored, one * hashing.MIRROR)


def test_detail__correlates_as_numpy_says() -> None:
    thumbs = np.stack([small(film(0)), small(film(1))])
    rest = [thumb - cv2.GaussianBlur(thumb, (0, 0), 2.0) for thumb in thumbs.astype(np.float32)]
    expected = np.corrcoef(rest[0].ravel(), rest[1].ravel())[0, 1]
    one, other = detail(thumbs)
    assert one @ other == pytest.approx(expected, abs=1e-5)
