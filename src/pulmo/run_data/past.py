"""What a run has seen: its own images, and those of the earlier runs whose networks are in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from pulmo.checkpoint import run_of_weights
from pulmo.errors import PulmoError
from pulmo.finished import FinishedRun
from pulmo.run_parts import table_of

NETWORKS = {
    "model.weights": "whose weights it began with",
    "model.task.gate": "which decides which images may have boxes",
    "preprocess.mask": "which drew its lungs",
}
"""Keys of a configuration that may name an earlier run, and what that run is to the later one."""

NONE = ("none", "default", "dataset")
"""Values of these keys that name no run."""

SEEN = ("train", "val")
"""Splits that a run learns from, or is chosen and fitted on."""

NEARLY_ALL = 0.9
"""Of another data= is the run's own data, whose image ids are its own for this share of the run's or of the table's.

Files of two hospitals in one layout are often numbered alike: labels or patients tell them apart, of which this share
must agree too. A moved, grown or halved copy has nearly all ids in common.
"""


@dataclass(frozen=True)
class Past:
    """The images of a run: `split` is its split.csv, None where it has none; `left_out` are further ids of its data.

    who    "the run", or what an earlier one is to it
    kind   the class of its data module
    learnt the run is what it is by these images; else they have helped to draw its lung masks alone
    """

    who: str
    split: pd.DataFrame | None
    kind: str = ""
    left_out: frozenset[str] = frozenset()
    learnt: bool = True

    @cached_property
    def roles(self) -> "pd.Series[str]":
        """Image id → split."""
        if self.split is None:
            return pd.Series(dtype=object)
        return self.split.drop_duplicates("image_id").set_index("image_id")["split"]

    @cached_property
    def seen_patients(self) -> set[str]:
        """Patients of the images that it was trained or chosen on; those without a name are none."""
        if self.split is None or "patient_id" not in self.split:
            return set()
        return {*self.split.loc[self.split["split"].isin(SEEN), "patient_id"].dropna()} - {""}

    def roles_of(self, table: pd.DataFrame) -> pd.Series:
        """The split of each image of a table by its id, "" where it stands in none."""
        return table["image_id"].map(self.roles).astype(object).fillna("")

    def seen_in(self, table: pd.DataFrame) -> "pd.Series[bool]":
        """Which images of a table it was trained or chosen on, by themselves or by their patients."""
        return self.roles_of(table).isin(SEEN) | table["patient_id"].isin(self.seen_patients)

    def is_of(self, table: pd.DataFrame) -> bool:
        """Whether a table is of the same data, wherever it lies, grown or halved; see `NEARLY_ALL`."""
        ids = table["image_id"]
        alike = ids[ids.isin(self.roles.index)]
        known = len(alike) + int(ids.isin(self.left_out).sum())
        if not known or known < NEARLY_ALL * min(len(table), len(self.roles) + len(self.left_out)):
            return False
        return self.split is None or self._agrees(table.loc[alike.index])

    def _agrees(self, alike: pd.DataFrame) -> bool:
        """Whether images of the same ids have the same labels and patients, as far as both tell."""
        known = self.split.drop_duplicates("image_id").set_index("image_id")  # type: ignore[union-attr]
        ours, theirs = alike.reset_index(drop=True), known.loc[alike["image_id"]].reset_index()
        checks = []
        if {"label"} <= {*ours.columns} & {*theirs.columns}:
            labels = pd.to_numeric(theirs["label"], errors="coerce")
            both = (ours["label"] >= 0) & (labels >= 0)
            checks.append(((ours["label"] > 0) == (labels > 0))[both])
        if "patient_id" in theirs:
            both = ~_nameless(ours) & ~_nameless(theirs)
            checks.append((ours["patient_id"].astype(str) == theirs["patient_id"].astype(str))[both])
        return all(part.mean() >= NEARLY_ALL for part in checks if len(part))


def _nameless(table: pd.DataFrame) -> "pd.Series[bool]":
    """Whose patient nobody knows: it has no name, or that of the image or its file."""
    patient = table["patient_id"].fillna("").astype(str)
    files = table["path"].fillna("").map(lambda path: Path(path).stem) if "path" in table else table["image_id"]
    return (patient == "") | (patient == table["image_id"].astype(str)) | (patient == files)


def past_of(run: FinishedRun, who: str = "the run", *, learnt: bool = True) -> Past:
    """What lies in a run's folder of its images."""
    split = run.split if run.has("split.csv") else None
    kind = str(OmegaConf.select(run.config, "data._target_") or "") if run.has("config.yaml") else ""
    skipped = table_of(run.folder / "skipped.csv", "image_id")["image_id"] if run.has("skipped.csv") else ()
    return Past(who, split, kind, frozenset(skipped), learnt)


def earlier_pasts(run: FinishedRun) -> list[Past]:
    """Those of the runs whose networks are in a run, and of theirs in turn.

    A run that is not where the configuration says has a past without a split.
    """
    found: dict[Path, Past] = {}
    waiting = [(run, True)]
    while waiting:
        later, by_learning = waiting.pop()
        for key, earlier in _networks(later):
            learnt = by_learning and key != "preprocess.mask"
            folder = earlier.folder.resolve()
            if folder in found or folder == run.folder.resolve():
                continue
            try:
                found[folder] = past_of(earlier, f"{earlier.folder}, the run {NETWORKS[key]}", learnt=learnt)
                waiting.append((earlier, learnt))
            except PulmoError:  # it was moved, or half of it
                found[folder] = Past(f"{earlier.folder}, the run {NETWORKS[key]}", None, learnt=learnt)
    return list(found.values())


def _networks(run: FinishedRun) -> Iterator[tuple[str, FinishedRun]]:
    """Key and run of each network that a configuration names; weights that lie in no run's folder are of none."""
    if not run.has("config.yaml"):
        return
    for key in NETWORKS:
        value = OmegaConf.select(run.config, key)
        if not isinstance(value, str) or value.lower() in NONE:
            continue
        path = Path(value).expanduser()
        if not path.exists() and (Path(str(run.environment.get("folder", "."))) / value).exists():
            path = Path(str(run.environment["folder"])) / value
        run_folder = run_of_weights(path) if key == "model.weights" else path
        if run_folder is not None:
            yield key, FinishedRun(run_folder)
