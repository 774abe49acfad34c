"""Suggestions as a function of the seed and the trial's number, not of which process asks or what ran before."""

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class SeededTPE(BaseSampler):
    """Optuna's TPE (Watanabe 2023, arXiv 2304.11127), seeded anew for each trial.

    Optuna seeds it once: a search that goes on after a kill would begin with the first trials' values again, and so
    would every further process on the study. `settings` are TPESampler's.
    """

    def __init__(self, seed: int, **settings: Any) -> None:
        self.seed, self.settings = seed, settings
        self._tpe = TPESampler(seed=seed, **settings)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed for this trial."""
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self._tpe = TPESampler(seed=seed, **self.settings)
        self._tpe.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As TPE."""
        return self._tpe.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE."""
        return self._tpe.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)
