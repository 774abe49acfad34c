"""What is made of the finished table: boxes in the three forms that others read."""

import csv
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from pulmo.prediction.spelling import without_suffix
from pulmo.prediction.table import Table
from pulmo.prediction.whole import whole

log = logging.getLogger(__name__)

FINDING = {"id": 1, "name": "opacity"}


def boxes_text(boxes: list[list[float]]) -> str:
    """(N, 5) xyxy boxes with scores as the challenge writes them: `score x y width height …`, pixels of the file."""
    parts = [f"{score:.6f} {x1:.1f} {y1:.1f} {x2 - x1:.1f} {y2 - y1:.1f}" for x1, y1, x2, y2, score in boxes]
    return " ".join(parts)


def boxes_of(text: str) -> Iterator[tuple[float, float, float, float, float]]:
    """Score, x, y, width and height of each box of such a text."""
    numbers = [float(part) for part in text.split()]
    for start in range(0, len(numbers), 5):
        score, x, y, width, height = numbers[start : start + 5]
        yield score, x, y, width, height


def paths_of(out: Path) -> list[Path]:
    """The files that `write_boxes` writes."""
    return [out.with_name(f"{out.stem}_{name}") for name in ("boxes.csv", "boxes.coco.json", "submission.csv")]


def write_boxes(table: Table) -> list[Path]:
    """Write `NAME_boxes.csv`, `NAME_boxes.coco.json` and `NAME_submission.csv` beside the table.

    The first has `path, x1, y1, x2, y2, score`. The second is COCO's format with a score in each annotation
    (cocodataset.org, Data format); an image that could not be read is in none but the submission, where the challenge
    wants a row for each image: `patientId`, the file's name without its suffix, and `PredictionString`
    (kaggle.com/c/rsna-pneumonia-detection-challenge, page Evaluation). Warns where several files have one name.
    """
    paths = paths_of(table.out)
    with whole(paths[0]) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "x1", "y1", "x2", "y2", "score"])
        for row in table.rows():
            for score, x, y, width, height in boxes_of(row["boxes"]):
                writer.writerow([row["path"], f"{x:.1f}", f"{y:.1f}", f"{x + width:.1f}", f"{y + height:.1f}", score])
    with whole(paths[1]) as part, open(part, "w", encoding="utf-8") as file:
        file.write('{"images": [')
        file.writelines(_separated(_images(table)))
        file.write('],\n"annotations": [')
        file.writelines(_separated(_annotations(table)))
        file.write(f'],\n"categories": [{json.dumps(FINDING)}]}}\n')
    with whole(paths[2]) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["patientId", "PredictionString"])
        names, again = set[int](), 0
        for row in table.rows():
            name = os.path.basename(without_suffix(row["path"]))
            again += hash(name) in names
            names.add(hash(name))
            writer.writerow([name, row["boxes"]])
    if again:
        log.warning("%s: %d rows have the patientId of another, since their files have one name", paths[2], again)
    return paths


def _images(table: Table) -> Iterator[dict[str, object]]:
    for number, row in enumerate(table.rows(), 1):
        if row["width"]:
            yield {"id": number, "file_name": row["path"], "width": int(row["width"]), "height": int(row["height"])}


def _annotations(table: Table) -> Iterator[dict[str, object]]:
    made = 0
    for number, row in enumerate(table.rows(), 1):
        for score, *box in boxes_of(row["boxes"]):
            made += 1
            area = round(box[2] * box[3], 2)
            found = {"id": made, "image_id": number, "category_id": FINDING["id"], "bbox": box, "area": area}
            yield {**found, "iscrowd": 0, "score": score}


def _separated(entries: Iterator[dict[str, object]]) -> Iterator[str]:
    """A line each, streamed: json would want all of them at once."""
    for number, entry in enumerate(entries):
        yield (",\n" if number else "\n") + json.dumps(entry)
