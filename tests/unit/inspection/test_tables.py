"""Tables of a data set's contents against numbers counted by hand."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pulmo.inspection import drawing, findings, tables
from pulmo.inspection.contents import Contents
from pulmo.transforms.preprocess import Preprocess

NAMES = ("Normal", "Opacity")


@pytest.fixture
def found() -> Contents:
    """Six images of four patients: p0 has three and stands in two splits; two have boxes, one of them three."""
    table = pd.DataFrame(
        {
            "image_id": list("abcdef"),
            "patient_id": ["p0", "p0", "p0", "p1", "p2", "f"],
            "path": [f"/data/{name}.png" for name in "abcdef"],
            "split": ["train", "train", "test", "train", "val", "test"],
            "label": [0, 1, 1, 1, 0, 0],
            "boxes": [[], [[0, 0, 10, 20]], [[10, 10, 30, 30], [0, 50, 50, 100], [90, 90, 110, 95]], [], [], []],
            "sex": ["F", "F", "F", "M", "", "nan"],
            "view": "",
            "mask": ["/m/a.png", "", "/m/c.png", "/m/d.png", "/m/e.png", "/m/f.png"],
            "age": ["048Y", "48", "18", "155", "", "006M"],
            "there": True,
            "format": "PNG",
            "width": 100,
            "height": 200,
            "bits": [8, 8, 8, 16, 16, 0],
            "kind": "grey",
            "error": ["", "", "", "", "", "cut short: the file ends after 12 bytes"],
        }
    )
    preprocess = Preprocess(size=32)
    data = SimpleNamespace(class_names=NAMES, root="/data", natural_rate=0.225, preprocess=preprocess)
    return Contents(data, "rsna", table, {"rows": 8}, [], "", ["p0"], 1)  # type: ignore[arg-type]


def test_masks__are_counted_by_split(found: Contents) -> None:
    rows = tables.masks(found).set_index("split")
    assert rows.loc["train"].tolist() == ["2", "1"]
    assert rows.loc["all"].tolist() == ["5", "1"]


def test_concerns__images_without_the_mask_that_training_asks_for(found: Contents, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.ckpt").touch()
    assert not any("no lung mask" in line for line in findings.concerns(found))
    found.data.preprocess = Preprocess(size=32, use="lungs")
    (line,) = [line for line in findings.concerns(found) if "no lung mask" in line]
    assert line.startswith("1 of 6 images have no lung mask, and training would refuse them")
    found.data.preprocess = Preprocess(size=32, use="lungs", mask=str(tmp_path))
    assert not any("no lung mask" in line for line in findings.concerns(found))


def test_mean_films__what_the_second_class_has_more_is_above_zero(
    found: Contents, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(drawing, "mean_films", lambda *given: drawn.extend(given))
    bright = np.array([0, 1, 1, 1, 0, 0]) == 1  # the labels
    found.thumbs = np.where(bright[:, None, None], 200, 50).astype(np.uint8) * np.ones((1, 4, 4), np.uint8)
    drawing._means(found, found.thumbs)
    films, difference = drawn
    assert [film.image.max() for film in films] == [50, 200]
    np.testing.assert_array_equal(difference, 150.0)


def test_classes__count_images_and_patients(found: Contents) -> None:
    rows = tables.classes(found).set_index("split")
    assert rows.loc["train"].tolist() == ["3", "2", "1 (1)", "2 (2)", "66.7 %"]
    assert rows.loc["val"].tolist() == ["1", "1", "1 (1)", "0 (0)", "0.0 %"]
    assert rows.loc["all"].tolist() == ["6", "4", "3 (3)", "3 (2)", "50.0 %"]


def test_groups__by_sex_and_age(found: Contents) -> None:
    by = tables.groups(found)
    assert list(by) == ["sex", "age"]  # there is no view
    assert dict(zip(by["sex"][""], by["sex"]["images"], strict=True)) == {"F": "3", "M": "1", "unknown": "2"}
    assert by["age"][""].tolist() == ["0–17", "18–39", "40–59", "unknown"]
    assert by["age"]["Opacity, share"].tolist() == ["0.0 %", "100.0 %", "50.0 %", "50.0 %"]


def test_boxes__counted_by_image_and_measured(found: Contents) -> None:
    rows = tables.boxes(found).set_index("split")
    assert list(rows.columns) == ["boxes", "0 boxes", "1 box", "2 boxes", "3 boxes"]
    assert rows.loc["all"].tolist() == ["4", "4", "1", "0", "1"]
    assert rows.loc["test"].tolist() == ["3", "1", "0", "0", "1"]
    frame = tables.box_frame(found)
    np.testing.assert_allclose(frame["share"], [0.01, 0.02, 0.125, 0.005])
    assert frame["outside"].tolist() == [False, False, False, True]
    np.testing.assert_allclose(frame.loc[2, ["x1", "y1", "x2", "y2"]].astype(float), [0, 0.25, 0.5, 0.5])
    assert tables.box_sizes(frame).iloc[2].tolist()[1::4] == ["0.5 %", "12.5 %"]


def test_box_frame__share_is_unknown_where_the_file_was_not_read(found: Contents) -> None:
    found.table[["width", "height"]] = 0
    frame = tables.box_frame(found)
    assert frame["share"].isna().all()
    assert not frame["outside"].any()
    assert tables.box_sizes(frame)[""].tolist() == ["width in pixels", "height in pixels"]


def test_files__by_format_and_bits_with_their_share_of_the_ill(found: Contents) -> None:
    assert tables.files(found).to_numpy().tolist() == [
        ["PNG", "8", "grey", "3", "66.7 %"],
        ["PNG", "16", "grey", "2", "50.0 %"],
    ]
    assert tables.causes(found)["files"].tolist() == ["1"]


def test_findings__a_patient_in_two_splits_is_a_leak(found: Contents) -> None:
    assert findings.leaks(found) == ["1 patient in more than one split (p0)"]
    assert findings.verdict(found) == "leak: 1 patient in more than one split (p0)"
    found.crossing = []
    assert findings.leaks(found) == []
    assert "of 1 images they are not" in findings.verdict(found)
    assert "duplicates were not looked for" in findings.verdict(found)


def test_findings__copies_across_splits_are_a_leak_and_those_within_are_not(found: Contents) -> None:
    found.crossing = []
    rows = [(1, "near", "a", "train"), (1, "near", "b", "train"), (2, "identical", "c", "test")]
    rows += [(2, "identical", "d", "train"), (3, "mirrored", "e", "val"), (3, "mirrored", "f", "test")]
    copies = pd.DataFrame(rows, columns=["group", "kind", "image_id", "split"]).assign(patient_id="p", label=0)
    found.duplicates = copies.assign(path="", correlation=1.0)
    assert findings.leaks(found) == ["2 films in more than one split (1 identical, 1 mirrored)"]
    found.duplicates = found.duplicates.iloc[:2]
    assert findings.leaks(found) == []
    left = "none by duplicates of 5 of 6 images; the others have no file or cannot be read"
    assert findings.verdict(found).endswith(left)
    found.table["error"] = ""
    assert findings.verdict(found).endswith("none by duplicates")


def test_concerns__rate_unreadable_boxes_and_ages(found: Contents) -> None:
    said = "\n".join(findings.concerns(found))
    assert "Opacity: 50.0 % here, 22.5 % in the whole data set" in said
    assert "1 file cannot be read" in said
    assert "1 box reaching outside of the image" in said
    assert "1 image with an age that is none" in said  # 155
    assert findings.remark(found) == "saying Normal of every test image would be right in 50.0 %"


def test_concerns__a_view_that_tells_the_class_is_a_shortcut(found: Contents) -> None:
    """Of 120 images in AP 90 are ill, of 80 in PA 20: right in 150 of 200 rather than in 110."""
    table = pd.concat([found.table.iloc[:4]] * 50, ignore_index=True)
    found.table = table.assign(view=["AP"] * 120 + ["PA"] * 80, label=[1] * 90 + [0] * 30 + [1] * 20 + [0] * 60)
    assert "the view alone tells the class of 75.0 % rather than 55.0 % of the images" in "\n".join(
        findings.concerns(found)
    )


def test_concerns__a_file_format_that_tells_the_class_is_a_shortcut(found: Contents) -> None:
    table = pd.concat([found.table.iloc[:4]] * 50, ignore_index=True)
    table["label"] = np.arange(200) % 2
    table["bits"] = np.where(table["label"] == 1, 16, 8)
    found.table = table
    said = "\n".join(findings.concerns(found))
    assert "the file's format alone tells the class of 100.0 % rather than 50.0 % of the images" in said
    found.table = table.assign(bits=8)
    assert "shortcut" not in "\n".join(findings.concerns(found))
