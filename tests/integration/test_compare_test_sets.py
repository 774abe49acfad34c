"""Which runs `pulmo compare` lays beside each other: whose images, whose patients, which folds, which evaluations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmo.comparison.pairs import apart_of
from pulmo.comparison.tested import grouped
from pulmo.comparison.tested import tested as measured
from pulmo.finished import opened
from tests.integration.test_compare import IMAGES, run_folder, typed

Change = Callable[[pd.DataFrame], pd.DataFrame]


def twice(folder: Path, change: Change) -> tuple[Path, Path]:
    """A run, and another with the same predictions, changed."""
    first, second = run_folder(folder / "a", images=IMAGES), run_folder(folder / "b", images=IMAGES)
    table = pd.read_csv(first / "predictions_test.csv", dtype={"image_id": str})
    change(table).to_csv(second / "predictions_test.csv", index=False)
    return first, second


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.sample(frac=1, random_state=0),
        lambda table: table.assign(patient_id="other " + table["patient_id"]),
    ],
)
def test_compare__a_run_differs_from_itself_by_nothing_in_every_resample(tmp_path: Path, change: Change) -> None:
    runs = [measured(opened(folder), folder.name, 200) for folder in twice(tmp_path, change)]
    (group,) = grouped(runs)
    assert {name: tuple(apart) for name, apart in apart_of(*group).items()} == {
        name: (0, 0, 0) for name in group[0].values
    }


def test_compare__runs_that_know_other_patients_are_not_paired(tmp_path: Path) -> None:
    first, second = twice(tmp_path, lambda table: table.assign(patient_id=table["image_id"]))
    told = typed(first, second).stderr
    assert "of 30 patients in a and of 60 patients in b, and nothing can be paired by patient" in told
    asked = typed(first, second, "--any").output
    assert "60 images of 30 patients" in asked
    assert "60 images of 60 patients" in asked
    assert "McNemar" not in asked


def test_compare__a_test_set_of_one_class_does_not_end_the_comparison(tmp_path: Path) -> None:
    first, second = twice(tmp_path, lambda table: table[table["label"] == 1])
    result = typed(first, second, "--any")
    assert result.exit_code == 0, result.output
    assert f"left out: {second}: {second}/predictions_test.csv has images of one class alone" in result.output


def test_compare__an_image_whose_label_lacks_is_not_labelled(tmp_path: Path) -> None:
    first, second = twice(tmp_path, lambda table: table.assign(label=table["label"].where(table.index != 7, np.nan)))
    assert "1 images only in the test set of a, such as image 7" in typed(first, second).stderr
    assert typed(first, second, "--any").exit_code == 0
