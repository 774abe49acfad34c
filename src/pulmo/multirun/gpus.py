"""GPUs dealt out to the jobs of a sweep that run side by side on one machine."""

import os
import time
from pathlib import Path
from threading import Thread

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig

IN_TURN = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"
"""The launcher whose jobs follow each other, in the sweep's own process."""
SIDE_BY_SIDE = 64  # jobs on one GPU at most; more are a mistake

_held: list[FileLock] = []  # for as long as this process lives: a GPU once begun with cannot be left


def own_gpu(sweep: Path, trainer: DictConfig) -> None:
    """Let this process see one GPU alone, the one with the fewest jobs of this sweep, before CUDA is begun with.

    Nothing is done where there is one GPU or none, and where the job asks for several.
    """
    if trainer.accelerator == "cpu" or trainer.devices not in ("auto", 1) or trainer.strategy != "auto" or _held:
        return
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
    if len(visible) < 2:
        return
    for place in range(SIDE_BY_SIDE):
        for gpu in visible:
            lock = FileLock(sweep / f".gpu_{gpu}_{place}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            _held.append(lock)
            os.environ["CUDA_VISIBLE_DEVICES"] = gpu
            return


def end_with_sweep() -> None:
    """End this process when the sweep's first one has ended: joblib's would train on, seen by nobody."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    Thread(target=watch, daemon=True).start()
