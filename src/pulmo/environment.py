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
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

PACKAGES = (
    *("pulmo", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "omegaconf", "numpy"),
    *("pandas", "scikit-learn", "albumentations", "opencv-python-headless", "pydicom", "timm"),
)

COMPOSED = "composed.yaml"
SETTLED = ("trainer.precision", "strategy.effective_batch")
"""What a run that says nothing of it settles on by itself, and keeps when it is resumed."""

OF_THE_FOLDER = ("resume=", "run_dir=", "trained_in=", "sweep=", "sweep.", "launcher=")
"""Overrides that say where a run stands, or to which sweep it belongs, and nothing of what it is."""


def write(config: DictConfig, folder: Path, overrides: list[str]) -> None:
    """Write `config.yaml` (resolved), `composed.yaml` (as composed), `overrides.yaml` and `environment.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = [override for override in overrides if not override.lstrip("+").startswith(OF_THE_FOLDER)]
    kept = [override for override in kept if not _is_settled(override, folder)]
    OmegaConf.save(config, folder / "config.yaml", resolve=True)
    OmegaConf.save(_without_hydra(config, folder), folder / COMPOSED)
    (folder / "overrides.yaml").write_text(yaml.safe_dump(kept, allow_unicode=True))
    first = folder / "environment.json"
    path = folder / "environment_resumed.json" if config.resume and first.exists() else first
    began = datetime.now(UTC).isoformat(timespec="seconds")
    known = {"started": began, "command": sys.argv, "folder": os.getcwd()} | described()
    path.write_text(json.dumps(known | {"phantom": is_phantom(config)}, indent=2) + "\n")


def _is_settled(override: str, folder: Path) -> bool:
    """Whether `resume` added the override, for what the run in `folder` had settled on by itself."""
    key, _, value = override.partition("=")
    if key not in SETTLED or not (folder / "overrides.yaml").is_file():
        return False
    before: list[str] = yaml.safe_load((folder / "overrides.yaml").read_text()) or []
    given = any(item.partition("=")[0] == key for item in before)
    return not given and str(OmegaConf.select(OmegaConf.load(folder / "config.yaml"), key)) == value


def _without_hydra(config: DictConfig, folder: Path) -> DictConfig:
    """The configuration with its references, of which those to Hydra itself are replaced: it stands for itself."""

    def plain(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: plain(value) for key, value in node.items()}
        if isinstance(node, list):
            return [plain(value) for value in node]
        return node.replace("${hydra:runtime.output_dir}", "${run_dir}") if isinstance(node, str) else node

    composed: DictConfig = OmegaConf.create(plain(OmegaConf.to_container(config)))
    composed.run_dir = str(folder)
    composed.choices = OmegaConf.to_container(config.choices)
    return composed


def is_phantom(config: DictConfig) -> bool:
    """Whether the data set's folder holds drawn phantoms."""
    return holds_phantoms(config.data.root)


def holds_phantoms(root: str | Path) -> bool:
    """Whether the folder is one that `pulmo sample` has drawn."""
    return (Path(root).expanduser() / "PHANTOM.txt").exists()


def in_sweep() -> bool:
    """Whether this run is a job of a multirun."""
    return HydraConfig.initialized() and bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def described() -> dict[str, Any]:
    """This machine and its packages, as far as results depend on them."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
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
    return {group: str(config.choices[group]) for group in groups if group in config.choices} | {
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
