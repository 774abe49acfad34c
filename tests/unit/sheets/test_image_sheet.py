"""The sheet of classified images, against scikit-learn and numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, f1_score, log_loss, roc_auc_score
from tests.unit.sheets.predicted import predicted

from pulmo.errors import DataError
from pulmo.sheets.images import ImageSheet, image_sheet
from pulmo.thresholds import Best, binary_points

NAMES = ["0.5", "0.25", "Youden", "best F1", "95 % sensitivity"]


@pytest.fixture(scope="module")
def sheet() -> ImageSheet:
    return image_sheet(predicted(0), predicted(1), 0.4, prevalence=0.05, resamples=400)


def test_figures__are_scikit_learns(sheet: ImageSheet) -> None:
    table = predicted(0)
    assert sheet.figures["auroc"].value == pytest.approx(roc_auc_score(table["label"], table["score"]))
    assert sheet.figures["brier"].value == pytest.approx(brier_score_loss(table["label"], table["score"]), abs=1e-6)
    assert sheet.calibration.figures["log_loss"].value == pytest.approx(
        log_loss(table["label"], table["score"]), abs=1e-6
    )
    assert all(found.low <= found.value <= found.high for found in sheet.figures.values())


def test_figures__decisions_are_those_of_the_four_cells_at_the_cut_off(sheet: ImageSheet) -> None:
    table = predicted(0)
    called, ill = table["score"] >= 0.4, table["label"] == 1
    tp, fp, tn, fn = (int(cell.sum()) for cell in (called & ill, called & ~ill, ~called & ~ill, ~called & ill))
    expected = {
        "accuracy": (tp + tn) / 300,
        "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
        "precision": tp / (tp + fp),
        "npv": tn / (tn + fn),
        "f1": 2 * tp / (2 * tp + fp + fn),
    }
    assert {name: sheet.figures[name].value for name in expected} == pytest.approx(expected, abs=1e-6)
    own = sheet.operating_points[0].figures
    assert {name: own[name].value for name in own if name in expected} == pytest.approx(
        {name: expected[name] for name in ("accuracy", "precision", "npv", "f1")}, abs=1e-6
    )


def test_figures__shares_of_all_have_the_exact_interval_of_the_patients_that_they_are_of() -> None:
    """Of five ill patients with two images each all are found, of ten healthy ones eight are cleared."""
    label = [1] * 10 + [0] * 10
    patients = [f"ill {k // 2}" for k in range(10)] + [f"healthy {k}" for k in range(10)]
    score = [0.9] * 10 + [0.1] * 8 + [0.9] * 2
    table = pd.DataFrame({"label": label, "score": score, "patient_id": patients})
    sheet = image_sheet(table, None, 0.5, prevalence=0.1, resamples=200)
    assert sheet.figures["sensitivity"] == pytest.approx((1.0, 0.025 ** (1 / 5), 1.0))
    assert sheet.figures["npv"] == pytest.approx((1.0, 0.025 ** (1 / 8), 1.0))
    assert sheet.figures["specificity"].high <= 1
    cleared = image_sheet(table.assign(score=[0.9] * 7 + [0.1] * 13), None, 0.5, prevalence=0.1, resamples=200)
    figures = cleared.operating_points[0].figures
    assert figures["specificity"] == pytest.approx((1.0, 0.025**0.1, 1.0))
    low = 0.7 * 0.1 / (0.7 * 0.1 + (1 - 0.025**0.1) * 0.9)  # Bayes, at the least specificity
    assert figures["precision_at"] == pytest.approx((1.0, low, 1.0))
    perfect = image_sheet(table.assign(score=label), None, 0.5, resamples=50)
    for name in ("f1", "auroc"):  # no shares of patients
        assert math.isnan(perfect.figures[name].low), name


def test_figures__patients_without_a_name_are_each_their_own() -> None:
    sheet = image_sheet(predicted(0).assign(patient_id=""), None, 0.4, resamples=50)
    assert sheet.patients == 300
    assert image_sheet(predicted(0), None, 0.4, resamples=50).patients == 150


def test_figures__of_a_table_with_a_column_of_ones_own_are_those_of_two_classes() -> None:
    sheet = image_sheet(predicted(0).assign(score_std=0.1), None, 0.4, resamples=20)
    assert sheet.class_names == ()
    assert sheet.figures["auroc"].value == pytest.approx(roc_auc_score(predicted(0)["label"], predicted(0)["score"]))


def test_operating_points__are_fitted_on_validation_and_counted_on_test(sheet: ImageSheet) -> None:
    val, test = predicted(1), predicted(0)
    expected = Best("youden").fit(binary_points(val["score"].to_numpy(), val["label"].to_numpy())).cut_off
    assert [point.name for point in sheet.operating_points] == ["own", *NAMES]
    youden = next(point for point in sheet.operating_points if point.name == "Youden")
    assert youden.cut_off == expected
    called, ill = test["score"] >= expected, test["label"] == 1
    assert youden.true_positives == (called & ill).sum()
    assert youden.false_positives == (called & ~ill).sum()
    assert youden.figures["sensitivity"].value == pytest.approx((called & ill).sum() / ill.sum())
    other = image_sheet(test.assign(label=1 - test["label"]), val, 0.4, resamples=10)
    assert [point.cut_off for point in other.operating_points] == [point.cut_off for point in sheet.operating_points]


def test_operating_points__predictive_values_at_another_prevalence_by_hand() -> None:
    """Sensitivity 8 of 10, specificity 9 of 10; at 5 %: 0.04 / (0.04 + 0.095) and 0.855 / (0.855 + 0.01)."""
    table = pd.DataFrame({"label": [1] * 10 + [0] * 10, "score": [0.9] * 8 + [0.1] * 2 + [0.1] * 9 + [0.9]})
    point = image_sheet(table, None, 0.5, prevalence=0.05, resamples=200).operating_points[0]
    assert point.figures["precision"].value == pytest.approx(8 / 9)
    assert point.figures["npv"].value == pytest.approx(9 / 11)
    assert point.figures["precision_at"].value == pytest.approx(0.04 / 0.135)
    assert point.figures["npv_at"].value == pytest.approx(0.855 / 0.865)


def test_operating_points__without_an_error_keep_an_interval() -> None:
    table = pd.DataFrame({"label": [1] * 10 + [0] * 10, "score": [0.9] * 10 + [0.1] * 10})
    figures = image_sheet(table, None, 0.5, prevalence=0.1, resamples=50).operating_points[0].figures
    assert figures["sensitivity"].low == pytest.approx(0.025**0.1)
    assert figures["npv_at"].low == pytest.approx(0.9 / (0.9 + 0.1 * (1 - 0.025**0.1)))


def test_operating_points__that_call_every_image_positive_have_no_negative_predictive_value() -> None:
    table = pd.DataFrame({"label": [1] * 10 + [0] * 10, "score": [0.9] * 20})
    figures = image_sheet(table, None, 0.5, prevalence=0.1, resamples=50).operating_points[0].figures
    assert math.isnan(figures["npv_at"].value)
    assert figures["precision_at"].value == pytest.approx(0.1)


def test_operating_points__without_validation_are_absent_with_the_reason() -> None:
    sheet = image_sheet(predicted(0), None, 0.4, resamples=20)
    absent = {point.name: point.absent for point in sheet.operating_points}
    assert absent["0.5"] == absent["own"] == ""
    assert all("no validation" in absent[name] for name in NAMES[2:])
    assert sheet.calibration.temperature is None
    assert "no validation" in sheet.calibration.absent
    one_class = predicted(1).assign(label=0)
    assert "one class" in image_sheet(predicted(0), one_class, 0.4, resamples=20).operating_points[3].absent


def test_figures__of_one_patient_have_no_interval() -> None:
    sheet = image_sheet(predicted(0, 60).assign(patient_id="p"), None, 0.5, resamples=20)
    every = [*sheet.figures.values(), *sheet.calibration.figures.values()]
    assert all(math.isnan(found.low) and math.isnan(found.high) for found in every)


def test_subgroups__have_their_own_figures_and_say_where_there_are_too_few() -> None:
    table = predicted(0)
    table.loc[:14, "sex"] = ""
    groups = {(group.by, group.name): group for group in image_sheet(table, None, 0.4, resamples=100).subgroups}
    women = table[table["sex"] == "F"]
    assert groups["sex", "F"].images == len(women)
    assert groups["sex", "F"].figures["auroc"].value == pytest.approx(roc_auc_score(women["label"], women["score"]))
    ill = women[women["label"] == 1]
    assert groups["sex", "F"].figures["sensitivity"].value == pytest.approx((ill["score"] >= 0.4).mean())
    healthy = women[women["label"] == 0]
    assert groups["sex", "F"].figures["specificity"].value == pytest.approx((healthy["score"] < 0.4).mean())
    assert (groups["sex", "F"].patients, groups["sex", "F"].positives) == (women["patient_id"].nunique(), len(ill))
    assert groups["sex", "not given"].figures.keys() <= {"sensitivity", "specificity"}
    assert groups["sex", "not given"].few.endswith(("positives", "negatives"))
    assert groups["sex", "M"].few == ""
    assert [name for by, name in groups if by == "age"] == ["0–17", "18–39", "40–59", "60–79", "80 and older"]


def test_subgroups__ages_are_read_as_dicom_writes_them() -> None:
    table = predicted(0, 40).assign(age=["048Y", "011M", "7", "not known"] * 10)
    groups = {group.name: group.images for group in image_sheet(table, None, 0.4, resamples=10).subgroups}
    assert {name: groups[name] for name in ("0–17", "40–59", "not given")} == {"0–17": 20, "40–59": 10, "not given": 10}


def test_several_classes__means_and_each_class_against_the_rest() -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 3, 200)
    raw = rng.random((200, 3)) + 0.5 * np.eye(3)[label]
    given = raw / raw.sum(1, keepdims=True)
    table = pd.DataFrame({"label": label, "score": given.max(1), "prediction": given.argmax(1)})
    table[["score_Normal", "score_Bacteria", "score_Virus"]] = given
    sheet = image_sheet(table, table, math.nan, resamples=100)
    assert sheet.figures["auroc"].value == pytest.approx(roc_auc_score(label, given, multi_class="ovr"))
    assert sheet.figures["auroc/Virus"].value == pytest.approx(roc_auc_score(label == 2, given[:, 2]))
    assert sheet.figures["accuracy"].value == pytest.approx((given.argmax(1) == label).mean())
    called = given.argmax(1)
    assert sheet.figures["precision/Virus"].value == pytest.approx((label[called == 2] == 2).mean())
    assert sheet.figures["sensitivity/Virus"].value == pytest.approx((called[label == 2] == 2).mean())
    assert sheet.figures["f1"].value == pytest.approx(f1_score(label, called, average="macro"))
    assert sheet.figures["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(label, called))
    assert sheet.operating_points == []
    women = np.arange(200) % 2 == 0
    by_sex = image_sheet(table.assign(sex=np.where(women, "F", "M")), None, math.nan, resamples=20).subgroups
    accuracy = next(group for group in by_sex if group.name == "F").figures["accuracy"].value
    assert accuracy == pytest.approx((called == label)[women].mean())
    perfect = table.assign(**{f"score_{name}": label == k for k, name in enumerate(("Normal", "Bacteria", "Virus"))})
    exact = image_sheet(perfect.astype({"score_Normal": float}), None, math.nan, resamples=20).figures
    assert exact["accuracy"] == pytest.approx((1, 0.025 ** (1 / 200), 1))
    assert exact["sensitivity/Virus"] == pytest.approx((1, 0.025 ** (1 / (label == 2).sum()), 1))
    counts = np.array([found.images for found in sheet.calibration.bins])
    gaps = [abs(found.share_positive.value - found.mean_score) for found in sheet.calibration.bins]
    assert sheet.calibration.figures["ece"].value == pytest.approx((counts / 200 * gaps).sum(), abs=1e-6)


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda table: table.assign(score=np.nan), "no score between 0 and 1"),
        (lambda table: table.assign(score=["a"] * len(table)), "no score between 0 and 1"),
        (lambda table: table.assign(score=7.0), "no score between 0 and 1"),
        (lambda table: table.assign(label=-1), "no image with a label"),
        (lambda table: table.assign(label=2), "label 2 with 2 classes"),
        (lambda table: table.drop(columns="label"), "no column label"),
    ],
    ids=["nan", "text", "beyond 1", "unlabelled", "third class", "no labels"],
)
def test_table__that_cannot_be_measured_says_why(spoilt: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        image_sheet(spoilt(predicted(0, 20)), None, 0.5, resamples=10)  # type: ignore[operator]
