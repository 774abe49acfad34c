"""What a run was: its configuration, its overrides, and the machine and packages that it ran on."""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

PACKAGES = (
    *("pulmo", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy"),
    *("pandas", "scikit-learn", "albumentations", "opencv-python-headless", "pydicom", "timm"),
)

NOT_KEPT = ("resume=", "run_dir=", "sweep=", "sweep.")
"""Overrides that say where a run stands, or to which sweep it belongs, and nothing of what it is."""


def write(config: DictConfig, folder: Path, overrides: list[str]) -> None:
    """Write `config.yaml` (resolved), `overrides.yaml` and `environment.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    kept = [override for override in overrides if not override.lstrip("+").startswith(NOT_KEPT)]
    (folder / "overrides.yaml").write_text(yaml.safe_dump(kept, allow_unicode=True))
    first = folder / "environment.json"
    path = folder / "environment_resumed.json" if config.resume and first.exists() else first
    path.write_text(json.dumps(_environment(config), indent=2) + "\n")


def is_phantom(config: DictConfig) -> bool:
    """Whether the data set's folder holds drawn phantoms."""
    return (Path(config.data.root).expanduser() / "PHANTOM.txt").exists()


def is_first_process() -> bool:
    """Whether no launcher (Lightning's, torchrun, SLURM) has made this process a later rank."""
    return all(os.environ.get(name, "0") == "0" for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))


def _environment(config: DictConfig) -> dict[str, Any]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "phantom": is_phantom(config),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "commit": _commit(),
        "packages": versions,
    }


def _commit() -> str | None:
    """Commit of the checkout that this code runs from, with "+" where files differ; None outside of one."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changed else "")


def settings(config: DictConfig) -> dict[str, Any]:
    """What differs between runs, flat and plain, for TensorBoard's HPARAMS tab."""
    groups = ("data", "model", "preprocess", "augment", "finetune", "threshold", "loss", "optimizer", "scheduler")
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    return {group: str(choices[group]) for group in groups if group in choices} | {
        "seed": config.seed,
        "lr": config.model.optimizer.lr,
        "weight_decay": config.model.optimizer.get("weight_decay", 0.0),
        "batch_size": config.data.batch_size,
        "weights": str(config.model.weights),
        "size": config.model.input.size,
        "max_epochs": config.trainer.max_epochs,
        "precision": str(config.trainer.precision),
        "fold": "none" if config.data.fold is None else config.data.fold,
    }
