"""At which cut-off decisions are made: the run's own, or the one that was asked for."""

import logging
import math
from dataclasses import dataclass, field

import pandas as pd

from pulmo.errors import ConfigError, RunError
from pulmo.finished import FinishedRun
from pulmo.sheets.operating_points import OWN, cut_offs
from pulmo.sheets.predictions import scored

log = logging.getLogger(__name__)

ASKED = "asked"
FITTED = {
    "youden": "Youden",
    "f1": "best F1",
    "half": "0.5",
    "quarter": "0.25",
    "sensitivity": "95 % sensitivity",
}
"""What --threshold takes beside a number → the name of the operating point; the options of threshold= in `conf/`."""


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
    value = _asked(asked, val)
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


def _asked(asked: str, val: pd.DataFrame | None) -> float:
    try:
        value = float(asked)
    except ValueError:
        name = FITTED.get(asked)
        if name is None:
            raise ConfigError(f"--threshold {asked}: a score between 0 and 1, or {', '.join(FITTED)}") from None
        found = cut_offs({}, None if val is None else scored(val, "predictions_val.csv"))[name]
        if isinstance(found, str):
            raise ConfigError(f"--threshold {asked}: {found}; give a number") from None
        return found
    if not 0 <= value <= 1:
        raise ConfigError(f"--threshold {asked}: a score between 0 and 1")
    return value
