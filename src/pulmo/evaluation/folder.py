"""The evaluation's folder: tables, figures and the page, in `evaluations/DATA_SPLIT` of the run."""

import json
import math
from collections.abc import Iterator, Mapping
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from pulmo.errors import RunError
from pulmo.evaluation.drawing import draw
from pulmo.evaluation.evaluation import Evaluation
from pulmo.evaluation.page import page_of
from pulmo.report.figures import save

WHOLE = "evaluation.json"
SAME = ("data", "root", "split", "checkpoint", "threshold_given", "overrides")
"""What two evaluations have in common that measure the same, as `evaluation.json` tells it."""
OF_THE_MACHINE = (
    *("strategy", "trainer.", "data=", "data.root=", "data.batch_size=", "data.num_workers="),
    *("data.cache=", "data.cache_dir=", "data.resident="),
)
"""Beginnings of overrides that change no figure, or whose value stands in another fact."""


def write(of: Evaluation, out: Path | None) -> Path:
    """Write `evaluation.json`, `predictions.csv`, `metrics.json`, `intervals.csv`, `figures/` and `evaluation.html`.

    An earlier evaluation of the same kind is replaced whole; another one has a folder of its own, see `folder_of`.
    Raises `RunError` where the folder cannot be written, or `out` holds anything but an earlier evaluation.
    """
    folder = out or folder_of(of.run.folder / "evaluations", of.facts)
    if out is not None and not (out / WHOLE).exists() and out.is_dir() and any(out.iterdir()):
        raise RunError(f"--out {out} holds other files, and no earlier evaluation: give an empty folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".part", dir=folder) as part:
            _fill(Path(part), of)
            _replace(folder, Path(part))
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror or error}): give --out FOLDER") from error
    return folder


def folder_of(parent: Path, facts: Mapping[str, Any]) -> Path:
    """`DATA_SPLIT` of a run as it is; another checkpoint and a cut-off that was asked for stand behind it.

    Such as `rsna_test_last_threshold-0.9`. Where that is a measurement of another kind, of images elsewhere, with other
    overrides, the next number: `rsna_test_2`.
    """
    name = f"{facts['data']}_{facts['split']}"
    name += "" if facts["checkpoint"] == "best" else f"_{facts['checkpoint']}"
    name += "" if facts["threshold_given"] is None else f"_threshold-{facts['threshold_given']}"
    numbers = (f"{name}_{number}" for number in count(2))
    return next(path for path in map(parent.joinpath, chain([name], numbers)) if _may_take(path, facts))


def _may_take(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Whether nothing was measured there, or what is measured now again."""
    try:
        earlier = json.loads((folder / WHOLE).read_text())
    except (OSError, ValueError):  # no folder, or one that was never finished
        return True
    return isinstance(earlier, dict) and all(_plain(earlier.get(key)) == _plain(facts.get(key)) for key in SAME)


def _plain(value: object) -> object:
    """Without the overrides that say where to compute, which leave figures as they are."""
    if not isinstance(value, list):
        return value
    return sorted(item for item in value if not str(item).lstrip("+").startswith(OF_THE_MACHINE))


def _fill(folder: Path, of: Evaluation) -> None:
    of.predicted.images.to_csv(folder / "predictions.csv", index=False)
    for name, boxes in (("boxes", of.predicted.boxes), ("true_boxes", of.predicted.true_boxes)):
        if boxes is not None:
            boxes.to_csv(folder / f"{name}.csv", index=False)
    pd.DataFrame(_rows(of), columns=["figure", "value", "low", "high"]).to_csv(folder / "intervals.csv", index=False)
    figures = draw(of)
    for name, (figure, _) in figures.items():
        save(figure, folder / "figures" / f"{name}.png")
    (folder / "evaluation.html").write_text(page_of(of, figures), encoding="utf-8")
    (folder / "metrics.json").write_text(_json(of.predicted.metrics))
    (folder / WHOLE).write_text(_json(of.facts))


def _replace(folder: Path, part: Path) -> None:
    """Put the files of `part` into the folder in place of those of an earlier evaluation; other files stay.

    `WHOLE` goes first and comes last: where it is, the rest is, and of one evaluation.
    """
    if (folder / WHOLE).exists():
        (folder / WHOLE).unlink()
        for path in (folder / "boxes.csv", folder / "true_boxes.csv", *(folder / "figures").glob("*.png")):
            path.unlink(missing_ok=True)
    for path in sorted((path for path in part.rglob("*") if path.is_file()), key=lambda path: path.name == WHOLE):
        place = folder / path.relative_to(part)
        place.parent.mkdir(exist_ok=True)
        path.replace(place)


def _rows(of: Evaluation) -> Iterator[tuple[str, float, float, float]]:
    """Every figure that has an interval: of a cut-off as `sensitivity@Youden`, of a subgroup as `group/sex/F/auroc`."""
    images, masks, boxes = of.sheets.images, of.sheets.masks, of.sheets.boxes
    for sheet in (masks, boxes, images):
        for name, value in ({} if sheet is None else sheet.figures).items():
            yield name, *value
    if boxes is not None:
        for rate, value in boxes.froc.items():
            yield f"box_sensitivity@{rate} false positives per image", *value
    for group in () if masks is None else masks.groups:
        for name, value in group.figures.items():
            yield f"group/{group.by}/{group.name}/{name}", *value
    if images is None:
        return
    for point in images.operating_points:
        for name, value in point.figures.items():
            yield f"{name}@{point.name}", *value
    both = (("calibration", images.calibration.figures), ("calibration/at_temperature", images.calibration.scaled))
    for prefix, figures in both:
        for name, value in figures.items():
            yield f"{prefix}/{name}", *value
    for subgroup in images.subgroups:
        for name, value in subgroup.figures.items():
            yield f"group/{subgroup.by}/{subgroup.name}/{name}", *value


def _json(values: Mapping[str, object]) -> str:
    """As metrics.json of a run: sorted, NaN as null."""
    plain = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
