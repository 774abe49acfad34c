"""Masks by a network whose probabilities are known: a pixel of grey value k has (k + ½) %."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.tasks.quiet_trainer import loader, trainer
from torch import Tensor, nn

from pulmo.errors import ConfigError
from pulmo.losses import ClassificationLoss
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.thresholds import Best, Fixed
from pulmo.types import Batch, Predictions

NAN = float("nan")
NONE = torch.zeros(0, 4)


class Percent(nn.Module):
    """Clear of every cut-off of the grid, by half a percent."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        assert outputs == 1
        self.shift = nn.Parameter(torch.zeros(()))  # something to learn

    def forward(self, image: Tensor) -> Tensor:
        return torch.logit((image.float() + 0.5) / 100) + self.shift


class Largest(nn.Module):
    """The largest probability of all that it is given: no mean over images, so it tells how they were batched."""

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        return logits.sigmoid().amax()


def task(target: str = "opacity", **arguments: Any) -> SegmentationTask:
    settings: dict[str, Any] = {"threshold": Fixed(0.5), "loss": Largest(), "smallest_area": 0.0}
    settings |= {"optimizer": partial(torch.optim.SGD, lr=0.0)}
    return SegmentationTask(
        net=Percent, image=nn.Identity(), class_names=("of", "the data"), target=target, **(settings | arguments)
    )


def image(outside: int, inside: int = 0, at: Any = None) -> Tensor:
    """(1, 4, 4) of grey values `outside`, of `inside` in the part `at`."""
    grey = torch.full((1, 4, 4), outside, dtype=torch.uint8)
    if at is not None:
        grey[0][at] = inside
    return grey


LEFT = (slice(None), slice(0, 2))
THREE_ROWS_LEFT = (slice(0, 3), slice(0, 2))
CORNER = (3, 3)
# At 0.5: of A the left half is drawn, of which three rows of four are right; of B nothing; of C one wrong pixel.
A = (image(20, 80, LEFT), image(0, 1, THREE_ROWS_LEFT)[0], torch.tensor([[0.0, 0, 2, 3]]))
B = (image(30), image(0)[0], NONE)
C = (image(5, 90, CORNER), image(0)[0], NONE)


def batch(*images: tuple[Tensor, Tensor, Tensor], first: int = 0) -> Batch:
    greys, masks, boxes = zip(*images, strict=True)
    mask = torch.stack(masks)
    row = torch.arange(first, first + len(images))
    return Batch(image=torch.stack(greys), row=row, lung_mask=mask, opacity_mask=mask, boxes=list(boxes))


def seen(module: SegmentationTask, *batches: Batch) -> Predictions:
    """What the task keeps of all batches."""
    with torch.no_grad():
        for part in batches:
            module.evaluate(part)
    return module.collected.gathered()


@pytest.mark.parametrize("batches", [[batch(A, B, C)], [batch(A, B), batch(C, first=2)]])
def test_loss__of_evaluation_is_the_mean_of_each_images_own_however_they_are_batched(batches: list[Batch]) -> None:
    module = task()
    figures = module.measure(seen(module, *batches))
    assert figures["loss"] == pytest.approx((0.805 + 0.305 + 0.905) / 3)


def test_training__loss_is_the_mean_over_images_of_their_batchs_and_dice_is_pooled() -> None:
    fit = trainer()
    fit.fit(task(), loader(batch(A, B), batch(C)), loader(batch(A, B)))
    assert float(fit.callback_metrics["train/loss"]) == pytest.approx((2 * 0.805 + 0.905) / 3)
    # Six pixels found, two beside them in A, one in C, none missed.
    assert float(fit.callback_metrics["train/dice_pooled"]) == pytest.approx(2 * 6 / (2 * 6 + 3))


def test_evaluate__gives_the_probabilities_of_each_pixel() -> None:
    with torch.no_grad():
        probabilities = task().evaluate(batch(A, C))["probabilities"]
    assert probabilities.shape == (2, 4, 4)
    assert probabilities[0, 0].tolist() == pytest.approx([0.805, 0.805, 0.205, 0.205], abs=1e-6)


@pytest.mark.parametrize(("asked", "used"), [(1 / 3, 0.33), (0.25, 0.25), (0.999, 1.0), (0.0, 0.0)])
def test_threshold__lies_on_the_grid_of_the_histograms(asked: float, used: float) -> None:
    module = task(threshold=Fixed(asked))
    module.fit_operating_point(seen(module, batch(A, B)))
    assert module.cut_off == module.threshold == module.figures["threshold"] == used
    assert module.figures["threshold_is_fitted"] == 0


# Large: half of the image, 0.6 against 0.4. Small: one pixel, 0.3 against 0.1. Drawn from 0.41 on, the large one is
# perfect and the small one missed: pooled 16 / 17, mean 1/2. From 0.11 on, the large one is drawn all over, the small
# one perfectly: pooled 18 / 26, mean (16/24 + 1) / 2. Of equal bests the lowest cut-off is taken.
LARGE = (image(40, 60, LEFT), image(0, 1, LEFT)[0], NONE)
SMALL = (image(10, 30, CORNER), image(0, 1, CORNER)[0], NONE)


@pytest.mark.parametrize(("figure", "cut_off", "value"), [("f1", 0.41, 16 / 17), ("dice", 0.11, (16 / 24 + 1) / 2)])
def test_threshold__f1_is_of_all_pixels_and_dice_the_mean_over_images(
    figure: str, cut_off: float, value: float
) -> None:
    module = task(threshold=Best(figure))
    predictions = seen(module, batch(LARGE, SMALL))
    assert module.operating_points(predictions).figures[figure].max() == pytest.approx(value)
    module.fit_operating_point(predictions)
    assert module.cut_off == cut_off
    assert module.figures["threshold_is_fitted"] == 1


def test_threshold__what_is_drawn_on_an_empty_image_counts_in_f1_and_not_in_dice() -> None:
    module = task()
    figures = module.operating_points(seen(module, batch(LARGE, (image(50), image(0)[0], NONE)))).figures
    at = {name: values[::-1][45] for name, values in figures.items()}  # at 0.45; cut-offs fall from 1
    assert at["dice"] == 1
    assert at["f1"] == pytest.approx(2 * 8 / (2 * 8 + 16))


@pytest.mark.parametrize("figure", ["dice", "youden"])
def test_threshold__without_a_mask_in_validation_is_a_half(figure: str) -> None:
    module = task(threshold=Best(figure))
    module.fit_operating_point(seen(module, batch(B, C)))
    assert module.cut_off == 0.5


def test_measure__masks_images_and_boxes_by_hand() -> None:
    module = task(report_thresholds=(0.25,))
    figures = module.measure(seen(module, batch(A, B, C)))
    assert figures["dice"] == pytest.approx(6 / 7)  # 2 · 6 / (6 + 8), of A alone
    assert figures["dice_with_empty"] == pytest.approx((6 / 7 + 1 + 0) / 3)
    assert figures["dice_pooled"] == pytest.approx(12 / 15)
    assert figures["dice_pooled@0.25"] == pytest.approx(12 / (12 + 2 + 16 + 1))  # B is drawn all over
    # Images by their highest probability, 0.805 against 0.305 and 0.905.
    assert (figures["auroc"], figures["sensitivity"], figures["specificity"]) == (0.5, 1, 0.5)
    # A's box is four rows high, the true one three: IoU 3/4, above 7 of the challenge's 8. C's is wrong, B has none.
    assert figures["rsna_score"] == pytest.approx((7 / 8 + 0) / 2)
    assert (figures["box_sensitivity"], figures["box_precision"]) == (1, 0.5)


def test_boxes__lie_around_the_mask_with_its_mean_probability() -> None:
    brighter = (image(20, 80, LEFT), *A[1:])
    brighter[0][0, :2, :2] = 90
    module = task()
    (boxes,) = seen(module, batch(brighter))["boxes"]
    assert boxes.tolist() == [pytest.approx([0, 0, 2, 4, (0.905 + 0.805) / 2])]


@pytest.mark.parametrize(("smallest_area", "boxes"), [(1 / 16, [1, 0, 1]), (1.01 / 16, [1, 0, 0]), (0.51, [0, 0, 0])])
def test_boxes__below_the_smallest_area_do_not_count(smallest_area: float, boxes: list[int]) -> None:
    module = task(smallest_area=smallest_area)
    assert [len(part) for part in seen(module, batch(A, B, C))["boxes"]] == boxes


def test_boxes__are_drawn_after_training_at_the_fitted_cut_off_and_not_while_it_goes_on() -> None:
    module, run = task(threshold=Fixed(0.85)), trainer()
    run.fit(module, loader(batch(A)), loader(batch(A, B), batch(C, first=2)))
    assert [len(part) for part in module.predictions["val"]["boxes"]] == [0, 0, 0]
    assert "val/rsna_score" not in module.figures
    run.validate(module, loader(batch(A, B), batch(C, first=2)), verbose=False)
    assert [len(part) for part in module.predictions["val"]["boxes"]] == [0, 0, 1]
    assert module.figures["val/rsna_score"] == 0  # A's is missed, C's wrong


@pytest.mark.parametrize("target", ["lungs", "opacity"])
def test_monitorable__is_what_validation_logs_while_training(target: str) -> None:
    module, run = task(target), trainer()
    run.fit(module, loader(batch(A, B)), loader(batch(A, B, C)))
    logged = {name for name in run.callback_metrics if not name.startswith("lr/")}
    assert module.monitorable == logged


def test_table__by_hand() -> None:
    module = task()
    table = module.table_columns(seen(module, batch(A, B, C)))
    wanted = {
        "label": [1, 0, 0],
        "score": [0.805, 0.305, 0.905],
        "prediction": [1, 0, 1],
        "dice": [6 / 7, NAN, 0],
        "iou": [6 / 8, NAN, 0],
        "pixel_accuracy": [14 / 16, 1, 15 / 16],
        "true_area": [6 / 16, 0, 0],
        "predicted_area": [8 / 16, 0, 1 / 16],
        "true_boxes": [1, 0, 0],
    }
    assert list(table) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-6, err_msg=name)


def test_lungs__have_masks_but_neither_boxes_nor_images_to_tell_apart() -> None:
    module = task("lungs")
    predictions = seen(module, batch(A, B))
    assert module.class_names == ("no lungs", "lungs")
    assert "boxes" not in predictions
    assert not {"auroc", "rsna_score"} & set(module.measure(predictions))
    assert "true_boxes" not in module.table_columns(predictions)
    assert module.image_scores(predictions) is None
    assert module.box_columns(predictions) is None


def test_opacities__have_boxes_and_image_scores() -> None:
    module = task("opacity")
    predictions = seen(module, batch(A, B, C))
    assert module.class_names == ("no opacity", "opacity")
    scores, labels = module.image_scores(predictions) or (None, None)
    assert scores.tolist() == pytest.approx([0.805, 0.305, 0.905])
    assert labels.tolist() == [1, 0, 0]
    columns = module.box_columns(predictions)
    assert columns is not None
    assert columns["row"].tolist() == [0, 2]
    assert columns["true_positive"].tolist() == [1, 0]


def test_quality__is_the_dice_of_images_whose_true_mask_is_not_empty() -> None:
    module = task()
    name, values = module.quality(seen(module, batch(A, B, C))) or ("", torch.zeros(0))
    assert name == "Dice"
    assert values.tolist() == pytest.approx([6 / 7, NAN, NAN], nan_ok=True)


def test_drawn__are_both_masks_at_the_cut_off() -> None:
    module = task(threshold=Fixed(0.85))
    predictions = seen(module, batch(A, C))
    module.fit_operating_point(predictions)
    with torch.no_grad():
        drawn = module.drawn(batch(C), predictions, 1)
        assert module.drawn(batch(A), predictions, 0)["predicted_mask"].sum() == 0  # 0.805
    assert drawn["true_mask"].sum() == 0
    assert np.argwhere(drawn["predicted_mask"]).tolist() == [[3, 3]]
    assert drawn["predicted_mask"].dtype == drawn["true_mask"].dtype == np.uint8


@pytest.mark.parametrize(("target", "needs"), [("lungs", {"lung_mask"}), ("opacity", {"opacity_mask", "boxes"})])
def test_needs__are_the_masks_of_the_target_and_of_opacities_the_boxes(target: str, needs: set[str]) -> None:
    assert SegmentationTask.needs({"target": target}) == needs


def test_state__goes_through_a_checkpoint_of_plain_values(tmp_path) -> None:
    fitted = task(threshold=Best("f1"))
    fitted.fit_operating_point(seen(fitted, batch(LARGE, SMALL)))
    checkpoint: dict[str, Any] = {}
    fitted.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "best.ckpt")
    restored = task(threshold=Best("f1"))
    assert restored.cut_off == 0.5
    restored.on_load_checkpoint(torch.load(tmp_path / "best.ckpt", weights_only=True))
    assert restored.cut_off == fitted.cut_off == 0.41


def test_settings__that_cannot_be_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="choose loss=bce, dice, bce_dice, focal or tversky"):
        task(loss=ClassificationLoss())
    for share in (-0.1, 1.0, math.inf):
        with pytest.raises(ConfigError, match=r"model\.task\.smallest_area=.*: a share of the image"):
            task(smallest_area=share)
    with pytest.raises(ConfigError, match=r"model\.task\.report_thresholds=\[1\.2\]: scores between 0 and 1"):
        task(report_thresholds=[1.2])
