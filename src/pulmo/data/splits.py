"""Who trains, who validates, who tests: decided by patient, before anything else sees the rows."""

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from pulmo.data.lists import one_row_each, read_list
from pulmo.errors import ConfigError, DataError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")


def assign(
    table: pd.DataFrame,
    *,
    split: str = "auto",
    val_fraction: float = 0.1,
    test_fraction: float = 0.1,
    folds: int | None = None,
    fold: int | None = None,
    seed: int = 0,
    checked: bool = True,
) -> pd.Series:
    """Give each row of an index table its split: "train", "val", "test", or "" where it is in none.

    `split` is one of
      "auto"      test and validation images that the data set names stay what they are; what it does not
                  name is cut from the rest, by patient;
      "official"  exactly what the `split` column says;
      PATH        a csv with `image_id` and `split`, such as the `split.csv` of an earlier run.

    With `folds`, fold number `fold` of a grouped, stratified k-fold is held out: as validation where the
    data set has a test set of its own, else as test set, with validation cut from the rest; so each image
    is tested once over the folds.

    Raises `ConfigError` for a fold out of range, and `DataError` where a split would be empty or leak, unless it is
    asked for not `checked`: to be looked at, not to be trained on.
    """
    if folds is not None and split != "auto":
        raise ConfigError(f"data.folds={folds} cuts by itself: it goes with data.split=auto, not {split}")
    if fold is not None and folds is None:
        raise ConfigError(f"data.fold={fold} of how many? Give data.folds as well")
    if split == "official":
        assigned = table["split"]
    elif split == "auto":
        assigned = _auto(table, val_fraction, test_fraction, folds, fold, seed)
    else:
        assigned = _from_file(table, Path(split).expanduser())
    if checked:
        check(table, assigned)
    return assigned


def _auto(
    table: pd.DataFrame,
    val_fraction: float,
    test_fraction: float,
    folds: int | None,
    fold: int | None,
    seed: int,
) -> pd.Series:
    assigned = table["split"].where(table["split"].isin(["val", "test"]), "train")
    own_test = (assigned == "test").any()
    if folds is not None:
        assigned[assigned == "val"] = "train"
        rest = table[assigned == "train"]
        assigned[rest.index[_fold(rest, folds, fold, seed)]] = "val" if own_test else "test"
    elif not own_test:
        rest = table[assigned == "train"]
        assigned[cut_fraction(rest, test_fraction, np.random.default_rng([seed, 1]))] = "test"
    if not (assigned == "val").any():
        rest = table[assigned == "train"]
        assigned[cut_fraction(rest, val_fraction, np.random.default_rng([seed, 2]))] = "val"
    return assigned


def cut_fraction(table: pd.DataFrame, fraction: float, rng: np.random.Generator) -> pd.Index:
    """Draw whole patients until `fraction` of the images of each stratum is reached; give their rows.

    A patient's stratum is the highest label among the images: a patient who was ill once counts as ill.
    """
    patients = table.groupby("patient_id", sort=True)["label"].agg(["max", "size"])
    chosen: list[str] = []
    for _, stratum in patients.groupby("max"):
        quota = fraction * stratum["size"].sum()
        taken = 0
        for patient, images in stratum["size"].iloc[rng.permutation(len(stratum))].items():
            # In when at least half of the images still fit: on average the quota is met, and somebody
            # with thirty images does not overshoot a small one.
            if taken + images / 2 <= quota:
                chosen.append(str(patient))
                taken += images
    return table.index[table["patient_id"].isin(chosen)]


def _fold(table: pd.DataFrame, folds: int, fold: int | None, seed: int) -> np.ndarray:
    if fold is None or not 0 <= fold < folds:
        raise ConfigError(f"data.folds={folds} needs data.fold between 0 and {folds - 1}, not {fold}")
    patients, most = table["patient_id"].nunique(), int(table["label"].value_counts().max())
    if not 2 <= folds <= min(patients, most):
        raise ConfigError(
            f"data.folds={folds} does not fit {patients} patients and at most {most} images of a class: "
            f"give 2 to {min(patients, most)}"
        )
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import, and of folds alone

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(splitter.split(table, table["label"], table["patient_id"]))
    return np.asarray(parts[fold][1])


def _from_file(table: pd.DataFrame, path: Path) -> pd.Series:
    if not path.is_file():
        raise ConfigError(f"data.split={path}: no such file; give auto, official or a csv (image_id, split)")
    frame = read_list(path, ["image_id", "split"])
    unknown = sorted(set(frame["split"]) - {*SPLITS, ""})
    if unknown:
        raise DataError(f"{path}: split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    known = one_row_each(frame[["image_id", "split"]], "image_id", path).set_index("image_id")["split"]
    missing = ~table["image_id"].isin(known.index)
    if missing.all():
        raise DataError(f"{path} names none of the {len(table)} images: it is the split of another data set")
    return table["image_id"].map(known).fillna("")


def identical_across(table: pd.DataFrame, digest: npt.NDArray[np.uint64]) -> pd.DataFrame:
    """Give, and warn of, images whose pixels stand in another split as well; equals share a `group`.

    `digest` is a hash of each row's prepared image. The split by patient cannot know of them: the same picture
    was filed under two patients.
    """
    group = pd.Series(digest, index=table.index)
    shared = table["split"].groupby(group).transform("nunique") > 1
    found = table.loc[shared, ["image_id", "patient_id", "split", "path"]]
    numbers = group[shared].rank(method="dense").astype(int)
    found = found.assign(group=numbers).sort_values(["group", "split"]).reset_index(drop=True)
    if len(found):
        first = " and ".join((found["image_id"] + " (" + found["split"] + ")")[found["group"] == 1])
        log.warning("%d images are identical to one in another split, such as %s", len(found), first)
    return found


def crossing(table: pd.DataFrame, assigned: pd.Series) -> list[str]:
    """Patients who stand in more than one split."""
    used = assigned != ""
    splits_of = assigned[used].groupby(table.loc[used, "patient_id"]).nunique()
    return list(splits_of.index[splits_of > 1])


def check(table: pd.DataFrame, assigned: pd.Series) -> None:
    """Raise `DataError` if a patient stands in two splits, or a split has no image."""
    used = assigned != ""
    leaks = crossing(table, assigned)
    if leaks:
        shown = ", ".join(map(str, leaks[:3]))
        raise DataError(
            f"{len(leaks)} patients stand in more than one split ({shown}{', …' if len(leaks) > 3 else ''}); "
            "put all images of a patient into one; data.split=auto cuts by patient what has no split yet"
        )
    counts = assigned.value_counts()
    empty = [name for name in SPLITS if counts.get(name, 0) == 0]
    if empty:
        raise DataError(
            f"the {' and '.join(empty)} split has no image ({int(used.sum())} images, "
            f"{table.loc[used, 'patient_id'].nunique()} patients): change data.val_fraction or "
            "data.test_fraction, or give data.split=auto"
        )
