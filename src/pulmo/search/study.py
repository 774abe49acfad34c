"""The study: opened in the sweep's folder or a database, by the searching process and by each of its trials."""

from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage
from optuna.study import Study, StudyDirection
from optuna.trial import Trial
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pulmo.errors import ConfigError

LOCK = ".search.lock"  # in the sweep's folder: held for moments, while a study is made or a trial taken over
DIRECTIONS = {
    **{"min": StudyDirection.MINIMIZE, "minimize": StudyDirection.MINIMIZE},
    **{"max": StudyDirection.MAXIMIZE, "maximize": StudyDirection.MAXIMIZE},
}


def open_study(
    folder: Path, *, name: str, storage: str | None, direction: str, sampler: BaseSampler, pruner: BasePruner
) -> Study:
    """Begin the study, or go on with it; without a `storage` it is `study.db` in `folder`.

    Raises `ConfigError` for a database that cannot be had, and for a study that looks the other way.
    """
    if direction not in DIRECTIONS:
        raise ConfigError(f"hydra.sweeper.direction={direction}: minimize or maximize (one figure is searched for)")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):  # two processes that begin at once would make the same tables
        study = optuna.create_study(
            storage=_storage(storage, folder),
            study_name=name,
            direction=DIRECTIONS[direction],
            sampler=sampler,
            pruner=pruner,
            load_if_exists=True,
        )
    if study.direction is not DIRECTIONS[direction]:
        raise ConfigError(
            f"the study {name!r} was begun to {study.direction.name.lower()}: give another hydra.sweeper.study_name"
        )
    return study


def open_trial(
    number: int, folder: Path, *, name: str, storage: str | None, pruner: BasePruner
) -> tuple[Trial, frozenset[int]]:
    """A running trial of a study, to report to; and the steps that it reported before it was cut off."""
    # Its values are drawn already; a sampler of the search would draw again at this.
    study = optuna.load_study(
        storage=_storage(storage, folder), study_name=name, sampler=RandomSampler(), pruner=pruner
    )
    known = study.get_trials(deepcopy=False)[number].intermediate_values
    return running(study, number), frozenset(known)


def running(study: Study, number: int) -> Trial:
    """The trial as one that can be written to."""
    return Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)


def make(node: DictConfig | None, key: str) -> Any:
    """Instantiate the sampler or the pruner; None where there is none."""
    if node is None:
        return None
    try:
        return instantiate(node)
    except InstantiationException as error:
        raise ConfigError(f"hydra.sweeper.{key}: {error.__cause__ or error}".splitlines()[0]) from error


def make_pruner(node: DictConfig | None) -> BasePruner:
    """The pruner; one that never prunes where the configuration has none."""
    pruner: BasePruner = make(node, "pruner") or NopPruner()
    return pruner


def check_space(study: Study, searched: dict[str, BaseDistribution]) -> None:
    """Raise `ConfigError` where the study was begun with other choices: Optuna cannot mix them."""
    for trial in study.get_trials(deepcopy=False):
        for key in searched.keys() & trial.distributions.keys():
            try:
                check_distribution_compatibility(trial.distributions[key], searched[key])
            except ValueError:
                raise ConfigError(
                    f"{key}: the study {study.study_name!r} was begun with {trial.distributions[key]}; "
                    "give the same, or another hydra.sweeper.study_name"
                ) from None


def _storage(url: str | None, folder: Path) -> RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = url or f"sqlite:///{folder.resolve() / 'study.db'}"
    try:
        sqlite = make_url(url).get_backend_name() == "sqlite"
        # Seconds that a writer waits for the others; SQLite's five are few on a busy disk.
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}} if sqlite else None)
    except ArgumentError:
        raise ConfigError(
            "hydra.sweeper.storage is no URL of a database, such as sqlite:////data/study.db or "
            "postgresql://user:password@host/name"
        ) from None
    except ImportError as error:  # the driver of a database is the user's to choose
        raise ConfigError(f"hydra.sweeper.storage: {_shown(url)} needs a driver: {error}") from error
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ConfigError(f"hydra.sweeper.storage: no database at {_shown(url)}: {said}") from error


def _shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)
