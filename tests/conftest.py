"""Small phantom data sets, written once for the whole suite, and a way to run an experiment in this process."""

import json
import logging
import os
from collections.abc import Callable, Iterator
from logging import FileHandler, StreamHandler
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from filelock import FileLock
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

from pulmo import run
from pulmo.composition import CONF
from pulmo.phantom.folder import write_folder
from pulmo.phantom.kermany import write_kermany
from pulmo.phantom.padchest import write_padchest
from pulmo.phantom.rsna import write_rsna

# A net of a second: 32 pixels, three convolutions.
SMALL = [
    *("model=custom_cnn", "model.input.size=32", "data.batch_size=8", "strategy=cpu", "trainer.precision=32-true"),
    "report=false",  # a second each
]


def command_line(*overrides: str) -> list[str]:
    """The overrides as a command line takes them: no key twice, the last of each counts."""
    return list({override.partition("=")[0]: override for override in overrides}.values())


def small_with(*overrides: str) -> list[str]:
    """`SMALL`, as far as the overrides leave it, and the overrides as they are."""
    given = {override.partition("=")[0] for override in overrides}
    return [*(override for override in SMALL if override.partition("=")[0] not in given), *overrides]


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    """Take away what a command has hung onto the root logger: its streams are those of one test."""
    yield
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if type(handler) in (StreamHandler, FileHandler)]:
        root.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that all of xdist's workers share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Let the first worker that comes along `make` the folder; the others wait for it, and find it made."""
    with FileLock(f"{folder}.lock"):
        if not Path(f"{folder}.made").exists():
            make(folder)
            Path(f"{folder}.made").touch()
    return folder


@pytest.fixture(scope="session")
def phantoms(shared: Path) -> Path:
    """Folder with `rsna`, `kermany` + `kermany_masks`, `padchest` and `folder`."""

    def write(root: Path) -> None:
        write_rsna(root / "rsna", images=40, size=96)
        write_kermany(root / "kermany", masks=root / "kermany_masks", images=60, size=96)
        write_padchest(root / "padchest", images=40, size=96)
        write_folder(root / "folder", images=30, size=64)

    return once(shared / "phantoms", write)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def compose_in(folder: Path, *overrides: str) -> DictConfig:
    """Compose the configuration as Hydra would for a run in `folder`."""
    output = f"hydra.runtime.output_dir={folder}"
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", [*overrides, output], return_hydra_config=True)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        del config["hydra"]
        config.run_dir = str(folder)
    return config


@pytest.fixture
def composed(phantoms: Path, cache_dir: Path, tmp_path: Path) -> Callable[..., DictConfig]:
    """Compose the configuration as Hydra would for a run in `folder`, on the phantoms."""

    def compose_for(*overrides: str, folder: Path | None = None, data: str | None = "rsna") -> DictConfig:
        places = [f"data={data}", f"data.root={phantoms / data}"] if data else []
        places.append(f"data.cache_dir={cache_dir}")
        return compose_in(folder or tmp_path / "run", *places, *overrides)

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


def boxes_of(root: Path) -> dict[str, npt.NDArray[np.float64]]:
    """Image id → (N, 4) true boxes, xyxy in pixels of the file, as an RSNA folder's csv has them."""
    table = pd.read_csv(root / "stage_2_train_labels.csv")
    found = {}
    for image_id, rows in table.groupby("patientId"):
        x, y, width, height = rows.loc[rows["Target"] == 1, ["x", "y", "width", "height"]].to_numpy(float).T
        found[str(image_id)] = np.stack([x, y, x + width, y + height], axis=1)
    return found


def ious(box: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of an xyxy box with each of (N, 4)."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = sides.clip(0).prod(axis=1)
    return shared / ((box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(axis=1) - shared)
