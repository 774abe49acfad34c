"""The figures of a search show what is in its table."""

import numpy as np
import pandas as pd
import pytest

from pulmo.report.search import search_history, search_importance

TRIALS = pd.DataFrame(
    {
        "trial": [2, 0, 1, 4, 3, 5],
        "value": [0.9, 0.7, 0.6, np.nan, 0.4, 0.8],
        "state": ["complete", "complete", "pruned", "fail", "complete", "running"],
    }
)


@pytest.mark.parametrize(("minimize", "best"), [(False, [0.7, 0.9, 0.9, 0.9]), (True, [0.7, 0.7, 0.4, 0.4])])
def test_history__the_best_so_far_follows_the_direction(minimize: bool, best: list[float]) -> None:
    (axes,) = search_history(TRIALS, "val/auroc", minimize=minimize).axes
    lines = {str(line.get_label()): line for line in axes.lines}
    np.testing.assert_allclose(np.asarray(lines["best so far"].get_ydata(), float), best)
    assert lines["finished (3)"].get_xydata().tolist() == [[0, 0.7], [2, 0.9], [3, 0.4]]
    assert list(lines["pruned, at its last value (1)"].get_ydata()) == [0.6]
    assert list(lines["failed (1)"].get_xdata()) == [4]
    assert axes.get_title(loc="left") == ("best: 0.4000, of trial 3" if minimize else "best: 0.9000, of trial 2")
    assert axes.get_ylabel() == "val/auroc"


def test_history__one_hopeless_trial_does_not_press_the_others_into_a_line() -> None:
    values = [0.90, 0.91, 0.92, 0.93, 0.94, 0.2]
    trials = pd.DataFrame({"trial": range(6), "value": values, "state": "complete"})
    (axes,) = search_history(trials, "val/auroc", minimize=False).axes
    low, high = axes.get_ylim()
    assert 0.88 < low < 0.90
    assert 0.94 < high < 0.96
    (arrow,) = [line for line in axes.lines if line.get_marker() == "v" and len(line.get_xdata())]
    assert list(arrow.get_xdata()) == [5]


def test_history__says_where_nothing_has_ended() -> None:
    (axes,) = search_history(TRIALS[TRIALS["state"] == "running"], "val/auroc", minimize=False).axes
    assert [text.get_text() for text in axes.texts] == ["no trial has come to an end yet"]


def test_importance__the_largest_stands_on_top_with_its_share() -> None:
    (axes,) = search_importance({"augment": 0.25, "lr": 0.75}, 12, "val/auroc").axes
    bars = {label.get_text(): bar.get_width() for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)}
    assert bars == {"augment": 0.25, "lr": 0.75}
    assert axes.patches[1].get_y() > axes.patches[0].get_y()
    assert [text.get_text() for text in axes.texts] == ["0.25", "0.75"]
    assert "12 finished trials" in axes.get_title(loc="left")
