"""A run that finds its learning rate or its batch size is the run that has them by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning import Callback, Trainer

from pulmo import finders, run
from pulmo.callbacks.searches import RangeTest, SearchEndedError
from pulmo.errors import ConfigError, TrainingError
from tests.conftest import SMALL, figures_of

Train = Callable[..., Path]
Composed = Callable[..., DictConfig]
LR = ["find.lr=true", "find.lr_steps=30", "find.max_lr=0.1", "find.min_lr=1e-5"]
SHORT = ["trainer.max_epochs=2", "logger=csv"]


@pytest.fixture
def falling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses of phantoms hardly fall in thirty steps: each test says what it would find, from rates that were tried."""
    monkeypatch.setattr(finders, "steepest", lambda rates, losses: (float(rates[17]), losses))


def fitted(config: DictConfig, folder: Path) -> dict[str, Any]:
    """The last checkpoint of a run of this configuration, searched first where it says so."""
    config, _ = finders.settled(config, instantiate(config.find), folder, run.build)
    folder.mkdir(exist_ok=True)
    run.fit(run.build(config, folder))
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


@pytest.mark.usefixtures("falling")
@pytest.mark.parametrize(
    "learning",
    [["scheduler=one_cycle"], ["finetune=head_then_last", "finetune.stages.0.epochs=1", "model.net.dropout=0.5"]],
    ids=["one-cycle", "staged"],
)
def test_learning_rate__found_or_given_ends_at_the_same_bits(
    composed: Composed, tmp_path: Path, learning: list[str]
) -> None:
    overrides, searched, by_hand = [*SMALL, *SHORT, *learning], tmp_path / "searched", tmp_path / "by_hand"
    ours = fitted(composed(*overrides, *LR, folder=searched), searched)
    rate = json.loads((searched / "found.json").read_text())["lr"]
    theirs = fitted(composed(*overrides, f"model.optimizer.lr={rate}", folder=by_hand), by_hand)
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()
    assert all(torch.equal(ours["state_dict"][name], theirs["state_dict"][name]) for name in ours["state_dict"])
    assert str(ours["optimizer_states"]) == str(theirs["optimizer_states"])
    assert ours["lr_schedulers"] == theirs["lr_schedulers"]
    assert (searched / "history.csv").read_text() == (by_hand / "history.csv").read_text()


@pytest.mark.usefixtures("falling")
def test_found__is_recorded_and_drawn_and_not_sought_again(
    train: Train, composed: Composed, monkeypatch: pytest.MonkeyPatch
) -> None:
    finds = [*LR, "find.batch_size=true", "find.largest_batch=16", "find.steps=1"]
    folder = train(*SHORT, *finds, "trainer.max_epochs=1")
    found = json.loads((folder / "found.json").read_text())
    assert found["lr"] == pytest.approx(np.geomspace(1e-5, 0.1, 30)[17], rel=0.01)
    assert found["batch_size"] in (8, 16)
    figures, config = figures_of(folder), yaml.safe_load((folder / "config.yaml").read_text())
    logged = yaml.safe_load((folder / "csv" / "hparams.yaml").read_text())
    for name in ("learning_rate_finder", "batch_size_finder"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 5000
    assert [figures["found/lr"], config["model"]["optimizer"]["lr"], logged["lr"]] == [found["lr"]] * 3
    sizes = [figures["found/batch_size"], config["data"]["batch_size"], logged["batch_size"]]
    assert sizes == [found["batch_size"]] * 3
    monkeypatch.setattr(finders, "_search", None)
    resumed = composed(*SMALL, *finds, f"resume={folder}/checkpoints/last.ckpt", folder=folder)
    again, _ = finders.settled(resumed, instantiate(resumed.find), folder, run.build)
    assert (again.model.optimizer.lr, again.data.batch_size) == (found["lr"], found["batch_size"])


def test_learning_rate__of_a_network_that_learns_nothing_is_an_error_with_a_picture(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "fit", lambda *_, **__: (_ for _ in ()).throw(SearchEndedError))
    with pytest.raises(TrainingError, match=r"does not fall clearly anywhere from 1e-05 to 0.1; see .*finder.png"):
        run.train(composed(*SMALL, *LR), tmp_path / "run", [])
    assert (tmp_path / "run" / "figures" / "learning_rate_finder.png").is_file()
    assert not (tmp_path / "run" / "found.json").exists()


class Watch(Callback):
    """Keeps the rates of each step's groups."""

    def __init__(self) -> None:
        self.rates: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        self.rates.append({group["name"]: group["lr"] for group in trainer.optimizers[0].param_groups})


def test_range_test__grows_evenly_and_leaves_a_blocks_own_rate_alone(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = "finetune.stages=[{learn: [{block: head}, {block: features, lr: 0.002}]}]"
    config = composed(*SMALL, "finetune=head", stage, "trainer.accumulate_grad_batches=2")
    built = run.build(finders._alone(config), tmp_path / "run")
    test, watch = RangeTest(1e-5, 0.1, 20), Watch()
    built.trainer.callbacks.insert(0, watch)  # type: ignore[attr-defined]
    monkeypatch.setattr(finders, "LEARNING", (*finders.LEARNING, Watch))
    finders._fit(built, test)
    steps = [rates["head"] for rates in watch.rates]
    expected = np.repeat(np.geomspace(1e-5, 0.1, 20), 2)
    np.testing.assert_allclose(steps[: len(expected)], expected[: len(steps)])
    assert {rates["features"] for rates in watch.rates} == {0.002}
    rates, losses = test.curve
    assert len(rates) == len(losses) == 20


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["find.lr=true", "find.min_lr=1"], r"find.min_lr=1, find.max_lr=1.0: 0 < min_lr < max_lr"),
        (["find.lr=true", "find.lr_steps=3"], r"find.lr_steps=3: at least 20"),
        (["find.lr=perhaps"], r"find.lr=perhaps: true or false expected"),
        (["find.lr=true", "resume=/some/last.ckpt"], r"leave them out with resume"),
        (["find.lr=true", "trained_in=/some/run"], r"trained_in=/some/run found no lr: leave out find.lr"),
        (
            ["find.batch_size=true", "strategy.effective_batch=16"],
            r"find.batch_size=true and strategy.effective_batch=16: .* give one of the two",
        ),
    ],
)
def test_mistake__is_told(composed: Composed, tmp_path: Path, overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run.train(composed(*SMALL, *overrides), tmp_path / "run", overrides)


def test_other_processes__take_what_the_first_one_found(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "found.json").write_text('{"lr": 0.25, "batch_size": 4}')
    monkeypatch.setenv("LOCAL_RANK", "1")
    config = composed(*SMALL, "find.lr=true", "find.batch_size=true")
    found, figures = finders.settled(config, finders.Find(lr=True, batch_size=True), folder, run.build)
    assert (found.model.optimizer.lr, found.data.batch_size) == (0.25, 4)
    assert figures == {"found/lr": 0.25, "found/batch_size": 4.0}
    (folder / "found.json").unlink()
    monkeypatch.setattr(finders, "PATIENCE", 0.0)
    with pytest.raises(TrainingError, match="has the process that searches ended"):
        finders.settled(config, finders.Find(lr=True), folder, run.build)


@pytest.mark.parametrize(
    ("find", "given"), [("find.lr", "model.optimizer.lr=0.1"), ("find.batch_size", "data.batch_size=4")]
)
def test_sweep__over_what_is_to_be_found_is_refused(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, find: str, given: str
) -> None:
    config = composed("model=custom_cnn", f"{find}=true", given)
    monkeypatch.setattr(finders, "in_sweep", lambda: True)
    monkeypatch.setattr(finders, "_search", None)
    with pytest.raises(ConfigError, match=f"{find}=true would overwrite {given}"):
        finders.settled(config, instantiate(config.find), tmp_path, run.build)


def test_search__for_a_run_of_two_processes_adds_up_as_many_images_an_update(
    composed: Composed, tmp_path: Path
) -> None:
    config = composed(*SMALL, "strategy=ddp_cpu", "trainer.accumulate_grad_batches=3")
    alone = run.build(finders._alone(config), tmp_path)
    assert alone.config.strategy.effective_batch == 8 * 2 * 3
    assert (alone.trainer.world_size, alone.trainer.accumulate_grad_batches) == (1, 6)


def test_found__is_sought_where_it_is_missing_alone(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, sought = tmp_path / "run", []

    def rate(config: DictConfig, *_: Any) -> float:
        sought.append(config.data.batch_size)
        return 0.5

    monkeypatch.setattr(finders, "_learning_rate", rate)
    monkeypatch.setattr(finders, "_batch_size", lambda *_: 16)
    folder.mkdir()
    for there, expected in (({"batch_size": 4}, 4), ({"lr": 0.1}, 16), ({"batch_size": 2, "lr": 0.5}, 2)):
        (folder / "found.json").write_text(json.dumps(there))
        config = composed(*SMALL, "find.lr=true", "find.batch_size=true")
        found, _ = finders.settled(config, instantiate(config.find), folder, run.build)
        assert (found.model.optimizer.lr, found.data.batch_size) == (0.5, expected)
    assert sought == [4, 16], "a rate is one for a size of batch; what is known is not sought again"


def test_shared_training__has_what_was_found_for_it(
    composed: Composed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finders, "_search", None)
    (tmp_path / "found.json").write_text('{"lr": 0.25}')
    config = composed(*SMALL, "find.lr=true", f"trained_in={tmp_path}")
    found, _ = finders.settled(config, instantiate(config.find), tmp_path / "run", run.build)
    assert found.model.optimizer.lr == 0.25
