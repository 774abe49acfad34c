"""Images that cannot take part: refused, or left out and listed, as the user chose."""

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd

from pulmo.data import splits
from pulmo.data.dataset import RadiographDataset
from pulmo.data.lists import MaskSource
from pulmo.errors import DataError
from pulmo.transforms.preprocess import Preprocess

log = logging.getLogger(__name__)

Choice = Literal["raise", "skip"]
KEPT = ["image_id", "path", "split"]
LEFT_OUT = "; preprocess.missing=skip leaves them out"


def nothing() -> pd.DataFrame:
    """The list of what was left out, still empty: `image_id, path, split, cause`; the split as far as it was known."""
    return pd.DataFrame(columns=["image_id", "path", "split", "cause"])


def asks_for_masks(preprocess: Preprocess, table: pd.DataFrame, *, learnt: bool, listed: bool) -> bool:
    """Whether images without a lung mask are told of or left out: they are prepared by it, or it is `learnt`.

    Where images are `listed` to be looked at, only what training would leave out is.
    """
    to_come = preprocess.missing == "raise" or preprocess.mask_run is not None or (table["mask"] == "").all()
    return (preprocess.needs_mask or learnt) and not (listed and to_come)


def remedy(folder: str | None, source: MaskSource | None, *, learnt: bool) -> str:
    """What helps where masks lack that lie in `folder` or come of `source`; those that are `learnt` no run draws."""
    if source is not None:
        return f"{source.said} has none for them"
    given = f"{folder} has none called so" if folder else "give data.masks=FOLDER"
    return given + ("" if learnt else " (preprocess.mask=RUN takes those that a run draws)")


def with_masks(
    table: pd.DataFrame, remedy: str, missing: Choice, asked: pd.DataFrame | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the rows with a lung mask, and a list of the others.

    Raises `DataError`, counting those that lack, where one of the `asked` images (None: of all) has none, unless
    "skip"; and where none of all has one.
    """
    without = table["mask"] == ""
    if not without.any():
        return table, nothing()
    missed = table if asked is None or without.all() else asked
    lacking = missed[missed["mask"] == ""]
    if without.all() or (missing == "raise" and len(lacking)):
        counts = lacking["split"].value_counts()
        where = ", ".join(f"{count} of {name}" for name, count in counts.items() if name)
        raise DataError(
            f"{len(lacking)} of {len(missed)} images have no lung mask{where and f' ({where})'}, such as "
            f"{lacking['path'].iloc[0]}: {remedy}{'' if without.all() else LEFT_OUT}"
        )
    if missing == "skip":
        log.warning("left out: %d of %d images have no lung mask", int(without.sum()), len(table))
    return table[~without], table.loc[without, KEPT].assign(cause="no lung mask")


def without_failures(
    table: pd.DataFrame, failures: Mapping[int, str], on_error: Choice
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the rows that could be read, and a list of the others; raises `DataError`, naming one, unless "skip".

    `failures` are causes by `row_in_store`.
    """
    failed = table[table["row_in_store"].isin(list(failures))]
    if failed.empty:
        return table, nothing()
    causes = failed["row_in_store"].map(failures)
    lines = [f"{path}: {cause}" for path, cause in zip(failed["path"], causes, strict=True)]
    if on_error == "raise":
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        raise DataError(f"{lines[0]}{more}; data.on_error=skip leaves such files out")
    log.warning("skipped %d of %d images that cannot be read: %s", len(lines), len(table), "; ".join(lines[:3]))
    table = table.drop(index=failed.index).reset_index(drop=True)
    if (table["split"] == "train").any():  # else nothing is trained, only tested
        splits.check(table, table["split"])
    return table, failed[KEPT].assign(cause=causes)


def lost_boxes(measured: Sequence[RadiographDataset]) -> int:
    """Count the true boxes outside of what preprocess crops to, with a warning: no figure will see them."""
    lost = sum(dataset.boxes_lost() for dataset in measured)
    if lost:
        log.warning("%d true boxes of validation and test lie outside the crop, so no figure sees them", lost)
    return lost
