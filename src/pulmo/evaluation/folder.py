"""The evaluation's folder: tables, figures and the page, in `evaluations/DATA_SPLIT` of the run."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd

from pulmo.errors import RunError
from pulmo.evaluation.drawing import draw
from pulmo.evaluation.evaluation import Evaluation
from pulmo.evaluation.page import page_of
from pulmo.report.figures import save


def write(of: Evaluation, out: Path | None) -> Path:
    """Write `evaluation.json`, `predictions.csv`, `metrics.json`, `intervals.csv`, `figures/` and `evaluation.html`.

    An earlier evaluation of the same images is overwritten. Raises `RunError` where the folder cannot be written.
    """
    folder = out or of.run.folder / "evaluations" / f"{of.facts['data']}_{of.facts['split']}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        of.predicted.images.to_csv(folder / "predictions.csv", index=False)
        if of.predicted.boxes is not None:
            of.predicted.boxes.to_csv(folder / "boxes.csv", index=False)
        pd.DataFrame(_rows(of), columns=["figure", "value", "low", "high"]).to_csv(
            folder / "intervals.csv", index=False
        )
        figures = draw(of)
        for name, (figure, _) in figures.items():
            save(figure, folder / "figures" / f"{name}.png")
        (folder / "evaluation.html").write_text(page_of(of, figures), encoding="utf-8")
        (folder / "metrics.json").write_text(_json(of.predicted.metrics))
        (folder / "evaluation.json").write_text(_json(of.facts))  # last: where it is, the rest is
    except OSError as error:
        raise RunError(f"{folder} cannot be written ({error.strerror or error}): give --out FOLDER") from error
    return folder


def _rows(of: Evaluation) -> Iterator[tuple[str, float, float, float]]:
    """Every figure that has an interval: of a cut-off as `sensitivity@Youden`, of a subgroup as `group/sex/F/auroc`."""
    for sheet in (of.masks, of.boxes, of.images):
        for name, value in ({} if sheet is None else sheet.figures).items():
            yield name, *value
    if of.boxes is not None:
        for rate, value in of.boxes.froc.items():
            yield f"box_sensitivity@{rate} false positives per image", *value
    if of.masks is not None:
        for group in of.masks.groups:
            for name, value in group.figures.items():
                yield f"group/{group.by}/{group.name}/{name}", *value
    if of.images is None:
        return
    for point in of.images.operating_points:
        for name, value in point.figures.items():
            yield f"{name}@{point.name}", *value
    both = (
        ("calibration", of.images.calibration.figures),
        ("calibration/at_temperature", of.images.calibration.scaled),
    )
    for prefix, figures in both:
        for name, value in figures.items():
            yield f"{prefix}/{name}", *value
    for subgroup in of.images.subgroups:
        for name, value in subgroup.figures.items():
            yield f"group/{subgroup.by}/{subgroup.name}/{name}", *value


def _json(values: Mapping[str, object]) -> str:
    """As metrics.json of a run: sorted, NaN as null."""
    plain = {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
