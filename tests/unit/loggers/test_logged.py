"""What each logger is given: the same in meaning."""

import csv
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pytorch_lightning.loggers import Logger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pulmo.loggers import logged as module
from pulmo.loggers.csv import Csv
from pulmo.loggers.logged import add_picture, begin, conclude, logged

SETTINGS = {"lr": 0.1, "model": "unet"}
PICTURE = np.zeros((4, 6, 3), np.uint8)


class Diary(Logger):
    """Of a class that nobody here knows."""

    def __init__(self) -> None:
        self.entries: list[Any] = []

    @property
    def name(self) -> str:
        return "diary"

    @property
    def version(self) -> str:
        return "1"

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.entries.append((metrics, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.entries.append(params)


def tell(logger: Logger) -> None:
    begin(logger, SETTINGS)
    add_picture(logger, "figures/roc", PICTURE, "0, 1")
    conclude(logger, SETTINGS, {"final/test/auroc": 0.75}, 30)


def test_unknown_logger__gets_settings_and_results_and_no_pictures() -> None:
    diary = Diary()
    tell(diary)
    assert diary.entries == [SETTINGS, ({"final/test/auroc": 0.75}, 30)]


def test_csv__has_settings_and_results(tmp_path: Path) -> None:
    logger = Csv(str(tmp_path))
    with logged([logger], SETTINGS):
        conclude(logger, SETTINGS, {"final/test/auroc": 0.75}, 30)
    assert yaml.safe_load((tmp_path / "csv" / "hparams.yaml").read_text()) == SETTINGS
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"final/test/auroc": "0.75", "step": "30"}]


def test_csv__keeps_the_rows_before_the_step_at_which_a_resumed_run_goes_on(tmp_path: Path) -> None:
    for steps in ((0, 10, 20), (10, 30)):  # cut off after 20, resumed from a checkpoint before 10
        logger = Csv(str(tmp_path))
        with warnings.catch_warnings(), logged([logger], SETTINGS):
            warnings.simplefilter("error")
            for step in steps:
                logger.log_metrics({"loss": float(len(steps))}, step)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file)]
    assert rows == [(0, 3.0), (10, 2.0), (30, 2.0)]


def test_csv__of_a_resumed_run_that_is_killed_has_the_earlier_rows(tmp_path: Path) -> None:
    first = Csv(str(tmp_path))
    with logged([first], SETTINGS):
        first.log_metrics({"loss": 0.5}, 0)
    file = tmp_path / "csv" / "metrics.csv"
    with file.open("a") as open_file:
        open_file.write("0.2")  # a row of which a kill left the beginning
    for _ in range(2):  # resumed, and killed before the first flush
        logger = Csv(str(tmp_path))
        logger.log_hyperparams(SETTINGS)
        logger.log_metrics({"loss": 0.25, "auroc": 0.75}, 10)
        assert [row["loss"] for row in csv.DictReader(file.open())] == ["0.5"]
    logger.save()
    logger.log_metrics({"loss": 0.125}, 20)
    logger.save()
    with file.open() as written:
        assert [tuple(row.values()) for row in csv.DictReader(written)] == [
            ("", "0.5", "0"),
            ("0.75", "0.25", "10"),
            ("", "0.125", "20"),
        ]


def test_tensorboard__has_the_picture_its_caption_and_the_results(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="tb", default_hp_metric=False)
    tell(logger)
    logger.finalize("success")
    events = [EventAccumulator(str(path), {"images": 0, "tensors": 0}).Reload() for path in (tmp_path / "tb").iterdir()]
    images = [name for event in events for name in event.Tags()["images"]]
    scalars = {name: event.Scalars(name)[0].value for event in events for name in event.Tags()["scalars"]}
    assert images == ["figures/roc"]
    assert scalars == {"final/test/auroc": 0.75}
    assert any("figures/roc_labels/text_summary" in event.Tags()["tensors"] for event in events)


@pytest.mark.parametrize(
    ("error", "ending"), [(None, "finished"), (RuntimeError, "failed"), (KeyboardInterrupt, "killed")]
)
def test_logged__closes_told_how_the_run_ended(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None, ending: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(module, "close", lambda logger, ending: told.append(ending))

    def run() -> None:
        with logged([Diary()], SETTINGS):
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    assert told == [ending]
