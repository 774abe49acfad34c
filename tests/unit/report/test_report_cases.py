"""Which images of a split are shown, and what is written beside them."""

from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from pulmo.report.cases import chosen, draw_cases

NAN = float("nan")


def places(values: list[float], count: int) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for group, place in chosen(np.array(values), count):
        groups.setdefault(group, []).append(place)
    return groups


def test_chosen__best_fall_middle_fall_worst_rise() -> None:
    values = [0.3, 0.9, 0.1, 0.7, 0.5, 0.2, 0.8, 0.4, 0.6]
    assert places(values, 2) == {"best": [1, 6], "median": [8, 4], "worst": [2, 5]}  # middle: 4th and 5th of nine
    assert places(values, 3) == {"best": [1, 6, 3], "median": [8, 4, 7], "worst": [2, 5, 0]}


def test_chosen__images_without_a_figure_are_passed_over() -> None:
    assert places([NAN, 0.9, NAN, 0.1, 0.5, NAN], 1) == {"best": [1], "median": [4], "worst": [3]}
    assert places([NAN, NAN], 4) == {}


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        ([], {}),
        ([0.5], {"best": [0]}),
        ([0.2, 0.5], {"best": [1, 0]}),
        ([0.2, 0.5, 0.4, 0.3, 0.1], {"best": [1, 2, 3, 0], "worst": [4]}),
        ([0.6, 0.5, 0.4, 0.3, 0.2, 0.1], {"best": [0, 1, 2, 3], "median": [4], "worst": [5]}),
    ],
)
def test_chosen__of_fewer_images_than_places_each_is_shown_once(
    values: list[float], groups: dict[str, list[int]]
) -> None:
    assert places(values, 4) == groups


def test_chosen__equals_stay_in_the_order_of_the_table() -> None:
    assert places([0.5, 1.0, 0.5, 1.0, 0.5], 1) == {"best": [1], "median": [0], "worst": [4]}


class Data:
    """Images p to s, each grey as its row."""

    def rows_of(self, split: str) -> pd.DataFrame:
        return pd.DataFrame({"image_id": list("pqrs")}, index=[7, 3, 5, 1])

    def samples(self, split: str, rows: list[int]) -> dict[str, Any]:
        return {"image": torch.stack([torch.full((1, 8, 8), row, dtype=torch.uint8) for row in rows])}


class Drawing:
    """What draws rows 3, 0, 2 of the table, in this order, with Dice 0.9, none, 0.25."""

    def __init__(self, quality: list[float] | None) -> None:
        predictions = {"row": torch.tensor([3, 0, 2])}
        self.predictions, self.asked = {"test": predictions}, []
        self.quality = lambda _: None if quality is None else ("Dice", torch.tensor(quality))

    def drawn(self, batch: dict[str, Any], predictions: dict[str, Any], place: int) -> dict[str, Any]:
        self.asked.append((int(batch["image"][0, 0, 0, 0]), place, torch.is_grad_enabled()))
        return {"true_mask": np.eye(8, dtype=np.uint8)}


def drawn(task: Drawing, split: str = "test") -> Figure | None:
    return draw_cases(cast(Any, task), cast(Any, Data()), cast(Any, split), "Test split")


def test_draw_cases__each_image_is_that_of_its_place_with_its_id_and_figure() -> None:
    task = Drawing([0.9, NAN, 0.25])
    figure = drawn(task)
    assert figure is not None
    shown = [axes for axes in figure.axes if axes.images]
    assert [int(axes.images[0].get_array()[0, 0]) for axes in shown] == [3, 2]
    assert [(axes.get_title(), axes.get_xlabel()) for axes in shown] == [("s", "Dice 0.900"), ("r", "Dice 0.250")]
    assert task.asked == [(3, 0, False), (2, 2, False)]  # row, place in the predictions, no gradients
    assert figure.get_suptitle() == "Test split"


def test_draw_cases__where_there_is_nothing_to_draw_gives_none() -> None:
    assert drawn(Drawing(None)) is None  # a task that draws nothing on images
    assert drawn(Drawing([NAN, NAN, NAN])) is None  # no opacity in the split
    assert drawn(Drawing([0.9, NAN, 0.25]), "val") is None  # not predicted
