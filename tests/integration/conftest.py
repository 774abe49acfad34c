"""What the tests of masks and of boxes share: small networks, runs that are made once, and ways to measure."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from omegaconf import DictConfig

from pulmo import run
from tests.conftest import SMALL as QUICK
from tests.conftest import compose_in, once

SIZE, FILE = 64, 96  # sides of the network's images and of the RSNA phantoms' files, in pixels
SMALL = [f"model.input.size={SIZE}", "data.batch_size=4", "strategy=cpu", "logger=csv", "trainer.precision=32-true"]
UNEXT = ["model=unext", "model.net.widths=[8,8,16,16,16]", "model.optimizer.lr=1e-2", *SMALL]
OPACITY = ["data.val_fraction=0.2", "data.test_fraction=0.25", "augment=none"]
# Of networks with tens of millions of parameters: one file, without the optimizer.
LIGHT = ["callbacks.last_checkpoint=null", "+callbacks.checkpoint.save_weights_only=true"]


def lungs_of(phantoms: Path) -> list[str]:
    """Overrides for Kermany's lungs: 10 of its 60 images have no mask."""
    return ["data.target=lungs", f"data.masks={phantoms / 'kermany_masks'}", "preprocess.missing=skip"]


@pytest.fixture(scope="session")
def lungs(shared: Path, phantoms: Path) -> Path:
    """Run that learnt to draw lungs."""
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={shared / 'lungs_cache'}"]
    overrides = [*places, *lungs_of(phantoms), *UNEXT, "trainer.max_epochs=5"]
    return once(shared / "lungs", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


@pytest.fixture(scope="session")
def opacities(shared: Path, phantoms: Path) -> Path:
    """Run that learnt to draw opacities, and drew those of the unlabelled images."""
    places = ["data=rsna", f"data.root={phantoms / 'rsna'}", f"data.cache_dir={shared / 'opacities_cache'}"]
    overrides = [*places, *UNEXT, *OPACITY, "trainer.max_epochs=20", "predict=true"]
    return once(shared / "opacities", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


@pytest.fixture(scope="session")
def classifier(shared: Path, phantoms: Path) -> Path:
    """A run of a small classifier on the RSNA phantoms."""
    places = ["data=rsna", f"data.root={phantoms / 'rsna'}", f"data.cache_dir={shared / 'evaluate_cache'}"]
    shares = ["data.test_fraction=0.4", "data.val_fraction=0.3", "trainer.max_epochs=1", "logger=csv"]
    overrides = [*places, *shares, *QUICK]
    return once(shared / "evaluated", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


def untrained(config: DictConfig) -> dict[str, float]:
    """Figures of a fresh network, its operating point fitted on validation like any."""
    folder = Path(config.run_dir)
    folder.mkdir(exist_ok=True)
    experiment = run.build(config, folder)
    run.test(experiment)
    return experiment.task.figures


def fit(config: DictConfig) -> dict[str, float]:
    """Figures of a trained network; nothing is drawn."""
    folder = Path(config.run_dir)
    folder.mkdir(exist_ok=True)
    experiment = run.build(config, folder)
    run.fit(experiment)
    run.test(experiment)
    return experiment.task.figures


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) {0, 1} of a PNG that holds 0 and 255 alone."""
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask is not None, path
    assert set(np.unique(mask)) <= {0, 255}
    return (mask > 0).astype(np.uint8)


def dice_of(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> float:
    """2 |A ∩ B| / (|A| + |B|); NaN where both are empty."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one.astype(bool) & other.astype(bool)).sum()) / both if both else np.nan
