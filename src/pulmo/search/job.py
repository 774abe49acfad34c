"""A run as one trial of a search."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from pytorch_lightning import Callback

from pulmo.callbacks.pruning import Pruning, Reported


def trial_callbacks(config: DictConfig) -> list[Callback]:
    """What reports to the study that `sweep.trial` names; nothing in other runs.

    The database is asked of Hydra rather than written into the run's config.yaml: its URL may hold a password.
    """
    if config.sweep.trial is None:
        return []

    def connect() -> tuple[Reported, frozenset[int]]:
        from pulmo.search.study import make_pruner, open_trial  # Optuna is an extra

        hydra = HydraConfig.get()  # of the first process: it alone asks
        return open_trial(
            config.sweep.trial.number,
            Path(hydra.sweep.dir),
            name=config.sweep.trial.study,
            storage=hydra.sweeper.storage,
            pruner=make_pruner(hydra.sweeper.pruner),
        )

    return [Pruning(config.callbacks.checkpoint.monitor, connect)]
