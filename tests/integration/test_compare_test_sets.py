"""Which runs `pulmo compare` lays beside each other: whose images, whose patients, which folds, which evaluations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmo.comparison.pairs import apart_of
from pulmo.comparison.tested import grouped
from pulmo.comparison.tested import tested as measured
from pulmo.evaluation.evaluation import Wish, evaluated
from pulmo.finished import opened
from pulmo.pages.measured import Measured
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


@pytest.mark.parametrize("noise", [0.0, 0.6])
def test_compare__prints_the_intervals_that_evaluate_and_report_print(tmp_path: Path, noise: float) -> None:
    run = opened(run_folder(tmp_path / "a", images=IMAGES, noise=noise))
    ours = {name: str(value) for name, value in measured(run, "a", 300).intervals.items()}
    evaluation, report = evaluated(run, Wish(resamples=300)).images, Measured(run, 300).sheet
    assert evaluation is not None
    assert report is not None
    for name in ("auroc", "accuracy", "sensitivity", "specificity", "brier"):
        assert ours[name] == str(evaluation.figures[name]) == str(report.figures[name])
    assert (ours["accuracy"] == "1.000 (0.884–1.000)") == (noise == 0)  # 0.025^(1/30): exact, over 30 patients


def test_compare__prints_the_intervals_of_masks_that_evaluate_prints(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "a", images=IMAGES)
    table = pd.read_csv(folder / "predictions_test.csv").assign(
        dice=0.5 + np.arange(60) / 200, iou=1.0, true_area=0.3, predicted_area=0.3, pixel_accuracy=0.9, label=1
    )
    table.to_csv(folder / "predictions_test.csv", index=False)
    masks = evaluated(opened(folder), Wish(resamples=300)).masks
    assert masks is not None
    ours = measured(opened(folder), "a", 300).intervals
    for name in ("dice", "iou"):
        assert str(ours[name]) == str(masks.figures[name])
    assert str(ours["iou"]) == "1.000 (0.884–1.000)"
