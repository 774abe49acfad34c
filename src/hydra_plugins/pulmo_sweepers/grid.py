"""Every combination of what the command line sweeps over."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from pulmo.multirun.jobs import Job


@dataclass
class GridConf:
    """As Hydra's basic sweeper: how many jobs are launched at once, and further overrides to sweep over."""

    _target_: str = "hydra_plugins.pulmo_sweepers.grid.GridSweeper"
    max_batch_size: int | None = None
    params: dict[str, str] | None = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="pulmo_grid", node=GridConf, provider="pulmo")


class GridSweeper(BasicSweeper):  # type: ignore[misc]
    """Hydra's basic sweeper, with a folder for each job that its settings name, and jobs that may fail.

    Jobs that differ by the threshold alone share one training: the others wait for it. With `sweep.resume=true` it
    skips what is finished, goes on with what was cut off, and tries again what failed.
    """

    def sweep(self, arguments: list[str]) -> Any:
        """Run all jobs; raises `SweepError` at the end if any has failed."""
        from pulmo.errors import SweepError  # not at import: Hydra loads its plugins at each start
        from pulmo.multirun import jobs, table
        from pulmo.multirun.gpus import IN_TURN

        folder = Path(self.config.hydra.sweep.dir)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        of_jobs = [argument for argument in arguments if not argument.startswith(jobs.OF_THE_SWEEP)]
        parsed = parser.parse_overrides([*self._parse_config(), *of_jobs])
        combinations = self.split_arguments(parsed, None)[0]
        planned = jobs.jobs_of(combinations, self._composed)
        jobs.begin(folder, sys.argv[1:], planned)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        returned = []
        with nullcontext() if self.config.hydra.launcher["_target_"] == IN_TURN else table.watched(folder):
            for turn in (False, True):
                returned += self._launch(folder, [job for job in planned if (job.training is not None) is turn])
        if failed := table.tell_result(folder):
            raise SweepError(
                f"{len(failed)} of {len(planned)} jobs failed, see above and {folder}/*/train.log; the same command "
                "with sweep.resume=true tries them again"
            )
        print(folder.resolve(), flush=True)
        return returned

    def _launch(self, folder: Path, wanted: "Sequence[Job]") -> list[JobReturn]:
        """Launch what is left to do of the jobs, `max_batch_size` at once."""
        from pulmo.multirun import jobs

        able = [job for job in wanted if not jobs.without_training(folder, job)]
        left = [(job, overrides) for job in able if (overrides := jobs.left_to_do(folder, job)) is not None]
        size = self.max_batch_size or len(left) or 1
        returned: list[JobReturn] = []
        for start in range(0, len(left), size):
            batch = left[start : start + size]
            returned += self._launched(folder, batch, start)
        return returned

    def _launched(self, folder: Path, batch: "list[tuple[Job, list[str]]]", number: int) -> list[JobReturn]:
        """Launch some jobs; where a launcher gives up since one's process was killed, again those that never began."""
        from pulmo.multirun import jobs
        from pulmo.run_state import State, read

        try:
            found: list[JobReturn] = self.launcher.launch([given for _, given in batch], initial_job_idx=number)
        except Exception as error:
            killed = [job for job, _ in batch if read(folder / job.name).get("state") == State.CUT_OFF]
            for job in killed:
                jobs.note_failure(folder / job.name, f"its process was killed ({type(error).__name__})")
            waiting = [(job, given) for job, given in batch if not read(folder / job.name)]
            if not killed:
                raise
            return self._launched(folder, waiting, number) if waiting else []
        for (job, _), result in zip(batch, found, strict=True):
            if result.status != JobStatus.COMPLETED:
                jobs.note_failure(folder / job.name, result._return_value)  # `return_value` would raise it
        return found

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        composed: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        return composed
