"""What follows a multirun (`-m`): its runs side by side."""

from pathlib import Path
from typing import Any

import pandas as pd
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console

from pulmo.report.comparison import compared, comparison_table


class CompareRuns(Callback):  # type: ignore[misc]
    """Keeps a table of the sweep's runs in `comparison.csv`, after each job, and prints it at the end.

    Hydra ends a sweep at its first failed job without coming to the end: the csv then has the others.
    """

    def on_job_end(self, config: DictConfig, job_return: Any, **kwargs: Any) -> None:
        """Add the job."""
        if config.hydra.mode == RunMode.MULTIRUN:
            _write(Path(config.hydra.sweep.dir))

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare what was finished."""
        folder = Path(config.hydra.sweep.dir)
        table = _write(folder)
        if len(table):
            Console(highlight=False).print(comparison_table(table))
            print(folder.resolve(), flush=True)


def _write(folder: Path) -> pd.DataFrame:
    jobs = sorted((path.parent for path in folder.glob("**/metrics.json")), key=lambda job: (len(job.name), job))
    table = compared(jobs)
    if len(table):
        table.to_csv(folder / "comparison.csv", index=False)
    return table
