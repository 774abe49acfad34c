"""Networks of earlier runs and the images that they have seen."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest

from pulmo.callbacks.earlier_split import EarlierSplit
from pulmo.errors import ConfigError, DataError

OURS = pd.DataFrame(
    {
        "image_id": ["a", "b", "c", "d"],
        "patient_id": ["1", "2", "3", "4"],
        "split": ["train", "val", "test", "test"],
    }
)


def told(run: Path, splits: list[str], *, refuse: bool = True, **columns: list[str]) -> None:
    OURS.assign(split=splits, **columns).to_csv(run / "split.csv", index=False)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(table=OURS))
    EarlierSplit(run, "model.task.gate", refuse=refuse).setup(cast(Any, trainer), cast(Any, None), "fit")


def test_earlier_split__the_same_split_is_fine(tmp_path: Path) -> None:
    told(tmp_path, ["train", "val", "test", "test"])


@pytest.mark.parametrize("splits", [["train", "train", "test", "test"], ["train", "test", "val", "test"]])
def test_earlier_split__learnt_or_chosen_on_what_is_held_out_here_is_refused(tmp_path: Path, splits: list[str]) -> None:
    with pytest.raises(DataError, match=r"model\.task\.gate=.* on 1 patients .*data\.split="):
        told(tmp_path, splits)


def test_earlier_split__what_it_was_chosen_on_may_validate_here(tmp_path: Path) -> None:
    told(tmp_path, ["test", "val", "test", "test"])


def test_earlier_split__images_are_known_though_patients_are_called_otherwise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="such as 3"):
        told(tmp_path, ["val", "test", "train", "test"], patient_id=["A", "B", "C", "D"])


def test_earlier_split__where_it_is_not_refused_it_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        told(tmp_path, ["test", "test", "train", "train"], refuse=False)
    assert "on 2 patients" in caplog.text


def test_earlier_split__a_folder_without_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no split\.csv"):
        EarlierSplit(tmp_path, "preprocess.mask", refuse=False)


@pytest.mark.parametrize(
    ("target", "refused"), [("types.SimpleNamespace", True), ("pulmo.data.kermany.Kermany", False)]
)
def test_earlier_split__of_another_data_set_names_mean_nothing(tmp_path: Path, target: str, refused: bool) -> None:
    (tmp_path / "config.yaml").write_text(f"data: {{_target_: {target}}}")
    if refused:
        with pytest.raises(DataError):
            told(tmp_path, ["train", "train", "test", "test"])
    else:
        told(tmp_path, ["train", "train", "test", "test"])
