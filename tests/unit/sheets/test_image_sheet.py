"""The sheet of classified images, against scikit-learn and numbers worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from pulmo.errors import DataError
from pulmo.sheets.images import ImageSheet, image_sheet
from pulmo.thresholds import Best, binary_points

NAMES = ["0.5", "0.25", "Youden", "best F1", "95 % sensitivity"]


def predicted(seed: int, images: int = 300, sharpness: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, images)
    logit = sharpness * (rng.normal(0, 1.2, images) + 1.6 * label - 0.8)
    return pd.DataFrame(
        {
            "image_id": [f"i{k}" for k in range(images)],
            "patient_id": [f"p{k // 2}" for k in range(images)],
            "label": label,
            "score": 1 / (1 + np.exp(-logit)),
            "prediction": (logit > 0).astype(int),
            "sex": np.where(np.arange(images) % 3 == 0, "F", "M"),
            "age": rng.integers(1, 95, images).astype(str),
        }
    )


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


def test_calibration__bins_are_scikit_learns(sheet: ImageSheet) -> None:
    table = predicted(0)
    share, mean = calibration_curve(table["label"], table["score"], n_bins=15)
    bins = sheet.calibration.bins
    assert [found.mean_score for found in bins] == pytest.approx(list(mean))
    assert [found.share_positive.value for found in bins] == pytest.approx(list(share), abs=1e-6)
    counts = np.array([found.images for found in bins])
    assert sheet.calibration.figures["ece"].value == pytest.approx(
        (counts / 300 * np.abs(share - mean)).sum(), abs=1e-6
    )
    assert 0 < sheet.calibration.perfect_ece < 0.1


@pytest.mark.parametrize("scores", [(0.0, 1.0), (0.2, 0.8)])
@pytest.mark.parametrize("share", [0.5, 0.05])
def test_calibration__bins_of_equal_mass_keep_scores_that_many_have_apart(
    scores: tuple[float, float], share: float
) -> None:
    """A fifth of the high ones are negative, of the low ones positive: |0.8 − 1| and |0.2 − 0|, or none at 0.2, 0.8."""
    high = int(400 * share)
    low = 400 - high
    label = [1] * (high * 4 // 5) + [0] * (high // 5) + [0] * (low * 4 // 5) + [1] * (low // 5)
    table = pd.DataFrame({"label": label, "score": [scores[1]] * high + [scores[0]] * low})
    sheet = image_sheet(table, None, 0.5, resamples=20)
    expected = 0.2 if scores == (0.0, 1.0) else 0.0
    assert sheet.calibration.figures["ece_equal_mass"].value == pytest.approx(expected, abs=1e-6)


def test_calibration__bins_of_equal_mass_hold_as_many_images_each(sheet: ImageSheet) -> None:
    table = predicted(0).sort_values("score")
    parts = np.array_split(np.arange(300), 15)
    gaps = [abs((table["score"] - table["label"]).to_numpy()[part].sum()) for part in parts]
    assert sheet.calibration.figures["ece_equal_mass"].value == pytest.approx(sum(gaps) / 300, abs=1e-6)


def test_figures__of_one_patient_have_no_interval() -> None:
    sheet = image_sheet(predicted(0, 60).assign(patient_id="p"), None, 0.5, resamples=20)
    every = [*sheet.figures.values(), *sheet.calibration.figures.values()]
    assert all(math.isnan(found.low) and math.isnan(found.high) for found in every)


def test_calibration__slope_and_intercept_are_a_logistic_regression(sheet: ImageSheet) -> None:
    table = predicted(0)
    logit = np.log(table["score"] / (1 - table["score"])).to_numpy()
    fit = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], table["label"])
    slope = sheet.calibration.figures["slope"]
    assert slope.value == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    shifted = 1 / (1 + np.exp(-logit - sheet.calibration.figures["in_the_large"].value))
    assert shifted.mean() == pytest.approx(table["label"].mean(), abs=1e-6)  # what makes an intercept the best
    drawn, rng = [], np.random.default_rng(0)
    for _ in range(200):
        pairs = rng.integers(0, 150, 150)  # patients have two images each
        rows = np.concatenate([2 * pairs, 2 * pairs + 1])
        drawn.append(LogisticRegression(C=np.inf).fit(logit[rows][:, None], table["label"].iloc[rows]).coef_[0, 0])
    assert (slope.low, slope.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.12)


def test_calibration__temperature_undoes_a_scaling_of_the_logits() -> None:
    sheet = image_sheet(predicted(0, 2000, 3.0), predicted(1, 2000, 3.0), 0.5, resamples=100)
    plain = image_sheet(predicted(0, 2000), predicted(1, 2000), 0.5, resamples=100)
    assert plain.calibration.temperature is not None
    assert sheet.calibration.temperature == pytest.approx(3 * plain.calibration.temperature, rel=1e-3)
    assert sheet.calibration.scaled["ece"].value < sheet.calibration.figures["ece"].value
    assert sheet.calibration.scaled["log_loss"].value == pytest.approx(
        plain.calibration.scaled["log_loss"].value, abs=1e-4
    )


def test_calibration__separated_classes_have_no_slope() -> None:
    table = pd.DataFrame({"label": [1] * 10 + [0] * 10, "score": [0.9] * 10 + [0.1] * 10})
    figures = image_sheet(table, table, 0.5, resamples=20).calibration.figures
    assert math.isnan(figures["slope"].value)


def test_subgroups__have_their_own_figures_and_say_where_there_are_too_few() -> None:
    table = predicted(0)
    table.loc[:14, "sex"] = ""
    groups = {(group.by, group.name): group for group in image_sheet(table, None, 0.4, resamples=100).subgroups}
    women = table[table["sex"] == "F"]
    assert groups["sex", "F"].images == len(women)
    assert groups["sex", "F"].figures["auroc"].value == pytest.approx(roc_auc_score(women["label"], women["score"]))
    ill = women[women["label"] == 1]
    assert groups["sex", "F"].figures["sensitivity"].value == pytest.approx((ill["score"] >= 0.4).mean())
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
    assert sheet.operating_points == []
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
