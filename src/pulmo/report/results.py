"""A finished run's figures, curves and settings, for its loggers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor

from pulmo.loggers.logged import add_picture, conclude
from pulmo.report.rendering import pixels
from pulmo.report.summary import AT_THRESHOLD, RANKING


def log_results(
    loggers: Sequence[Logger],
    image_scores: Mapping[Any, tuple[Tensor, Tensor]],
    figures: Mapping[str, Figure],
    settings: Mapping[str, Any],
    results: Mapping[str, float],
    step: int,
) -> None:
    """Add figures (confusion matrices among them), PR curves, and hyper-parameters with final results.

    `image_scores` are a split's (N,) scores and (N,) labels {0, 1}; TensorBoard draws its own curves of them. Results
    stand under `final/`, so that runs are compared by them and no curve gets a stray point.
    """
    named = {f"{split}/{name}" for split in ("val", "test") for name in (*RANKING, *AT_THRESHOLD)}
    final = {f"final/{name}": value for name, value in results.items() if name in named and math.isfinite(value)}
    pictures = {f"figures/{name}": pixels(figure) for name, figure in figures.items()} if loggers else {}
    for logger in loggers:
        for name, picture in pictures.items():
            add_picture(logger, name, picture)
        if isinstance(logger, TensorBoardLogger):
            for split, (scores, labels) in image_scores.items():
                logger.experiment.add_pr_curve(f"{split}/precision_recall", labels, scores)
        conclude(logger, settings, final, step)
