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
from pulmo.explanation.localisation import picture_of
from pulmo.explanation.looking import BATCH, decided, probabilities
from pulmo.explanation.occlusion import OCCLUSIONS, WHOLE, Occlusion
from pulmo.explanation.verdict import Row, Said, verdict
from pulmo.metrics.bootstrap import Interval, intervals
from pulmo.metrics.weighted import BinaryFigures
from pulmo.sheets.predictions import patients_of
from pulmo.tasks.base import Task
from pulmo.tasks.classification import ClassificationTask

Pixels = npt.NDArray[np.uint8]
EXAMPLES = 2  # of each of the two classes


@dataclass(frozen=True)
class Probe:
    """Rows, the whole image's first; a few images as the network was shown them; what it comes to.

    examples  by occlusion, of the labels `labels_shown`
    scores    one row an image: the last class's probability under each occlusion
    """

    rows: Sequence[Row]
    examples: Mapping[str, Sequence[Pixels]]
    labels_shown: Sequence[int]
    scores: pd.DataFrame
    verdict: Sequence[Said]

    @property
    def told_on(self) -> bool:
        """Whether any row tells on the network."""
        return any(said.kind == "told on" for said in self.verdict)

    @property
    def cleared(self) -> bool:
        """Whether all rows clear it."""
        return any(said.kind == "cleared" for said in self.verdict)


def probe(task: Task, images: Images, resamples: int = 10_000) -> Probe:
    """Score each image whole and under each of `OCCLUSIONS` for which it has what is needed.

    The file's grey is occluded, then prepared as the run prepares images: of a run that multiplies lung masks, only
    what is inside of them reaches the network, and `lungs removed` leaves it their outline; what differs from that, or
    from the whole image, outside of the lungs alone is then left out. So is an image of which nothing but grey is left,
    as of one that is cropped to the lungs and has these taken away: such images rank alike, whatever was learnt.
    """
    if not isinstance(task, ClassificationTask):
        raise ConfigError(f"the shortcut probe is of classifiers, not of a {type(task).__name__}")
    if not images.labelled or images.table["label"].nunique() < 2:
        raise DataError("the shortcut probe needs labelled images of two classes: give --split")
    masked = images.preprocess.needs_mask and images.preprocess.use == "lungs"
    possible = [part for part in OCCLUSIONS if images.lungs or not part.needs_lungs]
    occlusions = [WHOLE, *(part for part in possible if not (masked and part.outside))]
    examples = _Examples()
    said = _scored(task, images, occlusions, examples)
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
    return Probe(rows, *examples.shown([row.occlusion.name for row in rows]), scores, verdict(rows, task, images))


class _Examples:
    """The first images of either class, apart by what could be taken away of them."""

    def __init__(self) -> None:
        self._held: dict[frozenset[str], list[tuple[int, dict[str, Pixels]]]] = {}

    def add(self, label: int, variants: dict[str, Pixels]) -> None:
        held = self._held.setdefault(frozenset(variants), [])
        if sum(known == label for known, _ in held) < EXAMPLES:
            held.append((label, variants))

    def shown(self, names: Sequence[str]) -> tuple[dict[str, list[Pixels]], list[int]]:
        """Those of which most could be taken away, by the `names` of occlusions that they have; and their labels."""
        most = max(self._held, key=lambda having: (len(having), len(self._held[having])), default=frozenset())
        held = self._held.get(most, [])
        pictures = {name: [variants[name] for _, variants in held] for name in names if name in most}
        return pictures, [label for label, _ in held]


def _scored(
    task: Task, images: Images, occlusions: Sequence[Occlusion], examples: _Examples
) -> dict[str, dict[int, npt.NDArray[np.float64]]]:
    """Probabilities by occlusion and row."""
    said: dict[str, dict[int, npt.NDArray[np.float64]]] = {part.name: {} for part in occlusions}

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
        examples.add(int(images.table["label"].to_numpy()[row]), variants)
        waiting += [(name, row, image) for name, image in variants.items()]
        if len(waiting) >= 2 * BATCH:
            flush()
    if waiting:
        flush()
    return said


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
            image, geometry = preprocess(part.apply(grey, on_grey), lungs, reading.shape)
        except DataError as error:
            raise UnreadableImageError(path, str(error)) from error
        if part is WHOLE or np.ptp(image[picture_of(geometry)]) > 0:
            prepared[part.name] = image
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
    fewest = min(len({*patients[labels == label]}) for label in (0, 1))
    return Row(part, len(labels), fewest, found["auroc"], found["drop"], found["flips"], means[0], means[1])


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

    def known(value: float) -> float | None:
        return float(value) if math.isfinite(value) else None

    def plain(value: Interval) -> list[float | None]:
        return [known(part) for part in value]

    rows = {
        row.occlusion.name: {
            "images": row.images,
            **{name: plain(getattr(row, name)) for name in ("auroc", "drop", "flips")},
            "mean_score": {"positives": known(row.positives), "negatives": known(row.negatives)},
        }
        for row in probed.rows
    }
    return {
        "told_on": probed.told_on,
        "cleared": probed.cleared,
        "verdict": [said.text for said in probed.verdict],
        "rows": rows,
    }
