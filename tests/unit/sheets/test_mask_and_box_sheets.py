"""Sheets of masks and of boxes, against the figures that a run computes from pixels and boxes themselves."""

import numpy as np
import pandas as pd
import pytest
import torch

from pulmo.errors import DataError
from pulmo.metrics.boxes import box_columns, detection_metrics
from pulmo.metrics.segmentation import mask_histograms, per_image, segmentation_metrics
from pulmo.sheets.boxes import box_sheet
from pulmo.sheets.masks import mask_sheet


def masks_table(images: int = 60) -> tuple[pd.DataFrame, dict[str, float]]:
    generator = torch.Generator().manual_seed(0)
    truth = torch.zeros(images, 16, 16, dtype=torch.uint8)
    for k in range(images - 6):  # the last six are empty
        truth[k, 2 : 4 + k % 10, 3:9] = 1
    probabilities = (0.4 * truth + 0.55 * torch.rand(truth.shape, generator=generator)).clamp(0, 1)
    probabilities[-3:] = 0  # rightly so
    histograms = mask_histograms(probabilities, truth)
    columns = {name: values.numpy() for name, values in per_image(histograms, 0.5).items()}
    label = (columns["true_area"] > 0).astype(int)
    people = [f"p{k // 3}" for k in range(images)]
    table = pd.DataFrame({"image_id": range(images), "patient_id": people, "label": label, **columns})
    return table.assign(sex=["F", "M"] * (images // 2)), segmentation_metrics(histograms, {"": 0.5})


def test_masks__figures_are_those_of_the_pixels() -> None:
    table, expected = masks_table()
    sheet = mask_sheet(table, resamples=200)
    assert (sheet.images, sheet.drawn, sheet.patients) == (60, 54, 20)
    for name in ("dice", "iou", "dice_with_empty", "iou_with_empty"):
        assert sheet.figures[name].value == pytest.approx(expected[name], abs=1e-6), name
        assert sheet.figures[name].low < expected[name] < sheet.figures[name].high


def test_masks__area_error_is_predicted_less_true_and_no_share() -> None:
    table, _ = masks_table()
    error = mask_sheet(table, resamples=200).figures["area_error"]
    assert error.value == pytest.approx((table["predicted_area"] - table["true_area"]).mean(), abs=1e-6)
    assert error.value > 0
    none = mask_sheet(table.assign(predicted_area=table["true_area"]), resamples=50).figures["area_error"]
    assert str(none) == "0.000"  # nothing tells how far it could lie from 0


def test_masks__groups_are_thirds_by_area_and_the_tables_own() -> None:
    table, _ = masks_table()
    groups = mask_sheet(table, resamples=50).groups
    thirds = [group for group in groups if group.by == "true area"]
    assert sum(group.images for group in thirds) == 54
    women = next(group for group in groups if (group.by, group.name) == ("sex", "F"))
    drawn = table[(table["sex"] == "F") & (table["true_area"] > 0)]
    assert women.figures["dice"].value == pytest.approx(drawn["dice"].mean(), abs=1e-6)
    few = mask_sheet(table.assign(sex=["F"] * 55 + ["M"] * 5), resamples=50).groups[-1]
    assert (few.figures, few.few) == ({}, "0 with a true mask")


def boxes_tables() -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float], list[float]]:
    images, boxes, _, expected, counts = tables_of_boxes()
    return images, boxes, expected, counts


def tables_of_boxes() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, float], list[float]]:
    rng = np.random.default_rng(0)
    boxes, truths = [], []
    for k in range(40):
        true = np.array([[10, 10, 40, 50], [60, 20, 90, 70]], np.float32)[: k % 3]
        near = true + rng.normal(0, 3, true.shape)
        alarms = rng.uniform(0, 40, (rng.integers(0, 3), 2)).repeat(2, 1)[:, [0, 2, 1, 3]] + [0, 0, 20, 20]
        found = np.concatenate([near, alarms])
        boxes.append(torch.tensor(np.column_stack([found, rng.random(len(found))]), dtype=torch.float32))
        truths.append(torch.tensor(true))
    columns = box_columns({"row": torch.arange(40), "boxes": boxes, "true_boxes": truths})  # type: ignore[typeddict-item]
    corners = ["x1", "y1", "x2", "y2"]
    of_boxes = pd.DataFrame(columns["box"], columns=corners).assign(
        image_id=columns["row"], score=columns["score"], true_positive=columns["true_positive"]
    )
    of_truths = pd.DataFrame(np.concatenate(truths), columns=corners)
    of_truths["image_id"] = np.repeat(np.arange(40), [len(true) for true in truths])
    counts = [len(true) for true in truths]
    images = pd.DataFrame({"image_id": range(40), "patient_id": [k // 2 for k in range(40)], "true_boxes": counts})
    images["label"] = (images["true_boxes"] > 0).astype(int)
    return images, of_boxes, of_truths, detection_metrics(boxes, truths, 0.5), counts


def test_boxes__figures_are_those_of_the_boxes_themselves() -> None:
    images, boxes, expected, _ = boxes_tables()
    sheet = box_sheet(images, boxes, 0.5, resamples=200)
    for name in ("box_sensitivity", "box_precision", "false_positives_per_image", "froc_score"):
        found = sheet.figures[name]
        assert found.value == pytest.approx(expected[name], abs=1e-6), name
        assert found.low < found.value < found.high
    assert "rsna_score" not in sheet.figures
    rates, sensitivity = sheet.curve
    assert np.interp(1.0, rates, sensitivity) == pytest.approx(sheet.froc["1"].value, abs=1e-6)


def test_boxes__interval_is_that_of_a_plain_loop_over_patients() -> None:
    images, boxes, _, counts = boxes_tables()
    right = boxes[boxes["score"] >= 0.5].groupby("image_id")["true_positive"].sum().reindex(range(40), fill_value=0)
    rng, drawn = np.random.default_rng(1), []
    for _ in range(4000):
        pairs = rng.integers(0, 20, 20)
        rows = np.concatenate([2 * pairs, 2 * pairs + 1])
        drawn.append(right.to_numpy()[rows].sum() / np.asarray(counts)[rows].sum())
    found = box_sheet(images, boxes, 0.5, resamples=4000).figures["box_sensitivity"]
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=0.02)


def test_boxes__average_precision_is_the_librarys_with_the_interval_of_a_plain_loop() -> None:
    images, boxes, truths, expected, _ = tables_of_boxes()
    found = box_sheet(images, boxes, 0.5, truths.sample(frac=1, random_state=0), resamples=4000).figures
    for name in ("map", "map_50", "map_75"):
        assert found[name].value == pytest.approx(expected[name], abs=1e-6), name
    rng, drawn = np.random.default_rng(1), []
    for _ in range(60):  # the library takes its time
        pairs = rng.integers(0, 20, 20)
        rows = np.concatenate([2 * pairs, 2 * pairs + 1])
        each = [boxes.loc[boxes["image_id"] == row, ["x1", "y1", "x2", "y2", "score"]].to_numpy() for row in rows]
        true = [truths.loc[truths["image_id"] == row, ["x1", "y1", "x2", "y2"]].to_numpy() for row in rows]
        drawn.append(detection_metrics([torch.tensor(part) for part in each], [torch.tensor(part) for part in true]))
    for name in ("map", "map_50"):
        values = [figures[name] for figures in drawn]
        assert found[name].low < np.mean(values) < found[name].high
        spread = (found[name].high - found[name].low) / (2 * 1.96)
        assert spread == pytest.approx(np.std(values), rel=0.3)


def test_boxes__of_nothing_found_keep_an_interval() -> None:
    images, boxes, _, _ = boxes_tables()
    sheet = box_sheet(images, boxes.assign(true_positive=0), 0.5, resamples=50)
    with_truth = images.loc[images["true_boxes"] > 0, "patient_id"].nunique()
    expected = (0.0, 0.0, 1 - 0.025 ** (1 / with_truth))
    assert sheet.froc["8"] == sheet.figures["froc_score"] == pytest.approx(expected)
    assert sheet.figures["box_sensitivity"] == pytest.approx(expected)


def test_boxes__a_false_one_on_each_image_is_a_rate_and_no_share() -> None:
    images = pd.DataFrame({"image_id": range(20), "patient_id": range(20), "label": 1, "true_boxes": 1})
    boxes = pd.DataFrame({"image_id": range(20), "score": 0.9, "true_positive": 0})
    assert str(box_sheet(images, boxes, 0.5, resamples=50).figures["false_positives_per_image"]) == "1.000"


def test_boxes__rsna_score_leaves_out_images_that_the_challenge_does() -> None:
    images, boxes, _, _ = boxes_tables()
    score = np.where(np.arange(40) % 4 == 0, np.nan, 0.5)
    found = box_sheet(images.assign(rsna_score=score), boxes, 0.5, resamples=50).figures["rsna_score"]
    assert found.value == pytest.approx(0.5)


def test_boxes__of_unlabelled_images_count_for_nothing() -> None:
    images, boxes, _, _ = boxes_tables()
    unlabelled = images.assign(label=images["label"].where(images["image_id"] >= 5, -1))
    sheet = box_sheet(unlabelled, boxes, 0.5, resamples=50)
    assert sheet.images == 35
    assert sheet.figures == box_sheet(images[5:], boxes[boxes["image_id"] >= 5], 0.5, resamples=50).figures


def test_boxes__many_are_resampled_a_few_times_at_once_with_the_same_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    images, boxes, _, _ = boxes_tables()
    at_once = box_sheet(images, boxes, 0.5, resamples=60)
    largest, cumsum = 0, np.cumsum

    def watched(values: np.ndarray, **given: int) -> np.ndarray:
        nonlocal largest
        largest = max(largest, values.size)
        return cumsum(values, **given)

    monkeypatch.setattr("pulmo.sheets.boxes.AT_ONCE", 7 * len(boxes))
    monkeypatch.setattr("pulmo.sheets.boxes.np.cumsum", watched)
    assert box_sheet(images, boxes, 0.5, resamples=60).froc == at_once.froc
    assert largest == 7 * len(boxes)


def test_tables__that_contradict_themselves_say_so() -> None:
    images, boxes, _, _ = boxes_tables()
    with pytest.raises(DataError, match="boxes are of no image"):
        box_sheet(images[:10], boxes, 0.5, resamples=10)
    with pytest.raises(DataError, match="boxes have no score"):
        box_sheet(images, boxes.assign(score=np.nan), 0.5, resamples=10)
    with pytest.raises(DataError, match="stand twice, such as 0"):
        box_sheet(pd.concat([images, images]), boxes, 0.5, resamples=10)
    table, _ = masks_table()
    with pytest.raises(DataError, match="dice that is no share"):
        mask_sheet(table.assign(dice=7.0), resamples=10)
