"""Hydra's door to the search: `hydra/sweeper: pulmo_optuna`.

Hydra's own plugin for Optuna wants a release before 3. The keys are the same, and `pruner` beside. Hydra imports this
file at each start, so Optuna is imported only where a search begins.
"""

import importlib.util
import logging
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig, OmegaConf

from pulmo import run_state
from pulmo.errors import ConfigError, MissingExtraError, PulmoError
from pulmo.run_state import State

if TYPE_CHECKING:
    from pulmo.search.trials import Job, Trials

log = logging.getLogger(__name__)

SEEDED = "pulmo.search.sampler.Seeded"


@dataclass
class OptunaSweeperConf:
    """What `hydra.sweeper` may hold; the values are in conf/sweep/_optuna.yaml."""

    _target_: str = "hydra_plugins.pulmo_sweepers.optuna.OptunaSweeper"
    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "median"}, "_self_"])
    _recursive_: bool = False  # the sampler and the pruner are made here, once Optuna is known to be there
    sampler: Any = MISSING
    pruner: Any = MISSING
    direction: str = MISSING
    storage: str | None = None
    study_name: str = MISSING
    n_trials: int = 20
    n_jobs: int = 1
    max_failure_rate: float = 0.5
    params: dict[str, str] = field(default_factory=dict)


# hydra/sweeper/sampler=random and the like. Those that draw at random are seeded for each trial.
SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"_target_": SEEDED, "kind": "optuna.samplers.TPESampler", "seed": "${seed}", "n_startup_trials": 8},
    "random": {"_target_": SEEDED, "kind": "optuna.samplers.RandomSampler", "seed": "${seed}"},
    "qmc": {"_target_": "optuna.samplers.QMCSampler", "seed": "${seed}"},
}
# Epochs are steps. Startup: trials that must be done before any is pruned; warm-up: epochs in which none is.
PRUNERS: dict[str, dict[str, Any]] = {
    "median": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 5, "n_warmup_steps": 2},
    "hyperband": {
        "_target_": "optuna.pruners.HyperbandPruner",
        "min_resource": 2,
        "max_resource": "${trainer.max_epochs}",
    },
    "successive_halving": {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 2},
    "none": {"_target_": "optuna.pruners.NopPruner"},
}

store = ConfigStore.instance()
store.store(group="hydra/sweeper", name="pulmo_optuna", node=OptunaSweeperConf, provider="pulmo")
for name, node in SAMPLERS.items():
    store.store(group="hydra/sweeper/sampler", name=name, node=node, provider="pulmo")
for name, node in PRUNERS.items():
    store.store(group="hydra/sweeper/pruner", name=name, node=node, provider="pulmo")


class OptunaSweeper(Sweeper):  # type: ignore[misc]
    """Trains the trials of an Optuna study, each as a job in a folder of its own.

    `settings` are those that may depend on what the trials share: sampler, pruner, direction. They are taken from a
    trial's configuration, for what `params` shares is not in the one that this is made from.
    """

    def __init__(
        self,
        *,
        storage: str | None,
        study_name: str,
        n_trials: int,
        n_jobs: int,
        max_failure_rate: float,
        params: dict[str, str],
        **settings: Any,
    ) -> None:
        self.storage, self.study_name = storage, study_name
        self.n_trials, self.max_failure_rate = n_trials, max_failure_rate
        self.n_jobs = n_jobs if n_jobs > 0 else os.cpu_count() or 1  # as joblib's -1
        self.params = params
        self.monitor: str
        self.config: DictConfig
        self.launcher: Launcher
        self.hydra_context: HydraContext

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Train until the study has its `n_trials`; what came out is written at the end, and when interrupted."""
        if importlib.util.find_spec("optuna") is None:
            raise MissingExtraError("a search needs Optuna: pip install 'pulmo[optuna]'")
        from pulmo.multirun.gpus import IN_TURN
        from pulmo.multirun.jobs import remember
        from pulmo.report.screen import screen
        from pulmo.search.results import write_results
        from pulmo.search.space import parse_space
        from pulmo.search.study import check_space, make, make_pruner, open_study
        from pulmo.search.trials import Trials

        folder = Path(self.config.hydra.sweep.dir)
        params = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space = parse_space([*params, *arguments], parser)
        shared = self._composed(space.overrides(space.example()))
        self.monitor, settings = _monitor(shared), shared.hydra.sweeper
        remember(folder, sys.argv[1:])
        study = open_study(
            folder,
            name=self.study_name,
            storage=self.storage,
            direction=settings.direction,
            sampler=make(settings.sampler, "sampler"),
            pruner=make_pruner(settings.pruner),
        )
        check_space(study, space.searched)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        if self.n_jobs == 1 and self.config.hydra.launcher["_target_"] != IN_TURN:
            log.warning("one trial is trained at a time: hydra.sweeper.n_jobs=N gives the launcher more at once")
        trials = Trials(study, space, folder, self.n_trials)
        try:
            return self._train(trials)
        except (KeyboardInterrupt, SystemExit):
            log.warning("interrupted: the same command with sweep.resume=true goes on")
            raise
        finally:
            trials.close()
            screen().print(write_results(study, space, folder, self.monitor))
            print(folder.resolve(), flush=True)

    def _train(self, trials: "Trials") -> list[JobReturn]:
        returns: list[JobReturn] = []
        while jobs := trials.next(self.n_jobs):
            self._check(trials, jobs)
            results = self._launched(trials, jobs)
            returns += results
            ended = [self._told(trials, job, result) for job, result in zip(jobs, results, strict=bool(results))]
            if not all(ended):
                log.warning("interrupted: the same command with sweep.resume=true goes on")
                break
            if trials.failures > self.max_failure_rate * self.n_trials:
                raise ConfigError(
                    f"{trials.failures} trials failed, more than hydra.sweeper.max_failure_rate="
                    f"{self.max_failure_rate} of {self.n_trials} allows; see the cause of each in trials.csv"
                )
        else:
            trials.tell_held()
        return returns

    def _launched(self, trials: "Trials", jobs: list["Job"]) -> list[JobReturn]:
        """Train the jobs; a launcher may give up where one's process was killed, and gives nothing then."""
        try:
            overrides = [job.overrides for job in jobs]
            found: list[JobReturn] = self.launcher.launch(overrides, initial_job_idx=jobs[0].number)
        except Exception as error:
            cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warning("the launcher gave up (%s)", cause)
            while any(run_state.read(job.folder).get("state") is State.RUNNING for job in jobs):
                time.sleep(1)
            for job in jobs:
                if not trials.tell_folder(job.number, job.folder):
                    trials.tell_failure(job.number, f"its process was killed ({cause})")
            if isinstance(error, PulmoError | HydraException):  # the user's to mend
                raise
            return []
        return found

    def _check(self, trials: "Trials", jobs: list["Job"]) -> None:
        """Let a configuration that cannot be trained as this study's end the search, rather than trial after trial."""
        try:
            for job in jobs:
                monitor = _monitor(self._composed(job.overrides))
                if monitor != self.monitor:
                    raise ConfigError(
                        f"trial {job.number} goes by {monitor}, the others by {self.monitor}: one study cannot compare "
                        "them; give callbacks.checkpoint.monitor, or a search to each"
                    )
        except (HydraException, ConfigError) as error:
            for job in jobs:
                trials.tell_failure(job.number, str(error).splitlines()[0])
            raise

    def _composed(self, overrides: list[str]) -> DictConfig:
        composed: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        return composed

    def _told(self, trials: "Trials", job: "Job", result: JobReturn) -> bool:
        """Tell the study what became of the job; give False where it was interrupted."""
        interrupted = run_state.read(job.folder).get("state") is State.INTERRUPTED
        if interrupted or result.status is not JobStatus.FAILED:
            return trials.tell_folder(job.number, job.folder)
        error = result._return_value  # its property prints before it raises
        if not isinstance(error, PulmoError):
            log.error("trial %d", job.number, exc_info=error)
        trials.tell_failure(job.number, str(error) or type(error).__name__)
        return True


def _monitor(config: DictConfig) -> str:
    """The figure that is searched for: of the validation, never of the test."""
    checkpoint = config.callbacks.get("checkpoint")
    monitor = str(checkpoint.monitor) if checkpoint else ""
    if not monitor.startswith("val/"):
        raise ConfigError(
            "a search goes by callbacks.checkpoint.monitor, a figure of the validation such as val/loss; "
            f"it is {monitor or None}"
        )
    return monitor
