"""What follows a multirun (`-m`): its runs side by side."""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from pulmo.report.comparison import compared, comparison_table

log = logging.getLogger(__name__)


class CompareRuns(Callback):  # type: ignore[misc]
    """Prints a table of the sweep's runs and writes it to `comparison.csv` in the sweep's folder."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Compare what was finished."""
        folder = Path(config.hydra.sweep.dir)
        jobs = sorted((path.parent for path in folder.glob("**/metrics.json")), key=lambda job: (len(job.name), job))
        table = compared(jobs)
        if table.empty:
            return
        table.to_csv(folder / "comparison.csv", index=False)
        Console(highlight=False).print(comparison_table(table))
        print(folder.resolve(), flush=True)
