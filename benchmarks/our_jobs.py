"""Measurements of pulmo."""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.jobs import Figures, core_seconds, job, one_core, peak_megabytes, timed


@job
def epochs_ours(overrides: list[str], steps: int) -> Figures:
    """Whole epochs of `train.py` by `overrides`, and the network alone, in one process."""
    from benchmarks import training

    found = training.epochs(overrides, steps)
    return {"rate": found.rate, "ceiling": found.ceiling, "train": found.train_ceiling, "share": found.share}


@job
def cache_ours(root: str, size: int, extra: list[str], alone: bool) -> Figures:
    """DICOMs to the cache, on one core `alone` or on all: images in a second, and in a second that a core is busy."""
    from benchmarks import training

    if alone:
        one_core()
    with tempfile.TemporaryDirectory() as folder:
        places = ["data=rsna", f"data.root={root}", f"data.cache_dir={folder}/cache", f"model.input.size={size}"]
        data = training.data_of(training.compose([*places, *extra], Path(folder)))
        began, busy = time.perf_counter(), core_seconds()
        data.prepare_data()
        seconds, busy = time.perf_counter() - began, core_seconds() - busy
        data.setup("fit")
        count = len(data.table)
    return {"rate": count / seconds, "core_rate": count / busy}


@job
def first_step(overrides: list[str]) -> Figures:
    """Seconds from the command to the end of the first training step, with a warm cache."""
    stop = ["+callbacks.first_step._target_=benchmarks.training.StopAtFirstStep"]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "train.py", *overrides, *stop, f"run_dir={folder}"]
        return {"seconds": timed(command)}


@job
def command(arguments: list[str]) -> Figures:
    """Seconds of a command of pulmo's."""
    return {"seconds": timed([sys.executable, "-m", "pulmo.cli", *arguments])}


@job
def first_and_second(overrides: list[str]) -> Figures:
    """Two epochs of ours: seconds of the first with all that comes before it, and of the second."""
    from benchmarks import training
    from pulmo import run

    with tempfile.TemporaryDirectory() as folder:
        config = training.compose([*overrides, "callbacks.progress_bar=null"], Path(folder))
        clock = training.EpochClock()
        experiment = run.build(config, Path(folder))
        experiment.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        run.fit(experiment)
        images = len(experiment.datamodule.rows_of("train"))
        prepared = experiment.datamodule.prepare_seconds
    first, second = (later - earlier for earlier, later in zip(clock.marks, clock.marks[1:], strict=False))
    return {"first": prepared + first, "second": second, "images": images}


@job
def growth(what: str, root: str) -> Figures:
    """Seconds of one of the steps on all images of an RSNA folder, at 32 pixels."""
    from benchmarks import training
    from pulmo import run

    with tempfile.TemporaryDirectory() as folder:
        places = ["data=rsna", f"data.root={root}", f"data.cache_dir={folder}/cache", "model=custom_cnn"]
        small = ["model.input.size=32", "trainer.max_epochs=2", "logger=none", "data.batch_size=256"]
        config = training.compose([*places, *small, "callbacks.progress_bar=null"], Path(folder))
        if what in ("index", "cache"):
            data = training.data_of(config)
            began = time.perf_counter()
            data.index() if what == "index" else data.prepare_data()
            return {"seconds": time.perf_counter() - began}
        if what == "prediction":
            outcome = _predicted(config, Path(folder), Path(root) / "stage_2_train_images")
            return {"seconds": outcome.seconds, "megabytes": peak_megabytes()}
        experiment = run.build(config, Path(folder))
        clock = training.EpochClock()
        experiment.trainer.callbacks.append(clock)  # type: ignore[attr-defined]
        run.fit(experiment)
    return {"seconds": clock.marks[2] - clock.marks[1]}


@job
def predict_ours(overrides: list[str], root: str, batch_size: int | None = None) -> Figures:
    """`pulmo predict` on a folder by an untrained network, from files to the table of scores."""
    from benchmarks import training

    with tempfile.TemporaryDirectory() as folder:
        config = training.compose([*overrides, "logger=none"], Path(folder))
        outcome = _predicted(config, Path(folder), Path(root), batch_size)
        return {"rate": outcome.images / outcome.seconds}


def _predicted(config: Any, folder: Path, images: Path, batch_size: int | None = None) -> Any:
    """What comes of predicting `images` by a run in `folder` that has its checkpoint and nothing else."""
    import torch

    from pulmo import run
    from pulmo.prediction.job import Asked, predict

    task = run.build(config, folder).task
    content: dict[str, Any] = {"state_dict": task.state_dict(), "epoch": 0}
    task.on_save_checkpoint(content)
    (folder / "checkpoints").mkdir()
    torch.save(content, folder / "checkpoints" / "best.ckpt")
    out = folder / "scores.csv"
    return predict(Asked(runs=[str(folder)], paths=[str(images)], out=out, batch_size=batch_size))


@job
def detector_ours(size: int, batch_size: int, steps: int, extra: list[str]) -> Figures:
    """A training step of `model=mask_rcnn` on the same pictures and boxes."""
    import torch
    from pytorch_lightning import Trainer

    from benchmarks import training
    from pulmo.execution import settle

    with tempfile.TemporaryDirectory() as folder:
        config = training.compose(["model=mask_rcnn", "data.root=.", f"model.input.size={size}", *extra], Path(folder))
        accelerator = settle(config.trainer)
        task = training.task_of(config)
    training.execution_of(config).apply(task, accelerator, config.trainer.precision)
    device = torch.device("cuda" if accelerator == "cuda" else "cpu")
    task.to(device).train()
    task.log = lambda *_, **__: None  # type: ignore[method-assign,assignment]
    batch = training.random_batch(task, size, batch_size)
    box = torch.tensor([[0.2, 0.2, 0.5, 0.6]], device=device) * size
    batch = {"image": batch["image"].to(device), "row": batch["row"].to(device), "boxes": [box] * batch_size}
    optimizer = task.optimizer([{"params": list(task.net.parameters())}])
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=config.trainer.precision == "bf16-mixed")
    task._trainer = Trainer(accelerator="cpu", logger=False, barebones=True)

    def step() -> None:
        with autocast:
            loss = task.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {"rate": batch_size / training.seconds_of(step, steps, device)}
