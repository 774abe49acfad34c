"""Every combination of what the command line sweeps over."""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from pulmo.multirun.jobs import Job

log = logging.getLogger(__name__)


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
        from pulmo.run_state import State

        folder = Path(self.config.hydra.sweep.dir)
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        of_jobs = [argument for argument in arguments if not argument.startswith(jobs.OF_THE_SWEEP)]
        parsed = parser.parse_overrides([*self._parse_config(), *of_jobs])
        combinations = self.split_arguments(parsed, None)[0]
        planned = jobs.jobs_of(combinations, self._composed)
        jobs.begin(folder, sys.argv[1:], planned)
        OmegaConf.save(self.config, folder / "multirun.yaml")
        states = Counter(jobs.state_of(folder, job) for job in planned)
        if done := states[State.FINISHED]:
            log.warning("%s: %d of %d jobs are finished", folder, done, len(planned))
        if running := states[State.RUNNING]:
            log.warning("%s: %d jobs are being run by another process, and left to it", folder, running)
        returned = []
        with nullcontext() if self.config.hydra.launcher["_target_"] == IN_TURN else table.watched(folder):
            for turn in (False, True):
                returned += self._launch(folder, [job for job in planned if (job.training is not None) is turn])
        failed, unfinished = table.tell_result(folder)
        if failed or unfinished:
            further = f", {unfinished} did not come to their end" if unfinished else ""
            raise SweepError(
                f"{failed} of {len(planned)} jobs failed{further}: see above and {folder}/*/train.log; "
                "the same command with sweep.resume=true goes on"
            )
        print(folder.resolve(), flush=True)
        return returned

    def _launch(self, folder: Path, wanted: "Sequence[Job]") -> list[JobReturn]:
        """Launch what is left to do of the jobs, `max_batch_size` at once."""
        from pulmo.multirun import jobs

        able = [job for job in wanted if jobs.has_its_training(folder, job)]
        left = [(job, overrides) for job in able if (overrides := jobs.left_to_do(folder, job)) is not None]
        size = self.max_batch_size or len(left) or 1
        returned: list[JobReturn] = []
        for start in range(0, len(left), size):
            batch = left[start : start + size]
            returned += self._launched(folder, batch, start)
        return returned

    def _launched(self, folder: Path, batch: "list[tuple[Job, list[str]]]", number: int) -> list[JobReturn]:
        """Launch some jobs; a launcher may give up where one's process was killed."""
        from pulmo.multirun import jobs, table
        from pulmo.run_state import State

        began = datetime.now(UTC)
        try:
            found: list[JobReturn] = self.launcher.launch([given for _, given in batch], initial_job_idx=number)
        except Exception as error:  # noqa: BLE001 each launcher has its own
            told = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            log.warning("the launcher gave up (%s)", told)
            table.await_others(folder)
            left = {job.name: jobs.state_of(folder, job) for job, _ in batch}
            killed = [(job, given) for job, given in batch if left[job.name] == State.CUT_OFF]
            never = [(job, given) for job, given in batch if left[job.name] is None]
            in_pool = "joblib" in type(self.launcher).__module__
            if len(batch) == 1 or not in_pool:  # what never began may wait in a queue still
                for job, _ in batch if len(batch) == 1 else killed:
                    jobs.note_failure(folder / job.name, f"its process was killed ({told})", began)
                return []
            # joblib ends all its processes with the one that was killed: which it was shows one after the other.
            again = killed or never
            results = [result for one in again for result in self._launched(folder, [one], number)]
            return results + (self._launched(folder, never, number) if killed and never else [])
        for (job, _), result in zip(batch, found, strict=True):
            if result.status != JobStatus.COMPLETED:
                jobs.note_failure(folder / job.name, result._return_value, began)  # `return_value` would raise it
        return found

    def _composed(self, overrides: Sequence[str]) -> DictConfig:
        composed: DictConfig = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        return composed
