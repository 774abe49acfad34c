"""No run is measured on an image that it has seen, unless that is asked for."""

import numpy as np
import pandas as pd
import pytest

from pulmo.errors import DataError
from pulmo.run_data.past import Past
from pulmo.run_data.selection import OF_VALIDATION, Selection, Wanted

KNOWN = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "patient_id": ["1", "2", "3", "4"],
        "split": ["train", "val", "test", "test"],
        "label": ["0", "1", "0", "1"],  # a table of a run is read as it stands
        "path": ["/x/a.png", "/x/b.png", "/x/c.png", "/x/d.png"],
    }
)


PATIENTS = dict(zip(KNOWN["image_id"], KNOWN["patient_id"], strict=True))
LABELS = dict(zip(KNOWN["image_id"], KNOWN["label"].astype(int), strict=True))


def table(*image_ids: str, patients: str = "", official: str = "", labels: list[int] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "image_id": list(image_ids),
            "patient_id": list(patients) or [PATIENTS.get(name, f"of {name}") for name in image_ids],
            "label": labels or [LABELS.get(name, 1) for name in image_ids],
            "split": official or "",
            "path": [f"/y/{name}.png" for name in image_ids],
        }
    )


def of(
    known: pd.DataFrame | None = KNOWN,
    *,
    own: bool,
    same_kind: bool,
    wanted: Wanted | None,
    left_out: str = "",
    earlier: tuple[Past, ...] = (),
) -> Selection:
    """A selection for a run of data.Kind, which knows these images."""
    past = Past("the run", known, "data.Kind", frozenset(left_out))
    return Selection(past, own, "data.Kind" if same_kind else "data.Other", wanted, earlier)


def chosen(selection: Selection, images: pd.DataFrame) -> list[str]:
    return list(images["image_id"][selection(images) == "test"])


def test_own_data_set__is_the_runs_own_test() -> None:
    selection = of(own=True, same_kind=True, wanted=None)
    assert chosen(selection, table("a", "b", "c", "d", "new")) == ["c", "d"]
    assert (selection.split, selection.notes) == ("test", [])


def test_own_data_set__all_is_what_was_not_seen_by_patient() -> None:
    selection = of(own=True, same_kind=True, wanted="all")
    images = table("a", "b", "c", "d", "new", "newer", patients="123415"[:5] + "9")
    assert chosen(selection, images) == ["c", "d", "newer"]  # "new" is of patient 1, who was trained on
    assert selection.notes == [
        "left out: 2 images that the run was trained or chosen on",
        "left out: 1 images of patients that it was trained or chosen on",
    ]


def test_own_data_set__validation_is_told() -> None:
    selection = of(own=True, same_kind=True, wanted="val")
    assert chosen(selection, table("a", "b", "c")) == ["b"]
    assert selection.notes == [OF_VALIDATION]


def test_own_data_set__that_it_is_not_is_refused() -> None:
    with pytest.raises(DataError, match="data=NAME"):
        of(own=True, same_kind=True, wanted=None)(table("q", "r"))


def test_another_data_set__is_measured_whole_even_where_patients_are_numbered_alike() -> None:
    selection = of(own=False, same_kind=True, wanted=None)
    assert chosen(selection, table("q", "r", patients="12")) == ["q", "r"]
    assert selection.split == "all"


def test_another_data_set__with_files_of_the_same_names_is_told() -> None:
    selection = of(own=False, same_kind=False, wanted=None)
    assert chosen(selection, table("a", "r")) == ["a", "r"]
    assert "1 files are called as files" in selection.notes[0]


@pytest.mark.parametrize("images", ["abcdnew", "abc", "d"], ids=["grown", "a part", "one image"])
def test_same_layout_with_nearly_all_ids__is_the_runs_own_data(images: str) -> None:
    selection = of(own=False, same_kind=True, wanted=None)
    assert set(chosen(selection, table(*images))) == set(images) - {"a", "b"}
    assert selection.shared
    assert selection.split == "all"
    assert f"{len(set(images) & {*'abcd'})} of {len(images)} image ids are the run's" in selection.notes[0]


def test_same_layout_with_a_few_ids_alike__is_another_hospital_measured_whole_and_told() -> None:
    selection = of(own=False, same_kind=True, wanted=None)
    assert chosen(selection, table(*"acdqrstuvw")) == list("acdqrstuvw")
    assert not selection.shared
    assert "3 of 10 image ids are the run's, 1 of images that it was trained or chosen on" in selection.notes[0]


def test_own_data_set__test_images_that_are_not_there_are_told() -> None:
    selection = of(own=True, same_kind=True, wanted=None)
    assert chosen(selection, table("a", "b", "c")) == ["c"]
    assert selection.lost(pd.Series(dtype=str)).startswith("1 of 2 test images of the run are not there, such as d")
    assert selection.lost(pd.Series(["d"])) == ""  # it was there, and could not be read


def test_own_data_set__test_images_of_training_patients_are_left_out_and_told() -> None:
    selection = of(own=True, same_kind=True, wanted=None)
    assert chosen(selection, table(*"abcd", patients="1214")) == ["d"]
    assert selection.notes == ["left out: 1 images of patients that it was trained or chosen on"]


def test_patients_without_a_name__are_not_one_patient() -> None:
    nameless = KNOWN.assign(patient_id=np.nan)
    images = table(*"abcd").assign(patient_id=np.nan)
    assert chosen(of(nameless, own=True, same_kind=True, wanted=None), images) == ["c", "d"]


def test_official_split__is_the_data_sets_own_and_told_where_there_is_none() -> None:
    selection = of(own=False, same_kind=False, wanted="test")
    images = table("q", "r").assign(split=["test", "train"])
    assert chosen(selection, images) == ["q"]
    with pytest.raises(DataError, match="give --split all"):
        selection(table("q", "r"))


def test_nothing_left__is_refused_with_the_reason() -> None:
    with pytest.raises(DataError, match="left out: 2 images that the run was trained"):
        of(own=False, same_kind=True, wanted="all")(table("a", "b"))


def test_run_without_split__is_told() -> None:
    selection = of(None, own=False, same_kind=True, wanted=None)
    assert chosen(selection, table("a")) == ["a"]
    assert "nobody knows" in selection.notes[0]


def test_same_layout_numbered_alike__whose_labels_or_patients_differ_is_another_hospital() -> None:
    """A run of four images, of which four of the other hospital's five have the ids: it is no copy, and left whole."""
    for other in (table(*"abcde", labels=[1, 0, 1, 0, 0]), table(*"abcde", patients="98765")):
        selection = of(own=False, same_kind=True, wanted=None)
        assert chosen(selection, other) == list("abcde")
        assert "too few that agree for the same data set" in selection.notes[0]
        assert "2 of images that it was trained or chosen on" in selection.notes[0]


def test_same_data__where_one_side_does_not_know_the_patients_is_told_by_its_labels() -> None:
    images = table(*"abcd", patients="abcd")  # as a data set puts it that does not know
    selection = of(own=False, same_kind=True, wanted=None)
    assert chosen(selection, images) == ["c", "d"]
    assert selection.shared


def test_same_data__images_that_the_run_had_left_out_are_known_to_be_of_it() -> None:
    selection = of(own=False, same_kind=True, wanted=None, left_out="stuvwx")
    assert chosen(selection, table(*"abcdstuvwx")) == list("cdstuvwx")
    assert selection.shared
    without = of(own=False, same_kind=True, wanted=None)
    assert (
        len(chosen(without, table(*"abcdstuvwx"))) == 8
    )  # four of its four images are there: its own data all the same
    few = of(own=False, same_kind=True, wanted=None, left_out="st")
    assert chosen(few, table(*"bdstuvwxyz")) == list("bdstuvwxyz")  # four of ten: nobody's copy


def test_other_images_of_the_same_patients__are_told() -> None:
    selection = of(own=False, same_kind=True, wanted=None)
    assert chosen(selection, table("q", "r", "s", patients="129")) == ["q", "r", "s"]
    assert selection.notes[0].startswith(
        "2 images are of patients called as ones that the run was trained or chosen on"
    )


def test_files_of_the_same_names__are_told_beside_ids_that_are_alike() -> None:
    selection = of(own=False, same_kind=True, wanted=None)
    images = table(*"aqrstuvwxy")
    images.loc[5:, "path"] = [f"/y/{name}.png" for name in "bcdaa"]
    chosen(selection, images)
    assert "1 of 10 image ids are the run's" in selection.notes[0]
    assert "5 files are called as files of the run's own data set" in selection.notes[1]


@pytest.mark.parametrize(("wanted", "expected"), [(None, 7), ("test", 2)])
def test_skipped_images__count_where_they_would_have_been_measured(wanted: Wanted | None, expected: int) -> None:
    """Of another data set: of its official test alone, where that is measured."""
    selection = of(own=False, same_kind=False, wanted=wanted)
    images = table("q", "r", "s").assign(split=["test", "test", "train"])
    chosen(selection, images)
    without_mask = pd.DataFrame({"image_id": list("uvwxyz"), "split": ["test", *["train"] * 5]})
    unreadable = pd.DataFrame({"image_id": ["q"], "split": ["test"]})
    assert selection.missed(pd.concat([without_mask, unreadable])) == expected


def test_skipped_images__of_the_runs_own_data_count_by_its_split() -> None:
    skipped = pd.DataFrame({"image_id": list("abc"), "split": ""})
    selection = of(own=True, same_kind=True, wanted="test")
    chosen(selection, table("d"))
    assert selection.missed(skipped) == 1
    everything = of(own=True, same_kind=True, wanted="all")
    chosen(everything, table("a", "d"))
    assert everything.missed(skipped) == 1


EARLIER = pd.DataFrame(
    {"image_id": ["c", "q"], "patient_id": ["3", "7"], "split": ["train", "val"], "label": ["0", "1"]}
)


def test_earlier_run__images_that_its_weights_have_learnt_are_left_out_of_another_data_set() -> None:
    weights = Past("W, the run whose weights it began with", EARLIER, "data.Other")
    selection = of(own=False, same_kind=False, wanted=None, earlier=(weights,))
    assert chosen(selection, table("c", "q", "r", labels=[0, 1, 1], patients="378")) == ["r"]
    assert "left out: 2 images that W, the run whose weights it began with, was trained or chosen on" in selection.notes


def test_earlier_run__is_told_where_the_run_is_tested_on_what_its_weights_have_learnt() -> None:
    weights = Past("W, the run whose weights it began with", EARLIER, "data.Kind")
    selection = of(own=True, same_kind=True, wanted=None, earlier=(weights,))
    assert chosen(selection, table("c", "d")) == ["c", "d"]  # its own test set stays what it is
    assert selection.notes == [
        "1 of 2 images are ones that W, the run whose weights it began with, was trained or chosen on: the figures are "
        "too good"
    ]


def test_earlier_run__that_drew_the_lungs_leaves_no_image_out() -> None:
    drew = Past("L, the run which drew its lungs", EARLIER, "data.Other", learnt=False)
    selection = of(own=False, same_kind=False, wanted=None, earlier=(drew,))
    assert chosen(selection, table("c", "q", "r", labels=[0, 1, 1], patients="378")) == ["c", "q", "r"]
    assert "its lungs are drawn better there" in selection.notes[-1]


def test_earlier_run__that_is_gone_leaves_a_doubt() -> None:
    gone = Past("/gone, the run whose weights it began with", None)
    selection = of(own=True, same_kind=True, wanted=None, earlier=(gone,))
    chosen(selection, table("c", "d"))
    assert "nobody knows on which images it was trained" in selection.notes[0]
