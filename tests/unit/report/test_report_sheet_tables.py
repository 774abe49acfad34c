"""Sheets as text: every figure, point, group and reason is there, in one form for screen and page."""

import numpy as np
import pandas as pd
import pytest

from pulmo.report import sheet_blocks, sheet_tables
from pulmo.report.html import Grid, Text
from pulmo.report.screen import beside
from pulmo.sheets.images import ImageSheet
from pulmo.sheets.whole import sheets_of


def predictions(images: int = 120, *, parted: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    label = np.arange(images) % 2
    score = np.clip(0.3 + 0.4 * label + rng.normal(0, 0.05 if parted else 0.25, images), 0.01, 0.99)
    return pd.DataFrame(
        {
            "image_id": [f"i{number}" for number in range(images)],
            "patient_id": [f"p{number // 2}" for number in range(images)],
            "label": label,
            "score": score,
            "prediction": (score >= 0.5).astype(int),
            "sex": ["F"] * (images - 6) + ["M"] * 6,
        }
    )


def sheet(**options: object) -> ImageSheet:
    table = predictions(parted=bool(options.pop("parted", False)))
    images = sheets_of(table, None, options.pop("val", table), 0.5, resamples=100, **options).images  # type: ignore[arg-type]
    assert images is not None
    return images


def test_figures__those_without_an_interval_stand_beside_those_with_one() -> None:
    named = sheet_tables.figures_of(sheets_of(predictions(), None, None, 0.5, resamples=100), {"loss": 0.5, "map": 1.0})
    assert list(named) == ["Figures"]
    table = sheet_tables.listed(named["Figures"], {"loss": 0.25, "auroc": float("nan")}).set_index("")
    assert table.loc["loss"].tolist() == ["0.500", "0.250"]
    assert table.loc["AUROC", "validation"] == ""
    assert "(" in table.loc["AUROC", "figure (95 % interval)"]
    assert "mAP at 0.5 to 0.95" not in table.index


def test_figures__a_score_that_is_no_probability_has_no_calibration() -> None:
    table = predictions().assign(true_area=0.1, predicted_area=0.1, dice=0.8, iou=0.7, pixel_accuracy=0.9)
    sheets = sheets_of(table, None, None, 0.5, resamples=100)
    assert list(sheet_tables.figures_of(sheets, {})) == ["Masks", "Images"]
    assert "brier" not in sheet_tables.figures_of(sheets, {})["Images"]
    assert sheets.probabilities is None
    assert sheets_of(table.assign(label=1), None, None, 0.5, resamples=100).images is None


def test_points__have_counts_that_add_up_and_say_why_some_lack() -> None:
    table = sheet_tables.points_table(sheet(prevalence=0.05)).set_index("")
    assert list(table.index) == ["the run's own", "0.5", "0.25", "Youden", "best F1", "95 % sensitivity"]
    assert (table[["TP", "FP", "TN", "FN"]].astype(int).sum(axis=1) == 120).all()
    assert "PPV at 5 %" in table
    without = sheet(val=None)
    assert list(sheet_tables.points_table(without)[""]) == ["the run's own", "0.5", "0.25"]
    assert sheet_tables.absent_points(without).startswith("Youden, best F1, 95 % sensitivity: no validation")
    warnings = [block.text for block in sheet_blocks.operating_points(without) if isinstance(block, Text)]
    assert "Absent are Youden" in warnings[1]


def test_points__beside_each_other_keep_every_cell() -> None:
    table = sheet_tables.points_table(sheet())
    parts = beside(table, 60)
    assert [len(part.columns) for part in parts] == [4, 4]
    turned = pd.concat([part.set_index(part.columns[0]) for part in parts], axis=1)
    assert turned.loc["TP"].tolist() == table["TP"].tolist()
    assert turned.loc["PPV", "0.5"].replace("\n", " (") + ")" == table.set_index("").loc["0.5", "PPV"]


@pytest.mark.parametrize(("parted", "said"), [(True, True), (False, False)])
def test_calibration__an_undefined_slope_has_its_reason(parted: bool, said: bool) -> None:
    of = sheet(parted=parted)
    assert ("slope is undefined where scores part" in sheet_tables.calibration_note(of)) == said
    table = sheet_tables.calibration_table(of).set_index("")
    assert (table.loc["calibration slope (1 is right)", "as it is"] == "undefined") == said


def test_calibration__without_validation_says_why_there_is_no_temperature() -> None:
    of = sheet(val=None)
    assert list(sheet_tables.calibration_table(of)) == ["", "as it is"]
    assert "No temperature: no validation predictions" in sheet_tables.calibration_note(of)


def test_subgroups__too_few_images_have_a_dash_that_is_explained() -> None:
    of = sheet()
    table = sheet_tables.subgroup_tables(of)["sex"].set_index("")
    assert table.loc["M", ["AUROC", "sensitivity", "specificity"]].tolist() == ["–", "–", "–"]
    assert "–" not in table.loc["F"].tolist()
    first, grid = sheet_blocks.subgroups(of)
    assert isinstance(first, Text)
    assert sheet_tables.DASH in first.text
    assert isinstance(grid, Grid)
    assert grid.caption == "By sex"
