import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pulmo.phantom import write_kermany


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_kermany(folder / "kermany", masks=folder / "masks", images=120, seed=2, size=64)
    return folder


def person(path: Path) -> str:
    """Series or pathogen, and number: what names a person in this set."""
    if sick := re.fullmatch(r"person(\d+)_(bacteria|virus)_\d+", path.stem):
        return f"{sick[2]} {sick[1]}"
    normal = re.fullmatch(r"((?:NORMAL2-)?IM-\d{4})-0001(-\d{4})?", path.stem)
    assert normal is not None, path
    return normal[1]


def pictures(root: Path, split: str = "*", folder: str = "*") -> list[Path]:
    return sorted((root / "kermany").glob(f"{split}/{folder}/*.jpeg"))


def test_write_kermany__splits_and_classes_have_their_counts(root: Path) -> None:
    assert len(pictures(root)) == 120
    assert len(pictures(root, "val", "NORMAL")) == len(pictures(root, "val", "PNEUMONIA")) == 8
    assert len(pictures(root, "test")) == 24
    assert all(path.stem.startswith("person") for path in pictures(root, "*", "PNEUMONIA"))
    assert all("IM-" in path.stem for path in pictures(root, "*", "NORMAL"))


def test_write_kermany__no_person_crosses_the_splits(root: Path) -> None:
    people = {split: {person(path) for path in pictures(root, split)} for split in ("train", "val", "test")}
    assert not people["train"] & people["test"]
    assert not people["train"] & people["val"]
    assert not people["val"] & people["test"]


def test_write_kermany__one_number_names_different_people(root: Path) -> None:
    names = {person(path) for path in pictures(root)}
    assert {"bacteria 1", "virus 1"} <= names
    assert {"IM-0115", "NORMAL2-IM-0115"} <= names


def test_write_kermany__some_people_have_several_images(root: Path) -> None:
    for folder in ("NORMAL", "PNEUMONIA"):
        people = [person(path) for path in pictures(root, "train", folder)]
        assert 1 < len(set(people)) < len(people)


def test_write_kermany__pictures_are_wide_of_many_sizes_and_partly_rgb(root: Path) -> None:
    images = [np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) for path in pictures(root)]
    aspects = np.array([image.shape[1] / image.shape[0] for image in images])
    assert 1.15 < aspects.min() < 1.3
    assert 1.5 < aspects.max() < 1.65
    assert len({image.shape[:2] for image in images}) > 50
    assert sum(image.ndim == 3 for image in images) == 6


def test_write_kermany__masks_are_one_bit_and_of_the_pictures_size(root: Path) -> None:
    for split in ("train", "test"):
        stems = {path.stem for path in pictures(root, split)}
        masks = sorted((root / "masks" / split).glob("*.png"))
        assert {path.stem for path in masks} == stems
        for path in masks[:5]:
            with Image.open(path) as mask, Image.open(next((root / "kermany").rglob(f"{path.stem}.jpeg"))) as image:
                assert mask.mode == "1"
                assert mask.size == image.size
                assert 0.05 < np.asarray(mask).mean() < 0.4


def test_write_kermany__same_seed_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_kermany(tmp_path / name, images=12, seed=5, size=64)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 13
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
