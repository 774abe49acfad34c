from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmo.data import splits
from pulmo.errors import ConfigError, DataError


def table(patients: Iterable[str], labels: Iterable[int], split: Iterable[str] | str = "") -> pd.DataFrame:
    frame = pd.DataFrame({"patient_id": list(patients), "label": list(labels)})
    return frame.assign(image_id=[f"image{row}" for row in frame.index], split=split)


def singles(negative: int, positive: int) -> pd.DataFrame:
    return table((f"p{row}" for row in range(negative + positive)), [0] * negative + [1] * positive)


def random_table(seed: int, patients: int = 150) -> pd.DataFrame:
    """One to nine images a patient in random order; of those who are ill some images are normal."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"p{patient}", int(ill and rng.random() < 0.8))
        for patient in range(patients)
        for ill in [rng.random() < 0.4]
        for _ in range(min(9, rng.geometric(0.4)))
    ]
    return table(*zip(*[rows[row] for row in rng.permutation(len(rows))], strict=True))


def counts(assigned: pd.Series) -> dict[str, int]:
    return assigned.value_counts().to_dict()


@pytest.mark.parametrize("seed", range(25))
def test_assign__patient_never_crosses(seed: int) -> None:
    images = random_table(seed)
    ways = [splits.assign(images, seed=seed)]
    ways += [splits.assign(images, folds=4, fold=fold, seed=seed) for fold in range(4)]
    for assigned in ways:
        assert assigned.groupby(images["patient_id"]).nunique().max() == 1
        assert set(assigned) == {"train", "val", "test"}


def test_assign__fractions_are_met_in_each_class() -> None:
    images = singles(700, 300)
    assigned = splits.assign(images, val_fraction=0.1, test_fraction=0.2)
    by_class = pd.crosstab(images["label"], assigned)
    # Test is a part of all, validation of what is then left: of 560 and of 240.
    assert by_class["test"].tolist() == [140, 60]
    assert by_class["val"].tolist() == [56, 24]
    assert by_class["train"].tolist() == [504, 216]


@pytest.mark.parametrize("seed", range(25))
def test_assign__fractions_are_met_to_half_a_patient_of_each_stratum(seed: int) -> None:
    images = random_table(seed)
    assigned = splits.assign(images, test_fraction=0.2, seed=seed)
    ever_ill = images.groupby("patient_id")["label"].transform("max")
    for stratum in (0, 1):
        inside = ever_ill == stratum
        assert abs((assigned[inside] == "test").sum() - 0.2 * inside.sum()) <= 9 / 2


@pytest.mark.parametrize("seed", range(10))
def test_assign__prevalence_is_that_of_the_whole(seed: int) -> None:
    images = random_table(seed, patients=600)
    assigned = splits.assign(images, val_fraction=0.2, test_fraction=0.2, seed=seed)
    for name in splits.SPLITS:
        assert images.loc[assigned == name, "label"].mean() == pytest.approx(images["label"].mean(), abs=0.03)


def test_assign__a_patient_with_thirty_images_does_not_overshoot() -> None:
    images = table(["big"] * 30 + [f"p{row}" for row in range(70)], [1] * 100)
    for seed in range(20):
        assigned = splits.assign(images, val_fraction=0.1, test_fraction=0.1, seed=seed)
        assert counts(assigned) == {"test": 10, "val": 9, "train": 81}
        assert assigned[0] == "train"


def test_assign__same_seed_same_split_other_seed_other() -> None:
    images = random_table(0)
    first = splits.assign(images, seed=3)
    pd.testing.assert_series_equal(first, splits.assign(images, seed=3))
    assert (first != splits.assign(images, seed=4)).any()


def test_assign__does_not_depend_on_the_order_of_rows() -> None:
    images = random_table(0)
    shuffled = images.sample(frac=1, random_state=1)
    pd.testing.assert_series_equal(splits.assign(images), splits.assign(shuffled).sort_index())


def test_assign__leaves_the_table_as_it_was() -> None:
    images = random_table(0)
    before = images.copy()
    splits.assign(images, folds=3, fold=0)
    pd.testing.assert_frame_equal(images, before)


@pytest.mark.parametrize("seed", range(5))
def test_assign_folds__each_image_is_tested_exactly_once(seed: int) -> None:
    images = random_table(seed)
    tested = [splits.assign(images, folds=5, fold=fold, seed=seed) == "test" for fold in range(5)]
    assert (sum(part.astype(int) for part in tested) == 1).all()
    assert all(part.mean() == pytest.approx(0.2, abs=0.05) for part in tested)


def test_assign_folds__official_test_stays_and_each_other_image_validates_once() -> None:
    images = random_table(1)
    official = images["patient_id"].isin([f"p{patient}" for patient in range(30)])
    images["split"] = np.where(official, "test", "train")
    parts = [splits.assign(images, folds=5, fold=fold) for fold in range(5)]
    assert all(((part == "test") == official).all() for part in parts)
    assert (sum((part == "val").astype(int) for part in parts)[~official] == 1).all()


def test_assign__official_test_and_validation_stay_in_auto() -> None:
    images = singles(30, 30)
    images["split"] = ["val", "test", *[""] * 4] * 10
    assigned = splits.assign(images, val_fraction=0.5, test_fraction=0.5)
    assert (assigned == images["split"].replace("", "train")).all()


def test_assign__validation_is_cut_from_training_where_only_test_is_official() -> None:
    images = singles(50, 50)
    images["split"] = ["test", *["train"] * 4] * 20
    assigned = splits.assign(images, val_fraction=0.25)
    assert counts(assigned) == {"test": 20, "val": 20, "train": 60}
    assert (assigned[images["split"] == "test"] == "test").all()


def test_assign_folds__official_validation_is_pooled_with_training() -> None:
    images = singles(20, 20)
    images["split"] = ["val", "train", "train", "test"] * 10
    held_out = [splits.assign(images, folds=3, fold=fold) == "val" for fold in range(3)]
    assert (sum(part.astype(int) for part in held_out)[images["split"] == "val"] == 1).all()
    assert all(9 <= part.sum() <= 11 for part in held_out)


def test_assign_official__is_the_column_and_leaves_out_what_has_no_split() -> None:
    images = singles(4, 4)
    images["split"] = ["train", "val", "test", "", "train", "train", "val", "test"]
    assert splits.assign(images, split="official").tolist() == images["split"].tolist()


def test_assign_csv__says_which_image_goes_where(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    file.write_text("split,image_id,score\ntest,image0,1\nval,image1,1\ntrain,image2,1\ntrain,gone,1\n")
    assert splits.assign(singles(3, 1), split=str(file)).tolist() == ["test", "val", "train", ""]


def test_assign_csv__may_lie_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "split.csv").write_text("image_id,split\nimage0,test\nimage1,val\nimage2,train\n")
    assert splits.assign(singles(2, 1), split="~/split.csv").tolist() == ["test", "val", "train"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,split\nimage0,exam\n", "'exam' is none of train, val, test"),
        ("image,split\nimage0,test\n", "no column image_id"),
        ("image_id,split\nother0,test\n", "the split of another data set"),
        ("", "no csv"),
    ],
)
def test_assign_csv__refuses_what_is_no_split(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "split.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        splits.assign(singles(3, 1), split=str(file))


def test_assign__a_misspelt_split_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"data\.split=oficial: no such file; give auto, official or a csv"):
        splits.assign(singles(3, 1), split="oficial")


@pytest.mark.parametrize("split", ["official", "auto"])
def test_assign__a_leak_names_the_patient(split: str) -> None:
    images = table(["a", "b", "leaky", "leaky", "c"], [0, 1, 0, 1, 1], ["train", "val", "train", "test", "test"])
    with pytest.raises(DataError, match=r"1 patients stand in more than one split \(leaky\)"):
        splits.assign(images, split=split)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 5}, r"data\.folds=5 needs data\.fold between 0 and 4, not None"),
        ({"folds": 5, "fold": 5}, r"between 0 and 4, not 5"),
        ({"folds": 5, "fold": -1}, r"between 0 and 4, not -1"),
        ({"folds": 1, "fold": 0}, r"data\.folds=1 does not fit .* give 2 to 4"),
        ({"folds": 9, "fold": 0}, r"data\.folds=9 does not fit 8 patients .* 4 images of a class: give 2 to 4"),
        ({"folds": 5, "fold": 0}, r"data\.folds=5 does not fit"),  # 8 patients, but 4 of a class
        ({"fold": 1}, r"data\.fold=1 of how many\? Give data\.folds"),
        ({"folds": 2, "fold": 0, "split": "official"}, r"data\.folds=2 .* goes with data\.split=auto, not official"),
    ],
)
def test_assign_folds__what_does_not_fit_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        splits.assign(singles(4, 4), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_fraction": 0.0}, r"the val split has no image \(20 images, 20 patients\)"),
        ({"val_fraction": 1.0}, r"the train split has no image"),
        ({"split": "official"}, r"the train and val and test split has no image \(0 images, 0 patients\)"),
    ],
)
def test_assign__an_empty_split_names_the_keys(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        splits.assign(singles(10, 10), **arguments)
    assert "data.val_fraction" in str(caught.value)
