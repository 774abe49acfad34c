"""Where a classifier could work: cut-offs fitted on validation, measured on the images at hand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pulmo.errors import ConfigError
from pulmo.metrics.bootstrap import Interval, Weighted
from pulmo.metrics.weighted import Ratios, Values
from pulmo.sheets.predictions import Scored, named
from pulmo.thresholds import Best, Fixed, TargetSensitivity, ThresholdPolicy, binary_points

OWN = "own"
POLICY_NAMES = {
    "youden": "Youden",
    "f1": "best F1",
    "half": "0.5",
    "quarter": "0.25",
    "sensitivity": "95 % sensitivity",
}
"""What --threshold takes beside a number → the name of the operating point; the options of threshold= in `conf/`."""

POLICIES: dict[str, ThresholdPolicy] = {
    "0.5": Fixed(0.5),
    "0.25": Fixed(0.25),
    "Youden": Best("youden"),
    "best F1": Best("f1"),
    "95 % sensitivity": TargetSensitivity(0.95),
}


@dataclass(frozen=True)
class OperatingPoint:
    """A cut-off, and what comes of it.

    figures  `sensitivity`, `specificity`, `precision` (positive predictive value) and `npv` at the prevalence of the
             images, `accuracy`, `f1`; `precision_at` and `npv_at` at the prevalence asked for, by Bayes
    absent   why there is no such point; everything else is empty then
    """

    name: str
    cut_off: float
    true_positives: int = 0
    false_positives: int = 0
    true_negatives: int = 0
    false_negatives: int = 0
    figures: dict[str, Interval] = field(default_factory=dict)
    absent: str = ""


def cut_offs(given: Mapping[str, float], val: Scored | None) -> dict[str, float | str]:
    """Name → cut-off, the `given` ones first; those of policies are fitted on validation, or say why they lack."""
    points = None if val is None else binary_points(val.scores, val.labels)
    found: dict[str, float | str] = {**given}
    for name, policy in POLICIES.items():
        if policy.figure is None:
            found[name] = policy.fit(binary_points(np.empty(0), np.empty(0, np.int64))).cut_off
        elif points is None:
            found[name] = "no validation predictions to fit it on"
        elif not len(points.cuts):
            found[name] = "validation holds one class alone"
        else:
            found[name] = policy.fit(points).cut_off
    return found


def asked_cut_off(asked: str, val: Scored | None) -> float:
    """The cut-off that --threshold names: a score, or a policy, which is fitted on validation.

    Raises `ConfigError` where it is neither, or cannot be fitted.
    """
    try:
        value = float(asked)
    except ValueError:
        name = POLICY_NAMES.get(asked)
        if name is None:
            raise ConfigError(f"--threshold {asked}: a score between 0 and 1, or {', '.join(POLICY_NAMES)}") from None
        found = cut_offs({}, val)[name]
        if isinstance(found, str):
            raise ConfigError(f"--threshold {asked}: {found}; give a number") from None
        return found
    if not 0 <= value <= 1:
        raise ConfigError(f"--threshold {asked}: a score between 0 and 1")
    return value


def measured(test: Scored, cuts: Mapping[str, float | str]) -> list[Weighted]:
    """Figures `point/NAME/FIGURE` of each cut-off."""
    positive, one = test.labels.astype(np.float64), np.ones(len(test.labels))
    negative = 1 - positive
    pairs: dict[str, tuple[Values, Values]] = {}
    means: dict[str, tuple[Values, Values]] = {}
    for name, cut in cuts.items():
        if isinstance(cut, str):
            continue
        called = (test.scores >= cut).astype(np.float64)
        passed, found, right_off = 1 - called, called * positive, (1 - called) * negative
        pairs |= {
            f"point/{name}/sensitivity": (found, positive),
            f"point/{name}/specificity": (right_off, negative),
            f"point/{name}/precision": (found, called),
            f"point/{name}/npv": (right_off, passed),
            f"point/{name}/accuracy": (found + right_off, one),
        }
        means[f"point/{name}/f1"] = (2 * found, positive + called)  # of precision and sensitivity: no share
    return [Ratios(pairs), Ratios(means, shares=False)]


def at_prevalence(found: Mapping[str, Values], cuts: Mapping[str, float | str], prevalence: float) -> dict[str, Values]:
    """`precision_at` and `npv_at` beside the figures of `measured`."""
    added: dict[str, Values] = {}
    for name, cut in cuts.items():
        if not isinstance(cut, str):
            sensitivity, specificity = (found[f"point/{name}/{rate}"] for rate in ("sensitivity", "specificity"))
            values = predictive_values(sensitivity, specificity, prevalence)
            added |= dict(zip((f"point/{name}/precision_at", f"point/{name}/npv_at"), values, strict=True))
    return added


def predictive_values(sensitivity: Values, specificity: Values, prevalence: float) -> tuple[Values, Values]:
    """Positive and negative predictive value where a share `prevalence` is ill, by Bayes' theorem."""
    with np.errstate(invalid="ignore", divide="ignore"):
        true, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
        healthy, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
        return true / (true + false), healthy / (healthy + missed)


def operating_points(
    test: Scored, cuts: Mapping[str, float | str], figures: Mapping[str, Interval], prevalence: float | None
) -> list[OperatingPoint]:
    """Put the figures of `measured` where they belong, with the counts of images."""
    points = []
    for name, cut in cuts.items():
        if isinstance(cut, str):
            points.append(OperatingPoint(name, math.nan, absent=cut))
            continue
        called, positive = test.scores >= cut, test.labels == 1
        own = named(figures, f"point/{name}/")
        if prevalence is not None:
            own |= _exact(own, prevalence)
        cells = (called & positive, called & ~positive, ~called & ~positive, ~called & positive)
        tp, fp, tn, fn = (int(cell.sum()) for cell in cells)
        points.append(OperatingPoint(name, cut, tp, fp, tn, fn, own))
    return points


def _exact(figures: Mapping[str, Interval], prevalence: float) -> dict[str, Interval]:
    """Predictive values of a rate of 1, which is the same in each resample: by the exact interval of the rate."""
    sensitivity, specificity = figures["sensitivity"], figures["specificity"]
    low = predictive_values(
        np.array([sensitivity.value, sensitivity.low]), np.array([specificity.low, specificity.value]), prevalence
    )
    exact = {}
    if specificity.value == 1 and not math.isnan(specificity.low) and sensitivity.value > 0:
        exact["precision_at"] = Interval(1.0, float(low[0][0]), 1.0)
    if sensitivity.value == 1 and not math.isnan(sensitivity.low) and specificity.value > 0:
        exact["npv_at"] = Interval(1.0, float(low[1][1]), 1.0)
    return exact
