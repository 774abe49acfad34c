"""Where the time of a training goes, for `strategy.profile=true`."""

import logging
import time
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

TRACED = {"wait": 2, "warmup": 1, "active": 3, "repeat": 1}  # steps of the first epoch


class TimeProfile(Callback):
    """Tells at the end which share of the time went to data, steps, validation and the rest, and traces three steps.

    The trace, `profile_trace.json.gz` in `folder`, is read by https://ui.perfetto.dev. The first epoch counts as any
    other. A GPU is waited for behind each step, which costs a little: the shares are of a run that is profiled.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self.seconds = {"data": 0.0, "step": 0.0, "validation": 0.0}
        self._began = self._mark = 0.0
        self._trace: profile | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin."""
        self._began = self._mark = time.perf_counter()
        if trainer.is_global_zero:
            kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
            self._trace = profile(activities=kinds, schedule=schedule(**TRACED), on_trace_ready=self._write)
            self._trace.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here the first batch is waited for."""
        self._mark = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """A batch has come."""
        self._count("data")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """A step is done."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._count("step")
        if self._trace is not None:
            self._trace.step()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """What came before is neither data nor step."""
        self._mark = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validation is done."""
        if trainer.state.fn == "fit":
            self._count("validation")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell."""
        if self._trace is not None:
            self._trace.stop()
            self._trace = None
        whole = time.perf_counter() - self._began
        self.seconds["other"] = whole - sum(self.seconds.values())
        shares = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in self.seconds.items())
        log.info("time of the training, %.1f s: %s", whole, shares)

    def _count(self, what: str) -> None:
        now = time.perf_counter()
        self.seconds[what] += now - self._mark
        self._mark = now

    def _write(self, trace: profile) -> None:
        path = self._folder / "profile_trace.json.gz"
        trace.export_chrome_trace(str(path))
        log.info("trace of %d steps: %s", TRACED["active"], path)
