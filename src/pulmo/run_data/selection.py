"""Which images a run is shown again: none that it was trained or chosen on, unless that is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from pulmo.errors import DataError
from pulmo.run_data.past import SEEN, Past

Wanted = Literal["train", "val", "test", "all"]

OF_VALIDATION = "these are the run's validation images: it was chosen and its cut-offs were fitted on them"
OF_SPLIT = {"val": OF_VALIDATION, "train": "these are the images that the run has learnt from"}
NAMES = {"val": "validation", "train": "training"}

COPIES = "by their ids and file names; copies under other names were not looked for"
"""How images of another data set are known to be none of the run's."""


@dataclass
class Selection:
    """Chooses among the rows of a data set's table, as `ChestDataModule.tested` asks it to.

    past       what the run has seen; `earlier`: what the runs have whose networks are in it
    own        the run's own data set is meant, wherever it lies now
    kind       the class of the data set: ids are compared with those of the same layout alone
    wanted     "test": the run's test images, of another data set the official ones; "val" and "train" likewise; "all":
               whatever the run has not seen. None: "test" of the run's own data set, "all" where one was named

    After a call `split` is what was chosen, `shared` whether they are images of the run's own data, `absent` which
    images of the run's `split` are not among them, and `notes` say what was left out, and what must be known.
    """

    past: Past
    own: bool
    kind: str
    wanted: Wanted | None
    earlier: Sequence[Past] = ()
    split: str = ""
    shared: bool = False
    absent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _chosen: frozenset[str] = frozenset()

    def __call__(self, table: pd.DataFrame) -> pd.Series:
        """Give each row "test" or ""; raises `DataError` where nothing is left to measure."""
        self.notes = []
        same_kind = self.own or (self.past.kind == self.kind != "")
        alike = int((self.past.roles_of(table) != "").sum()) if same_kind else 0
        if self.own and not alike:
            raise DataError(
                "none of the images is in the run's split.csv: give data.root=FOLDER of its own data set, or data=NAME "
                "for another"
            )
        self.split = self.wanted or ("test" if self.own else "all")
        self.shared = self.own or (same_kind and self.past.is_of(table))
        if not self.own:
            self._say_what_is_known(table, same_kind)
        there = {*table["image_id"]} if self.shared else {*self.past.roles.index}
        of_split = self.past.roles.index[self.past.roles == self.split]
        self.absent = [str(name) for name in of_split if name not in there]
        chosen = self._unseen(table) if self.shared else self._official(table)
        chosen = self._unknown_to_earlier(table, chosen)
        if not chosen.any():
            raise DataError(
                f"no image is left to measure: {'; '.join(self.notes) or f'there is no {self.split} split'}"
            )
        self._chosen = frozenset(table.loc[chosen, "image_id"])
        return chosen.map({True: "test", False: ""})

    def missed(self, skipped: pd.DataFrame) -> int:
        """How many of the images that the data module left out by itself would have been measured.

        `skipped` has their `image_id` and official `split`.
        """
        chosen = skipped["image_id"].isin(self._chosen)
        if self.split == "all":
            known = self.past.roles_of(skipped) if self.shared else pd.Series("", index=skipped.index)
            return int((chosen | ~known.isin(SEEN)).sum())
        of_split = self.past.roles_of(skipped) if self.shared else skipped["split"]
        return int((chosen | (of_split == self.split)).sum())

    def lost(self, image_ids: "pd.Series[str]") -> str:
        """What to say of the run's images that the data set has not; `image_ids` were left out for another reason."""
        other = {*image_ids}
        gone = [name for name in self.absent if name not in other]
        return said_of_lost(gone, self.past, self.split) if gone else ""

    def _unseen(self, table: pd.DataFrame) -> pd.Series:
        """Of the run's own data: by its own split, patients whole."""
        roles = self.past.roles_of(table)
        if self.split in OF_SPLIT:
            self.notes.append(OF_SPLIT[self.split])
            return roles == self.split
        seen = roles.isin(SEEN)
        of_them = table["patient_id"].isin(self.past.seen_patients) & ~seen
        wanted = pd.Series(True, index=table.index)
        if self.split == "test":
            wanted = roles == "test" if (roles == "test").any() else (roles == "") & (table["split"] == "test")
        else:
            self._say_left_out(seen, "that the run was trained or chosen on")
        self._say_left_out(of_them & wanted, "of patients that it was trained or chosen on")
        return wanted & ~seen & ~of_them

    def _unknown_to_earlier(self, table: pd.DataFrame, chosen: pd.Series) -> pd.Series:
        """Without the images that an earlier run has learnt from; of the run's own split these are told of alone."""
        for past in self.earlier:
            if past.split is None:
                self.notes.append(f"{past.who}, has no split.csv there: nobody knows on which images it was trained")
                continue
            if past.kind != self.kind or not (past.is_of(table) or self.shared):
                continue
            seen = past.seen_in(table) & chosen
            if not seen.any():
                continue
            if past.learnt and self.split == "all":
                self._say_left_out(seen, f"that {past.who}, was trained or chosen on")
                chosen = chosen & ~seen
            else:
                worse = "the figures are too good" if past.learnt else "its lungs are drawn better there than elsewhere"
                self.notes.append(
                    f"{int(seen.sum()):,} of {int(chosen.sum()):,} images are ones that {past.who}, was trained or "
                    f"chosen on: {worse}"
                )
        return chosen

    def _say_left_out(self, part: "pd.Series[bool]", what: str) -> None:
        if part.any():
            self.notes.append(f"left out: {int(part.sum()):,} images {what}")

    def _official(self, table: pd.DataFrame) -> pd.Series:
        """Of another data set: all, or what its authors call so."""
        if self.split == "all":
            return pd.Series(True, index=table.index)
        if not (table["split"] == self.split).any():
            self.notes.append(f"the data set names no {self.split} images: give --split all")
        return table["split"] == self.split

    def _say_what_is_known(self, table: pd.DataFrame, same_kind: bool) -> None:
        """Whether the run may know images of a data set that was named."""
        if self.past.split is None:
            self.notes.append(
                "the run has no split.csv, so nobody knows whether it was trained on some of these images"
            )
            return
        roles = self.past.roles_of(table) if same_kind else pd.Series("", index=table.index)
        alike = int((roles != "").sum())
        told = f"{alike:,} of {len(table):,} image ids are the run's"
        if self.shared:
            self.notes.append(f"{told}: it is taken for the run's own data")
            return
        if alike:
            seen = int(roles.isin(SEEN).sum())
            worse = f", {seen:,} of images that it was trained or chosen on" if seen else ""
            too_good = "; if they are the same images, these figures are too good" if seen else ""
            self.notes.append(f"{told}{worse}: too few that agree for the same data set, so none is left out{too_good}")
        elif same_kind:
            people = int(table["patient_id"].isin(self.past.seen_patients).sum())
            if people:
                self.notes.append(
                    f"{people:,} images are of patients called as ones that the run was trained or chosen on: if they "
                    "are the same people, these figures are too good"
                )
        theirs = {Path(path).stem for path in self.past.split.get("path", pd.Series(dtype=str)).dropna()} - {""}
        named = (roles == "") & table["path"].map(lambda path: Path(path).stem in theirs)
        if named.any():
            self.notes.append(
                f"{int(named.sum()):,} files are called as files of the run's own data set, such as "
                f"{table.loc[named, 'path'].iloc[0]}: if they are the same images, these figures are worth nothing"
            )


def said_of_lost(gone: Sequence[str], past: Past, split: str) -> str:
    """What to say of images of the run's `split` that are not there."""
    count = int((past.roles == split).sum())
    return (
        f"{len(gone):,} of {count:,} {NAMES.get(split, split)} images of the run are not there, such as {gone[0]}: the "
        "figures are of the others"
    )
