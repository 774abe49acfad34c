"""Which images a run is shown again: none that it was trained or chosen on, unless that is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from pulmo.errors import DataError

Wanted = Literal["train", "val", "test", "all"]

OF_VALIDATION = "these are the run's validation images: it was chosen and its cut-offs were fitted on them"
OF_SPLIT = {"val": OF_VALIDATION, "train": "these are the images that the run has learnt from"}

NEARLY_ALL = 0.9
"""Of another data= is the run's own data, whose image ids are its own for this share of the run's or of the table's.

Files of two hospitals in one layout are often numbered alike; a moved, grown or halved copy has nearly all ids in
common.
"""

COPIES = "by their ids and file names; copies under other names were not looked for"
"""How images of another data set are known to be none of the run's."""


@dataclass
class Selection:
    """Chooses among the rows of a data set's table, as `ChestDataModule.tested` asks it to.

    known      the run's split.csv; None where its folder has none
    own        the run's own data set is meant, wherever it lies now
    same_kind  the data set is of the same layout, so that ids can be compared with those of the run
    wanted     "test": the run's test images, of another data set the official ones; "val" and "train" likewise; "all":
               whatever the run has not seen. None: "test" of the run's own data set, "all" where one was named

    After a call `split` is what was chosen, `shared` whether they are images of the run's own data (see `NEARLY_ALL`),
    `alike` how many ids are those of the run, `absent` which images of the run's `split` are not among them, and
    `notes` say what was left out.
    """

    known: pd.DataFrame | None
    own: bool
    same_kind: bool
    wanted: Wanted | None
    split: str = ""
    shared: bool = False
    alike: int = 0
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __call__(self, table: pd.DataFrame) -> pd.Series:
        """Give each row "test" or ""; raises `DataError` where nothing is left to measure."""
        self.notes = []
        roles = self._roles(table)
        self.alike = int((roles != "").sum())
        if self.own and not self.alike:
            raise DataError(
                "none of the images is in the run's split.csv: give data.root=FOLDER of its own data set, or data=NAME "
                "for another"
            )
        self.split = self.wanted or ("test" if self.own else "all")
        self.shared = self.own or (self.alike > 0 and self.alike >= NEARLY_ALL * min(len(table), len(self._splits())))
        if not self.own:
            self._say_what_is_known(table, roles)
        there = {*table["image_id"]} if self.shared else {*self._splits().index}
        self.absent = [str(name) for name, split in self._splits().items() if split == self.split and name not in there]
        chosen = self._unseen(table, roles) if self.shared else self._official(table)
        if not chosen.any():
            raise DataError(
                f"no image is left to measure: {'; '.join(self.notes) or f'there is no {self.split} split'}"
            )
        return chosen.map({True: "test", False: ""})

    def missed(self, image_ids: "pd.Series[str]") -> int:
        """How many of the images that the data module left out by itself would have been measured."""
        if not self.shared:
            return len(image_ids)
        roles = image_ids.map(self._splits())
        return int((roles.ne("train") & roles.ne("val")).sum() if self.split == "all" else roles.eq(self.split).sum())

    def lost(self, image_ids: "pd.Series[str]") -> str:
        """What to say of the run's images that the data set has not; `image_ids` were left out for another reason."""
        other = {*image_ids}
        gone = [name for name in self.absent if name not in other]
        if not gone:
            return ""
        name = {"val": "validation", "train": "training"}.get(self.split, self.split)
        count = int((self._splits() == self.split).sum())
        return (
            f"{len(gone):,} of {count:,} {name} images of the run are not there, such as {gone[0]}: the figures are of "
            "the others"
        )

    def _splits(self) -> "pd.Series[str]":
        """Image id → split, by the run's split.csv."""
        if self.known is None:
            return pd.Series(dtype=str)
        return self.known.drop_duplicates("image_id").set_index("image_id")["split"]

    def _roles(self, table: pd.DataFrame) -> pd.Series:
        """The split of each image in the run's own table; "" where it does not stand there."""
        if self.known is None or not (self.own or self.same_kind):
            return pd.Series("", index=table.index)
        return table["image_id"].map(self._splits()).fillna("")

    def _unseen(self, table: pd.DataFrame, roles: pd.Series) -> pd.Series:
        """Of the run's own data: by its own split, patients whole."""
        if self.split in OF_SPLIT:
            self.notes.append(OF_SPLIT[self.split])
            return roles == self.split
        seen = roles.isin(["train", "val"])
        of_them = table["patient_id"].isin(seen_patients(self.known)) & ~seen
        wanted = pd.Series(True, index=table.index)
        if self.split == "test":
            wanted = roles == "test" if (roles == "test").any() else (roles == "") & (table["split"] == "test")
        else:
            self._say_left_out(seen, "that the run was trained or chosen on")
        self._say_left_out(of_them & wanted, "of patients that it was trained or chosen on")
        return wanted & ~seen & ~of_them

    def _say_left_out(self, part: "pd.Series[bool]", what: str) -> None:
        if part.any():
            self.notes.append(f"left out: {int(part.sum())} images {what}")

    def _official(self, table: pd.DataFrame) -> pd.Series:
        """Of another data set: all, or what its authors call so."""
        if self.split == "all":
            return pd.Series(True, index=table.index)
        if not (table["split"] == self.split).any():
            self.notes.append(f"the data set names no {self.split} images: give --split all")
        return table["split"] == self.split

    def _say_what_is_known(self, table: pd.DataFrame, roles: pd.Series) -> None:
        """Whether the run may know images of a data set that was named."""
        if self.known is None:
            self.notes.append(
                "the run has no split.csv, so nobody knows whether it was trained on some of these images"
            )
            return
        if self.alike:
            told = f"{self.alike:,} of {len(table):,} image ids are the run's"
            seen = int(roles.isin(["train", "val"]).sum())
            worse = f", {seen:,} of images that it was trained or chosen on" if seen else ""
            too_good = "; if they are the same images, these figures are too good" if seen else ""
            self.notes.append(
                f"{told}: it is taken for the run's own data"
                if self.shared
                else f"{told}{worse}: too few for the same data set, so none is left out{too_good}"
            )
            return
        theirs = {Path(path).stem for path in self.known.get("path", pd.Series(dtype=str)).dropna()} - {""}
        alike = table["path"].map(lambda path: Path(path).stem in theirs)
        if alike.any():
            self.notes.append(
                f"{int(alike.sum())} files are called as files of the run's own data set, such as "
                f"{table.loc[alike, 'path'].iloc[0]}: if they are the same images, these figures are worth nothing"
            )


def seen_patients(known: pd.DataFrame | None) -> set[str]:
    """Patients of the training and validation images in a split.csv; those without a name are none."""
    if known is None or "patient_id" not in known:
        return set()
    return {*known.loc[known["split"].isin(["train", "val"]), "patient_id"].dropna()} - {""}


def seen_of(known: pd.DataFrame, tested: pd.DataFrame) -> str:
    """A warning where patients of the images `tested` are ones that the run was trained or chosen on; else ""."""
    among = tested["patient_id"].isin(seen_patients(known)) if "patient_id" in tested else pd.Series(dtype=bool)
    if not among.any():
        return ""
    return (
        f"{int(among.sum())} of {len(tested)} test images are of patients that the run was trained or chosen on: "
        "the figures are too good; --again leaves them out"
    )
