"""Suggestions as a function of the seed and the trial's number, not of which process asks or what ran before."""

from typing import Any

import numpy as np
from hydra.utils import get_class
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class Seeded(BaseSampler):
    """A sampler of Optuna, such as its TPE (Watanabe 2023, arXiv 2304.11127), seeded anew for each trial.

    Optuna seeds it once: a search that goes on after a kill would begin with the first trials' values again, and so
    would every further process on the study. `kind` is the sampler's class, `settings` are its own.
    """

    def __init__(self, kind: str, seed: int, **settings: Any) -> None:
        self.kind, self.seed, self.settings = get_class(kind), seed, settings
        self._sampler: BaseSampler = self.kind(seed=seed, **settings)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Seed for this trial."""
        seed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self._sampler = self.kind(seed=seed, **self.settings)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """As the sampler."""
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As the sampler."""
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the sampler."""
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)
