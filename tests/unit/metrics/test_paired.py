"""Paired tests, against a published example, an independent O(n²) computation and scipy."""

import math
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from pulmo.metrics.bootstrap import resampled
from pulmo.metrics.paired import auroc_covariance, delong, holm, mcnemar, paired_differences
from pulmo.metrics.weighted import BinaryFigures, Ratios

# Of 43 patients with ovarian cancer: albumin, total protein, K-G score, and whether surgery was of no benefit. From
# DeLong, DeLong and Clarke-Pearson 1988, as SAS/STAT's guide has them ("Comparing Receiver Operating Characteristic
# Curves", LOGISTIC procedure): complete cases; the K-G score counts downwards.
TABLE = """3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1"""
OVARIAN = np.array(TABLE.split(), float).reshape(-1, 4)
ALBUMIN, PROTEIN, KG = OVARIAN[:, 0], OVARIAN[:, 1], 10 - OVARIAN[:, 2]
OUTCOME = OVARIAN[:, 3].astype(int)


def test_delong__published_areas_and_standard_errors() -> None:
    areas, covariance = auroc_covariance([ALBUMIN, KG, PROTEIN], OUTCOME)
    assert areas == pytest.approx([0.7366, 0.7258, 0.6478], abs=5e-5)
    assert np.sqrt(np.diag(covariance)) == pytest.approx([0.0927, 0.1028, 0.1000], abs=5e-5)


def test_delong__published_comparisons_with_the_k_g_score() -> None:
    protein, albumin = delong(PROTEIN, KG, OUTCOME), delong(ALBUMIN, KG, OUTCOME)
    assert protein.difference == pytest.approx((-0.0780, -0.2830, 0.1271), abs=5e-5)
    assert (protein.z**2, protein.p) == pytest.approx((0.5554, 0.4561), abs=5e-5)
    assert albumin.difference == pytest.approx((0.0108, -0.1761, 0.1976), abs=5e-5)
    assert (albumin.z**2, albumin.p) == pytest.approx((0.0127, 0.9102), abs=5e-5)


def test_delong__published_test_of_all_three_at_once() -> None:
    areas, covariance = auroc_covariance([ALBUMIN, KG, PROTEIN], OUTCOME)
    contrast = np.array([[1, -1, 0], [0, -1, 1]])
    apart = contrast @ areas
    chi_square = apart @ np.linalg.solve(contrast @ covariance @ contrast.T, apart)
    assert chi_square == pytest.approx(2.5340, abs=5e-5)
    assert stats.chi2.sf(chi_square, 2) == pytest.approx(0.2817, abs=5e-5)


def components(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every positive against every negative, as the paper of 1988 writes it."""
    positives, negatives = scores[labels == 1][:, None], scores[labels == 0][None]
    wins = (positives > negatives) + 0.5 * (positives == negatives)
    return wins.mean(axis=1), wins.mean(axis=0)


@pytest.mark.parametrize("seed", range(5))
def test_delong__agrees_with_every_pair_counted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(90) < 35).astype(int)
    first = np.round(rng.normal(labels, 1), 1)  # rounded: many scores are equal
    second = np.round(first / 2 + rng.normal(labels / 3, 1), 1)
    ours = delong(first, second, labels)
    (a, b), (c, d) = components(first, labels), components(second, labels)
    variance = np.var(a - c, ddof=1) / 35 + np.var(b - d, ddof=1) / 55
    assert ours.areas == pytest.approx((roc_auc_score(labels, first), roc_auc_score(labels, second)))
    assert ours.z == pytest.approx((a.mean() - c.mean()) / math.sqrt(variance))
    assert ours.p == pytest.approx(2 * stats.norm.sf(abs(ours.z)))


def test_delong__a_run_with_itself_does_not_differ() -> None:
    assert delong(KG, KG, OUTCOME).p == 1
    assert math.isnan(delong([0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1]).p)  # apart without variance


def test_delong__needs_two_images_of_each_class() -> None:
    with pytest.raises(ValueError, match="1 positive and 2 negative images"):
        delong([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], [0, 0, 1])


@pytest.mark.parametrize(("one", "other"), [(12, 5), (5, 12), (0, 4), (150, 90), (3, 3)])
def test_mcnemar__agrees_with_the_binomial_and_the_chi_square_of_scipy(one: int, other: int) -> None:
    first = np.array([True] * one + [False] * other + [True] * 20 + [False] * 7)
    second = np.array([False] * one + [True] * other + [True] * 20 + [False] * 7)
    test = mcnemar(first, second)
    assert (test.only_first, test.only_second) == (one, other)
    assert test.p == pytest.approx(stats.binomtest(one, one + other).pvalue)
    chi_square = max(0, abs(one - other) - 1) ** 2 / (one + other)
    assert test.corrected == pytest.approx(stats.chi2.sf(chi_square, 1))


def test_mcnemar__worked_by_hand() -> None:
    # 1 against 5: (C(6,0) + C(6,1)) / 2^6 * 2 = 14/64; chi-square (4 - 1)^2 / 6 = 1.5
    test = mcnemar([1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1])
    assert test.p == 14 / 64
    assert test.corrected == pytest.approx(0.22067, abs=1e-5)
    assert mcnemar([1, 0], [1, 0]).p == 1


def test_mcnemar__of_many_images_takes_no_longer_than_of_few() -> None:
    right = np.arange(40_000) < 20_200  # sums of binomial coefficients took minutes
    began = time.perf_counter()
    test = mcnemar(right, ~right)
    assert time.perf_counter() - began < 1
    assert test.p == pytest.approx(2 * stats.norm.sf(399 / 200), rel=0.01)  # normal, corrected for continuity


def test_paired_difference__is_narrower_than_two_intervals_and_zero_with_itself() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    first = 1 / (1 + np.exp(-rng.normal(labels, 1)))
    second = np.clip(first + rng.normal(0, 0.05, 200), 0, 1)
    patients = np.arange(200) // 2
    runs = [resampled(BinaryFigures(s, labels), patients, resamples=500) for s in (first, second)]
    assert paired_differences(runs[0], runs[0], same=True)["auroc"] == (0, 0, 0)
    pair = paired_differences(*runs)["auroc"]
    alone = np.ptp(np.percentile(runs[0].drawn["auroc"], [2.5, 97.5]))
    assert pair.low < pair.value < pair.high
    assert pair.high - pair.low < alone / 2


def test_holm__worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, math.nan, 0.9])[::2] == [1, 1]
    assert math.isnan(holm([0.5, math.nan])[1])


def test_paired_difference__of_two_runs_that_decide_alike_is_not_certain_to_be_none() -> None:
    right = np.tile([1.0, 1.0, 1.0, 0.0], 25)
    runs = [resampled(Ratios({"accuracy": (right, np.ones(100))}), np.arange(100), resamples=200) for _ in range(2)]
    assert str(paired_differences(*runs)["accuracy"]) == "0.000"
    assert paired_differences(*runs, same=True)["accuracy"] == (0, 0, 0)


def test_paired_difference__of_a_run_with_itself_is_0_though_few_resamples_define_it() -> None:
    scores, labels = np.array([0.2, 0.8, 0.9, 0.7]), np.array([0, 1, 1, 1])
    run = resampled(BinaryFigures(scores, labels), np.arange(4), resamples=200)
    assert np.isnan(run.drawn["auroc"]).any()
    assert paired_differences(run, run, same=True)["auroc"] == (0, 0, 0)
