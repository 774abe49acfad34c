"""Heat on radiographs, and the figures of `pulmo explain`."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pulmo.metrics.bootstrap import Interval
from pulmo.report.heat import HeatCase, feature_grid, heat_sheet, overlay
from pulmo.report.probing import heat_beside_chance, occluded_aurocs, occlusion_examples

RNG = np.random.default_rng(0)
FILM = RNG.integers(0, 256, (40, 40), dtype=np.uint8)
HEAT = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
LONG = "a/very/long/image/id/of/some/hospital/that/does/not/fit/its/picture-0001"
LUNGS = np.pad(np.ones((20, 30), np.uint8), ((0, 20), (0, 10)))  # meets the border
CASE = HeatCase(FILM, HEAT, LONG, "Pneumonia: score 0.97, called Normal " * 3, LUNGS, np.array([[0.0, 0, 40, 20]]))
KNOWN, UNKNOWN = Interval(0.5, 0.4, 0.6), Interval(np.nan, np.nan, np.nan)
ROW = {"region": "lungs", "group": "true positives", "images": 7}

DRAWINGS: dict[str, Callable[[], Figure]] = {
    "sheet": lambda: heat_sheet([CASE] * 5, "Test split"),
    "one": lambda: heat_sheet([CASE]),
    "none": lambda: heat_sheet([], "Test split"),
    "features": lambda: feature_grid(RNG.random((11, 7, 7)).astype(np.float32), range(11), LONG),
    "aurocs": lambda: occluded_aurocs(["whole image", "borders", "x"], [KNOWN, KNOWN, UNKNOWN], [False, True, True]),
    "examples": lambda: occlusion_examples({"whole image": [FILM, FILM], "lung box removed": [FILM, FILM]}, "ab"),
    "chance": lambda: heat_beside_chance(
        [ROW | dict.fromkeys(("heat", "area", "points", "chance"), value) for value in (KNOWN, UNKNOWN)]
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_figures__nothing_is_cut_off_at_the_edge(name: str) -> None:
    figure = DRAWINGS[name]()
    figure.savefig(pixels := io.BytesIO())
    grey = np.asarray(Image.open(pixels).convert("L"))
    assert min(edge.min() for edge in (grey[0], grey[-1], grey[:, 0], grey[:, -1])) == 255
    assert grey.min() < 100


def test_sheet__holds_eighteen_images() -> None:
    with pytest.raises(ValueError, match="19 cases; expected up to 18"):
        heat_sheet([CASE] * 19)


def test_overlay__without_heat_is_the_image_and_grows_lighter_with_heat_on_black() -> None:
    np.testing.assert_array_equal(overlay(FILM, np.zeros_like(HEAT)), np.repeat(FILM[..., None], 3, axis=2))
    black = overlay(np.zeros_like(FILM), HEAT).astype(int)
    grey = (black * [0.299, 0.587, 0.114]).sum(2).ravel()
    assert (np.diff(grey) > -1).all()  # readable in grey print
    assert grey[-1] > 150
