"""A run from a data-set folder to a tested checkpoint, and what it leaves behind."""

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score

from pulmo.data.preparing import OnTheFly, Recipe
from pulmo.errors import TrainingError
from pulmo.tasks.base import Task
from pulmo.transforms.preprocess import Preprocess
from tests.conftest import figures_of

Train = Callable[..., Path]
TWO_EPOCHS = "trainer.max_epochs=2"


def test_run_folder__holds_everything_that_later_commands_need(train: Train) -> None:
    folder = train(TWO_EPOCHS)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present >= {
        *("config.yaml", "overrides.yaml", "environment.json", "split.csv", "history.csv", "metrics.json"),
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "predictions_val.csv", "predictions_test.csv"),
        *(f"figures/{kind}_{split}.png" for kind in ("roc", "confusion", "scores") for split in ("val", "test")),
        "figures/learning_curves.png",
    }
    assert len(pd.read_csv(folder / "history.csv")) == 2
    assert json.loads((folder / "environment.json").read_text())["phantom"] is True


def test_metrics__agree_with_sklearn_on_the_predictions_csv(train: Train) -> None:
    folder = train(TWO_EPOCHS, "data.test_fraction=0.3")
    figures, table = figures_of(folder), pd.read_csv(folder / "predictions_test.csv")
    assert list(table.columns[:5]) == ["image_id", "patient_id", "label", "score", "prediction"]
    assert figures["test/auroc"] == pytest.approx(roc_auc_score(table["label"], table["score"]), abs=1e-6)
    assert figures["test/average_precision"] == pytest.approx(
        average_precision_score(table["label"], table["score"]), abs=1e-6
    )
    for suffix, cut in (("", figures["threshold"]), ("@0.5", 0.5), ("@0.25", 0.25)):
        decided = (table["score"] >= cut).astype(int)
        assert figures[f"test/accuracy{suffix}"] == pytest.approx(accuracy_score(table["label"], decided))
    assert (table["prediction"] == (table["score"] >= figures["threshold"])).all()


def test_split__patients_of_the_csv_never_cross_and_tables_agree(train: Train) -> None:
    folder = train(TWO_EPOCHS)
    split = pd.read_csv(folder / "split.csv")
    assert split.groupby("patient_id")["split"].nunique().max() == 1
    tested = pd.read_csv(folder / "predictions_test.csv")["image_id"]
    assert set(tested) == set(split.loc[split["split"] == "test", "image_id"])


def test_threshold__is_fitted_on_validation_and_kept_in_the_checkpoint(train: Train) -> None:
    folder = train(TWO_EPOCHS, "threshold=sensitivity", "threshold.target=1.0")
    table, fitted = pd.read_csv(folder / "predictions_val.csv"), figures_of(folder)["threshold"]
    positive = table.loc[table["label"] == 1, "score"]
    assert fitted <= positive.min()
    assert not ((table["score"] > fitted) & (table["score"] < positive.min())).any()
    assert figures_of(folder)["threshold_is_fitted"] == 1
    assert Task.load_from_checkpoint(folder / "checkpoints" / "best.ckpt").state() == {"threshold": fitted}


def test_checkpoint__gives_the_same_scores_with_nothing_but_the_file(train: Train, phantoms: Path) -> None:
    folder = train(TWO_EPOCHS)
    table = pd.read_csv(folder / "predictions_test.csv")
    np.testing.assert_allclose(_scored_again(folder, table), table["score"], atol=1e-6)


def test_seed__same_seed_gives_the_same_numbers(train: Train) -> None:
    first, again, other = (train(TWO_EPOCHS, f"seed={seed}", name=f"run{n}") for n, seed in enumerate((3, 3, 4)))
    assert _scores(first).equals(_scores(again))
    assert not _scores(first).equals(_scores(other))


def test_predict__unlabelled_images_get_scores(train: Train, phantoms: Path) -> None:
    folder = train(TWO_EPOCHS, "predict=true")
    table = pd.read_csv(folder / "predictions_unlabelled.csv")
    assert set(table["image_id"]) == {path.stem for path in (phantoms / "rsna" / "stage_2_test_images").iterdir()}
    assert (table["label"] == -1).all()
    assert table["score"].between(0, 1).all()


@pytest.mark.parametrize(
    ("data", "overrides", "classes"),
    [
        ("rsna", ["data.labels=three_class"], 3),
        ("kermany", ["data.labels=three_class"], 3),
        ("kermany", ["model.task.binary=softmax"], 2),
        ("padchest", [], 2),
        ("folder", [], 2),
    ],
)
def test_data_sets__each_trains_to_a_tested_checkpoint(
    train: Train, data: str, overrides: list[str], classes: int
) -> None:
    folder = train(TWO_EPOCHS, *overrides, "data.val_fraction=0.2", "data.test_fraction=0.2", data=data)
    table, figures = pd.read_csv(folder / "predictions_test.csv"), figures_of(folder)
    scores = [column for column in table if column.startswith("score_")]
    assert len(scores) == (0 if classes == 2 else classes)
    assert set(table["label"]) <= set(range(classes))
    if scores:
        np.testing.assert_allclose(table[scores].sum(axis=1), 1, atol=1e-9)
        assert "threshold" not in figures
    assert figures["test/accuracy"] == pytest.approx((table["label"] == table["prediction"]).mean())


@pytest.mark.parametrize("preprocess", ["lungs", "thorax", "lung_crop", "clahe"])
def test_preprocess__lung_masks_of_the_data_set_are_used(train: Train, phantoms: Path, preprocess: str) -> None:
    masks = [f"data.masks={phantoms / 'kermany_masks'}", "preprocess.missing=skip"]
    folder = train("trainer.max_epochs=1", f"preprocess={preprocess}", *masks, data="kermany")
    config = OmegaConf.load(folder / "config.yaml")
    module = instantiate(OmegaConf.to_container(config.data))
    module.setup("test")
    plain = instantiate(OmegaConf.to_container(config.data), preprocess=Preprocess(size=32))
    plain.setup("test")
    shown = torch.cat([batch["image"] for batch in module.test_dataloader()]).float()
    whole = torch.cat([batch["image"] for batch in plain.test_dataloader()]).float()
    black = (shown == 0).float().mean() - (whole == 0).float().mean()
    # Lungs and their hull leave the rest black, and the hull leaves more; crop and contrast blacken nothing.
    low, high = {"lungs": (0.5, 0.9), "thorax": (0.2, 0.6)}.get(preprocess, (-0.2, 0.05))
    assert low < black < high
    assert (shown - whole).abs().mean() > 2


def test_unreadable_file__is_skipped_and_listed_when_asked(train: Train, phantoms: Path, tmp_path: Path) -> None:
    root = tmp_path / "folder"
    (root / "normal").mkdir(parents=True)
    (root / "pneumonia").mkdir()
    for path in (phantoms / "folder").rglob("*.png"):
        (root / path.parent.name / path.name).write_bytes(path.read_bytes())
    (root / "normal" / "broken one.png").write_bytes(b"no image")
    folder = train(f"data.root={root}", "trainer.max_epochs=1", "data.on_error=skip", data="folder")
    skipped = pd.read_csv(folder / "skipped.csv")
    assert skipped["image_id"].tolist() == ["normal/broken one"]
    assert "normal/broken one" not in set(pd.read_csv(folder / "split.csv")["image_id"])


def test_ema__test_is_measured_with_the_weights_of_the_checkpoint(train: Train) -> None:
    folder = train(TWO_EPOCHS, "callbacks=ema", "callbacks.ema.decay=0.9")
    table = pd.read_csv(folder / "predictions_test.csv")
    np.testing.assert_allclose(_scored_again(folder, table), table["score"], atol=1e-6)


def test_overfit__learns_one_batch_by_heart(train: Train) -> None:
    folder = train("debug=overfit", "trainer.max_epochs=30", "model.optimizer.lr=3e-3")
    assert pd.read_csv(folder / "history.csv")["train/loss"].iloc[-1] < 0.3


def _scored_again(folder: Path, table: pd.DataFrame) -> np.ndarray:
    """Scores of the table's images by the checkpoint alone."""
    task = Task.load_from_checkpoint(folder / "checkpoints" / "best.ckpt")
    images = pd.DataFrame({"image_id": table["image_id"], "path": table["path"], "mask": ""})
    preprocess = {key: value for key, value in task.origin["preprocess"].items() if key != "_target_"}
    store = OnTheFly(Recipe(images, Preprocess(**preprocess), with_masks=False))
    batch = torch.from_numpy(np.stack([store[row].image for row in range(len(images))]))[:, None]
    with torch.no_grad():
        return np.asarray(torch.sigmoid(task(batch).double())[:, 0].numpy())


def _scores(folder: Path) -> pd.Series:
    return pd.read_csv(folder / "predictions_test.csv")["score"]


def test_diverged__training_ends_with_a_remedy_before_a_checkpoint_is_written(train: Train, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"no numbers after epoch 1: .*model\.optimizer\.lr"):
        train("optimizer=sgd", "model.optimizer.lr=1e30", "trainer.max_epochs=3")
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_profile__tells_where_the_time_went(train: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        folder = train("strategy.profile=true", "trainer.max_epochs=2", "data.batch_size=4")
    (line,) = [record.message for record in caplog.records if record.message.startswith("time of the training")]
    shares = {name: float(share) for name, share in re.findall(r"(\w+) (-?[\d.]+)%", line)}
    assert list(shares) == ["data", "step", "validation", "other"]
    assert sum(shares.values()) == pytest.approx(100, abs=0.3)
    assert min(shares.values()) > 0
    events = json.loads(gzip.decompress((folder / "profile_trace.json.gz").read_bytes()))["traceEvents"]
    assert any("conv" in event.get("name", "") for event in events)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a compiler")
def test_compile__gives_the_same_figures_and_a_checkpoint_that_fits_elsewhere(train: Train) -> None:
    plain = train(TWO_EPOCHS, "augment=none", name="plain")
    compiled = train(TWO_EPOCHS, "augment=none", "strategy.compile=true", name="compiled")
    figures, others = figures_of(plain), figures_of(compiled)
    assert others["val/loss"] == pytest.approx(figures["val/loss"], abs=0.02)  # its dropout draws other numbers
    assert others["test/loss"] == pytest.approx(figures["test/loss"], abs=0.02)
    weights = Task.load_from_checkpoint(compiled / "checkpoints" / "best.ckpt").net.state_dict()
    assert weights.keys() == Task.load_from_checkpoint(plain / "checkpoints" / "best.ckpt").net.state_dict().keys()


@pytest.mark.slow
@pytest.mark.parametrize("model", ["resnet18", "unext_small"])
def test_bf16__learns_as_float32_does(train: Train, model: str) -> None:
    target = ["data.target=opacity"] if model.startswith("unext") else []
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        common = [f"model={model}", "augment=none", "trainer.max_epochs=3", "model.optimizer.lr=1e-3", *target]
        figures = figures_of(train(*common, f"trainer.precision={precision}", name=precision))
        losses.append(figures["val/loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.15)


def test_resident__a_run_learns_from_images_in_the_devices_memory(train: Train) -> None:
    folder = train("data.resident=true", "augment=light", "trainer.max_epochs=15", "model.optimizer.lr=3e-3")
    history = pd.read_csv(folder / "history.csv")
    assert history["train/loss"].iloc[-1] < 0.9 * history["train/loss"].iloc[0]
    assert len(pd.read_csv(folder / "predictions_test.csv")) == figures_of(folder)["test/images"]
