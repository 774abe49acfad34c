"""A user's own folder: classes by folder or by csv."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulmo.data.folder import Folder
from pulmo.errors import ConfigError, DataError
from pulmo.transforms.preprocess import Preprocess

Make = Callable[..., Folder]
WriteCsv = Callable[..., Path]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "mine"


@pytest.fixture
def make(root: Path) -> Make:
    def make(*files: str, **arguments: Any) -> Folder:
        for name in files:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return Folder(**({"root": str(root), "preprocess": Preprocess(size=16)} | arguments))

    return make


def test_index__class_folders_without_splits(make: Make) -> None:
    table = make("Normal/a.png", "PNEUMONIA/b.jpg", "pneumonia/sub/c.dcm").index()
    assert table["image_id"].tolist() == ["Normal/a", "PNEUMONIA/b", "pneumonia/sub/c"]
    assert table["label"].tolist() == [0, 1, 1]
    assert set(table["split"]) == {""}


def test_index__class_folders_within_splits(make: Make) -> None:
    table = make("Train/normal/a.png", "valid/normal/b.png", "validation/pneumonia/c.png", "TEST/normal/d.png").index()
    by_image = dict(zip(table["image_id"].str[-1], table["split"], strict=True))
    assert by_image == {"a": "train", "b": "val", "c": "val", "d": "test"}
    assert table.set_index("image_id").loc["validation/pneumonia/c", "label"] == 1


def test_index__names_may_hold_points_and_spaces(make: Make) -> None:
    table = make("normal/a.b 1.png", "normal/a.b 2.png").index()
    assert table["image_id"].tolist() == ["normal/a.b 1", "normal/a.b 2"]


def test_classes__are_those_configured_whatever_their_case(make: Make) -> None:
    module = make("Healthy/a.png", "covid/b.png", "TB/c.png", classes=["healthy", "tb", "COVID"])
    assert module.class_names == ("healthy", "tb", "COVID")
    assert module.index().set_index("image_id")["label"].to_dict() == {"Healthy/a": 0, "TB/c": 1, "covid/b": 2}


def test_classes__an_unknown_one_comes_with_its_remedy(make: Make) -> None:
    with pytest.raises(
        DataError, match=r"class 'covid' is none of normal, pneumonia: give data\.classes=\[normal,covid\]"
    ):
        make("normal/a.png", "Covid/b.png").index()


def test_classes__at_least_two(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"data\.classes=\['normal'\]: at least two"):
        make(classes=["normal"])


def test_patient__is_the_first_group_of_the_expression(make: Make) -> None:
    table = make("normal/p7-1.png", "pneumonia/p7-2.png", "normal/p12-1.png", patient=r"^p(\d+)-").index()
    assert table.set_index("image_id")["patient_id"].to_dict() == {
        "normal/p12-1": "12",
        "normal/p7-1": "7",
        "pneumonia/p7-2": "7",
    }


def test_patient__images_that_name_none_count_as_one_each_and_are_told(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    table = make("normal/p7-1.png", "normal/x.png", "pneumonia/y.png", patient=r"^p(\d+)-").index()
    assert sorted(table["patient_id"]) == ["7", "normal/x", "pneumonia/y"]
    assert "2 images name no patient (data.patient=REGEX, or a csv column)" in caplog.text


@pytest.mark.parametrize(
    ("expression", "message"),
    [("(", "is no regular expression"), (r"p\d+", "put the patient's part in parentheses")],
)
def test_patient__an_expression_that_cannot_work_is_refused(make: Make, expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(patient=expression)


def test_index__a_folder_without_images_says_what_was_expected(make: Make, root: Path) -> None:
    root.mkdir()
    with pytest.raises(DataError, match=r"expected .*/CLASS/… with CLASS in normal, pneumonia"):
        make().index()


def test_masks__within_the_root_are_no_images(make: Make, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = make("normal/a.png", "pneumonia/b.png", "masks/b.png", masks=str(root / "masks"))
    monkeypatch.chdir(root.parent)
    for masks in (str(root / "masks"), "mine/masks"):
        module.masks = masks
        table = module.index()
        assert table["image_id"].tolist() == ["normal/a", "pneumonia/b"]
        assert [bool(mask) for mask in table["mask"]] == [False, True]


def test_csv__tells_all_there_is(make: Make, root: Path, write_csv: WriteCsv) -> None:
    rows = [
        ("path", "label", "patient", "split", "mask"),
        ("a/1.png", "Pneumonia", "p1", "Train", "m/1.png"),
        ("/elsewhere/2.png", "normal", "p2", "validation", ""),
        ("a/3.png", "", "p3", "", ""),
    ]
    write_csv(root / "list.csv", rows)
    table = make(csv="list.csv").index()
    assert table["path"].tolist() == [str(root / "a/1.png"), "/elsewhere/2.png", str(root / "a/3.png")]
    assert table["label"].tolist() == [1, 0, -1]
    assert table["patient_id"].tolist() == ["p1", "p2", "p3"]
    assert table["split"].tolist() == ["train", "val", ""]
    assert table["mask"].tolist() == [str(root / "m/1.png"), "", ""]


def test_csv__needs_only_path_and_label(make: Make, root: Path, tmp_path: Path, write_csv: WriteCsv) -> None:
    elsewhere = write_csv(tmp_path / "lists/mine.csv", [("label", "path"), ("normal", "p7-1.png")], ";")
    table = make(csv=str(elsewhere), patient=r"p(\d+)").index()
    assert table["path"].tolist() == [str(root / "p7-1.png")]
    assert table["patient_id"].tolist() == ["7"]


def test_csv__may_lie_in_the_home_folder(
    make: Make, tmp_path: Path, write_csv: WriteCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_csv(tmp_path / "mine.csv", [("path", "label"), ("a.png", "normal")])
    assert make(csv="~/mine.csv").index()["label"].tolist() == [0]


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (["normal", "pneumonia"], ["0", "1", " 1 ", "Normal"], [0, 1, 1, 0]),
        (["1", "0"], ["1", "0", "0", ""], [0, 1, 1, -1]),  # names hold, where classes are named by numbers
    ],
)
def test_csv__numbers_are_the_index_of_the_class(
    make: Make, root: Path, write_csv: WriteCsv, classes: list[str], labels: list[str], expected: list[int]
) -> None:
    write_csv(root / "list.csv", [("path", "label"), *((f"{i}.png", label) for i, label in enumerate(labels))])
    assert make(csv="list.csv", classes=classes).index()["label"].tolist() == expected


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("path", "class"), ("a.png", "normal")], "has no column label; it has path, class"),
        ([("path", "label", "split"), ("a.png", "normal", "exam")], "split 'exam' is none of train, val, valid"),
        ([("path", "label"), ("a.png", "2")], "class '2' is none of normal, pneumonia"),
        ([("path", "label")], "has a header and no image"),
    ],
)
def test_csv__what_does_not_fit_is_told(
    make: Make, root: Path, write_csv: WriteCsv, rows: list[tuple[str, ...]], message: str
) -> None:
    write_csv(root / "list.csv", rows)
    with pytest.raises(DataError, match=message):
        make(csv="list.csv").index()


def test_setup__images_outside_of_class_folders_alone_are_told(make: Make) -> None:
    with pytest.raises(DataError, match="no image with a label in"):
        make("train/a.png", "test/b.png", cache="off").setup("fit")
