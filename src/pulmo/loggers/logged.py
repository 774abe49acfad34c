"""What every logger is given, each in its own way: settings, pictures, results; scalars it gets from Lightning.

A logger of another class, chosen by its `_target_`, gets settings and figures, and no pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import singledispatch
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from pulmo.loggers.mlflow import MLFlow
from pulmo.loggers.wandb import Wandb

Picture = npt.NDArray[np.uint8]
"""(H, W, 3), red first."""

Ending = Literal["finished", "failed", "killed"]


@contextmanager
def logged(loggers: Sequence[Logger], settings: Mapping[str, Any]) -> Iterator[None]:
    """Log the settings before what is inside, and close the loggers after it, told how it ended."""
    ending: Ending = "failed"
    try:
        for logger in loggers:
            begin(logger, settings)
        yield
        ending = "finished"
    except (KeyboardInterrupt, SystemExit):
        ending = "killed"
        raise
    finally:
        for logger in loggers:
            close(logger, ending)


@singledispatch
def begin(logger: Logger, settings: Mapping[str, Any]) -> None:
    """Log the hyper-parameters before training."""
    logger.log_hyperparams(dict(settings))


@begin.register
def _(logger: TensorBoardLogger, settings: Mapping[str, Any]) -> None:
    """Wait: the HPARAMS tab wants them once, with the results."""


@singledispatch
def add_picture(logger: Logger, name: str, picture: Picture, caption: str = "") -> None:
    """Add a picture, where the logger takes any."""


@add_picture.register
def _(logger: TensorBoardLogger, name: str, picture: Picture, caption: str = "") -> None:
    logger.experiment.add_image(name, picture, 0, dataformats="HWC")
    if caption:
        logger.experiment.add_text(f"{name}_labels", caption, 0)


@add_picture.register
def _(logger: Wandb, name: str, picture: Picture, caption: str = "") -> None:
    logger.log_image(name, [picture], caption=[caption])


@add_picture.register
def _(logger: MLFlow, name: str, picture: Picture, caption: str = "") -> None:
    logger.add_picture(name, picture, caption)


@singledispatch
def conclude(logger: Logger, settings: Mapping[str, Any], results: Mapping[str, float], step: int) -> None:
    """Log the final results, so that runs can be compared by them."""
    logger.log_metrics(dict(results), step)


@conclude.register
def _(logger: TensorBoardLogger, settings: Mapping[str, Any], results: Mapping[str, float], step: int) -> None:
    logger.log_hyperparams(dict(settings), dict(results))
    logger.experiment.flush()


@conclude.register
def _(logger: Wandb, settings: Mapping[str, Any], results: Mapping[str, float], step: int) -> None:
    logger.experiment.summary.update(dict(results))


@singledispatch
def close(logger: Logger, ending: Ending) -> None:
    """Write out what is left."""
    logger.save()


@close.register
def _(logger: Wandb | MLFlow, ending: Ending) -> None:
    logger.close(ending)
