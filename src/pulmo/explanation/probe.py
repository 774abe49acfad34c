"""The shortcut probe: the images of a split again with parts taken away, and what the network still makes of them.

After Zech et al. 2018 (10.1371/journal.pmed.1002683) and DeGrave et al. 2021 (10.1038/s42256-021-00338-7): networks for
chest radiographs learn what surrounds the lungs. An interval on images without lungs that leaves 0.5 out, on either
side, proves that the network reads what is left; one around 0.5 does not prove that it never does, since it was not
trained on such images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from rich.progress import track

from pulmo.data.reading import read_grey, read_mask
from pulmo.errors import ConfigError, DataError, UnreadableImageError
from pulmo.explanation.images import Images, ahead, log
from pulmo.explanation.looking import BATCH, decided, probabilities
from pulmo.explanation.occlusion import OCCLUSIONS, WHOLE, Occlusion
from pulmo.metrics.bootstrap import Interval, intervals
from pulmo.metrics.weighted import BinaryFigures
from pulmo.sheets.predictions import patients_of
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask

Pixels = npt.NDArray[np.uint8]
EXAMPLES = 2  # of each of the two classes
CHANCE = 0.6
"""AUROC up to which, and from 1 less which, an interval around 0.5 counts as chance: beyond, images are too few."""


@dataclass(frozen=True)
class Row:
    """How the network does with one occlusion, on `images` of them; all figures with 95 % intervals by patient.

    auroc  of the last class against the others; `drop` what the whole image gives more, on the same images
    flips  share of the decisions that are other than on the whole image
    positives, negatives  mean scores of the two
    """

    occlusion: Occlusion
    images: int
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
        """Whether the interval leaves chance out, on either side."""
        low, high = _ends(self.auroc)
        return low > 0.5 or high < 0.5

    @property
    def clears(self) -> bool:
        """Whether it does not, within an interval that is narrow enough to say so; of rows with lungs always."""
        low, high = _ends(self.auroc)
        return not self.occlusion.blind or 1 - CHANCE <= low <= 0.5 <= high <= CHANCE


def _ends(auroc: Interval) -> tuple[float, float]:
    """Ends of the interval; a ranking without an error, which has none, is that of chance least of all."""
    return (auroc.value, auroc.value) if auroc.value in (0.0, 1.0) else (auroc.low, auroc.high)


@dataclass(frozen=True)
class Probe:
    """Rows, the whole image's first; a few images as the network was shown them; what it comes to.

    examples  by occlusion, of the labels `labels_shown`
    scores    one row an image: the last class's probability under each occlusion
    verdict   sentences
    """

    rows: Sequence[Row]
    examples: Mapping[str, Sequence[Pixels]]
    labels_shown: Sequence[int]
    scores: pd.DataFrame
    verdict: Sequence[str]

    @property
    def told_on(self) -> bool:
        """Whether any row tells on the network."""
        return any(row.tells for row in self.rows)

    @property
    def cleared(self) -> bool:
        """Whether all rows clear it."""
        return all(row.clears for row in self.rows)


def probe(task: Task, images: Images, resamples: int = 10_000) -> Probe:
    """Score each image whole and under each of `OCCLUSIONS` for which it has what is needed.

    The file's grey is occluded, then prepared as the run prepares images: of a run that multiplies lung masks, only
    what is inside of them reaches the network, and `lungs removed` leaves it their outline; what differs from that, or
    from the whole image, outside of the lungs alone is then left out.
    """
    if not isinstance(task, ClassificationTask):
        raise ConfigError(f"the shortcut probe is of classifiers, not of a {type(task).__name__}")
    if not images.labelled or images.table["label"].nunique() < 2:
        raise DataError("the shortcut probe needs labelled images of two classes: give --split")
    masked = images.preprocess.needs_mask and images.preprocess.use == "lungs"
    possible = [part for part in OCCLUSIONS if images.lungs or not part.needs_lungs]
    occlusions = [WHOLE, *(part for part in possible if not (masked and part.outside))]
    said, examples, shown = _scored(task, images, occlusions)
    read = [row for row in range(len(images.table)) if row in said[WHOLE.name]]
    if not read:
        raise DataError(f"none of the {len(images.table)} images can be read")
    last = len(task.class_names) - 1
    labels = (images.table["label"].to_numpy() == last).astype(np.int64)
    patients = patients_of(images.table)
    rows = []
    for part in occlusions:
        known = np.array([row for row in read if row in said[part.name]])
        if len(known) == 0:
            continue
        whole, left = (np.stack([said[name][row] for row in known]) for name in (WHOLE.name, part.name))
        rows.append(_row(task, part, whole, left, labels[known], patients[known], resamples))
    scores = images.table.iloc[read][["image_id", "patient_id", "label"]].reset_index(drop=True)
    for part in occlusions:
        scores[part.name] = [said[part.name][row][last] if row in said[part.name] else math.nan for row in read]
    return Probe(rows, examples, shown, scores, verdict(rows, task, images))


def _scored(
    task: Task, images: Images, occlusions: Sequence[Occlusion]
) -> tuple[dict[str, dict[int, npt.NDArray[np.float64]]], dict[str, list[Pixels]], list[int]]:
    """Probabilities by occlusion and row; the first images of each class that have all occlusions, and their labels."""
    said: dict[str, dict[int, npt.NDArray[np.float64]]] = {part.name: {} for part in occlusions}
    examples: dict[str, list[Pixels]] = {part.name: [] for part in occlusions}
    shown: list[int] = []

    def prepare(row: int) -> tuple[int, dict[str, Pixels] | UnreadableImageError]:
        try:
            return row, _variants(images, row, occlusions)
        except UnreadableImageError as error:
            return row, error

    waiting: list[tuple[str, int, Pixels]] = []

    def flush() -> None:
        batch = torch.from_numpy(np.stack([image for _, _, image in waiting]))[:, None].to(task.device)
        for (name, row, _), probability in zip(waiting, probabilities(task, batch, images.precision), strict=True):
            said[name][row] = probability
        waiting.clear()

    rows = range(len(images.table))
    for row, variants in track(ahead(prepare, rows, 16), "probing", total=len(rows), transient=True):
        if isinstance(variants, UnreadableImageError):
            log.warning("left out: %s", variants)
            continue
        label = int(images.table["label"].to_numpy()[row])
        if len(variants) == len(occlusions) and shown.count(label) < EXAMPLES:
            shown.append(label)
            for name, image in variants.items():
                examples[name].append(image)
        waiting += [(name, row, image) for name, image in variants.items()]
        if len(waiting) >= 2 * BATCH:
            flush()
    if waiting:
        flush()
    return said, examples, shown


def _variants(images: Images, row: int, occlusions: Sequence[Occlusion]) -> dict[str, Pixels]:
    """One image under each occlusion that it has a mask for, prepared."""
    path, mask_path = str(images.table["path"].iat[row]), str(images.table["mask"].iat[row])
    preprocess = images.preprocess
    reading = read_grey(path, preprocess.side)
    grey = reading.image
    lungs = read_mask(mask_path, reading.shape) if mask_path else None
    on_grey = lungs if lungs is None or lungs.shape == grey.shape else _smaller(lungs, grey.shape)
    if on_grey is not None and not on_grey.any():
        on_grey = None
    prepared = {}
    for part in occlusions:
        if part.needs_lungs and on_grey is None:
            continue
        try:
            prepared[part.name], _ = preprocess(part.apply(grey, on_grey), lungs, reading.shape)
        except DataError as error:
            raise UnreadableImageError(path, str(error)) from error
    return prepared


def _smaller(lungs: Pixels, shape: tuple[int, ...]) -> Pixels:
    share = cv2.resize(lungs * np.uint8(255), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(share >= 128, np.uint8)


def _row(
    task: Task,
    part: Occlusion,
    whole: npt.NDArray[np.float64],
    left: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    patients: npt.NDArray[Any],
    resamples: int,
) -> Row:
    before, after = BinaryFigures(whole[:, -1], labels), BinaryFigures(left[:, -1], labels)
    flipped = (decided(task, whole) != decided(task, left)).astype(np.float32)

    def figures(weights: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
        auroc = after(weights)["auroc"]
        return {
            "auroc": auroc,
            "drop": before(weights)["auroc"] - auroc,
            "flips": (weights @ flipped).astype(np.float64) / weights.sum(1),
        }

    found = intervals(figures, patients, resamples=resamples)
    means = [float(left[labels == label, -1].mean()) if (labels == label).any() else math.nan for label in (1, 0)]
    return Row(part, len(labels), found["auroc"], found["drop"], found["flips"], means[0], means[1])


def verdict(rows: Sequence[Row], task: Task, images: Images) -> list[str]:
    """What the rows come to, in sentences; those of the first kind tell on the network."""
    of_class = task.class_names[-1]
    by_name = {row.occlusion.name: row for row in rows}
    said = [
        f"{row.occlusion.name}: still ranks {of_class} with AUROC {row.auroc}, {row.occlusion.where}"
        + ("" if row.auroc.value > 0.5 else "; below 0.5: what is left is read the other way round")
        for row in rows
        if row.tells
    ]
    if said and images.preprocess.needs_mask and images.preprocess.use in ("lungs", "thorax"):
        said.append(f"the run is shown images times their {images.preprocess.use} mask, so it always sees an outline")
    if not said:
        blind = ", ".join(f"{row.occlusion.name} {row.auroc}" for row in rows if row.occlusion.blind)
        if all(row.clears for row in rows):
            said.append(
                f"no sign of a shortcut: without lungs the AUROC is that of chance ({blind}); what shows only together "
                "with the lungs is not ruled out"
            )
        else:
            said.append(
                "too few images to tell: without lungs the interval of the AUROC holds 0.5, and also values beyond "
                f"{1 - CHANCE:g} to {CHANCE:g} ({blind})"
            )
    outline = by_name.get("outline alone")
    if outline is not None and outline.ranks:
        said.append(
            f"the outline of the lung masks alone gives {outline.auroc}: the masks' shape tells of the class, and with "
            "the lungs removed the network may read that; of what it reads in a whole film this says nothing"
        )
    if not images.lungs:
        said.append("no lung masks: borders and centre alone were probed; --lungs=FOLDER gives masks, or a run's")
    return said


def table_of(probed: Probe) -> pd.DataFrame:
    """The rows as text, for a screen or a page."""
    return pd.DataFrame(
        {
            "shown": row.occlusion.name,
            "images": str(row.images),
            "AUROC (95 %)": str(row.auroc),
            "drop": "" if row.occlusion is WHOLE else str(row.drop),
            "decisions that flip": "" if row.occlusion is WHOLE else str(row.flips),
            "mean score + / −": f"{row.positives:.2f} / {row.negatives:.2f}",
        }
        for row in probed.rows
    )


def as_plain(probed: Probe) -> dict[str, Any]:
    """For json: an interval is `[value, low, high]`, null where undefined."""

    def plain(value: Interval) -> list[float | None]:
        return [float(part) if math.isfinite(part) else None for part in value]

    rows = {
        row.occlusion.name: {
            "images": row.images,
            **{name: plain(getattr(row, name)) for name in ("auroc", "drop", "flips")},
            "mean_score": {"positives": row.positives, "negatives": row.negatives},
        }
        for row in probed.rows
    }
    return {"told_on": probed.told_on, "cleared": probed.cleared, "verdict": list(probed.verdict), "rows": rows}
