"""Small phantom data sets, written once for the whole suite, and a way to run an experiment in this process."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from pulmo import run
from pulmo.launch import CONF
from pulmo.phantom.folder import write_folder
from pulmo.phantom.kermany import write_kermany
from pulmo.phantom.padchest import write_padchest
from pulmo.phantom.rsna import write_rsna

# A net of a second: 32 pixels, three convolutions.
SMALL = ["model=custom_cnn", "model.input.size=32", "data.batch_size=8", "data.num_workers=0", "strategy=cpu"]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with `rsna`, `kermany` + `kermany_masks`, `padchest` and `folder`, shared by all workers."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "phantoms"
    with FileLock(f"{root}.lock"):
        if not (root / "written").exists():
            write_rsna(root / "rsna", images=40, size=96)
            write_kermany(root / "kermany", masks=root / "kermany_masks", images=60, size=96)
            write_padchest(root / "padchest", images=40, size=96)
            write_folder(root / "folder", images=30, size=64)
            (root / "written").touch()
    return root


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def composed(phantoms: Path, cache_dir: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose the configuration as Hydra would for a run in `folder`, on the phantoms."""

    def compose_for(*overrides: str, folder: Path | None = None, data: str | None = "rsna") -> DictConfig:
        places = [f"data={data}", f"data.root={phantoms / data}"] if data else []
        places.append(f"data.cache_dir={cache_dir}")
        output = f"hydra.runtime.output_dir={folder or tmp_path / 'run'}"
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", [*places, *overrides, output], return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            del config["hydra"]
            config.run_dir = str(folder or tmp_path / "run")
        return config

    return compose_for


@pytest.fixture
def train(composed: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., Path]:
    """Run an experiment with a small net in `tmp_path/name`; give its folder."""

    def train_in(*overrides: str, name: str = "run", data: str = "rsna") -> Path:
        folder = tmp_path / name
        run.train(composed(*SMALL, *overrides, folder=folder, data=data), folder, list(overrides))
        return folder

    return train_in


def figures_of(folder: Path) -> dict[str, Any]:
    """Contents of metrics.json."""
    return dict(json.loads((folder / "metrics.json").read_text()))
