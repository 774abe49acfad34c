"""At which cut-off decisions are made: the run's own, or the one that was asked for."""

import logging
import math
from dataclasses import dataclass, field

import pandas as pd

from pulmo.errors import RunError
from pulmo.finished import FinishedRun
from pulmo.sheets.operating_points import OWN, asked_cut_off
from pulmo.sheets.predictions import scored

log = logging.getLogger(__name__)

ASKED = "asked"


@dataclass(frozen=True)
class Cut:
    """Where a score counts as positive: `value`, NaN where nothing is decided so; `said` in words.

    `given` are this cut-off and the run's own by name, as a sheet shows them; `own` is None where the run has none.
    """

    value: float
    said: str
    own: float | None
    given: dict[str, float] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether it is another than the run's own."""
        return ASKED in self.given


def cut_of(run: FinishedRun, asked: str | None, val: pd.DataFrame | None) -> Cut:
    """The cut-off that `asked` names; a policy is fitted on the run's validation predictions `val`.

    Raises `ConfigError` where it is no cut-off, `RunError` where the run has none of its own, or no validation.
    """
    own = own_cut_off(run)
    if asked is None:
        if own is None:
            return Cut(math.nan, "the likeliest class", None)
        whose = f"checkpoint {run.other_checkpoint}'s" if run.other_checkpoint else "the run's"
        return Cut(own, f"{own:.4g}, {whose} own", own, {OWN: own})
    value = asked_cut_off(asked, None if val is None else scored(val, "predictions_val.csv"))
    given = {ASKED: value} | ({} if own is None else {OWN: own})
    return Cut(value, f"{value:.4g}, by --threshold {asked}", own, given)


def own_cut_off(run: FinishedRun) -> float | None:
    """The cut-off that the run was tested at, from metrics.json or its checkpoint; None where it needs none."""
    if run.has("metrics.json") and not run.other_checkpoint:
        value = run.metrics.get("threshold")
        if value is not None:
            return float(value)
        if any("/sensitivity/" in name for name in run.metrics):  # of each class: there are more than two
            return None
    threshold: float | None = run.task.threshold
    if threshold is None and len(run.class_names) == 2:
        raise RunError(f"{run.folder} has no threshold: it was ended before a validation; give --threshold")
    return threshold
