"""Segmentation of hardly possible data, of a run cut off, and on two processes."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig

from pulmo import run
from pulmo.errors import DataError
from tests.conftest import boxes_of, command_line, figures_of
from tests.integration.conftest import UNEXT, fit, lungs_of, untrained
from tests.integration.test_resume import CutOffAt, CutOffError

TRAIN = Path(__file__).parents[2] / "train.py"
UNDEFINED = {"dice", "iou", "pixel_sensitivity", "auroc", "sensitivity", "box_sensitivity", "froc_score", "map_50"}

Composed = Callable[..., DictConfig]


def test_split_without_opacity__has_null_figures_and_the_other_stays(
    composed: Composed, phantoms: Path, tmp_path: Path
) -> None:
    _without_opacity(phantoms / "rsna", "test").to_csv(tmp_path / "split.csv", index=False)
    overrides = [*UNEXT, f"data.split={tmp_path / 'split.csv'}", "trainer.max_epochs=1"]
    folder = tmp_path / "run"
    run.train(composed(*overrides, folder=folder), folder, overrides)
    figures = figures_of(folder)
    assert {name for name in UNDEFINED if figures[f"test/{name}"] is None} == UNDEFINED
    assert not [name for name in UNDEFINED if figures[f"val/{name}"] is None]
    assert all(figures[f"test/{name}"] is not None for name in ("loss", "dice_with_empty", "pixel_accuracy"))
    assert not (folder / "figures" / "overlays_test.png").exists(), "nothing to be good or bad at"
    assert (folder / "figures" / "overlays_val.png").exists()


def test_validation_without_opacity__leaves_the_threshold_at_one_half(
    composed: Composed, phantoms: Path, tmp_path: Path
) -> None:
    _without_opacity(phantoms / "rsna", "val").to_csv(tmp_path / "split.csv", index=False)
    figures = untrained(composed(*UNEXT, f"data.split={tmp_path / 'split.csv'}"))
    assert all(np.isnan(figures[f"val/{name}"]) for name in UNDEFINED)
    assert figures["threshold"] == 0.5


def test_images_without_lung_mask__are_refused_with_a_count_or_left_out_and_listed(
    lungs: Path, composed: Composed, phantoms: Path
) -> None:
    assert len(pd.read_csv(lungs / "skipped.csv")) == 10
    split = ["data.split=official", "preprocess.missing=skip"]
    masks = lungs_of(phantoms)[:2]
    with pytest.raises(DataError, match=r"10 of 60 images have no lung mask.*preprocess\.missing=skip"):
        untrained(composed(*masks, *UNEXT, data="kermany"))
    with pytest.raises(DataError, match="the val split has no image"):
        untrained(composed(*masks, *UNEXT, *split, data="kermany"))


def _without_opacity(root: Path, empty: str) -> pd.DataFrame:
    """A split by patient in which all images of `empty` are without opacity."""
    source = pd.read_csv(root / "nih_source.csv")
    table = source[source["patientId"].isin(boxes_of(root))].rename(columns={"patientId": "image_id"})
    ill = table["image_id"].map({image_id: len(boxes) > 0 for image_id, boxes in boxes_of(root).items()})
    of_patient = ill.groupby(table["nih_patient"]).any()
    wells, ills = of_patient.index[~of_patient], of_patient.index[of_patient]
    other = {"val": "test", "test": "val"}[empty]
    names = dict.fromkeys(wells[:5], empty) | dict.fromkeys([*ills[:4], *wells[5:7]], other)
    return table.assign(split=table["nih_patient"].map(names).fillna("train"))[["image_id", "split"]]


def test_resume__cut_off_run_ends_at_the_same_weights(composed: Composed, tmp_path: Path) -> None:
    overrides = [*UNEXT, "model.net.dropout=0.3", "scheduler=cosine", "trainer.max_epochs=3"]
    fit(composed(*overrides, folder=tmp_path / "straight"))
    folder = tmp_path / "cut"
    folder.mkdir()
    cut = run.build(composed(*overrides, folder=folder), folder)
    cut.trainer.callbacks.append(CutOffAt(1))  # type: ignore[attr-defined]
    with pytest.raises(CutOffError):
        run.fit(cut)
    fit(composed(*overrides, f"resume={folder}/checkpoints/last.ckpt", folder=folder))
    straight, resumed = (
        torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (tmp_path / "straight", folder)
    )
    assert resumed["epoch"] == straight["epoch"] == 2
    for name, weights in straight["state_dict"].items():
        assert torch.equal(weights, resumed["state_dict"][name]), name
    assert resumed["pulmo"]["state"] == straight["pulmo"]["state"]
    for name in ("history.csv", "predictions_test.csv", "boxes_test.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "straight" / name), pd.read_csv(folder / name))


@pytest.mark.slow
@pytest.mark.parametrize("preprocess", ["plain", "lung_crop"])
def test_two_processes__give_the_figures_of_one_on_the_same_checkpoint(
    preprocess: str, composed: Composed, lungs: Path, phantoms: Path, tmp_path: Path
) -> None:
    overrides = [*UNEXT, "data.val_fraction=0.25", "data.test_fraction=0.33", "trainer.max_epochs=3"]
    overrides += [f"preprocess={preprocess}", f"data.cache_dir={tmp_path / 'cache'}"]
    overrides += [f"preprocess.mask={lungs}"] if preprocess == "lung_crop" else []
    two, one = tmp_path / "two", tmp_path / "one"
    further = [f"data.root={phantoms / 'rsna'}", f"run_dir={two}", "strategy=ddp_cpu"]
    command = [sys.executable, TRAIN, *command_line(*overrides, *further)]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert len(list((tmp_path / "cache").rglob("*.png"))) == (40 if preprocess == "lung_crop" else 0)
    experiment = run.build(composed(*overrides, folder=one), one)
    (one / "checkpoints").mkdir(parents=True)
    shutil.copy(two / "checkpoints" / "best.ckpt", one / "checkpoints")
    run.test(experiment)
    by_two = figures_of(two)
    compared = [name for name in by_two if name.startswith(("val/", "test/", "threshold"))]
    assert len(compared) > 50
    for name in compared:
        expected = np.nan if by_two[name] is None else by_two[name]
        assert experiment.task.figures[name] == pytest.approx(expected, abs=1e-6, nan_ok=True), name
    for name in ("predictions_val.csv", "predictions_test.csv", "boxes_val.csv", "boxes_test.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(two / name), pd.read_csv(one / name), rtol=1e-4, atol=1e-6)
    images = pd.read_csv(two / "split.csv")["split"].value_counts()
    assert images["val"] % 2 or images["test"] % 2, "uneven, so that a padding sampler would show"
