"""Which images a run is measured on: none that it was trained or chosen on, unless that is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from pulmo.errors import DataError

Wanted = Literal["test", "val", "all"]

OF_VALIDATION = "these are the run's validation images: it was chosen and its cut-offs were fitted on them"


@dataclass
class Selection:
    """Chooses among the rows of a data set's table, as `ChestDataModule.tested` asks it to.

    known      the run's split.csv; None where its folder has none
    own        the run's own data set is meant, wherever it lies now
    same_kind  the data set is of the same layout, so that its ids are those of the run's, if any is
    wanted     "test": the run's test images, of another data set the official ones; "val" likewise; "all": whatever the
               run has not seen. None: "test" of the run's own data set, "all" of another

    After a call `split` is what was chosen, `shared` whether the run knows images of it, and `notes` say what was left
    out.
    """

    known: pd.DataFrame | None
    own: bool
    same_kind: bool
    wanted: Wanted | None
    split: str = ""
    shared: bool = False
    notes: list[str] = field(default_factory=list)

    def __call__(self, table: pd.DataFrame) -> pd.Series:
        """Give each row "test" or ""; raises `DataError` where nothing is left to measure."""
        self.notes = []
        roles = self._roles(table)
        self.shared = shared = bool((roles != "").any())
        if self.own and not shared:
            raise DataError(
                "none of the images is in the run's split.csv: give data.root=FOLDER of its own data set, or data=NAME "
                "for another"
            )
        self.split = self.wanted or ("test" if shared else "all")
        chosen = self._unseen(table, roles) if shared else self._official(table)
        if not shared:
            self._say_what_is_known(table)
        if not chosen.any():
            raise DataError(
                f"no image is left to measure: {'; '.join(self.notes) or f'there is no {self.split} split'}"
            )
        return chosen.map({True: "test", False: ""})

    def missed(self, image_ids: "pd.Series[str]") -> int:
        """How many of the images that the data module left out by itself would have been measured."""
        if self.known is None or not self.shared:
            return len(image_ids)
        known = self.known.drop_duplicates("image_id").set_index("image_id")["split"]
        roles = image_ids.map(known)
        return int((roles.ne("train") & roles.ne("val")).sum() if self.split == "all" else roles.eq(self.split).sum())

    def _roles(self, table: pd.DataFrame) -> pd.Series:
        """The split of each image in the run's own table; "" where it does not stand there."""
        if self.known is None or not (self.own or self.same_kind):
            return pd.Series("", index=table.index)
        known = self.known.drop_duplicates("image_id").set_index("image_id")["split"]
        return table["image_id"].map(known).fillna("")

    def _unseen(self, table: pd.DataFrame, roles: pd.Series) -> pd.Series:
        """Of a data set that the run knows: by its own split, patients whole."""
        if self.split == "val":
            self.notes.append(OF_VALIDATION)
            return roles == "val"
        seen = roles.isin(["train", "val"])
        known = self.known if self.known is not None else pd.DataFrame(columns=["split", "patient_id"])
        patients = set(known.loc[known["split"].isin(["train", "val"]), "patient_id"])
        of_them = table["patient_id"].isin(patients) & ~seen
        if self.split == "test":
            official = (roles == "") & (table["split"] == "test") if not (roles == "test").any() else roles == "test"
            return official & ~of_them
        counted = (
            (seen, "that the run was trained or chosen on"),
            (of_them, "of patients that it was trained or chosen on"),
        )
        for part, what in counted:
            if part.any():
                self.notes.append(f"left out: {int(part.sum())} images {what}")
        return ~seen & ~of_them

    def _official(self, table: pd.DataFrame) -> pd.Series:
        """Of another data set: all, or what its authors call so."""
        if self.split == "all":
            return pd.Series(True, index=table.index)
        if not (table["split"] == self.split).any():
            self.notes.append(f"the data set names no {self.split} images: give --split all")
        return table["split"] == self.split

    def _say_what_is_known(self, table: pd.DataFrame) -> None:
        if self.known is None:
            self.notes.append(
                "the run has no split.csv, so nobody knows whether it was trained on some of these images"
            )
            return
        theirs = {Path(path).stem for path in self.known.get("path", pd.Series(dtype=str)).dropna()}
        alike = table["path"].map(lambda path: Path(path).stem in theirs)
        if alike.any():
            self.notes.append(
                f"{int(alike.sum())} files are called as files of the run's own data set, such as "
                f"{table.loc[alike, 'path'].iloc[0]}: if they are the same images, these figures are worth nothing"
            )
