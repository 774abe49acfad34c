"""Figures of a run folder, whole, of a killed run, and of odd content."""

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pulmo.report import run_figures
from pulmo.report.run_figures import reported_thresholds, write_figures

NAMES = ("normal", "pneumonia")
OF_SPLIT = ("confusion", "precision_recall", "roc", "scores")
ALL = {"learning_curves"} | {f"{name}_test" for name in OF_SPLIT}

HISTORY = pd.DataFrame({"epoch": [0, 1], "train/loss": [0.7, 0.5], "val/loss": [0.8, 0.6], "val/auroc": [0.6, 0.8]})
PREDICTIONS = pd.DataFrame(
    {
        "image_id": list("abcdefghi"),
        "patient_id": list("ppqqrrsst"),
        "label": [1, 1, 0, 1, 0, 0, 1, 0, -1],
        "score": [0.9, 0.8, 0.7, 0.6, 0.55, 0.4, 0.3, 0.1, 0.5],
        "prediction": [1, 1, 1, 1, 1, 0, 0, 0, 1],
        "view": ["PA"] * 9,
    }
)
METRICS = {"threshold": 0.5, "test/accuracy": 0.6, "test/accuracy@0.25": 0.6, "val/sensitivity@0.5": None}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that was tested; without predictions on validation, for haste."""
    HISTORY.to_csv(tmp_path / "history.csv", index=False)
    PREDICTIONS.to_csv(tmp_path / "predictions_test.csv", index=False)
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS))
    return tmp_path


def written(run_dir: Path) -> set[str]:
    return {path.stem for path in (run_dir / "figures").glob("*.png")}


def test_write_figures__whole_run_gives_every_figure_by_its_file_name(run_dir) -> None:
    PREDICTIONS.to_csv(run_dir / "predictions_val.csv", index=False)
    figures = write_figures(run_dir, NAMES, best_epoch=1, stages=[0])
    assert set(figures) == written(run_dir) == ALL | {f"{name}_val" for name in OF_SPLIT}
    assert [t.get_text() for t in figures["learning_curves"].axes[0].texts if t.get_text()] == [
        "best epoch 2",
        "stage 1",
    ]


def test_write_figures__unlabelled_images_are_left_out(run_dir) -> None:
    axes = write_figures(run_dir, NAMES)["roc_test"].axes[0]
    assert "AUROC 0.750 (4 positive, 4 negative)" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_write_figures__confusion_at_the_fitted_threshold_and_those_beside_it(run_dir) -> None:
    axes = write_figures(run_dir, NAMES)["confusion_test"].axes
    assert [a.get_title() for a in axes] == ["threshold: fitted 0.50", "threshold: 0.25", "threshold: 0.5"]
    assert [text.get_text().split("\n")[0] for text in axes[1].texts] == ["1", "3", "0", "4"]


@pytest.mark.parametrize(
    ("file", "lost"),
    [
        ("history.csv", {"learning_curves"}),
        ("predictions_test.csv", {f"{name}_test" for name in OF_SPLIT}),
        ("metrics.json", set()),
    ],
)
@pytest.mark.parametrize("content", [None, ""])
def test_write_figures__missing_or_empty_file_costs_its_own_figures_and_one_line(
    run_dir, caplog, file, lost, content
) -> None:
    (run_dir / file).unlink()
    if content is not None:
        (run_dir / file).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert set(write_figures(run_dir, NAMES)) == ALL - lost
    others = [line for line in caplog.messages if "predictions_val.csv" not in line]
    assert [file in line for line in others] == [True]


def test_write_figures__without_metrics_the_confusion_is_that_of_the_predictions(run_dir) -> None:
    (run_dir / "metrics.json").unlink()
    (axes,) = write_figures(run_dir, NAMES)["confusion_test"].axes
    assert [text.get_text().split("\n")[0] for text in axes.texts] == ["2", "2", "1", "3"]


def test_write_figures__metrics_that_break_off_cost_the_thresholds_alone(run_dir) -> None:
    (run_dir / "metrics.json").write_text('{"threshold": 0.')
    assert set(write_figures(run_dir, NAMES)) == ALL


def test_write_figures__empty_folder_gives_none(tmp_path) -> None:
    assert write_figures(tmp_path, NAMES) == {}
    assert list(tmp_path.iterdir()) == []


def test_write_figures__nan_scores_cost_their_figures_and_are_counted_in_the_log(run_dir, caplog) -> None:
    PREDICTIONS.assign(score=[np.nan, *PREDICTIONS["score"][1:]]).to_csv(run_dir / "predictions_test.csv")
    with caplog.at_level(logging.WARNING):
        assert set(write_figures(run_dir, NAMES)) == {"learning_curves"}
    assert "No figure roc_test: 1 of 8 scores are NaN or infinite" in caplog.messages


def test_write_figures__table_without_scores_names_the_column(run_dir, caplog) -> None:
    PREDICTIONS.drop(columns="score").to_csv(run_dir / "predictions_test.csv")
    with caplog.at_level(logging.WARNING):
        write_figures(run_dir, NAMES)
    assert any("predictions_test.csv" in line and "no column score" in line for line in caplog.messages)


def test_write_figures__split_of_one_class_says_undefined(run_dir) -> None:
    PREDICTIONS[PREDICTIONS["label"] == 0].to_csv(run_dir / "predictions_test.csv")
    figures = write_figures(run_dir, NAMES)
    assert set(figures) == ALL
    assert [t.get_text() for t in figures["roc_test"].axes[0].texts] == ["undefined: no positive image in this split"]


def test_write_figures__many_classes_give_one_curve_each_and_a_matrix(tmp_path) -> None:
    table = pd.DataFrame(
        {
            "image_id": list("abcd"),
            "patient_id": list("abcd"),
            "label": [0, 1, 1, 2],
            "score": [0.7, 0.8, 0.4, 0.5],
            "prediction": [0, 1, 0, 1],
            "score_c": [0.1, 0.1, 0.3, 0.5],
            "score_a": [0.7, 0.1, 0.4, 0.0],
            "score_b": [0.2, 0.8, 0.3, 0.5],
        }
    )
    table.to_csv(tmp_path / "predictions_test.csv")
    (tmp_path / "metrics.json").write_text('{"threshold": null}')
    figures = write_figures(tmp_path, ["a", "b", "c"])
    assert set(figures) == {"confusion_test", "roc_test"}
    entries = [text.get_text() for text in figures["roc_test"].axes[0].get_legend().get_texts()]
    assert entries == ["a: 1.000 (1 of 4)", "b: 0.750 (2 of 4)", "c: 1.000 (1 of 4)"]
    assert figures["confusion_test"].axes[0].texts[5].get_text() == "0\n0.0 %"


def test_reported_thresholds__fitted_first_then_by_value_each_once() -> None:
    metrics = {"test/f1@0.5": 1, "threshold": 0.7, "val/f1@0.5": 1, "test/f1@0.25": 1, "test/sensitivity@spec90": 1}
    assert reported_thresholds(metrics) == {"fitted": pytest.approx(0.7), "0.25": 0.25, "0.5": 0.5}
    assert list(reported_thresholds(metrics)) == ["fitted", "0.25", "0.5"]


MASKS = PREDICTIONS.assign(
    dice=[0.9, 0.8, np.nan, 0.0, 0.0, np.nan, 0.5, np.nan, 0.1],
    true_area=[0.1, 0.2, 0, 0.05, 0, 0, 0.1, 0, 0.1],
    true_boxes=[2, 1, 0, 1, 0, 0, 1, 0, 7],
)
FROC_POINT = ("false_positives_per_image", "box_sensitivity")
OF_MASKS = {"dice_test", "dice_by_area_test"}
OF_IMAGES = {f"{name}_test" for name in OF_SPLIT}
# Five true boxes in eight images with a label. Falling: right; wrong and right at one score; wrong.
BOXES = pd.DataFrame(
    {
        "image_id": ["a", "a", "b", "c"],
        **dict.fromkeys(("x1", "y1"), 0),
        **dict.fromkeys(("x2", "y2"), 9),
        "score": [0.3, 0.8, 0.9, 0.8],
        "true_positive": [0, 1, 1, 0],
    }
)


def tables(run_dir: Path, split: str, images: pd.DataFrame, boxes: pd.DataFrame | None = None) -> None:
    images.to_csv(run_dir / f"predictions_{split}.csv", index=False)
    if boxes is not None:
        boxes.to_csv(run_dir / f"boxes_{split}.csv", index=False)


@pytest.fixture
def froc_dir(run_dir, monkeypatch) -> Path:
    """A run of which only the FROC curve is looked at: without history, and no picture is written."""
    (run_dir / "history.csv").unlink()
    monkeypatch.setattr(run_figures, "save", lambda *_: None)
    return run_dir


def curve(figure: Figure, number: int = 0) -> list[tuple[float, float]]:
    """The points between which the FROC curve is drawn in steps."""
    line = [line for line in figure.axes[0].lines if len(line.get_xdata()) > 1][number]
    return list(zip(line.get_xdata()[::2], line.get_ydata()[::2], strict=True))


def test_write_figures__lungs_have_figures_of_masks_alone(run_dir) -> None:
    tables(run_dir, "test", MASKS.drop(columns="true_boxes").assign(label=1))
    assert set(write_figures(run_dir, NAMES)) == written(run_dir) == {"learning_curves"} | OF_MASKS


def test_write_figures__opacities_have_those_of_masks_images_and_boxes(run_dir) -> None:
    tables(run_dir, "test", MASKS, BOXES)
    figures = write_figures(run_dir, NAMES)
    assert set(figures) == written(run_dir) == {"learning_curves", "froc"} | OF_MASKS | OF_IMAGES
    entries = [text.get_text() for text in figures["dice_test"].axes[0].get_legend().get_texts()]
    assert entries == ["5 images (3 without a Dice coefficient left out)"]


def test_write_figures__detections_have_those_of_images_and_boxes(run_dir) -> None:
    tables(run_dir, "test", MASKS.drop(columns=["dice", "true_area"]), BOXES)
    assert set(write_figures(run_dir, NAMES)) == written(run_dir) == {"learning_curves", "froc"} | OF_IMAGES


def test_write_figures__froc_is_that_of_the_two_tables(froc_dir) -> None:
    tables(froc_dir, "test", MASKS, BOXES)
    left = 1e-3 / 8  # for no false positive, which a logarithmic axis cannot show
    wanted = [(left, 0), (left, 1 / 5), (1 / 8, 2 / 5), (2 / 8, 2 / 5)]
    assert curve(write_figures(froc_dir, NAMES)["froc"]) == [pytest.approx(point) for point in wanted]


def test_write_figures__froc_has_a_curve_a_split_each_marked_at_its_operating_point(froc_dir) -> None:
    tables(froc_dir, "val", MASKS, BOXES[BOXES["true_positive"] == 1])
    tables(froc_dir, "test", MASKS, BOXES)
    points = {"val": (0.0, 0.4), "test": (0.25, 0.4)}
    figures = {
        f"{split}/{name}": value for split in points for name, value in zip(FROC_POINT, points[split], strict=True)
    }
    (froc_dir / "metrics.json").write_text(json.dumps(METRICS | figures))
    figure = write_figures(froc_dir, NAMES)["froc"]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
        "Validation split: sensitivity 0.400 at 0 per image",
        "Test split: sensitivity 0.400 at 0.25 per image",
    ]
    assert curve(figure, 0)[-1] == pytest.approx((1e-3 / 8, 2 / 5))
    assert curve(figure, 1)[-1] == pytest.approx((2 / 8, 2 / 5))


def test_write_figures__froc_of_one_split_is_drawn_where_the_others_boxes_are_missing(froc_dir, caplog) -> None:
    tables(froc_dir, "val", MASKS)
    tables(froc_dir, "test", MASKS, BOXES)
    figures = {f"{split}/{name}": 0.5 for split in ("val", "test") for name in FROC_POINT}
    (froc_dir / "metrics.json").write_text(json.dumps(METRICS | figures))
    with caplog.at_level(logging.WARNING):
        entries = write_figures(froc_dir, NAMES)["froc"].axes[0].get_legend().get_texts()
    assert [text.get_text() for text in entries] == ["Test split: sensitivity 0.500 at 0.5 per image"]
    assert f"No boxes_val.csv in {froc_dir}: its figures are left out" in caplog.messages


def test_write_figures__froc_without_a_predicted_box_is_the_point_where_nothing_is_found(froc_dir) -> None:
    tables(froc_dir, "test", MASKS, BOXES[:0])
    (froc_dir / "metrics.json").write_text(json.dumps(METRICS | {f"test/{name}": 0.0 for name in FROC_POINT}))
    axes = write_figures(froc_dir, NAMES)["froc"].axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "Test split: sensitivity 0.000 at 0 per image"
    ]
    assert not any(line.get_ydata().any() for line in axes.lines if len(line.get_ydata()))


def test_write_figures__froc_without_a_true_box_says_undefined(froc_dir) -> None:
    tables(froc_dir, "test", MASKS.assign(true_boxes=0), BOXES.assign(true_positive=0))
    texts = [text.get_text() for text in write_figures(froc_dir, NAMES)["froc"].axes[0].texts]
    assert texts == ["undefined: no true box in this split"]
