"""The figures of a data set: from its contents to arrays, and to `report`."""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from pulmo.data.reading import read_grey
from pulmo.data.splits import SPLITS
from pulmo.inspection import tables
from pulmo.inspection.contents import Contents
from pulmo.inspection.duplicates import KINDS
from pulmo.inspection.hashing import Thumbs
from pulmo.report.contents import Film, age_histogram, box_map, class_counts, image_sizes, mean_films, same_films
from pulmo.sheets.ages import years
from pulmo.transforms.preprocess import to_uint8

SHOWN_FILMS, SHOWN_COPIES = 6, 4
SHOWN_SIDE = 256  # pixels


def figures(found: Contents) -> Iterator[tuple[str, Figure, str]]:
    """Name, figure and caption of all that can be drawn of what is known."""
    table, names = found.table, found.class_names
    counts = {
        split: [int(((table["split"] == split) & (table["label"] == label)).sum()) for label in range(len(names))]
        for split in SPLITS
    }
    yield "classes", class_counts(counts, names), "Images of each class in each split."
    if "age" in table and (ages := years(table["age"])).notna().any():
        yield "ages", age_histogram(ages, table["label"], names), "Ages of each class, in bands of five years."
    if table["boxes"].map(len).any():
        boxes = tables.box_frame(found)
        if boxes["share"].notna().any():
            caption = "Left: where boxes lie, all images laid over each other. Right: how large they are."
            yield "boxes", box_map(boxes[["x1", "y1", "x2", "y2"]]), caption
    read = table[(table["width"] > 0) & (table["error"] == "")]
    if len(read) and len(read[["width", "height"]].drop_duplicates()) > 1:
        yield (
            "sizes",
            image_sizes(read["width"], read["height"]),
            "Sizes of the image files, larger marks for more of them; squares lie on the dotted line.",
        )
    if found.thumbs is not None and len(read):
        caption = "The mean film of each class, over all splits: what differs here a network may learn."
        yield "mean_films", _means(found, found.thumbs), caption
    if found.duplicates is not None and len(found.duplicates):
        caption = "Images that show one film: first those in several splits, then those of several classes or patients."
        yield "duplicates", same_films(_copies(found, found.duplicates)), caption


def _means(found: Contents, thumbs: Thumbs) -> Figure:
    readable = (found.table["there"] & (found.table["error"] == "")).to_numpy()
    films, means = [], []
    for label, name in enumerate(found.class_names):
        chosen = np.flatnonzero(readable & (found.table["label"] == label).to_numpy())
        if len(chosen):
            total = np.zeros(thumbs.shape[1:])
            for start in range(0, len(chosen), 4096):  # a copy of all would double the memory
                total += thumbs[chosen[start : start + 4096]].sum(axis=0)
            means.append(total / len(chosen))
            films.append(Film(np.rint(means[-1]).astype(np.uint8), name, f"{len(chosen):,} images"))
    return mean_films(films, means[1] - means[0] if len(means) == 2 else None)


def _copies(found: Contents, duplicates: pd.DataFrame) -> dict[str, list[Film]]:
    ranked = sorted(duplicates.groupby("group"), key=lambda entry: _rank(entry[1]))
    return {
        _named(part, place): [_film(row, found.class_names) for _, row in part.head(SHOWN_COPIES).iterrows()]
        for place, (_, part) in enumerate(ranked[:SHOWN_FILMS], start=1)
    }


def _rank(part: pd.DataFrame) -> tuple[bool, bool, bool, int]:
    """Films across splits first, then those of two classes or patients, then those whose copies differ most."""
    one = [part[name].nunique() == 1 for name in ("split", "label", "patient_id")]
    return one[0], one[1], one[2], -KINDS.index(part["kind"].iloc[0])


def _named(part: pd.DataFrame, place: int) -> str:
    """Two lines: what the images are to each other, and where they stand."""
    splits, patients, labels = (part[name].nunique() for name in ("split", "patient_id", "label"))
    said = ["across splits" if splits > 1 else f"in {part['split'].iloc[0]}"]
    said += [f"{patients} patients"] if patients > 1 else []
    said += [f"{labels} classes"] if labels > 1 else []
    said += [f"correlation {part['correlation'].min():.2f}"] if part["kind"].iloc[0] != "identical" else []
    return f"{place}. {part['kind'].iloc[0]}, {len(part)} images\n{', '.join(said)}"


def _film(row: pd.Series, class_names: tuple[str, ...]) -> Film:
    image = to_uint8(read_grey(row["path"], SHOWN_SIDE).image)
    height, width = (round(side * SHOWN_SIDE / max(image.shape)) for side in image.shape)
    shown: npt.NDArray[np.uint8] = np.asarray(
        cv2.resize(image, (max(1, width), max(1, height)), interpolation=cv2.INTER_AREA), np.uint8
    )
    return Film(shown, str(row["image_id"]), f"{row['split']}, {class_names[row['label']]}")
