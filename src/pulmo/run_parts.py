"""Parts of a run's folder, read and checked: what is broken is told by its name, whoever asks first."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pulmo.errors import RunError

if TYPE_CHECKING:  # pandas is loaded when a table is read: a mistyped name is told at once
    import pandas as pd


def configuration_of(path: Path) -> DictConfig:
    """A configuration; raises `RunError` where it cannot be read, or holds nothing."""
    try:
        config = OmegaConf.load(path)
    except (OSError, yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(config, DictConfig) or not config:
        raise RunError(f"{path} cannot be read: it holds no configuration")
    return config


def plain_of(path: Path) -> Any:
    """The plain values of a yaml file; raises `RunError` where it cannot be read."""
    return _read(path, yaml.safe_load)


def values_of(path: Path) -> dict[str, Any]:
    """The names and values of a json file; raises `RunError` for anything else."""
    found = _read(path, json.loads)
    if not isinstance(found, dict):
        raise RunError(f"{path} cannot be read: it holds no names and values")
    return found


def table_of(path: Path, *columns: str) -> "pd.DataFrame":
    """A table, ids as text; raises `RunError` where it cannot be read, or lacks one of the `columns`."""
    from pulmo.sheets.predictions import read_table

    try:
        table = read_table(path)
    except (OSError, ValueError) as error:  # pandas' own are of the latter kind
        raise RunError(f"{path} cannot be read: {error}") from error
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise RunError(f"{path} has no column {', '.join(lacking)}; it has {', '.join(map(str, table.columns))}")
    return table


def with_whole_labels(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """The table with labels as whole numbers, -1 where none is known; raises `RunError` for one that is a word."""
    import pandas as pd

    labels = pd.to_numeric(table["label"], errors="coerce")
    text = table["label"].notna() & labels.isna()
    if text.any():
        raise RunError(f"{path} cannot be read: the label {table.loc[text, 'label'].iloc[0]} is no number")
    return table.assign(label=labels.fillna(-1).astype("int64"))


def _read(path: Path, read: Callable[[str], Any]) -> Any:
    try:
        return read(path.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RunError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
