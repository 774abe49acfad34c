import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score, binary_jaccard_index
from torchmetrics.functional.segmentation import dice_score

from pulmo.metrics.segmentation import (
    BINS,
    counts_at,
    mask_histograms,
    on_grid,
    per_image,
    pooled_curve,
    segmentation_metrics,
)

CUT_OFFS = [0.0, 0.01, 0.07, 0.29, 0.5, 0.57, 0.58, 0.99, 1.0]


def split(kind: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Nine maps of 12 × 15 and their masks; two masks are empty, one of them with an empty map, one mask is full."""
    rng = np.random.default_rng(seed)
    masks = rng.random((9, 12, 15)) < rng.random((9, 1, 1))
    masks[:2], masks[2] = False, True
    drawn = {
        "uniform": rng.random((9, 12, 15)),
        "on the grid": rng.integers(0, BINS + 1, (9, 12, 15)) / BINS,
        "next to the grid": np.nextafter(
            (rng.integers(0, BINS, (9, 12, 15)) / BINS).astype(np.float32), rng.choice([0.0, 1.0], (9, 12, 15))
        ),
        "saturated": rng.random((9, 12, 15)).round(),
    }[kind]
    drawn[0] = 0
    return torch.tensor(drawn, dtype=torch.float32), torch.tensor(masks, dtype=torch.uint8)


def ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def plainly(maps: NDArray[np.float32], masks: NDArray[np.uint8], cut_off: float) -> dict[str, float]:
    """Every figure, image by image and from sets of pixels, without a histogram."""
    dice, iou = [], []
    pooled = np.zeros(4)
    for probabilities, mask in zip(maps, masks, strict=True):
        said, true = probabilities >= np.float32(cut_off), mask == 1
        dice.append(ratio(2 * (said & true).sum(), said.sum() + true.sum()))
        iou.append(ratio((said & true).sum(), (said | true).sum()))
        pooled += [(said & true).sum(), (said & ~true).sum(), (~said & true).sum(), (~said & ~true).sum()]
    tp, fp, fn, tn = pooled
    drawn = [row for row, mask in enumerate(masks) if mask.any()]
    return {
        "dice": ratio(sum(dice[row] for row in drawn), len(drawn)),
        "iou": ratio(sum(iou[row] for row in drawn), len(drawn)),
        "dice_with_empty": float(np.mean([1 if math.isnan(value) else value for value in dice])),
        "iou_with_empty": float(np.mean([1 if math.isnan(value) else value for value in iou])),
        "dice_pooled": ratio(2 * tp, 2 * tp + fp + fn),
        "iou_pooled": ratio(tp, tp + fp + fn),
        "mean_iou": (ratio(tp, tp + fp + fn) + ratio(tn, tn + fp + fn)) / 2,
        "pixel_accuracy": (tp + tn) / (tp + fp + fn + tn),
        "pixel_sensitivity": ratio(tp, tp + fn),
        "pixel_precision": ratio(tp, tp + fp),
    }


def test_metrics__by_hand() -> None:
    maps = torch.tensor(
        [
            [[0.9, 0.6, 0.4, 0.1]],  # at 0.5: TP 1, FP 1, FN 1, TN 1; at 0.25: TP 2, FP 1, FN 0, TN 1
            [[0.5, 0.7, 0.8, 0.2]],  # at 0.5: TP 3, FP 0, FN 0, TN 1; the first is exactly on the cut-off
            [[0.1, 0.2, 0.3, 0.0]],  # no mask; at 0.5 nothing is predicted, at 0.25 one pixel is
        ]
    )
    masks = torch.tensor([[[1, 0, 1, 0]], [[1, 1, 1, 0]], [[0, 0, 0, 0]]], dtype=torch.uint8)
    figures = segmentation_metrics(mask_histograms(maps, masks), {"": 0.5, "@0.25": 0.25})
    expected = {
        "dice": (2 / 4 + 6 / 6) / 2,
        "iou": (1 / 3 + 3 / 3) / 2,
        "dice_with_empty": (2 / 4 + 6 / 6 + 1) / 3,
        "iou_with_empty": (1 / 3 + 3 / 3 + 1) / 3,
        "dice_pooled": 8 / 10,  # TP 4, FP 1, FN 1, TN 6
        "iou_pooled": 4 / 6,
        "mean_iou": (4 / 6 + 6 / 8) / 2,
        "pixel_accuracy": 10 / 12,
        "pixel_sensitivity": 4 / 5,
        "pixel_precision": 4 / 5,
        "dice@0.25": (4 / 5 + 6 / 6) / 2,
        "iou@0.25": (2 / 3 + 3 / 3) / 2,
        "dice_with_empty@0.25": (4 / 5 + 6 / 6 + 0) / 3,
        "iou_with_empty@0.25": (2 / 3 + 3 / 3 + 0) / 3,
        "dice_pooled@0.25": 10 / 12,  # TP 5, FP 2, FN 0, TN 5
        "iou_pooled@0.25": 5 / 7,
        "mean_iou@0.25": (5 / 7 + 5 / 7) / 2,
        "pixel_accuracy@0.25": 10 / 12,
        "pixel_sensitivity@0.25": 5 / 5,
        "pixel_precision@0.25": 5 / 7,
    }
    assert figures == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["uniform", "on the grid", "next to the grid", "saturated"])
@pytest.mark.parametrize("seed", range(3))
def test_metrics__are_those_of_plain_counting(kind: str, seed: int) -> None:
    maps, masks = split(kind, seed)
    figures = segmentation_metrics(mask_histograms(maps, masks), {f"@{cut}": cut for cut in CUT_OFFS})
    expected = {
        f"{name}@{cut}": value for cut in CUT_OFFS for name, value in plainly(maps.numpy(), masks.numpy(), cut).items()
    }
    assert figures == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("cut_off", [0.01, 0.29, 0.57, 0.99])
def test_metrics__agree_with_torchmetrics(cut_off: float) -> None:
    maps, masks = split("on the grid")
    said, drawn = (maps >= cut_off).long(), masks.sum((1, 2)) > 0
    figures = segmentation_metrics(mask_histograms(maps, masks), {"": cut_off})
    each = dice_score(said[drawn][:, None], masks[drawn].long()[:, None], num_classes=1, average="micro")
    assert figures["dice"] == pytest.approx(float(each.mean()))
    assert figures["dice_pooled"] == pytest.approx(float(binary_f1_score(said, masks)))
    assert figures["iou_pooled"] == pytest.approx(float(binary_jaccard_index(said, masks)))
    background = binary_jaccard_index(1 - said, 1 - masks)
    assert figures["mean_iou"] == pytest.approx(float((binary_jaccard_index(said, masks) + background) / 2))


@pytest.mark.parametrize(
    ("true", "said", "dice", "dice_with_empty"),
    [
        ([0, 0, 0], [0, 0, 0], math.nan, 1),
        ([0, 0, 0], [1, 0, 0], 0, 0),
        ([1, 1, 0], [0, 0, 0], 0, 0),
        ([1, 1, 0], [1, 0, 0], 2 / 3, 2 / 3),
    ],
)
def test_empty_masks__count_only_where_a_figure_says_so(
    true: list[int], said: list[int], dice: float, dice_with_empty: float
) -> None:
    histograms = mask_histograms(torch.tensor([[said]]).float(), torch.tensor([[true]], dtype=torch.uint8))
    figures = segmentation_metrics(histograms, {"": 0.5})
    assert float(per_image(histograms, 0.5)["dice"]) == pytest.approx(dice, nan_ok=True)
    assert figures["dice"] == pytest.approx(dice if any(true) else math.nan, nan_ok=True)
    assert figures["dice_with_empty"] == pytest.approx(dice_with_empty)
    iou_with_empty = {2 / 3: 1 / 2}.get(dice_with_empty, dice_with_empty)
    assert figures["iou_with_empty"] == pytest.approx(iou_with_empty)


def test_metrics__what_has_no_denominator_is_nan_not_nought() -> None:
    figures = segmentation_metrics(mask_histograms(torch.zeros(2, 3, 3), torch.zeros(2, 3, 3).byte()), {"": 0.5})
    undefined = {"dice", "iou", "dice_pooled", "iou_pooled", "mean_iou", "pixel_sensitivity", "pixel_precision"}
    assert {name for name, value in figures.items() if math.isnan(value)} == undefined
    assert figures["pixel_accuracy"] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_histograms__a_suffix_counts_what_reaches_the_cut_off(dtype: torch.dtype) -> None:
    grid = torch.arange(BINS + 1, dtype=torch.float64).div(BINS).to(dtype)
    below, above = torch.nextafter(grid.float(), torch.tensor(0.0)), torch.nextafter(grid.float(), torch.tensor(1.0))
    maps = torch.cat([grid, below.to(dtype), above.to(dtype)]).view(1, 3, -1)
    histograms = mask_histograms(maps, torch.ones_like(maps, dtype=torch.uint8))
    reached = [int(histograms[0, 1, k:].sum()) for k in range(BINS + 1)]
    assert reached == [int((maps >= k / BINS).sum()) for k in range(BINS + 1)]
    assert histograms[0, 0].sum() == 0


def test_histograms__batches_and_their_order_change_nothing() -> None:
    maps, masks = split("uniform")
    whole = mask_histograms(maps, masks)
    assert whole.dtype == torch.int64
    assert whole.shape == (9, 2, BINS + 1)
    parts = torch.cat([mask_histograms(maps[at], masks[at]) for at in (slice(5, 9), slice(5), slice(0, 0))])
    assert torch.equal(parts, whole[[5, 6, 7, 8, 0, 1, 2, 3, 4]])


def test_histograms__what_is_not_a_probability_stays_in_its_own_image() -> None:
    maps = torch.tensor([[[0.5, 0.5]], [[math.nan, -0.2]], [[1.2, math.inf]]])
    histograms = mask_histograms(maps, torch.zeros(3, 1, 2, dtype=torch.uint8))
    assert [counts.nonzero().flatten().tolist() for counts in histograms[:, 0]] == [[50], [0], [BINS]]
    assert histograms.sum((1, 2)).tolist() == [2, 2, 2]


@pytest.mark.parametrize("shape", [(2, 1, 4, 4), (2, 4, 5), (1, 4, 4)])
def test_histograms__maps_and_masks_are_of_one_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="both"):
        mask_histograms(torch.zeros(shape), torch.zeros(2, 4, 4, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("cut_off", "used"), [(0.333, 0.33), (0.29, 0.29), (0.57, 0.57), (0.0049, 0.0), (0.996, 1.0), (0.5 + 1e-9, 0.5)]
)
def test_on_grid__names_the_cut_off_that_is_used(cut_off: float, used: float) -> None:
    maps, masks = split("uniform")
    assert on_grid(cut_off) == used
    said = maps >= used
    tp, fp, fn, tn = counts_at(mask_histograms(maps, masks), cut_off)
    assert torch.equal(tp, (said & (masks == 1)).sum((1, 2)))
    assert torch.equal(fp, (said & (masks == 0)).sum((1, 2)))
    assert torch.equal(fn, (~said & (masks == 1)).sum((1, 2)))
    assert torch.equal(tn, (~said & (masks == 0)).sum((1, 2)))


@pytest.mark.parametrize("cut_off", [-0.01, 1.01, math.nan])
def test_on_grid__refuses_what_is_no_probability(cut_off: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        on_grid(cut_off)


@pytest.mark.parametrize("cut_off", CUT_OFFS)
def test_per_image__each_row_is_the_figure_of_that_image_alone(cut_off: float) -> None:
    maps, masks = split("on the grid")
    columns = per_image(mask_histograms(maps, masks), cut_off)
    assert {column.dtype for column in columns.values()} == {torch.float64}
    for row, (probabilities, mask) in enumerate(zip(maps.numpy(), masks.numpy(), strict=True)):
        alone = plainly(probabilities[None], mask[None], cut_off)
        for column, figure in {"dice": "dice_pooled", "iou": "iou_pooled", "pixel_accuracy": "pixel_accuracy"}.items():
            assert float(columns[column][row]) == pytest.approx(alone[figure], nan_ok=True)
        assert float(columns["true_area"][row]) == pytest.approx(mask.mean())
        assert float(columns["predicted_area"][row]) == pytest.approx((probabilities >= np.float32(cut_off)).mean())


def test_curve__counts_the_pixels_of_the_split_at_each_cut_off_falling() -> None:
    maps, masks = split("on the grid")
    cut_offs, true_positives, false_positives, positives, negatives = pooled_curve(mask_histograms(maps, masks))
    assert cut_offs.tolist() == [k / BINS for k in range(BINS, -1, -1)]
    assert true_positives.tolist() == [int(masks[maps >= cut].sum()) for cut in cut_offs.tolist()]
    assert false_positives.tolist() == [int((1 - masks)[maps >= cut].sum()) for cut in cut_offs.tolist()]
    assert (positives, negatives) == (int(masks.sum()), int((1 - masks).sum()))


def test_metrics__are_exact_beyond_what_single_precision_counts() -> None:
    histograms = torch.zeros(1000, 2, BINS + 1, dtype=torch.int64)
    histograms[:, 1, BINS] = 1024 * 1024  # 1000 images of 1024² found pixels, and one that isn't
    histograms[0, 1, 0] = 1
    pixels = 1000 * 1024 * 1024 + 1
    figures = segmentation_metrics(histograms, {"": 0.5})
    assert 1 - figures["pixel_sensitivity"] == pytest.approx(1 / pixels, rel=1e-6)
