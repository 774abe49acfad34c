"""A trained lung segmenter as the source of another run's lung masks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import DictConfig

from pulmo import run
from pulmo.data.reading import read_grey
from pulmo.errors import ConfigError
from tests.conftest import compose_in
from tests.integration.conftest import FILE, SMALL, UNEXT, dice_of, lungs_of, read_mask

CLASSIFIER = ["model=custom_cnn", "model.input.size=32", *SMALL[1:], "trainer.max_epochs=1"]

Composed = Callable[..., DictConfig]


def test_mask_source__classifier_is_cropped_to_drawn_lungs_that_are_the_true_ones(
    lungs: Path, phantoms: Path, tmp_path: Path
) -> None:
    experiment = _classified(lungs, phantoms, tmp_path / "run", tmp_path / "cache")
    table = experiment.datamodule.table
    assert len(table) == 60, "no image is without a mask"
    dice, shares = [], []
    for split in ("train", "val", "test"):
        for row, (path, mask) in enumerate(
            experiment.datamodule.rows_of(split)[["path", "mask"]].itertuples(index=False)
        ):
            drawn, shape = read_mask(Path(mask)), read_grey(path).image.shape
            assert drawn.shape == shape
            x1, y1, x2, y2 = experiment.datamodule.geometry_of(split, row).crop
            assert drawn[y1:y2, x1:x2].sum() == drawn.sum() > 0, "the crop holds the lungs"
            shares.append((x2 - x1) * (y2 - y1) / drawn.size)
            truth = phantoms / "kermany_masks" / Path(path).parent.parent.name / f"{Path(path).stem}.png"
            if truth.exists():
                dice.append(dice_of(drawn, read_mask(truth)))
    assert len(dice) == 50
    assert np.mean(dice) > 0.85
    assert min(dice) > 0.7
    assert np.mean(shares) < 0.8
    figures = pd.read_csv(tmp_path / "run" / "history.csv")
    assert np.isfinite(figures["val/loss"]).all()


def test_mask_source__second_run_draws_none_anew(lungs: Path, phantoms: Path, tmp_path: Path) -> None:
    first = _classified(lungs, phantoms, tmp_path / "first", tmp_path / "cache")
    drawn = {mask: Path(mask).stat().st_mtime_ns for mask in first.datamodule.table["mask"]}
    again = _classified(lungs, phantoms, tmp_path / "again", tmp_path / "cache", "preprocess=lungs", "seed=1")
    assert {mask: Path(mask).stat().st_mtime_ns for mask in again.datamodule.table["mask"]} == drawn
    assert len(list((tmp_path / "cache").rglob("*.png"))) == len(drawn) == 60


def test_mask_source__what_draws_no_lungs_is_refused_before_anything_is_read(
    lungs: Path, opacities: Path, phantoms: Path, tmp_path: Path
) -> None:
    classifier = tmp_path / "classifier"
    _classified(lungs, phantoms, classifier, tmp_path / "other_cache")
    for source, said in (
        (tmp_path, "no checkpoints/best.ckpt"),
        (classifier, "is no segmentation"),
        (opacities, "draws opacity"),
    ):
        with pytest.raises(ConfigError, match=said) as told:
            _classified(source, phantoms, tmp_path / "run", tmp_path / "cache")
        assert f"preprocess.mask={source}" in str(told.value)
        assert "data.target=lungs" in str(told.value), "the remedy"
        assert not (tmp_path / "cache").exists()


def test_mask_source__lungs_to_be_drawn_are_not_shown(
    lungs: Path, composed: Composed, phantoms: Path, tmp_path: Path
) -> None:
    source = ["preprocess=lungs", f"preprocess.mask={lungs}"]
    with pytest.raises(ConfigError, match="preprocess=plain"):
        run.build(composed(*lungs_of(phantoms), *UNEXT, *source, data="kermany"), tmp_path)


@pytest.mark.parametrize("model", [CLASSIFIER, UNEXT], ids=["classifier", "segmentation"])
def test_mask_source__unlabelled_images_get_masks_too(
    model: list[str], lungs: Path, composed: Composed, phantoms: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    source = ["preprocess=lung_crop", f"preprocess.mask={lungs}", "predict=true"]
    experiment = run.build(composed(*model, *source, folder=folder), folder)
    run.predict(experiment)
    table = pd.read_csv(folder / "predictions_unlabelled.csv")
    assert table["score"].between(0, 1).all()
    for row, image_id in enumerate(table["image_id"]):
        x1, y1, x2, y2 = experiment.datamodule.geometry_of("predict", row).crop
        assert (x2 - x1) * (y2 - y1) < FILE**2, "cropped"
        if model is UNEXT:
            drawn = read_mask(folder / "masks_unlabelled" / f"{image_id}.png")
            assert drawn.shape == (FILE, FILE)
            assert drawn.sum() == drawn[y1:y2, x1:x2].sum() > 0, "nothing outside the crop"


def _classified(source: Path, phantoms: Path, folder: Path, cache: Path, *more: str) -> run.Experiment:
    """Train a classifier of Kermany on lungs that `source` draws; the data set's own masks are not given."""
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={cache}"]
    source_of_masks = ["preprocess=lung_crop", f"preprocess.mask={source}"]
    folder.mkdir(exist_ok=True)
    experiment = run.build(compose_in(folder, *places, *CLASSIFIER, *source_of_masks, *more), folder)
    run.fit(experiment)
    return experiment
