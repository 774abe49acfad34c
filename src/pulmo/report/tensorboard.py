"""A finished run's figures, curves and settings in TensorBoard."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from torch import Tensor

from pulmo.report.summary import AT_THRESHOLD, RANKING


def log_results(
    loggers: Sequence[Logger],
    image_scores: Mapping[Any, tuple[Tensor, Tensor]],
    figures: Mapping[str, Figure],
    settings: Mapping[str, Any],
    results: Mapping[str, float],
) -> None:
    """Add figures (confusion matrices among them), PR curves, and hyper-parameters with final results.

    `image_scores` are a split's (N,) scores and (N,) labels {0, 1}. Results stand under `final/`, so that the
    HPARAMS tab compares runs and no curve gets a stray point.
    """
    named = {f"{split}/{name}" for split in ("val", "test") for name in (*RANKING, *AT_THRESHOLD)}
    final = {f"final/{name}": value for name, value in results.items() if name in named and math.isfinite(value)}
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            continue
        for name, figure in figures.items():
            logger.experiment.add_figure(f"figures/{name}", figure)
        for split, (scores, labels) in image_scores.items():
            logger.experiment.add_pr_curve(f"{split}/precision_recall", labels, scores)
        logger.log_hyperparams(dict(settings), final)
        logger.experiment.flush()
