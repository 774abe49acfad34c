"""Groups of images of one film, and what is wrong with each."""

from pathlib import Path

import cv2
import pandas as pd
import pytest
from tests.unit.inspection.films import film

from pulmo.inspection import duplicates as module
from pulmo.inspection.duplicates import by_kind, duplicates
from pulmo.inspection.looking import look_at


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    """Nine files: 0 = 3 = 8 pixel by pixel, 4 is 1 compressed, 5 is 4 mirrored, 7 cannot be read, 2 and 6 are alone."""
    images = [film(seed) for seed in range(3)]
    images += [images[0], images[1], images[1][:, ::-1], film(9), images[2], images[0]]
    rows = []
    for number, image in enumerate(images):
        path = tmp_path / f"{number}.{'jpg' if number == 4 else 'tiff' if number == 8 else 'png'}"
        cv2.imwrite(str(path), image)
        rows.append({"image_id": str(number), "patient_id": f"p{number % 7}", "path": str(path), "label": number % 2})
    Path(rows[7]["path"]).write_bytes(Path(rows[7]["path"]).read_bytes()[:100])
    return pd.DataFrame(rows).assign(split=[*["train"] * 5, *["test"] * 4])


def found_in(table: pd.DataFrame) -> pd.DataFrame:
    looks, thumbs = look_at(table["path"].tolist())
    return duplicates(table, looks, thumbs)


def test_duplicates__images_of_a_film_share_a_group(table: pd.DataFrame) -> None:
    found = found_in(table)
    members = found.groupby("group")["image_id"].agg(set).tolist()
    assert members == [{"0", "3", "8"}, {"1", "4", "5"}]
    assert found.groupby("group")["kind"].agg(set).tolist() == [{"identical"}, {"mirrored"}]
    assert found.set_index("image_id")["correlation"]["3"] == 1
    assert 0.9 < found.set_index("image_id")["correlation"]["4"] < 1


def test_duplicates__tell_splits_patients_and_classes(table: pd.DataFrame) -> None:
    counted = by_kind(found_in(table))
    assert counted.loc["identical"].to_dict() == {
        "films": 1,
        "images": 3,
        "across_splits": 1,  # 8 is tested on
        "across_patients": 1,
        "labels": 1,  # 3 is odd
    }
    assert counted.loc["mirrored"].to_dict() == {
        "films": 1,
        "images": 3,
        "across_splits": 1,
        "across_patients": 1,
        "labels": 1,
    }


def test_duplicates__none_is_an_empty_table(table: pd.DataFrame) -> None:
    found = found_in(table.iloc[[0, 1, 2, 6, 7]].reset_index(drop=True))
    assert list(found.columns) == module.COLUMNS
    assert found.empty
    assert by_kind(found).empty


def test_duplicates__identical_means_each_pixel_of_the_file(tmp_path: Path) -> None:
    """A grey JPEG of 1024 pixels is looked at in small, where one pixel is lost in the average."""
    large = cv2.resize(film(0), (1024, 1024), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "a.jpg"), large, [cv2.IMWRITE_JPEG_QUALITY, 100])
    other = large.copy()
    other[500, 500] += 3
    cv2.imwrite(str(tmp_path / "b.jpg"), other, [cv2.IMWRITE_JPEG_QUALITY, 100])
    paths = [str(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    looks, thumbs = look_at(paths)
    assert looks[0].pixels == looks[1].pixels
    frame = pd.DataFrame({"image_id": ["a", "b"], "patient_id": "p", "path": paths, "label": 0, "split": "train"})
    assert set(duplicates(frame, looks, thumbs)["kind"]) == {"near"}
