"""One process or two: the same run folder, the same figures from the same checkpoint, the same updates of weights."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from pulmo import run
from pulmo.tasks.base import Task
from tests.conftest import SMALL, figures_of, small_with

TRAIN = Path(__file__).parents[2] / "train.py"
# 22 of the 40 images train: without a last, smaller update, one process can take the same steps as two.
SPLIT = ["data.folds=3", "data.fold=0", "data.val_fraction=0.2", "model.net.dropout=0"]
RATE = ["strategy.lr_scaling=linear", "strategy.base_batch=8", "optimizer=sgd"]


class Tells(Callback):
    """Writes down what its process holds after the test."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data, task = cast(Any, trainer).datamodule, cast(Task, pl_module)
        known = {"threshold": task.threshold, "split": data.table[["image_id", "split"]].to_csv(index=False)}
        places = {"folder": str(trainer.default_root_dir), "figures": dict(sorted(task.figures.items()))}
        (self.folder / f"{trainer.global_rank}_of_{trainer.world_size}.json").write_text(json.dumps(known | places))


@pytest.fixture(scope="module")
def folder(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by two processes."""
    root = tmp_path_factory.mktemp("ddp")
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={root / 'cache'}", f"run_dir={root / 'run'}"]
    limit = ["trainer.max_epochs=2", "trainer.limit_train_batches=1"]
    tells = f"+callbacks.tells={{_target_: {Tells.__module__}.Tells, folder: '{root / 'told'}'}}"
    (root / "told").mkdir()
    _run(*small_with("strategy=ddp_cpu"), *SPLIT, *RATE, *limit, *places, tells, cwd=root)
    return root / "run"


def test_two_processes__train_into_one_folder(folder: Path) -> None:
    assert len(pd.read_csv(folder / "history.csv")) == 2
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cache", "run", "told"]


def test_two_processes__agree_on_folder_split_threshold_and_figures(folder: Path) -> None:
    first, second = (json.loads((folder.parent / "told" / f"{rank}_of_2.json").read_text()) for rank in (0, 1))
    assert first["threshold"] is not None
    assert first["split"] == second["split"]
    assert first["threshold"] == second["threshold"]
    assert Path(first["folder"]).resolve() == Path(second["folder"]).resolve() == folder.resolve()
    measured = [name for name in first["figures"] if name.startswith(("val/", "test/"))]
    assert {name: first["figures"][name] for name in measured} == {name: second["figures"][name] for name in measured}


def test_two_processes__no_image_is_counted_twice(folder: Path) -> None:
    split = pd.read_csv(folder / "split.csv")
    expected = {name: split.loc[split["split"] == name, "image_id"].tolist() for name in ("val", "test")}
    assert any(len(images) % 2 for images in expected.values()), "uneven, so that a padding sampler would show"
    assert any(0 < len(images) <= 8 for images in expected.values()), "a batch for one process, and none for the other"
    for name, images in expected.items():
        assert pd.read_csv(folder / f"predictions_{name}.csv")["image_id"].tolist() == images


def test_one_process__gives_the_same_digits_from_the_same_checkpoint(folder: Path) -> None:
    by_two = figures_of(folder)
    tables = {name: (folder / f"predictions_{name}.csv").read_bytes() for name in ("val", "test")}
    _run(f"resume={folder}", "strategy=cpu", cwd=folder.parent)  # nothing left to train: measures again
    by_one = figures_of(folder)
    compared = [name for name in by_two if name.startswith(("val/", "test/"))]
    assert len(compared) > 50
    assert {name: by_one[name] for name in compared} == {name: by_two[name] for name in compared}
    assert all((folder / f"predictions_{name}.csv").read_bytes() == table for name, table in tables.items())


def test_one_process__takes_the_same_steps_by_accumulating(
    folder: Path, composed: Callable[..., DictConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    alone = tmp_path / "alone"
    steps = ["strategy.effective_batch=16", "trainer.max_epochs=2", "trainer.limit_train_batches=2"]
    with caplog.at_level("INFO"):
        run.train(composed(*SMALL, *SPLIT, *RATE, *steps, folder=alone), alone, [])
    assert "8 images × 2 steps = 16 images an update, learning rates × 2" in caplog.text
    two, one = (torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (folder, alone))
    assert one["global_step"] == two["global_step"] == 2
    assert [group["lr"] for group in one["optimizer_states"][0]["param_groups"]] == [0.02]
    torch.testing.assert_close(one["state_dict"], two["state_dict"], atol=1e-6, rtol=1e-4)
    assert figures_of(alone)["train/images_per_update"] == figures_of(folder)["train/images_per_update"] == 16


@pytest.mark.slow
def test_resume__goes_on_with_another_number_of_processes_and_the_same_updates(phantoms: Path, tmp_path: Path) -> None:
    places = [f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path / 'cache'}", f"run_dir={tmp_path / 'run'}"]
    _run(*small_with("strategy=ddp_cpu"), "scheduler=constant", "trainer.max_epochs=1", *places, cwd=tmp_path)
    for number, strategy in enumerate(["cpu", "ddp_cpu"], start=2):
        epochs = f"trainer.max_epochs={number}"
        said = _run(f"resume={tmp_path / 'run'}", f"strategy={strategy}", epochs, cwd=tmp_path)
        assert f"8 images × 2 {'steps' if strategy == 'cpu' else 'processes'} = 16 images an update" in said
        assert pd.read_csv(tmp_path / "run" / "history.csv")["epoch"].tolist() == list(range(number))
    assert json.loads((tmp_path / "run" / "state.json").read_text())["state"] == "finished"


@pytest.mark.slow
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


def _run(*arguments: str, cwd: Path) -> str:
    modules = os.pathsep.join([str(TRAIN.parent), os.environ.get("PYTHONPATH", "")])
    # Sums differ in the last digit with the number of threads.
    alike = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": modules}
    command = [sys.executable, TRAIN, *arguments]
    finished = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=alike)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout + finished.stderr
