"""How many images an update of the weights sees, over all processes and accumulated steps, and the rate for it."""

import logging
import math
from dataclasses import dataclass
from typing import Any

from lightning_fabric.accelerators.cpu import CPUAccelerator
from lightning_fabric.accelerators.cuda import CUDAAccelerator
from lightning_fabric.accelerators.mps import MPSAccelerator
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf

from pulmo.errors import ConfigError

log = logging.getLogger(__name__)

ACCELERATORS: dict[str, Any] = {"cpu": CPUAccelerator, "cuda": CUDAAccelerator, "mps": MPSAccelerator}
SCALINGS = {"none": lambda ratio: 1.0, "linear": lambda ratio: ratio, "sqrt": math.sqrt}


@dataclass(frozen=True)
class Update:
    """What an update of the weights is made of.

    images       of a batch in one process
    steps        batches whose gradients a process adds up
    rate_factor  by which learning rates are multiplied, since they were given for another number of images

    Where the batches of an epoch do not divide by `steps`, its last update has fewer; each image weighs in it as in
    any other.
    """

    images: int
    processes: int
    steps: int
    rate_factor: float = 1.0

    @property
    def effective(self) -> int:
        """Images of an update, over all processes."""
        return self.images * self.processes * self.steps

    def __str__(self) -> str:
        parts = [f"{self.images} images"]
        parts += [f"{self.processes} processes"] if self.processes > 1 else []
        parts += [f"{self.steps} steps"] if self.steps > 1 else []
        product = " × ".join(parts) + (f" = {self.effective} images" if len(parts) > 1 else "") + " an update"
        return product + (f", learning rates × {self.rate_factor:.4g}" if self.rate_factor != 1 else "")


def settle_update(config: DictConfig, accelerator: str) -> Update:
    """Put `trainer.accumulate_grad_batches` and `strategy.effective_batch`, each from the other, into `config`.

    Raises `ConfigError` where they contradict each other, or no number of steps gives the effective batch.
    """
    trainer, strategy = config.trainer, config.strategy
    images, processes = config.data.batch_size, _processes(trainer, accelerator)
    steps, wanted = trainer.accumulate_grad_batches, strategy.effective_batch
    if wanted is not None:
        if steps != 1 and images * processes * steps != wanted:
            raise ConfigError(
                f"strategy.effective_batch={wanted} is not {images} images × {processes} processes × "
                f"trainer.accumulate_grad_batches={steps}: give one of the two"
            )
        steps = _steps(wanted, images, processes)
    update = Update(images, processes, steps, _rate_factor(strategy, images * processes * steps))
    trainer.accumulate_grad_batches, strategy.effective_batch = steps, update.effective
    log.info("%s", update)
    return update


def _steps(wanted: int, images: int, processes: int) -> int:
    at_once = images * processes
    if wanted > 0 and wanted % at_once == 0:
        return wanted // at_once
    near = sorted({max(1, wanted // at_once) * at_once, (wanted // at_once + 1) * at_once})
    shares = [size for size in range(1, max(wanted, 1) + 1) if wanted % (size * processes) == 0]
    batch = min(shares, key=lambda size: abs(size - images), default=None)
    raise ConfigError(
        f"strategy.effective_batch={wanted}: {images} images × {processes} processes go into it no whole number of "
        f"times; give {' or '.join(map(str, near))}" + (f", or data.batch_size={batch}" if batch is not None else "")
    )


def _rate_factor(strategy: DictConfig, effective: int) -> float:
    scaling, base = strategy.lr_scaling, strategy.base_batch
    if scaling != "none" and (base is None or base < 1):
        raise ConfigError(
            f"strategy.lr_scaling={scaling} needs strategy.base_batch=N, the images an update that the rates are for"
        )
    return 1.0 if scaling == "none" else SCALINGS[scaling](effective / base)


def _processes(trainer: DictConfig, accelerator: str) -> int:
    """Number of processes that Lightning will train with."""
    kind, devices = ACCELERATORS[accelerator], trainer.devices
    devices = OmegaConf.to_container(devices) if OmegaConf.is_config(devices) else devices
    try:
        chosen = kind.parse_devices(kind.auto_device_count() if devices == "auto" else devices)
        return len(kind.get_parallel_devices(chosen)) * int(trainer.num_nodes)
    except (MisconfigurationException, TypeError, ValueError) as error:
        raise ConfigError(f"trainer.devices={devices}: {error}") from error
