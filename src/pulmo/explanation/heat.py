"""`pulmo explain RUN`: heat maps of chosen images, and where the heat of all of them lies."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from pulmo.data.dataset import filled
from pulmo.errors import ConfigError, DataError
from pulmo.explanation.asked import Asked, on_device
from pulmo.explanation.images import Images
from pulmo.explanation.localisation import ALL, FIGURES, TOLERANCE, as_plain, as_table, located, picture_of, summary
from pulmo.explanation.looking import Look, chosen, looks, table_of
from pulmo.explanation.writing import Folder, file_names, localisation_text, told, write_pictures
from pulmo.finished import FinishedRun
from pulmo.heatmaps import HeatMaps, feature_maps
from pulmo.report.heat import COLUMNS, ROWS, HeatCase, feature_grid, heat_sheet
from pulmo.report.html import Facts, Grid, Picture, Section, Text
from pulmo.report.probing import heat_beside_chance
from pulmo.report.screen import grid, screen
from pulmo.tasks.base import Task
from pulmo.tasks.segmentation import SegmentationTask

SHEETS = 8  # on the page, of 18 images each
CHANNELS = 48
CAPTION = (
    "Share of the heat inside, and of the area; whether the maximum is inside. Means over the images, 95 % intervals "
    "by patient (percentile bootstrap)"
)
CHOICES = {
    "worst": "The images that went worst",
    "best": "The images that went best",
    "errors": "The images that are called wrongly",
    "all": "All images",
    "image": "The images that were named",
}

ORDERED = ("worst", "best")
REGIONS = {"lungs": "lungs", "boxes": "true boxes"}


def explain_run(run: FinishedRun, asked: Asked) -> Path:
    """Draw the chosen images, tell where the heat lies, and give the page.

    Raises `PulmoError` for what cannot be explained, before any image is read.
    """
    task, size = on_device(run.task), run.preprocess().size
    heat = HeatMaps(task, asked.method, asked.layer, "predicted" if asked.predicted else "positive")
    layer = heat.feature_map((size, size))
    asked = replace(asked, layer=layer.name)
    images = asked.images(run)
    unknown = sorted({*asked.image_ids} - {*images.table["image_id"]})
    if unknown:
        raise DataError(f"no image {unknown[0]} in {images.name}; ids are such as {images.table['image_id'].iat[0]}")
    of_masks = asked.choice != "errors" and isinstance(task, SegmentationTask) and task.target == "lungs"
    if asked.choice in ("worst", "best", "errors") and not (images.lungs if of_masks else images.labelled):
        raise ConfigError(f"--{asked.choice} needs labels: leave it out for files, or give --split")
    folder = Folder(asked.folder(run, asked.method, images))
    table, rows = _located(task, images, heat)
    folder.begin()
    folder.csv("images.csv", table)
    places = chosen(table, asked.choice, asked.count, asked.image_ids)
    of_called = asked.predicted or not heat.binary
    explained = "what speaks for the class that was called" if of_called else f"what speaks for {task.class_names[-1]}"
    facts = {
        "run": run.said,
        "images": f"{images.name}: {len(table)}",
        "method": f"{asked.method}, {explained}",
        "layer": f"{layer}: a cell of the map is {size // layer.width} of the {size} pixels that the network sees",
        "cut-off": f"{task.cut_off:.4g}" if heat.binary else "the likeliest class",
        "drawn": f"{CHOICES[asked.choice].lower()}{_by(table) if asked.choice in ORDERED else ''}: {len(places)}",
    }
    sections = [
        Section("What was explained", [Facts(facts), *told(images)]),
        *_localisation(folder, table, facts, heat, asked.resamples),
    ]
    sections += _drawn(folder, task, images, heat, table.iloc[places], [rows[place] for place in places], asked)
    return folder.page(f"Heat maps of {images.name}", run.said, sections)


def _by(table: pd.DataFrame) -> str:
    return ", by the Dice of their masks" if "dice" in table else ", by the probability of their true class"


def _located(task: Task, images: Images, heat: HeatMaps) -> tuple[pd.DataFrame, list[int]]:
    """Scores of all images that can be read, and where their heat lies; and the row of each in `images`."""
    regions = images.lungs or any(len(boxes) for boxes in images.table["boxes"])
    rows, said, dice, found = list[int](), [], list[float](), []
    every = range(len(images.table))
    for look in looks(task, images, every, heat if regions else None, "looking at all images"):
        rows.append(look.row)
        said.append(look.probabilities)
        dice.append(look.dice)
        found.append(_shares(look, _boxes(images, look)))
    if not rows:
        raise DataError(f"none of the {len(images.table)} images can be read")
    return table_of(task, images, rows, np.stack(said), dice).join(pd.DataFrame(found)), rows


def _shares(look: Look, boxes: npt.NDArray[np.float32]) -> dict[str, float]:
    if look.heat is None:
        return {}
    regions = {}
    if look.prepared.lung_mask is not None and look.prepared.lung_mask.any():
        regions["lungs"] = look.prepared.lung_mask > 0
    if len(boxes):
        regions["boxes"] = filled(boxes, len(look.heat)) > 0
    picture = picture_of(look.prepared.geometry)
    return {
        f"{figure}_{name}": value
        for name, region in regions.items()
        for figure, value in located(look.heat, region, picture).items()
    }


def _boxes(images: Images, look: Look) -> npt.NDArray[np.float32]:
    boxes = np.asarray(images.table["boxes"].iat[look.row], np.float32).reshape(-1, 4)
    return look.prepared.geometry.boxes(boxes)


def _localisation(
    folder: Folder, table: pd.DataFrame, facts: dict[str, str], heat: HeatMaps, resamples: int
) -> list[Section]:
    """Write localisation.csv and .json and tell it, where lungs or boxes are known."""
    columns = {
        REGIONS[name]: {figure: f"{figure}_{name}" for figure in FIGURES} for name in REGIONS if f"area_{name}" in table
    }
    found = summary(table, columns, resamples, binary=heat.binary)
    folder.json("localisation.json", {**facts, "tolerance": TOLERANCE, "rows": as_plain(found)})
    if found.empty:
        return []
    text = localisation_text(found)
    folder.csv("localisation.csv", as_table(found))
    screen().print(grid(text, f"where the heat lies: {facts['images']}"))
    cold = int(found.loc[found["group"] == ALL, "without_heat"].max())
    rows = [{str(name): value for name, value in row.items()} for row in found.to_dict("records")]
    figure = folder.figure("localisation", heat_beside_chance(rows))
    without = f" {cold} images have no heat, since nothing in them speaks for the class, and count in neither."
    if cold:
        print(f"{without.strip()} --predicted explains the class that each was called; or give another --method.")
    return [
        Section(
            "Where the heat lies",
            [
                Grid(text, CAPTION),
                Picture.of(figure, "Dots: heat map. Strokes: what chance would give."),
                Text(
                    "Heat is counted from the least of the image. Spread evenly it has the area's share inside; heat / "
                    "area says how many times that share it has. The "
                    f"pointing game (Zhang et al. 2018) counts a maximum inside, or within {TOLERANCE:.0%} of the "
                    "image's side; by chance is the area of that." + (without if cold else "")
                ),
            ],
        )
    ]


def _drawn(
    folder: Folder,
    task: Task,
    images: Images,
    heat: HeatMaps,
    table: pd.DataFrame,
    rows: Sequence[int],
    asked: Asked,
) -> list[Section]:
    """Write the pictures of each image, and sheets of them all."""
    names, cases = file_names(table["image_id"]), list[HeatCase]()
    sheets, grids = list[Picture](), list[Picture]()
    for place, look in enumerate(looks(task, images, rows, heat, "drawing")):
        facts = table.iloc[place]
        write_pictures(folder, look, str(images.table["path"].iat[look.row]), names[place])
        if asked.feature_maps and asked.layer is not None:
            grid = _features(task, look, asked.layer, str(facts["image_id"]))
            folder.write(f"features/{names[place]}.png", grid.data)
            grids.append(grid)
        cases.append(_case(task, images, look, facts))
        if len(cases) == COLUMNS * ROWS or place == len(rows) - 1:
            figure = folder.figure(f"sheet_{len(sheets) + 1:02d}", heat_sheet(cases))
            sheets.append(Picture.of(figure, f"Images {place + 2 - len(cases)} to {place + 1} of {len(rows)}."))
            cases = []
    more = [Text(f"{len(sheets) - SHEETS} further sheets are in figures/.")] if len(sheets) > SHEETS else []
    sections = [Section(CHOICES[asked.choice], [*sheets[:SHEETS], *more])]
    return sections + ([Section(f"Feature maps of {asked.layer}", grids[:SHEETS])] if grids else [])


def _case(task: Task, images: Images, look: Look, facts: pd.Series) -> HeatCase:
    name = task.class_names[int(facts["prediction"])]
    if np.isfinite(facts.get("dice", np.nan)):
        called = f"Dice {facts['dice']:.3f}"
    elif len(task.class_names) == 2:
        called = f"called {name}, score {facts['score']:.3f}"
    else:
        called = f"called {name}, its probability {facts['score']:.3f}"
    known = f"{task.class_names[int(facts['label'])]}; " if facts["label"] >= 0 else ""
    heat = np.zeros(look.prepared.image.shape, np.float32) if look.heat is None else look.heat
    cold = "; no heat" if not heat.any() else ""
    return HeatCase(
        look.prepared.image,
        heat,
        str(facts["image_id"]),
        f"{known}{called}{cold}",
        look.prepared.lung_mask,
        _boxes(images, look),
    )


def _features(task: Task, look: Look, layer: str, name: str) -> Picture:
    """The layer's maps that vary most over the image, at most `CHANNELS`."""
    maps = feature_maps(task, torch.from_numpy(look.prepared.image)[None, None], layer)[0].numpy()
    channels = np.sort(np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:CHANNELS])
    title = f"{name}: {len(channels)} of the {len(maps)} maps of {layer}, those that vary most"
    figure = feature_grid(maps[channels], channels.tolist(), title)
    return Picture.of(figure, "Above each map its channel; black is its least value, white its largest.", title)
