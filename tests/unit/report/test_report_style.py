"""The house look: complete within a figure, unknown outside it; and the saving of figures."""

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pulmo.report import figures
from pulmo.report.rendering import pixels
from pulmo.report.style import COLOURS, LINE_STYLES

RNG = np.random.default_rng(0)
LABELS = (RNG.random(300) < 0.3).astype(int)
SCORES = 1 / (1 + np.exp(-RNG.normal(2.4 * LABELS - 1.5, 1.5)))
THRESHOLDS = {"fitted": 0.48, "0.5": 0.5, "0.25": 0.25}
NAMES = ("normal", "pneumonia")
LONG = ("no finding", "bacterial pneumonia", "viral pneumonia")
HISTORY = pd.DataFrame({"epoch": range(9), "train/loss": np.linspace(1, 0.2, 9), "val/auroc": np.linspace(0.5, 0.9, 9)})
SQUARE = np.array([[8.0, 4.0, 40.0, 60.0]])
CASES = [
    figures.Case(
        RNG.integers(0, 256, (64, 80 if k % 2 else 50), np.uint8),
        title="1.2.826.0.1.3680043.8.498." + "12345" * 9,
        caption="Dice 0.93, of three opacities one was found and two were not",
        group=("best", "median of all that were segmented", "worst")[k % 3],
        true_mask=np.ones((64, 80 if k % 2 else 50), np.uint8),
        predicted_boxes=SQUARE,
        scores=np.array([0.97]),
    )
    for k in range(10)
]
FALSE_POSITIVES = np.linspace(0, 11, 40)
FROC = {"validation": (FALSE_POSITIVES, FALSE_POSITIVES / 11), "test": (FALSE_POSITIVES, FALSE_POSITIVES / 12)}

DRAWINGS: dict[str, Callable[[], Figure]] = {
    "roc": lambda: figures.roc_curve(SCORES, LABELS, THRESHOLDS, "Test split"),
    "precision_recall": lambda: figures.precision_recall_curve(SCORES, LABELS, THRESHOLDS | {"never": 1.0}, "Test"),
    "one_vs_rest": lambda: figures.one_vs_rest_roc(RNG.random((30, 14)), np.arange(30) % 14, [*"abcdefghijklmn"], "T"),
    "scores": lambda: figures.score_histogram(SCORES, LABELS, THRESHOLDS, NAMES, "Test split"),
    "confusion": lambda: figures.confusion_matrix([0, 1, 2], [0, 1, 1], LONG, "Test split"),
    "confusions": lambda: figures.confusion_matrices(SCORES, LABELS, THRESHOLDS, NAMES, "Test split"),
    "learning": lambda: figures.learning_curves(HISTORY, 7, [0, 2, 3], "RSNA"),
    "overlays": lambda: figures.overlays(CASES, "Test split"),
    "overlay": lambda: figures.overlays(CASES[:1]),
    "no_overlays": lambda: figures.overlays([], "Test split"),
    "froc": lambda: figures.froc_curve(FROC, {"validation": (0.01, 0.01), "test": (11, 0.9)}, "RSNA"),
    "dice_histogram": lambda: figures.dice_histogram(np.linspace(0.95, 1, 30), "Test split"),
    "dice_by_area": lambda: figures.dice_by_area(SCORES, np.geomspace(1e-4, 1, 300), "Test split"),
    "dice_by_threshold": lambda: figures.dice_by_threshold({"test": ([0, 0.5, 1], [0.2, 0.8, 0])}, 0.98, "Test"),
    "learning_rate": lambda: figures.learning_rate_range(
        np.geomspace(1e-7, 1, 300), SCORES, np.linspace(0.8, 0.2, 300), 1e-3
    ),
    "no_learning_rate": lambda: figures.learning_rate_range(np.zeros(0), np.zeros(0), np.zeros(0), None),
    "batch_sizes": lambda: figures.batch_sizes([16, 32, 64], [90, 120, 130], [1, 2, 4], 64, [128], "GPU memory"),
    "undefined": lambda: figures.roc_curve([0.1], [0], THRESHOLDS, "Test split"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_figures__nothing_is_cut_off_at_the_edge(name) -> None:
    figure = DRAWINGS[name]()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height
    for dpi in (100, 220):
        figure.savefig(pixels := io.BytesIO(), dpi=dpi)
        grey = np.asarray(Image.open(pixels).convert("L"))
        assert min(edge.min() for edge in (grey[0], grey[-1], grey[:, 0], grey[:, -1])) == 255


def test_style__leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    DRAWINGS["roc"]()
    assert dict(mpl.rcParams) == before


def test_style__settings_of_the_user_do_not_reach_the_figure(tmp_path) -> None:
    plain = figures.save(DRAWINGS["scores"](), tmp_path / "plain.png").read_bytes()
    with mpl.rc_context(
        {"font.size": 30, "axes.labelcolor": "red", "xtick.direction": "in", "savefig.facecolor": "red"}
    ):
        drawn = DRAWINGS["scores"]()
        assert figures.save(drawn, tmp_path / "loud.png").read_bytes() == plain


def test_style__figure_drawn_by_another_looks_the_same() -> None:
    """As TensorBoard does: it renders the figure long after it was made."""
    figure = DRAWINGS["scores"]()
    figure.canvas.draw()
    plain = np.asarray(figure.canvas.buffer_rgba()).copy()
    with mpl.rc_context({"text.hinting": "default", "xtick.labelsize": 40, "path.simplify": False}):
        figure.canvas.draw()
    np.testing.assert_array_equal(figure.canvas.buffer_rgba(), plain)


def test_style__each_of_many_classes_has_its_own_colour_and_line() -> None:
    lines = DRAWINGS["one_vs_rest"]().axes[0].lines[1:]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 14
    assert len(COLOURS) % 2 == 1
    assert len(LINE_STYLES) % 2 == 0


def test_report__needs_no_pyplot() -> None:
    code = "import sys, pulmo.report.run_figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}).returncode == 0


def test_save__writes_a_png_of_150_pixels_an_inch(tmp_path) -> None:
    path = figures.save(Figure(figsize=(2, 1)), tmp_path / "new" / "folder" / "a.png")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (300, 150))
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)


def test_pixels__are_those_of_matplotlibs_own_file() -> None:
    for name in ("roc", "confusion"):
        figure = DRAWINGS[name]()
        figure.savefig(stream := io.BytesIO(), dpi=150)
        np.testing.assert_array_equal(pixels(figure), np.asarray(Image.open(stream).convert("RGB")))


def test_pixels__are_drawn_once_and_again_after_a_change(monkeypatch) -> None:
    figure, count = DRAWINGS["roc"](), []
    draw = type(figure).draw
    monkeypatch.setattr(type(figure), "draw", lambda self, renderer: (count.append(1), draw(self, renderer)))
    before = pixels(figure)
    assert pixels(figure) is before
    assert len(count) == 1
    figure.axes[0].set_title("another")
    assert (pixels(figure) != before).any()


def test_save__interrupted_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def break_off(file: Path, data: bytes) -> None:
        with file.open("wb") as stream:
            stream.write(data[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(KeyboardInterrupt):
        figures.save(Figure(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
