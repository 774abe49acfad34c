"""What the figures of the shortcut probe come to, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pulmo.explanation.images import Images
from pulmo.explanation.occlusion import Occlusion
from pulmo.metrics.bootstrap import Interval
from pulmo.tasks.base import Task

CHANCE = 0.6
"""AUROC up to which, and from 1 less which, an interval around 0.5 counts as chance: beyond, images are too few."""
FEWEST = 10
"""Patients of either class below which nothing is told: so few rank well by chance, and no bootstrap shows it."""


@dataclass(frozen=True)
class Row:
    """How the network does with one occlusion, on `images` of them; all figures with 95 % intervals by patient.

    patients  of the class that has fewer
    auroc  of the last class against the others; `drop` what the whole image gives more, on the same images
    flips  share of the decisions that are other than on the whole image
    positives, negatives  mean scores of the two
    """

    occlusion: Occlusion
    images: int
    patients: int
    auroc: Interval
    drop: Interval
    flips: Interval
    positives: float
    negatives: float

    @property
    def tells(self) -> bool:
        """Whether the network ranks images whose lungs were taken away, rightly or the other way round."""
        return self.occlusion.blind and self.ranks

    @property
    def ranks(self) -> bool:
        """Whether the interval of enough patients leaves chance out, on either side."""
        low, high = _ends(self.auroc)
        return self.patients >= FEWEST and (low > 0.5 or high < 0.5)

    @property
    def clears(self) -> bool:
        """Whether it does not, within an interval that is narrow enough to say so; of rows with lungs always."""
        low, high = _ends(self.auroc)
        return not self.occlusion.blind or (self.patients >= FEWEST and 1 - CHANCE <= low <= 0.5 <= high <= CHANCE)


def _ends(auroc: Interval) -> tuple[float, float]:
    """Ends of the interval; a ranking without an error, which has none, is that of chance least of all."""
    return (auroc.value, auroc.value) if auroc.value in (0.0, 1.0) else (auroc.low, auroc.high)


@dataclass(frozen=True)
class Said:
    """A sentence of the verdict: it tells on the network, clears it, leaves it open, or is a note to the others."""

    text: str
    kind: Literal["told on", "cleared", "open", "note"]


def verdict(rows: Sequence[Row], task: Task, images: Images) -> list[Said]:
    """What the rows come to, the foremost first."""
    of_class = task.class_names[-1]
    blind = [row for row in rows if row.occlusion.blind]
    figures = ", ".join(f"{row.occlusion.name} {row.auroc}" for row in blind)
    said = [
        Said(
            f"{row.occlusion.name}: still ranks {of_class} with AUROC {row.auroc}, {row.occlusion.where}"
            + ("" if row.auroc.value > 0.5 else "; below 0.5: what is left is read the other way round"),
            "told on",
        )
        for row in blind
        if row.tells
    ]
    if said and images.preprocess.needs_mask and images.preprocess.use in ("lungs", "thorax"):
        outlined = f"the run is shown images times their {images.preprocess.use} mask, so it always sees an outline"
        said.append(Said(outlined, "note"))
    elif not said and not blind:
        said.append(Said("nothing that the network is shown is without lungs: there was nothing to probe", "open"))
    elif not said and all(row.clears for row in blind):
        chance = f"no sign of a shortcut: without lungs the AUROC is that of chance ({figures})"
        said.append(Said(f"{chance}; what shows only together with the lungs is not ruled out", "cleared"))
    elif not said and min(row.patients for row in blind) < FEWEST:
        least = min(blind, key=lambda row: row.patients)
        shown = f"{least.occlusion.name} can be shown of {least.patients} patients of one class, {FEWEST} are needed"
        said.append(Said(f"too few images to tell: {shown}", "open"))
    elif not said:
        beyond = "without lungs the interval of the AUROC holds 0.5, and also values beyond"
        said.append(Said(f"too few images to tell: {beyond} {1 - CHANCE:g} to {CHANCE:g} ({figures})", "open"))
    outline = next((row for row in rows if row.occlusion.name == "outline alone"), None)
    if outline is not None and outline.ranks:
        given = f"the outline of the lung masks alone gives {outline.auroc}: the masks' shape tells of the class"
        read = "with the lungs removed the network may read that; of what it reads in a whole film this says nothing"
        said.append(Said(f"{given}, and {read}", "note"))
    if not images.lungs:
        masks = "no lung masks: borders and centre alone were probed; --lungs=FOLDER gives masks, or a run's"
        said.append(Said(masks, "note"))
    return said
