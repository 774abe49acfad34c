"""A run as one trial of a search."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from pytorch_lightning import Callback

from pulmo.callbacks.pruning import Pruning, Reported
from pulmo.errors import ConfigError


def trial_callbacks(config: DictConfig) -> list[Callback]:
    """What reports to the study that `sweep.trial` names; nothing in other runs, and where a search does not prune.

    The database is asked of Hydra rather than written into the run's config.yaml: its URL may hold a password. Raises
    `ConfigError` for a single run that chose a search.
    """
    if not HydraConfig.initialized():
        return []
    hydra = HydraConfig.get()
    if config.sweep.trial is None:
        if hydra.mode != RunMode.MULTIRUN and hydra.runtime.choices.get("hydra/sweeper") == "pulmo_optuna":
            raise ConfigError(f"sweep={hydra.runtime.choices.sweep} searches over many runs: add -m")
        return []
    if hydra.sweeper.pruner is None:
        return []

    def connect() -> tuple[Reported, frozenset[int]]:
        from pulmo.search.study import make_pruner, open_trial  # Optuna is an extra

        return open_trial(
            config.sweep.trial.number,
            Path(hydra.sweep.dir),
            name=config.sweep.trial.study,
            storage=hydra.sweeper.storage,
            pruner=make_pruner(hydra.sweeper.pruner),
        )

    return [Pruning(config.callbacks.checkpoint.monitor, connect)]
