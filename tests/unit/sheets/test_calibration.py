"""Calibration of classified images, against scikit-learn and plain loops."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from tests.unit.sheets.predicted import predicted

from pulmo.sheets.images import ImageSheet, image_sheet

NAMES = ["0.5", "0.25", "Youden", "best F1", "95 % sensitivity"]


@pytest.fixture(scope="module")
def sheet() -> ImageSheet:
    return image_sheet(predicted(0), predicted(1), 0.4, prevalence=0.05, resamples=400)


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


def test_calibration__temperature_is_fitted_on_validation_alone() -> None:
    val, test = predicted(1, 500, 3.0), predicted(0, 500)
    fitted = image_sheet(test, val, 0.5, resamples=20).calibration.temperature
    logit = np.log(val["score"] / (1 - val["score"]))
    losses = {
        t: log_loss(val["label"], 1 / (1 + np.exp(-logit / t)))
        for t in np.exp(np.linspace(np.log(0.5), np.log(5), 400))
    }
    assert fitted == pytest.approx(min(losses, key=lambda each: losses[each]), rel=0.01)
    assert image_sheet(test.assign(label=1 - test["label"]), val, 0.5, resamples=20).calibration.temperature == fitted


@pytest.mark.parametrize("score", [[0.9] * 10 + [0.1] * 10, [0.5, 0.9] * 10], ids=["no error", "chance"])
def test_calibration__no_temperature_at_the_end_of_what_is_tried(score: list[float]) -> None:
    table = pd.DataFrame({"label": [1] * 10 + [0] * 10, "score": score})
    calibration = image_sheet(predicted(0), table, 0.5, resamples=20).calibration
    assert calibration.temperature is None
    assert "none is best" in calibration.absent
    assert calibration.scaled == {}


def test_calibration__error_of_perfect_scores_has_an_interval_from_0_on() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(40):
        score = rng.random(100)
        table = pd.DataFrame({"label": (rng.random(100) < score).astype(int), "score": score})
        covered.append(image_sheet(table, None, 0.5, resamples=100).calibration.figures["ece"].low == 0)
    assert np.mean(covered) > 0.9


def test_calibration__interval_of_an_error_reaches_down_where_resampling_raises_it() -> None:
    table = predicted(0, sharpness=3.0)
    calibration = image_sheet(table, None, 0.4, resamples=400).calibration
    found = calibration.figures["ece"]
    assert found.value > 2 * calibration.perfect_ece
    drawn, rng = [], np.random.default_rng(1)
    for _ in range(400):
        pairs = rng.integers(0, 150, 150)
        rows = table.iloc[np.concatenate([2 * pairs, 2 * pairs + 1])]
        share, mean = calibration_curve(rows["label"], rows["score"], n_bins=15)
        counts = np.histogram(rows["score"], bins=np.linspace(0, 1, 16))[0]
        drawn.append((counts[counts > 0] / 300 * np.abs(share - mean)).sum())
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((2 * found.value - high, 2 * found.value - low), abs=0.015)


@pytest.mark.parametrize(("middle", "spread"), [(-2.0, 0.2), (2.0, 0.2), (-3.0, 0.3), (0.0, 0.05)])
def test_calibration__slope_of_narrow_scores_is_that_of_a_logistic_regression(middle: float, spread: float) -> None:
    rng = np.random.default_rng(3)
    logit = middle + spread * rng.normal(size=400)
    table = pd.DataFrame({"label": (rng.random(400) < 1 / (1 + np.exp(-logit))).astype(int)})
    sheet = image_sheet(table.assign(score=1 / (1 + np.exp(-logit))), None, 0.5, resamples=100)
    z = (logit - logit.mean()) / logit.std()
    fit = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(z[:, None], table["label"])
    slope = sheet.calibration.figures["slope"]
    assert slope.value == pytest.approx(fit.coef_[0, 0] / logit.std(), rel=1e-3, abs=1e-3)
    assert slope.low < slope.value < slope.high
    large = sheet.calibration.figures["in_the_large"]
    assert large.low < large.value < large.high


def test_calibration__separated_classes_have_no_slope() -> None:
    table = pd.DataFrame({"label": [1] * 10 + [0] * 10, "score": [0.9] * 10 + [0.1] * 10})
    figures = image_sheet(table, table, 0.5, resamples=20).calibration.figures
    assert math.isnan(figures["slope"].value)
