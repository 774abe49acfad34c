"""PadChest's list: findings as text, many ways to have none."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pulmo.data.padchest import LabelSet, PadChest, findings, label_of
from pulmo.errors import ConfigError, DataError
from pulmo.transforms.preprocess import Preprocess

HEADER = ("", "ImageID", "PatientID", "Projection", "MethodLabel", "Labels")
HEADER += ("PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM")
ROWS = [
    (0, "p1_a.png", "p1", "PA", "Physician", "['normal']", "F", "1960.0", "20101231"),
    (1, "p1_b.png", "p1", "L", "Physician", "['normal']", "F", "1960.0", "20101231"),
    (2, "p2.png", "p2", "AP", "RNN_model", "['pneumonia', ' infiltrates ']", "M", "", "20110101"),
    (3, "p3.png", "p3", "PA", "Physician", "['unchanged']", "M", "1951.0", ""),
    (4, "p4.png", "p4", "AP_horizontal", "Physician", "['pneumonia']", "M", "1951.0", "20120101"),
    (5, "p5.png", "p5", "PA", "RNN_model", "", "O", "1951.0", "20120101"),
]
SETS = [
    LabelSet(name="Normal", findings=["normal"]),
    LabelSet(name="Other", findings=["*"]),
    LabelSet(name="Pneumonia", findings=["pneumonia", "Atypical Pneumonia"]),
]

Make = Callable[..., PadChest]
WriteCsv = Callable[..., Path]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def root(tmp_path: Path, write_csv: WriteCsv) -> Path:
    root = tmp_path / "padchest"
    write_csv(root / "PADCHEST_labels.csv", [HEADER, *ROWS])
    touch(root, *(f"{number % 2}/{row[1]}" for number, row in enumerate(ROWS)))
    return root


@pytest.fixture
def make(root: Path) -> Make:
    def make(**arguments: Any) -> PadChest:
        return PadChest(**({"root": str(root), "preprocess": Preprocess(size=16)} | arguments))

    return make


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("['pneumonia', 'infiltrates']", {"pneumonia", "infiltrates"}),
        ("[' COPD signs ', 'Normal', '']", {"copd signs", "normal"}),
        ("[\"it's\", 'x']", {"it's", "x"}),
        ("['']", set()),
        ("[]", set()),
        ("", set()),
        ("nan", set()),
        ("normal", set()),
        ("['normal'", set()),
        ("{'normal'}", set()),
        ("[nan, 'normal']", set()),
        ("[None, 1, 'normal']", {"normal"}),
    ],
)
def test_findings__are_the_texts_of_a_list_and_of_nothing_else(text: str, found: set[str]) -> None:
    assert findings(text) == found


@pytest.mark.parametrize(
    ("found", "label"),
    [
        (set(), -1),  # no findings is no label, least of all normal
        ({"normal"}, 0),
        ({"cardiomegaly"}, 1),
        ({"pneumonia"}, 2),
        ({"atypical pneumonia"}, 2),  # case does not matter
        ({"cardiomegaly", "pneumonia"}, 2),  # of two that fit, the later holds
        ({"normal", "cardiomegaly"}, 1),
        ({"exclude"}, -1),
        ({"exclude", "pneumonia"}, -1),
        ({"unchanged"}, -1),
        ({"suboptimal study"}, -1),
        ({"unchanged", "normal"}, 0),
        ({"suboptimal study", "pneumonia"}, 2),
    ],
)
def test_label_of__the_last_class_that_fits(found: set[str], label: int) -> None:
    assert label_of(frozenset(found), SETS) == label


def test_label_of__what_is_listed_nowhere_takes_no_part_without_a_star() -> None:
    assert label_of(frozenset({"cardiomegaly"}), [SETS[0], SETS[2]]) == -1
    assert label_of(frozenset({"cardiomegaly", "normal"}), [SETS[0], SETS[2]]) == 0


def test_label_of__a_star_does_not_take_what_an_earlier_class_lists() -> None:
    star_last = [SETS[0], SETS[2], SETS[1]]
    assert label_of(frozenset({"pneumonia"}), star_last) == 1
    assert label_of(frozenset({"pneumonia", "cardiomegaly"}), star_last) == 2


def test_index__frontal_images_with_their_labels(make: Make) -> None:
    table = make().index()
    assert table["image_id"].tolist() == ["p1_a", "p2", "p3", "p5"]
    assert table["patient_id"].tolist() == ["p1", "p2", "p3", "p5"]
    assert table["label"].tolist() == [0, 1, -1, -1]
    assert table["view"].tolist() == ["PA", "AP", "PA", "PA"]
    assert [Path(path).name for path in table["path"]] == ["p1_a.png", "p2.png", "p3.png", "p5.png"]
    assert make().class_names == ("Normal", "Diseased")


def test_index__age_is_years_at_the_study_where_both_dates_are_known(make: Make) -> None:
    assert make().index()["age"].tolist() == ["50", "", "", "61"]
    assert make().index()["sex"].tolist() == ["F", "M", "M", "O"]


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"labels_by": "physician"}, ["p1_a", "p3"]),
        ({"labels_by": "all", "views": ["L"]}, ["p1_b"]),
        ({"views": ["AP_horizontal", "AP"]}, ["p2", "p4"]),
    ],
)
def test_index__options_choose_among_the_images(make: Make, arguments: dict[str, Any], kept: list[str]) -> None:
    assert make(**arguments).index()["image_id"].tolist() == kept


def test_index__label_sets_are_the_users(make: Make) -> None:
    module = make(labels=SETS, views=["PA", "AP", "AP_horizontal"])
    assert module.class_names == ("Normal", "Other", "Pneumonia")
    assert module.index()["label"].tolist() == [0, 2, -1, 2, -1]
    with pytest.raises(ConfigError, match="at least two classes"):
        make(labels=SETS[:1])


@pytest.mark.parametrize("separator", [",", ";"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-8-sig"])
def test_index__lists_saved_by_a_spreadsheet_count_alike(
    root: Path, make: Make, write_csv: WriteCsv, separator: str, encoding: str
) -> None:
    rows = [(*row[:6], *row[6:]) if row[1] != "p2.png" else (*row[:5], "['neumonía']", *row[6:]) for row in ROWS]
    write_csv(root / "PADCHEST_labels.csv", [HEADER, *rows], separator, encoding)
    table = make(labels=[SETS[0], LabelSet(name="Neumonía", findings=["neumonía"])]).index()
    assert table["label"].tolist() == [0, 1, -1, -1]


def test_index__the_list_may_be_packed_as_it_is_downloaded(root: Path, make: Make) -> None:
    plain = root / "PADCHEST_labels.csv"
    expected = make().index()["label"].tolist()
    (root / "PADCHEST_labels.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert make().index()["label"].tolist() == expected


def test_index__of_two_lists_one_must_be_chosen(root: Path, make: Make, write_csv: WriteCsv) -> None:
    write_csv(root / "PADCHEST_mine.csv", [HEADER, ROWS[0]])
    with pytest.raises(DataError, match=r"has 2 lists: choose one by data\.csv=PADCHEST_labels\.csv"):
        make().index()
    assert make(csv="PADCHEST_mine.csv").index()["image_id"].tolist() == ["p1_a"]
    assert make(csv=str(root / "PADCHEST_mine.csv")).index()["image_id"].tolist() == ["p1_a"]


def test_index__absent_images_are_counted(root: Path, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    (root / "0/p2.png").unlink()
    assert make().index()["image_id"].tolist() == ["p1_a", "p3", "p5"]
    assert f"1 of 4 listed images are not in {root}" in caplog.text
    for path in root.rglob("*.png"):
        path.unlink()
    with pytest.raises(DataError, match=r"none of the 4 images of PADCHEST_labels\.csv is in"):
        make().index()


def test_masks__are_never_taken_for_images(root: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(root, ".gone", "00_masks/p1_a.png", "00_masks/p5.png")  # sorted before the images' folders
    monkeypatch.chdir(root.parent)
    for masks in (str(root / "00_masks"), os.path.join("padchest", "00_masks")):
        table = make(masks=masks).index()
        assert [Path(path).parent.name for path in table["path"]] == ["0", "0", "1", "1"]
        assert [bool(mask) for mask in table["mask"]] == [True, False, False, True]


@pytest.fixture
def simple(tmp_path: Path) -> Path:
    root = tmp_path / "simple"
    touch(root, "raw_images/train/Normal/1.png", "raw_images/train/diseased/2.png", "raw_images/valid/NORMAL/3.png")
    touch(root, "raw_images/test/4.png", "lung_masks/1.png", "lung_masks/4.png")
    return root


def test_simple_layout__folders_tell_split_and_class(
    make: Make, simple: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = make(root=str(simple)).index().set_index("image_id")
    assert table["split"].to_dict() == {
        "test/4": "test",
        "train/Normal/1": "train",
        "train/diseased/2": "train",
        "valid/NORMAL/3": "val",
    }
    assert table["label"].to_dict() == {"test/4": -1, "train/Normal/1": 0, "train/diseased/2": 1, "valid/NORMAL/3": 0}
    assert "raw_images names no patients" in caplog.text


def test_simple_layout__masks_lie_beside_unless_given(make: Make, simple: Path, tmp_path: Path) -> None:
    beside = make(root=str(simple)).index().set_index("image_id")["mask"]
    assert beside["test/4"] == str(simple / "lung_masks/4.png")
    assert beside["valid/NORMAL/3"] == ""
    touch(tmp_path, "mine/3.png")
    given = make(root=str(simple), masks=str(tmp_path / "mine")).index().set_index("image_id")["mask"]
    assert given["valid/NORMAL/3"] == str(tmp_path / "mine/3.png")
    assert given["test/4"] == ""


def test_index__neither_list_nor_raw_images_is_told(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"neither a PADCHEST\*\.csv nor a folder raw_images"):
        make(root=str(tmp_path / "empty")).index()
    (tmp_path / "empty/raw_images").mkdir()
    with pytest.raises(DataError, match="raw_images has no images in train, valid, test / Normal, Diseased"):
        make(root=str(tmp_path / "empty")).index()
