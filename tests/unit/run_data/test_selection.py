"""No run is measured on an image that it has seen, unless that is asked for."""

import numpy as np
import pandas as pd
import pytest

from pulmo.errors import DataError
from pulmo.run_data.selection import OF_VALIDATION, Selection, seen_of

KNOWN = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "patient_id": ["1", "2", "3", "4"],
        "split": ["train", "val", "test", "test"],
        "path": ["/x/a.png", "/x/b.png", "/x/c.png", "/x/d.png"],
    }
)


def table(*image_ids: str, patients: str = "", official: str = "") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": list(image_ids),
            "patient_id": list(patients) or [f"of {name}" for name in image_ids],
            "split": official or "",
            "path": [f"/y/{name}.png" for name in image_ids],
        }
    )


def chosen(selection: Selection, images: pd.DataFrame) -> list[str]:
    return list(images["image_id"][selection(images) == "test"])


def test_own_data_set__is_the_runs_own_test() -> None:
    selection = Selection(KNOWN, own=True, same_kind=True, wanted=None)
    assert chosen(selection, table("a", "b", "c", "d", "new")) == ["c", "d"]
    assert (selection.split, selection.notes) == ("test", [])


def test_own_data_set__all_is_what_was_not_seen_by_patient() -> None:
    selection = Selection(KNOWN, own=True, same_kind=True, wanted="all")
    images = table("a", "b", "c", "d", "new", "newer", patients="123415"[:5] + "9")
    assert chosen(selection, images) == ["c", "d", "newer"]  # "new" is of patient 1, who was trained on
    assert selection.notes == [
        "left out: 2 images that the run was trained or chosen on",
        "left out: 1 images of patients that it was trained or chosen on",
    ]


def test_own_data_set__validation_is_told() -> None:
    selection = Selection(KNOWN, own=True, same_kind=True, wanted="val")
    assert chosen(selection, table("a", "b", "c")) == ["b"]
    assert selection.notes == [OF_VALIDATION]


def test_own_data_set__that_it_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="data=NAME"):
        Selection(KNOWN, own=True, same_kind=True, wanted=None)(table("q", "r"))


def test_another_data_set__is_measured_whole_even_where_patients_are_numbered_alike() -> None:
    selection = Selection(KNOWN, own=False, same_kind=True, wanted=None)
    assert chosen(selection, table("q", "r", patients="12")) == ["q", "r"]
    assert selection.split == "all"


def test_another_data_set__with_files_of_the_same_names_is_told() -> None:
    selection = Selection(KNOWN, own=False, same_kind=False, wanted=None)
    assert chosen(selection, table("a", "r")) == ["a", "r"]
    assert "1 files are called as files" in selection.notes[0]


@pytest.mark.parametrize("images", ["abcdnew", "abc", "d"], ids=["grown", "a part", "one image"])
def test_same_layout_with_nearly_all_ids__is_the_runs_own_data(images: str) -> None:
    selection = Selection(KNOWN, own=False, same_kind=True, wanted=None)
    assert set(chosen(selection, table(*images))) == set(images) - {"a", "b"}
    assert selection.shared
    assert selection.split == "all"
    assert f"{selection.alike} of {len(images)} image ids are the run's" in selection.notes[0]


def test_same_layout_with_a_few_ids_alike__is_another_hospital_measured_whole_and_told() -> None:
    selection = Selection(KNOWN, own=False, same_kind=True, wanted=None)
    assert chosen(selection, table(*"acdqrstuvw")) == list("acdqrstuvw")
    assert not selection.shared
    assert "3 of 10 image ids are the run's, 1 of images that it was trained or chosen on" in selection.notes[0]


def test_own_data_set__test_images_that_are_not_there_are_told() -> None:
    selection = Selection(KNOWN, own=True, same_kind=True, wanted=None)
    assert chosen(selection, table("a", "b", "c")) == ["c"]
    assert selection.lost(pd.Series(dtype=str)).startswith("1 of 2 test images of the run are not there, such as d")
    assert selection.lost(pd.Series(["d"])) == ""  # it was there, and could not be read


def test_own_data_set__test_images_of_training_patients_are_left_out_and_told() -> None:
    selection = Selection(KNOWN, own=True, same_kind=True, wanted=None)
    assert chosen(selection, table(*"abcd", patients="1214")) == ["d"]
    assert selection.notes == ["left out: 1 images of patients that it was trained or chosen on"]
    crossing = KNOWN.assign(patient_id=[*"1214"])
    assert seen_of(crossing, crossing[2:]).startswith("1 of 2 test images are of patients")
    assert seen_of(KNOWN, KNOWN[2:]) == ""


def test_patients_without_a_name__are_not_one_patient() -> None:
    nameless = KNOWN.assign(patient_id=np.nan)
    images = table(*"abcd").assign(patient_id=np.nan)
    assert chosen(Selection(nameless, own=True, same_kind=True, wanted=None), images) == ["c", "d"]
    assert seen_of(nameless, nameless[2:]) == ""


def test_official_split__is_the_data_sets_own_and_told_where_there_is_none() -> None:
    selection = Selection(KNOWN, own=False, same_kind=False, wanted="test")
    images = table("q", "r").assign(split=["test", "train"])
    assert chosen(selection, images) == ["q"]
    with pytest.raises(DataError, match="give --split all"):
        selection(table("q", "r"))


def test_nothing_left__is_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match="left out: 2 images that the run was trained"):
        Selection(KNOWN, own=False, same_kind=True, wanted="all")(table("a", "b"))


def test_run_without_split__is_told() -> None:
    selection = Selection(None, own=False, same_kind=True, wanted=None)
    assert chosen(selection, table("a")) == ["a"]
    assert "nobody knows" in selection.notes[0]
