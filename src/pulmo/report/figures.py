"""All figures of the project in one place: functions from arrays to `Figure`, and the saving of one.

None of them opens a window, reads a file or changes matplotlib's settings.
"""

from pathlib import Path

from matplotlib.figure import Figure

from pulmo.report.confusion import confusion_matrices, confusion_matrix
from pulmo.report.curves import one_vs_rest_roc, precision_recall_curve, roc_curve
from pulmo.report.files import put
from pulmo.report.finders import batch_sizes, learning_rate_range
from pulmo.report.froc import froc_curve
from pulmo.report.learning import learning_curves
from pulmo.report.overlays import Case, overlays
from pulmo.report.rendering import png
from pulmo.report.scores import score_histogram
from pulmo.report.segmentation import dice_by_area, dice_by_threshold, dice_histogram

__all__ = [
    "Case",
    "batch_sizes",
    "confusion_matrices",
    "confusion_matrix",
    "dice_by_area",
    "dice_by_threshold",
    "dice_histogram",
    "froc_curve",
    "learning_curves",
    "learning_rate_range",
    "one_vs_rest_roc",
    "overlays",
    "precision_recall_curve",
    "roc_curve",
    "save",
    "score_histogram",
]


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as a PNG and return its path; a reader sees the old file or the whole new one.

    Missing folders are made.
    """
    return put(path, png(figure))
