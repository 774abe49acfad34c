"""One process or two: the same run folder, and the same figures from the same checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import small_with

TRAIN = Path(__file__).parents[2] / "train.py"


@pytest.fixture(scope="module")
def folder(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by two processes."""
    root = tmp_path_factory.mktemp("ddp")
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={root / 'cache'}", f"run_dir={root / 'run'}"]
    _run(
        *small_with("strategy=ddp_cpu"),
        "trainer.max_epochs=2",
        "data.folds=3",
        "data.fold=0",
        "data.val_fraction=0.2",
        *places,
        cwd=root,
    )
    return root / "run"


def test_two_processes__train_into_one_folder(folder: Path) -> None:
    assert len(pd.read_csv(folder / "history.csv")) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cache", "run"]


def test_two_processes__no_image_is_counted_twice(folder: Path) -> None:
    split = pd.read_csv(folder / "split.csv")
    expected = {name: split.loc[split["split"] == name, "image_id"].tolist() for name in ("val", "test")}
    assert any(len(images) % 2 for images in expected.values()), "uneven, so that a padding sampler would show"
    for name, images in expected.items():
        assert pd.read_csv(folder / f"predictions_{name}.csv")["image_id"].tolist() == images


def test_one_process__gives_the_same_figures_from_the_same_checkpoint(folder: Path) -> None:
    by_two = json.loads((folder / "metrics.json").read_text())
    scores = pd.read_csv(folder / "predictions_test.csv")["score"]
    _run(f"resume={folder}", "strategy=cpu", cwd=folder.parent)  # nothing left to train: measures again
    by_one = json.loads((folder / "metrics.json").read_text())
    np.testing.assert_allclose(pd.read_csv(folder / "predictions_test.csv")["score"], scores, atol=1e-6)
    compared = [name for name in by_two if name.startswith(("val/", "test/"))]
    assert len(compared) > 50
    for name in compared:
        assert by_one[name] == pytest.approx(by_two[name], abs=1e-6), name


def test_two_processes__frozen_blocks_train_by_the_pulmo_command(phantoms: Path, tmp_path: Path) -> None:
    net = ["model=resnet18", "model.input.size=32", "finetune=head_then_layer4", "finetune.stages.0.epochs=1"]
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    strategy = ["strategy=cpu", "trainer.devices=2", "trainer.max_epochs=2", "data.batch_size=8"]
    finished = subprocess.run(
        [Path(sys.executable).with_name("pulmo"), "train", *net, *places, *strategy],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == str(tmp_path / "run")
    assert (finished.stdout + finished.stderr).count("holds drawn phantoms") == 1, "one process speaks"


def _run(*arguments: str, cwd: Path) -> None:
    finished = subprocess.run([sys.executable, TRAIN, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
