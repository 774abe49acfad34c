"""Masks of lungs and of opacities: learnt, measured, and drawn in pixels of the file."""

import shutil
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
from pulmo.data.reading import read_grey
from pulmo.tasks.base import Task
from pulmo.transforms.geometry import Geometry
from pulmo.transforms.preprocess import Preprocess
from tests.conftest import boxes_of, compose_in, figures_of, ious
from tests.integration.conftest import (
    FILE,
    LIGHT,
    OPACITY,
    SIZE,
    SMALL,
    UNEXT,
    dice_of,
    fit,
    lungs_of,
    read_mask,
    untrained,
)

Composed = Callable[..., DictConfig]


# Learning


def test_unext__learns_lungs(lungs: Path, composed: Composed, phantoms: Path) -> None:
    before = untrained(composed(*lungs_of(phantoms), *UNEXT, data="kermany"))
    _assert_learnt(lungs, before["test/dice"], figures_of(lungs)["test/dice"], margin=0.3)


def test_unext__learns_opacities(opacities: Path, composed: Composed) -> None:
    before = untrained(composed(*UNEXT, *OPACITY))
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
    overrides = [*model, *SMALL, *chosen, *LIGHT]
    before = untrained(composed(*overrides, data=data, folder=tmp_path / "untrained"))
    after = fit(composed(*overrides, data=data))
    _assert_learnt(tmp_path / "run", before[figure], after[figure], margin)


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
        (mask, geometry.mask(read_mask(phantoms / "kermany_masks" / f"test/{Path(path).stem}.png")))
        for mask, geometry, path in zip(masks, geometries, table["path"], strict=True)
    ]
    dice = [dice_of(*pair) for pair in pairs]
    np.testing.assert_allclose(table["dice"], dice, atol=5e-3)
    assert figures_of(lungs)["test/dice"] == pytest.approx(np.mean(dice), abs=5e-3)
    pooled = dice_of(*(np.stack(part) for part in zip(*pairs, strict=True)))
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
    dice = np.array([dice_of(*pair) for pair in zip(masks, filled, strict=True)])
    np.testing.assert_allclose(table["dice"], dice, atol=5e-3)
    ill = (table["true_boxes"] > 0).to_numpy()
    assert figures_of(opacities)["test/dice"] == pytest.approx(dice[ill].mean(), abs=5e-3)
    assert figures_of(opacities)["test/dice_with_empty"] == pytest.approx(np.nan_to_num(dice, nan=1).mean(), abs=5e-3)
    pooled = dice_of(np.stack(masks), np.stack(filled))
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
        dice.append(dice_of(drawn > 0, read_mask(masks / "test" / f"{file.stem}.png")))
    assert np.mean(dice) > 0.85
    assert min(dice) > 0.7


# The same by other means


def _prepared(folder: Path, table: pd.DataFrame) -> tuple[torch.nn.Module, torch.Tensor, list[Geometry]]:
    """Network, (N, 1, S, S) images and their geometries, by the checkpoint and the files alone."""
    task = Task.load_from_checkpoint(folder / "checkpoints" / "best.ckpt")
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
