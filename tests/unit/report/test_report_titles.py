from pathlib import Path

import pandas as pd
import pytest
from tests.integration.test_compare import IMAGES, run_folder

from pulmo.evaluation.evaluation import Wish, evaluated
from pulmo.evaluation.tables import figure_tables
from pulmo.finished import opened
from pulmo.pages import measured
from pulmo.report.html import Grid
from pulmo.report.titles import title_of


@pytest.mark.parametrize(
    ("figure", "title"),
    [
        ("auroc", "AUROC"),
        ("balanced_accuracy", "balanced accuracy"),
        ("auroc/Bacterial pneumonia", "AUROC, Bacterial pneumonia"),
        ("accuracy@0.5", "accuracy@0.5"),
    ],
)
def test_title__is_the_fields_term_and_tells_the_class(figure: str, title: str) -> None:
    assert title_of(figure) == title


def test_title__evaluate_and_report_call_a_figure_alike(tmp_path: Path) -> None:
    run = opened(run_folder(tmp_path / "run", images=IMAGES))
    names = figure_tables(evaluated(run, Wish(resamples=100)))["Figures"][""]
    grids = [block for block in measured.figures(measured.Measured(run, 100), {}) if isinstance(block, Grid)]
    table = pd.concat([grid.table for grid in grids])
    assert len(table) > 5
    assert {*table["Figure"]} <= {*names, "loss"}
