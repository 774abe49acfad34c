"""A run that was cut off and resumed ends where one that was not ends: to the last bit, on the CPU."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from pytorch_lightning import Callback
from pytorch_lightning.strategies import SingleDeviceStrategy

from pulmo import environment, run
from pulmo.errors import ConfigError
from pulmo.resuming import resumed
from tests.conftest import SMALL, figures_of

STAGES = (
    "finetune=head_then_last",
    "finetune.stages.0.epochs=2",
    "model.net.dropout=0.5",
)


class CutOffError(RuntimeError):
    pass


class CutOffAt(Callback):
    """Ends the run inside the epoch, as a kill would: nothing is written any more."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == self.epoch and batch_idx == 1:
            raise CutOffError


@pytest.mark.parametrize("epoch", [2, *(pytest.param(epoch, marks=pytest.mark.slow) for epoch in (1, 3))])
@pytest.mark.parametrize(
    "learning",
    [
        pytest.param(["scheduler=cosine"], id="adam-cosine"),
        pytest.param(["optimizer=sgd", "scheduler=plateau", "model.scheduler.patience=0"], id="sgd-plateau"),
        pytest.param(["optimizer=adamw", "scheduler=one_cycle", *STAGES], id="staged-one-cycle"),
        pytest.param(["scheduler=step", "model.scheduler.warmup_epochs=1", "callbacks=ema"], id="step-ema"),
        pytest.param(["data.sampling=balanced", "model.loss.class_weights=balanced", *STAGES], id="staged-balanced"),
        pytest.param(["finetune=head", "augment=none", "model.net.dropout=0.5"], id="kept-features"),
    ],
)
def test_resume__cut_off_run_ends_at_the_same_weights(
    composed: Callable[..., DictConfig], tmp_path: Path, learning: list[str], epoch: int
) -> None:
    overrides = [*SMALL, *learning, "trainer.max_epochs=4"]
    straight = _fit(composed(*overrides, folder=tmp_path / "straight"), tmp_path / "straight")
    folder = tmp_path / "cut"
    with pytest.raises(CutOffError):
        _fit(composed(*overrides, folder=folder), folder, CutOffAt(epoch))
    resumed = _fit(composed(*overrides, f"resume={folder}/checkpoints/last.ckpt", folder=folder), folder)
    assert resumed["epoch"] == straight["epoch"] == 3
    for name, weights in straight["state_dict"].items():
        assert torch.equal(weights, resumed["state_dict"][name]), name
    assert straight["pulmo"]["state"] == resumed["pulmo"]["state"]
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "straight" / "history.csv"), pd.read_csv(folder / "history.csv")
    )


def _fit(config: DictConfig, folder: Path, *callbacks: Callback) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    experiment = run.build(config, folder)
    experiment.trainer.callbacks += list(callbacks)  # type: ignore[attr-defined]
    run.fit(experiment)
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


def test_resume__moved_folder_remembers_its_best_score(composed: Callable[..., DictConfig], tmp_path: Path) -> None:
    first, moved = tmp_path / "first", tmp_path / "moved"
    best = _fit(composed(*SMALL, "trainer.max_epochs=2", folder=first), first)["callbacks"]
    first.rename(moved)
    resume = f"resume={moved}/checkpoints/last.ckpt"
    again = _fit(composed(*SMALL, "trainer.max_epochs=2", resume, folder=moved), moved)["callbacks"]
    scores = [
        state["best_model_score"] for states in (best, again) for name, state in states.items() if "val/auroc" in name
    ]
    assert scores[0] == scores[1] is not None


@pytest.mark.parametrize("late", [False, True])
def test_resume__schedule_of_another_length_is_refused(
    composed: Callable[..., DictConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    # FSDP and DeepSpeed load a checkpoint when the schedule is made already.
    monkeypatch.setattr(SingleDeviceStrategy, "restore_checkpoint_after_setup", late)
    folder = tmp_path / "run"
    _fit(composed(*SMALL, "scheduler=one_cycle", "trainer.max_epochs=2", folder=folder), folder)
    longer = [*SMALL, "scheduler=one_cycle", "trainer.max_epochs=4", f"resume={folder}/checkpoints/last.ckpt"]
    with pytest.raises(ConfigError, match=r"schedule was made for \d+ steps"):
        _fit(composed(*longer, folder=folder), folder)


KILLED = """
import os, signal, sys
from pytorch_lightning import Callback
from pytorch_lightning.strategies import SingleDeviceStrategy
from pulmo import run
from pulmo.launch import launch
build = run.build
class Kill(Callback):
    def on_train_batch_end(self, trainer, *rest):
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
def with_kill(*arguments):
    experiment = build(*arguments)
    experiment.trainer.callbacks.append(Kill())
    return experiment
run.build = with_kill
launch()
"""


@pytest.mark.slow
def test_resume__killed_process_goes_on_in_the_same_folder_by_one_word(phantoms: Path, tmp_path: Path) -> None:
    arguments = [*SMALL, f"data.root={phantoms / 'rsna'}", f"data.cache_dir={tmp_path}", "trainer.max_epochs=3"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=tmp_path, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (folder,) = (tmp_path / "outputs" / "rsna_custom_cnn").iterdir()
    train_py = Path(__file__).parents[2] / "train.py"
    resumed = subprocess.run(
        [sys.executable, train_py, "resume=last"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert resumed.stdout.splitlines()[-1] == str(folder)
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "outputs" / "rsna_custom_cnn").iterdir()] == [folder.name]


def test_resumed__takes_the_stored_overrides_and_lets_new_ones_win(tmp_path: Path) -> None:
    folder = tmp_path / "run one"
    (folder / "checkpoints").mkdir(parents=True)
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.touch()
    (folder / "overrides.yaml").write_text("[model=vgg16, seed=3, trainer.max_epochs=5]")
    arguments = resumed([f"resume={folder}", "trainer.max_epochs=9"])
    assert arguments == [
        "model=vgg16",
        "seed=3",
        f"run_dir='{folder}'",
        f"resume='{checkpoint}'",
        "trainer.max_epochs=9",
    ]


def test_resumed__of_what_it_made_is_the_same_for_the_processes_that_lightning_starts(tmp_path: Path) -> None:
    folder = tmp_path / "run one"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "overrides.yaml").write_text("[model=vgg16, seed=3]")
    once = resumed([f"resume={folder}", "seed=4"])
    assert sorted(resumed(once)) == sorted(once)


def test_resumed__last_is_the_newest_of_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(["rsna_vgg16/new", "rsna_vgg16/old", "kermany_vgg16/newest"]):
        folder = tmp_path / "outputs" / name
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "overrides.yaml").write_text("[]")
        (folder / "checkpoints" / "last.ckpt").touch()
        os.utime(folder / "checkpoints" / "last.ckpt", (1000 * (age != 1) + age, 1000 * (age != 1) + age))
    assert "newest" in resumed(["resume=last"])[0]
    assert "rsna_vgg16/new'" in resumed(["resume=last", "data=rsna"])[0]


def test_resume__a_threshold_chosen_anew_is_the_one_that_the_test_uses(
    train: Callable[..., Path], composed: Callable[..., DictConfig]
) -> None:
    folder = train("threshold=half", "threshold.value=0.9", "trainer.max_epochs=1")
    last = folder / "checkpoints" / "last.ckpt"
    overrides = [*SMALL, "threshold=half", "threshold.value=0.1", "trainer.max_epochs=1", f"resume={last}"]
    run.train(composed(*overrides, folder=folder), folder, [])
    assert figures_of(folder)["threshold"] == 0.1
    table = pd.read_csv(folder / "predictions_test.csv")
    assert (table["prediction"] == (table["score"] >= 0.1)).all()
    assert table["prediction"].any()


@pytest.mark.parametrize(
    ("given", "precision"),
    [([], ["trainer.precision=32-true"]), (["trainer.precision=bf16-mixed"], ["trainer.precision=bf16-mixed"])],
)
def test_resumed__keeps_the_precision_that_the_run_was_given(
    tmp_path: Path, given: list[str], precision: list[str]
) -> None:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / "overrides.yaml").write_text("[model=vgg16]")
    (folder / "config.yaml").write_text("trainer: {precision: 32-true}")  # what "auto" meant on that machine
    arguments = resumed([f"resume={folder}", *given])
    assert [argument for argument in arguments if argument.startswith("trainer.precision=")] == precision


def test_resume__steps_as_this_run_does_and_not_as_the_cut_off_one(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    _fit(composed(*SMALL, "trainer.max_epochs=1", "model.optimizer.fused=null", folder=folder), folder)
    resume = [f"resume={folder}/checkpoints/last.ckpt", "trainer.max_epochs=2"]
    checkpoint = _fit(composed(*SMALL, *resume, folder=folder), folder)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["fused"] is True


def test_write__what_resume_settled_is_no_override_of_the_run(
    composed: Callable[..., DictConfig], tmp_path: Path
) -> None:
    given = ["model=custom_cnn", "seed=3"]
    environment.write(composed(*SMALL, folder=tmp_path), tmp_path, given)
    settled = ["trainer.precision=32-true", "strategy.effective_batch=null"]
    environment.write(composed(*SMALL, folder=tmp_path), tmp_path, [*given, *settled, "trainer.max_epochs=9"])
    kept = (tmp_path / "overrides.yaml").read_text()
    assert "max_epochs=9" in kept
    assert "precision" not in kept
