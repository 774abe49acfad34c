"""Kermany's folders: the file name tells patient and pathogen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulmo.data.kermany import Kermany, patient_of
from pulmo.errors import DataError
from pulmo.transforms.preprocess import Preprocess

FILES = [
    "train/NORMAL/IM-0115-0001.jpeg",
    "train/NORMAL/NORMAL2-IM-0115-0001.jpeg",
    "train/PNEUMONIA/person1_bacteria_1.jpeg",
    "train/PNEUMONIA/person1_bacteria_2.jpeg",
    "train/PNEUMONIA/person1_virus_6.jpeg",
    "val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg",
    "test/NORMAL/IM-0001-0001.jpeg",
    "test/PNEUMONIA/person1_virus_7.jpeg",
]

Make = Callable[..., Kermany]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in [*FILES, "train/NORMAL/.DS_Store", "train/NORMAL/._IM-0115-0001.jpeg", "train/PNEUMONIA/Thumbs.db"]:
        path = tmp_path / "chest_xray" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "chest_xray"


@pytest.fixture
def make(root: Path) -> Make:
    def make(**arguments: Any) -> Kermany:
        return Kermany(**({"root": str(root), "preprocess": Preprocess(size=16)} | arguments))

    return make


@pytest.mark.parametrize(
    ("name", "patient", "pathogen"),
    [
        ("person23_bacteria_77.jpeg", "bacteria-23", "bacteria"),
        ("person23_virus_77.jpeg", "virus-23", "virus"),  # another patient: each pathogen counts afresh
        ("person0023_VIRUS_7.jpeg", "virus-23", "virus"),
        ("IM-0115-0001.jpeg", "IM-115", ""),
        ("IM-0115-0001-0002.jpeg", "IM-115", ""),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-115", ""),  # another patient: each series counts afresh
        ("normal2-im-0115-0001.jpeg", "NORMAL2-115", ""),
        ("NORMAL-IM-7.jpeg", "NORMAL-7", ""),
        ("x17.png", "x17", ""),
    ],
)
def test_patient_of__is_series_or_pathogen_and_number(name: str, patient: str, pathogen: str) -> None:
    assert patient_of(Path("folder") / name) == (patient, pathogen)


def test_index__one_row_an_image_of_the_class_folders(make: Make) -> None:
    table = make(split="official").index()
    assert sorted(table["image_id"]) == sorted(name.removesuffix(".jpeg") for name in FILES)
    for image_id, split, label in zip(table["image_id"], table["split"], table["label"], strict=True):
        assert image_id.split("/")[:2] == [split, ("NORMAL", "PNEUMONIA")[label]]
    assert set(table["view"]) == {"AP"}


def test_index__file_names_that_tell_no_patient_are_told(
    make: Make, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make().index()
    assert not caplog.records
    (root / "train/NORMAL/scan 17.jpeg").touch()
    assert "scan 17" in make().index()["patient_id"].tolist()
    assert f"1 of {len(FILES) + 1} file names tell no patient" in caplog.text


def test_split__auto_gives_the_sixteen_to_training_and_official_keeps_them(make: Make) -> None:
    assert make(split="official").index()["split"].value_counts().to_dict() == {"train": 5, "val": 2, "test": 2}
    assert make(split="auto").index()["split"].value_counts().to_dict() == {"train": 7, "test": 2}


def test_index__the_archive_may_be_nested(make: Make, root: Path) -> None:
    assert make(root=str(root.parent)).index()["path"].tolist() == make().index()["path"].tolist()


def test_three_class__is_the_pathogen_of_the_name(make: Make, root: Path) -> None:
    module = make(labels="three_class")
    table = module.index().set_index("image_id")
    assert module.class_names == ("NORMAL", "BACTERIA", "VIRUS")
    assert table.loc["train/NORMAL/IM-0115-0001", "label"] == 0
    assert table.loc["train/PNEUMONIA/person1_bacteria_2", "label"] == 1
    assert table.loc["test/PNEUMONIA/person1_virus_7", "label"] == 2
    (root / "train/PNEUMONIA/patient9.jpeg").touch()
    with pytest.raises(DataError, match=r"patient9\.jpeg: no pathogen in the file name; data\.labels=three_class"):
        module.index()


def test_masks__are_found_by_the_images_name(make: Make, tmp_path: Path) -> None:
    for name in ("train/IM-0115-0001.png", "test/person1_virus_7.png", "other.png"):
        (tmp_path / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "masks" / name).touch()
    masks = make(masks=str(tmp_path / "masks")).index().set_index("image_id")["mask"]
    assert masks["train/NORMAL/IM-0115-0001"].endswith("masks/train/IM-0115-0001.png")
    assert masks["test/PNEUMONIA/person1_virus_7"].endswith("masks/test/person1_virus_7.png")
    assert (masks == "").sum() == len(FILES) - 2


def test_index__a_folder_without_images_says_what_was_expected(make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no images in train, val, test / NORMAL, PNEUMONIA"):
        make(root=str(tmp_path / "elsewhere")).index()


def test_setup__a_patient_in_train_and_test_is_told(make: Make) -> None:
    module = make(cache="off")
    with pytest.raises(DataError, match=r"1 patients stand in more than one split \(virus-1\)"):
        module.setup("fit")
