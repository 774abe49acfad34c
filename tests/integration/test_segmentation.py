"""Masks of lungs and of opacities: learnt, measured, drawn in the file's pixels, and lent to other runs."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from omegaconf import DictConfig
from scipy import ndimage

from pulmo import run
from pulmo.checkpoint import load_task
from pulmo.data.reading import read_grey
from pulmo.errors import ConfigError, DataError
from pulmo.transforms.preprocess import Preprocess
from tests.conftest import boxes_of, compose_in, figures_of, ious, once
from tests.integration.test_resume import CutOffAt, CutOffError

TRAIN = Path(__file__).parents[2] / "train.py"
SIZE, FILE = 64, 96  # sides of the network's images and of the RSNA phantoms' files, in pixels
SMALL = [f"model.input.size={SIZE}", "data.batch_size=4", "data.num_workers=0", "strategy=cpu", "logger=csv"]
UNEXT = ["model=unext", "model.net.widths=[8,8,16,16,16]", "model.optimizer.lr=1e-2", *SMALL]
OPACITY = ["data.val_fraction=0.2", "data.test_fraction=0.25", "augment=none"]
CLASSIFIER = ["model=custom_cnn", "model.input.size=32", *SMALL[1:], "trainer.max_epochs=1"]

Composed = Callable[..., DictConfig]


def lungs_of(phantoms: Path) -> list[str]:
    """Overrides for Kermany's lungs: 10 of its 60 images have no mask."""
    return ["data.target=lungs", f"data.masks={phantoms / 'kermany_masks'}", "preprocess.missing=skip"]


@pytest.fixture(scope="module")
def lungs(shared: Path, phantoms: Path) -> Path:
    """Run that learnt to draw lungs."""
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={shared / 'lungs_cache'}"]
    overrides = [*places, *lungs_of(phantoms), *UNEXT, "trainer.max_epochs=5"]
    return once(shared / "lungs", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


@pytest.fixture(scope="module")
def opacities(shared: Path, phantoms: Path) -> Path:
    """Run that learnt to draw opacities, and drew those of the unlabelled images."""
    places = ["data=rsna", f"data.root={phantoms / 'rsna'}", f"data.cache_dir={shared / 'opacities_cache'}"]
    overrides = [*places, *UNEXT, *OPACITY, "trainer.max_epochs=20", "predict=true"]
    return once(shared / "opacities", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


# Learning


def test_unext__learns_lungs(lungs: Path, composed: Composed, phantoms: Path, tmp_path: Path) -> None:
    before = _untrained(composed(*lungs_of(phantoms), *UNEXT, data="kermany"), tmp_path)
    _assert_learnt(lungs, before["test/dice"], figures_of(lungs)["test/dice"], margin=0.3)


def test_unext__learns_opacities(opacities: Path, composed: Composed, tmp_path: Path) -> None:
    before = _untrained(composed(*UNEXT, *OPACITY), tmp_path)
    _assert_learnt(opacities, before["test/dice_pooled"], figures_of(opacities)["test/dice_pooled"], margin=0.2)
    assert figures_of(opacities)["test/froc_score"] > before["test/froc_score"] + 0.2


@pytest.mark.slow
@pytest.mark.parametrize("target", ["lungs", "opacity"])
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(["model=unet", "model.net.widths=[4,8,8,16,16]", "model.optimizer.lr=1e-2"], id="unet"),
        pytest.param(["model=smp", "model.optimizer.lr=1e-3"], id="smp"),
        pytest.param(["model=unet_resnet50", "model.optimizer.lr=1e-3"], id="unet_resnet50"),
    ],
)
def test_architectures__learn_lungs_and_opacities(
    model: list[str], target: str, composed: Composed, phantoms: Path, tmp_path: Path
) -> None:
    data, chosen, figure, margin = {
        "lungs": ("kermany", [*lungs_of(phantoms), "trainer.max_epochs=4"], "test/dice", 0.3),
        "opacity": ("rsna", [*OPACITY, "trainer.max_epochs=12"], "test/dice_pooled", 0.15),
    }[target]
    overrides = [
        *model,
        *SMALL,
        *chosen,
        "callbacks.last_checkpoint=null",
        "+callbacks.checkpoint.save_weights_only=true",
    ]
    before = _untrained(composed(*overrides, data=data), tmp_path)
    after = _fit(composed(*overrides, data=data), tmp_path / "run")
    _assert_learnt(tmp_path / "run", before[figure], after[figure], margin)


def _untrained(config: DictConfig, folder: Path) -> dict[str, float]:
    """Figures of a fresh network, its threshold fitted on validation like any."""
    (folder / "untrained").mkdir()
    experiment = run.build(config, folder / "untrained")
    run.test(experiment)
    return experiment.task.figures


def _fit(config: DictConfig, folder: Path) -> dict[str, float]:
    """Figures of a trained network; nothing is drawn."""
    folder.mkdir(exist_ok=True)
    experiment = run.build(config, folder)
    run.fit(experiment)
    run.test(experiment)
    return experiment.task.figures


def _assert_learnt(folder: Path, before: float, after: float, margin: float) -> None:
    losses = pd.read_csv(folder / "history.csv")["train/loss"]
    assert losses.iloc[-1] < 0.75 * losses.iloc[0]
    assert after > before + margin


# What a run leaves


@pytest.mark.parametrize("target", ["lungs", "opacities"])
def test_run_folder__holds_checkpoint_tables_and_figures(target: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(target)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert present >= {
        *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "predictions_val.csv", "predictions_test.csv"),
        *(f"figures/{kind}_{split}.png" for kind in ("overlays", "dice", "dice_by_area") for split in ("val", "test")),
        "figures/learning_curves.png",
    }
    boxes = {"boxes_val.csv", "boxes_test.csv", "boxes_unlabelled.csv", "figures/froc.png", "figures/roc_test.png"}
    assert present >= boxes if target == "opacities" else not present & boxes


def test_lungs__dice_is_that_of_masks_drawn_by_the_checkpoint_alone(lungs: Path, phantoms: Path) -> None:
    table = pd.read_csv(lungs / "predictions_test.csv").set_index("image_id")
    task, images, geometries = _prepared(lungs, table)
    masks = _drawn(task, images, figures_of(lungs)["threshold"])
    pairs = [
        (mask, geometry.mask(_read_mask(phantoms / "kermany_masks" / f"test/{Path(path).stem}.png")))
        for mask, geometry, path in zip(masks, geometries, table["path"], strict=True)
    ]
    dice = [_dice(*pair) for pair in pairs]
    np.testing.assert_allclose(table["dice"], dice, atol=5e-3)
    assert figures_of(lungs)["test/dice"] == pytest.approx(np.mean(dice), abs=5e-3)
    pooled = _dice(*(np.stack(part) for part in zip(*pairs, strict=True)))
    assert figures_of(lungs)["test/dice_pooled"] == pytest.approx(pooled, abs=5e-3)


def test_opacities__figures_are_those_of_boxes_filled_and_masks_drawn(opacities: Path, phantoms: Path) -> None:
    table = pd.read_csv(opacities / "predictions_test.csv").set_index("image_id")
    truths = boxes_of(phantoms / "rsna")
    assert table["true_boxes"].tolist() == [len(truths[image_id]) for image_id in table.index]
    assert (table["label"] == (table["true_boxes"] > 0)).all()
    task, images, _ = _prepared(opacities, table)
    masks = _drawn(task, images, figures_of(opacities)["threshold"])
    filled = [_filled(truths[image_id] * SIZE / FILE) for image_id in table.index]
    assert 0 < sum(not truth.any() for truth in filled) < len(filled), "images with and without"
    dice = np.array([_dice(*pair) for pair in zip(masks, filled, strict=True)])
    np.testing.assert_allclose(table["dice"], dice, atol=5e-3)
    ill = (table["true_boxes"] > 0).to_numpy()
    assert figures_of(opacities)["test/dice"] == pytest.approx(dice[ill].mean(), abs=5e-3)
    assert figures_of(opacities)["test/dice_with_empty"] == pytest.approx(np.nan_to_num(dice, nan=1).mean(), abs=5e-3)
    pooled = _dice(np.stack(masks), np.stack(filled))
    assert figures_of(opacities)["test/dice_pooled"] == pytest.approx(pooled, abs=5e-3)
    assert (table["prediction"] == [int(mask.any()) for mask in masks]).all()


def test_opacities__boxes_lie_around_the_parts_of_the_mask_in_pixels_of_the_file(opacities: Path) -> None:
    table = pd.read_csv(opacities / "predictions_test.csv").set_index("image_id")
    found = pd.read_csv(opacities / "boxes_test.csv")
    task, images, _ = _prepared(opacities, table)
    expected = []
    for image_id, mask in zip(table.index, _drawn(task, images, figures_of(opacities)["threshold"]), strict=True):
        parts, _ = ndimage.label(mask, np.ones((3, 3)))
        for part, (rows, columns) in enumerate(ndimage.find_objects(parts), start=1):
            if (parts == part).sum() / SIZE**2 >= 0.002:
                expected.append((image_id, columns.start, rows.start, columns.stop, rows.stop))
    scaled = [(image_id, *(FILE / SIZE * side for side in box)) for image_id, *box in expected]
    columns = ["image_id", "x1", "y1", "x2", "y2"]
    assert len(scaled) > 5
    pd.testing.assert_frame_equal(
        found[columns].sort_values(columns, ignore_index=True),
        pd.DataFrame(scaled, columns=columns).sort_values(columns, ignore_index=True),
        check_dtype=False,
    )


def test_opacities__true_positive_box_overlaps_a_true_box_of_the_file(opacities: Path, phantoms: Path) -> None:
    truths, found = boxes_of(phantoms / "rsna"), pd.read_csv(opacities / "boxes_test.csv")
    right = found[found["true_positive"] == 1]
    assert len(right)
    for image_id, *box in right[["image_id", "x1", "y1", "x2", "y2"]].itertuples(index=False):
        assert ious(np.array(box), truths[image_id]).max() > 0.4


# Unlabelled images


def test_predict__opacity_masks_have_the_size_of_their_files(opacities: Path, phantoms: Path) -> None:
    files = list((phantoms / "rsna" / "stage_2_test_images").iterdir())
    table = pd.read_csv(opacities / "predictions_unlabelled.csv").set_index("image_id")
    assert set(table.index) == {file.stem for file in files}
    assert {path.name for path in (opacities / "masks_unlabelled").iterdir()} == {f"{file.stem}.png" for file in files}
    for file in files:
        mask = cv2.imread(str(opacities / "masks_unlabelled" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.shape == (FILE, FILE)
        assert set(np.unique(mask)) <= {0, 255}
        assert (mask > 0).mean() == pytest.approx(table.loc[file.stem, "predicted_area"], abs=0.02)


def test_predict__says_nothing_of_a_truth_that_is_not_known(opacities: Path) -> None:
    table = pd.read_csv(opacities / "predictions_unlabelled.csv")
    assert (table["label"] == -1).all()
    assert not set(table) & {"dice", "iou", "pixel_accuracy", "true_area", "true_boxes"}
    assert "true_positive" not in pd.read_csv(opacities / "boxes_unlabelled.csv")


@pytest.mark.parametrize("aspect", ["true", "false"])
def test_predict__lungs_are_drawn_over_the_true_ones_in_files_of_any_size(
    aspect: str, phantoms: Path, cache_dir: Path, tmp_path: Path
) -> None:
    # Kermany's pictures, each of its own size and wider than high, in a folder that has unlabelled ones.
    root, masks = tmp_path / "rsna", phantoms / "kermany_masks"
    rows = []
    for split in ("train", "test"):
        (root / f"stage_2_{split}_images").mkdir(parents=True)
        for file in (phantoms / "kermany" / split).rglob("*.jpeg"):
            shutil.copy(file, root / f"stage_2_{split}_images")
            ill = int(file.parent.name == "PNEUMONIA")
            rows.append(
                {"patientId": file.stem, "Target": ill}
                | dict.fromkeys(["x", "y", "width", "height"], 9.0 if ill else None)
            )
    pd.DataFrame(rows).to_csv(root / "stage_2_train_labels.csv", index=False)
    places = [
        "data=rsna",
        f"data.root={root}",
        "data.target=lungs",
        f"data.masks={masks}",
        f"data.cache_dir={cache_dir}",
    ]
    folder = tmp_path / "run"
    folder.mkdir()
    config = compose_in(folder, *places, *UNEXT, f"preprocess.keep_aspect={aspect}", "trainer.max_epochs=5")
    experiment = run.build(config, folder)
    run.fit(experiment)
    run.test(experiment)
    run.predict(experiment)
    files = list((root / "stage_2_test_images").iterdir())
    assert len({read_grey(file).image.shape for file in files}) > 5
    dice = []
    for file in files:
        drawn = cv2.imread(str(folder / "masks_unlabelled" / f"{file.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert drawn.shape == read_grey(file).image.shape
        assert set(np.unique(drawn)) == {0, 255}
        dice.append(_dice(drawn > 0, _read_mask(masks / "test" / f"{file.stem}.png")))
    assert np.mean(dice) > 0.85
    assert min(dice) > 0.7


# Lent to other runs as lung masks


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
            drawn, shape = _read_mask(Path(mask)), read_grey(path).image.shape
            assert drawn.shape == shape
            x1, y1, x2, y2 = experiment.datamodule.geometry_of(split, row).crop
            assert drawn[y1:y2, x1:x2].sum() == drawn.sum() > 0, "the crop holds the lungs"
            shares.append((x2 - x1) * (y2 - y1) / drawn.size)
            truth = phantoms / "kermany_masks" / Path(path).parent.parent.name / f"{Path(path).stem}.png"
            if truth.exists():
                dice.append(_dice(drawn, _read_mask(truth)))
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
            drawn = _read_mask(folder / "masks_unlabelled" / f"{image_id}.png")
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


# Hardly possible data


UNDEFINED = {"dice", "iou", "pixel_sensitivity", "auroc", "sensitivity", "box_sensitivity", "froc_score", "map_50"}


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
    figures = _untrained(composed(*UNEXT, f"data.split={tmp_path / 'split.csv'}"), tmp_path)
    assert all(np.isnan(figures[f"val/{name}"]) for name in UNDEFINED)
    assert figures["threshold"] == 0.5


def test_images_without_lung_mask__are_refused_with_a_count_or_left_out_and_listed(
    lungs: Path, composed: Composed, phantoms: Path, tmp_path: Path
) -> None:
    assert len(pd.read_csv(lungs / "skipped.csv")) == 10
    split = ["data.split=official", "preprocess.missing=skip"]
    masks = lungs_of(phantoms)[:2]
    with pytest.raises(DataError, match=r"10 of 60 images have no lung mask.*preprocess\.missing=skip"):
        _untrained(composed(*masks, *UNEXT, data="kermany"), tmp_path)
    with pytest.raises(DataError, match="the val split has no image"):
        run.test(run.build(composed(*masks, *UNEXT, *split, data="kermany"), tmp_path))


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


# Cut off, and shared out


def test_resume__cut_off_run_ends_at_the_same_weights(composed: Composed, tmp_path: Path) -> None:
    overrides = [*UNEXT, "model.net.dropout=0.3", "scheduler=cosine", "trainer.max_epochs=3"]
    _fit(composed(*overrides, folder=tmp_path / "straight"), tmp_path / "straight")
    folder = tmp_path / "cut"
    folder.mkdir()
    cut = run.build(composed(*overrides, folder=folder), folder)
    cut.trainer.callbacks.append(CutOffAt(1))  # type: ignore[attr-defined]
    with pytest.raises(CutOffError):
        run.fit(cut)
    _fit(composed(*overrides, f"resume={folder}/checkpoints/last.ckpt", folder=folder), folder)
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
    overrides += [f"preprocess={preprocess}", f"preprocess.mask={lungs}", f"data.cache_dir={tmp_path / 'cache'}"]
    two, one = tmp_path / "two", tmp_path / "one"
    command = [sys.executable, TRAIN, *overrides, f"data.root={phantoms / 'rsna'}", f"run_dir={two}"]
    command += ["strategy=ddp_cpu"]
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


# The same by other means


def _prepared(folder: Path, table: pd.DataFrame) -> tuple[torch.nn.Module, torch.Tensor, list]:
    """Network, (N, 1, S, S) images and their geometries, by the checkpoint and the files alone."""
    task = load_task(folder / "checkpoints" / "best.ckpt")
    preprocess = Preprocess(**{key: value for key, value in task.origin["preprocess"].items() if key != "_target_"})
    prepared = [preprocess(read_grey(path).image) for path in table["path"]]
    images = torch.from_numpy(np.stack([image for image, _ in prepared]))[:, None]
    return task, images, [geometry for _, geometry in prepared]


def _drawn(task: torch.nn.Module, images: torch.Tensor, cut_off: float) -> list[npt.NDArray[np.uint8]]:
    with torch.no_grad():
        probabilities = task(images)[:, 0].sigmoid().numpy()
    return list((probabilities >= np.float32(cut_off)).astype(np.uint8))


def _filled(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Every pixel whose centre lies in a box."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    mask = np.zeros((SIZE, SIZE), bool)
    for x1, y1, x2, y2 in boxes:
        mask |= (x >= x1) & (x < x2) & (y >= y1) & (y < y2)
    return mask.astype(np.uint8)


def _read_mask(path: Path) -> npt.NDArray[np.uint8]:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask is not None, path
    assert set(np.unique(mask)) <= {0, 255}
    return (mask > 0).astype(np.uint8)


def _dice(one: npt.NDArray[np.integer], other: npt.NDArray[np.integer]) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one.astype(bool) & other.astype(bool)).sum()) / both if both else np.nan
