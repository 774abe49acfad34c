import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from pulmo.metrics.bootstrap import Interval
from pulmo.report.overlaid import common_rate, forest, overlaid_learning, overlaid_precision_recall, overlaid_roc

LABELS = np.arange(20) % 2
SCORES = np.linspace(0, 1, 20) ** (1 + LABELS)


def told(figure: object) -> list[str]:
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[attr-defined]


def test_overlaid_roc__names_each_run_with_its_area() -> None:
    runs = {"a": (SCORES, LABELS), "b": (1 - SCORES, LABELS)}
    area, average = roc_auc_score(LABELS, SCORES), average_precision_score(LABELS, SCORES)
    assert told(overlaid_roc(runs)) == [f"a: {area:.3f}", f"b: {1 - area:.3f}"]
    assert told(overlaid_precision_recall(runs))[0] == f"a: {average:.3f}"


def test_overlaid_roc__a_run_of_one_class_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="all ill: undefined: no negative image"):
        overlaid_roc({"all ill": (SCORES, np.ones(20, int))})


def test_overlaid_learning__leaves_out_runs_that_did_not_log_it() -> None:
    histories = {
        "a": pd.DataFrame({"epoch": [0, 1], "val/loss": [1.0, 0.5], "val/dice": [0.1, 0.2]}),
        "b": pd.DataFrame({"epoch": [0, 1], "val/loss": [np.nan, np.nan], "val/dice": [0.1, 0.2]}),
    }
    assert told(overlaid_learning(histories, "val/loss")) == ["a"]
    assert common_rate(histories) == "val/dice"
    with pytest.raises(ValueError, match="no run has logged val/iou"):
        overlaid_learning(histories, "val/iou")


def test_forest__writes_each_figure_beside_its_interval() -> None:
    axes = forest({"first": Interval(0.9, 0.8, 0.95), "second": Interval(0.5, float("nan"), float("nan"))}, "x").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["first", "second"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first on top
    assert [text.get_text() for text in axes.texts] == ["0.900 (0.800–0.950)", "0.500"]
