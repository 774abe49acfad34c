"""How a network runs on the machine at hand: precision, memory layout, compilation, allocator."""

import ctypes
import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import cv2
import torch
from omegaconf import DictConfig

from pulmo.errors import ConfigError
from pulmo.tasks.base import Task

log = logging.getLogger(__name__)

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # numbers of glibc's mallopt, from malloc.h


@dataclass(frozen=True, kw_only=True)
class Execution:
    """What changes a run's speed and not what it computes, within rounding.

    channels_last  weights, and so feature maps, as (B, H, W, C) in memory, as fast convolutions want them
    compile        the network by torch.compile: a minute at the start, on a GPU less time a step
    keep_memory    on the CPU: freed memory stays with the process rather than be cleared by the kernel at every step
    profile        tell where the time went, and trace some steps: see `TimeProfile`

    Three more say what an update of the weights sees, whatever it runs on, see `batches`:

    effective_batch  images an update, over all processes; None: those of a batch in each
    lr_scaling       learning rates by the effective batch's ratio to `base_batch`, by its root, or as they are given
    base_batch       images an update that the given learning rates are for
    """

    channels_last: bool = True
    compile: bool = False
    keep_memory: bool = True
    profile: bool = False
    effective_batch: int | None = None
    lr_scaling: Literal["none", "linear", "sqrt"] = "none"
    base_batch: int | None = None

    def apply(self, task: Task, accelerator: str, precision: str) -> None:
        """Lay out, compile, and tell how the network runs; before the trainer is made."""
        if self.channels_last:
            task.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.compile:
            task.net.compile()
        cv2.setNumThreads(1)  # its threads and torch's would wait for each other over small images
        kept = accelerator == "cpu" and self.keep_memory and keep_freed_memory()
        parts = {"channels last": self.channels_last, "compiled": self.compile, "memory kept": kept}
        log.info("on %s: %s", _device(accelerator), ", ".join([precision, *(name for name, on in parts.items() if on)]))


def settle(trainer: DictConfig) -> str:
    """Put the precision that pays on this machine where `precision` is "auto"; give the accelerator's name.

    bf16-mixed keeps weights and optimizer in float32 and computes convolutions and products in bfloat16. It pays
    where the device has instructions for it: Ampere and newer, or a CPU with AVX512-BF16 or AMX. Raises `ConfigError`
    for float16 on a CPU.
    """
    accelerator = str(trainer.accelerator)
    if accelerator in ("auto", "gpu"):
        found = (name for name in ("cuda", "mps") if getattr(torch, name).is_available())
        accelerator = next(found, "cpu")
    if trainer.precision == "auto":
        trainer.precision = "bf16-mixed" if has_bf16(accelerator) else "32-true"
    if accelerator == "cpu" and str(trainer.precision).startswith("16"):  # Lightning would take bfloat16 instead
        raise ConfigError(f"trainer.precision={trainer.precision} needs a GPU: on a CPU give bf16-mixed or 32-true")
    return accelerator


def lowered(precision: str, accelerator: str) -> torch.dtype | None:
    """The type that a run of this `trainer.precision` computes in; None: float32, as where the device has no other."""
    if precision.startswith("bf16"):
        return torch.bfloat16 if has_bf16(accelerator) else None
    return torch.float16 if precision.startswith("16") and accelerator == "cuda" else None


def computing_in(dtype: torch.dtype | None, device: torch.device) -> AbstractContextManager[None]:
    """Compute in a lower type what Lightning would, or everything in float32."""
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def has_bf16(accelerator: str) -> bool:
    """Whether the device computes in bfloat16 by instructions of its own."""
    native = {"cuda": _cuda_has_bf16, "cpu": _cpu_has_bf16}.get(accelerator)
    return native is not None and native()


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed, rather than hand it back and have it cleared page by page at every step.

    Feature maps are larger than what malloc keeps by default. True where it was told: not where the user has
    chosen otherwise (MALLOC_* variables, a preloaded allocator), nor with another C library.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    if os.environ.get("LD_PRELOAD"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl has none
        return False
    return all(mallopt(name, value) for name, value in ((MMAP_MAX, 0), (TRIM_THRESHOLD, -1), (TOP_PAD, 64 << 20)))


def _cuda_has_bf16() -> bool:
    return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _cpu_has_bf16() -> bool:
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}  # newer than torch 2.11
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def _device(accelerator: str) -> str:
    if accelerator == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads" if accelerator == "cpu" else accelerator
