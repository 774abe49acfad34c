"""What was found of a data set: on the screen, and as a folder with a page, figures and csv files."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.markup import escape

from pulmo.errors import DataError
from pulmo.inspection import findings, tables
from pulmo.inspection.contents import Contents
from pulmo.inspection.drawing import figures
from pulmo.inspection.duplicates import COLUMNS
from pulmo.report.figures import save
from pulmo.report.html import Block, Facts, Grid, Picture, Section, Text, Tile, Tiles, page
from pulmo.report.screen import grid, screen

Tables = dict[str, list[tuple[str, pd.DataFrame]]]

FILMS = "Films that stand there more than once"
EXPLAINED = (
    "Identical: the same grey values in each pixel. Near: another compression, size, exposure or contrast of the same "
    "film; mirrored and inverted likewise. Copies that are cropped or shifted by more than 2 %, or turned by more than "
    "2°, are not found."
)


def sections(found: Contents) -> Tables:
    """Title → captioned tables, those without a row left out."""
    number = found.table["boxes"].map(len)
    frame = tables.box_frame(found) if number.any() else pd.DataFrame()
    content: Tables = {
        "Classes and splits": [("Images, and in brackets patients, of each class", tables.classes(found))],
        "Patients": [(f"By {name}", table) for name, table in tables.groups(found).items()],
        "Boxes": [
            ("Images by their number of boxes", tables.boxes(found)),
            ("Sizes of boxes", tables.box_sizes(frame) if len(frame) else frame),
        ],
        "Files": [
            ("What their headers say", tables.files(found)),
            ("Sizes of images", tables.sizes(found)),
            ("Cannot be read", tables.causes(found)),
            ("Lung masks", tables.masks(found)),
        ],
        FILMS: [("How far the images of a film differ at most", tables.copies(found))],
    }
    content = {title: [entry for entry in entries if len(entry[1])] for title, entries in content.items()}
    return {title: entries for title, entries in content.items() if entries}


def tell(found: Contents) -> None:
    """Print what was found, the verdict last."""
    console = screen()
    listed = " · ".join(f"{number:,} {name}" for name, number in _tally(found).items())
    console.print(escape(f"{found.name} in {found.data.root}: {listed}"), soft_wrap=True)
    for title, entries in sections(found).items():
        console.print(f"\n[bold]{escape(title)}[/bold]")
        for caption, content in entries:
            console.print(grid(content, caption))
    concerns = findings.concerns(found)
    if concerns:
        console.print()
    for line in concerns:
        console.print(escape(f"! {line}"), soft_wrap=True)
    if not found.refusal:
        console.print(escape(f"\n{findings.remark(found)}"), soft_wrap=True)


def _tally(found: Contents) -> dict[str, int]:
    return {**found.tally, "in a split": len(found.table)}


def write(found: Contents, folder: Path, overrides: Sequence[str]) -> Path:
    """Write `inspect.html`, `summary.json`, `duplicates.csv`, `unreadable.csv`, `figures/`; give the page's path.

    Raises `DataError` where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = {}
        for name, figure, caption in figures(found):
            save(figure, folder / "figures" / f"{name}.png")
            pictures[name] = Picture.of(figure, caption)
        summary = {
            "data": found.name,
            "root": str(found.data.root),
            "overrides": list(overrides),
            "verdict": findings.verdict(found),
            "leaks": findings.leaks(found),
            "concerns": findings.concerns(found),
            "counts": findings.counts(found),
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")
        copies = pd.DataFrame(columns=COLUMNS) if found.duplicates is None else found.duplicates
        names = dict(enumerate(found.class_names))
        copies = copies.assign(label=copies["label"].map(names)).rename(columns={"label": "class"})
        copies.round({"correlation": 3}).to_csv(folder / "duplicates.csv", index=False)
        found.unreadable.to_csv(folder / "unreadable.csv", index=False)
        path = folder / "inspect.html"
        path.write_text(_page(found, overrides, pictures), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error.strerror}; give --out FOLDER") from error
    return path


def _page(found: Contents, overrides: Sequence[str], pictures: dict[str, Picture]) -> str:
    told = findings.leaks(found)
    kind = "warning" if told else "good" if found.looked_at == len(found.table) else "plain"
    verdict = findings.verdict(found)
    facts = {name: f"{number:,}" for name, number in _tally(found).items()}
    blocks: list[Block] = [Text(_sentence(verdict), kind), _tiles(found)]  # type: ignore[arg-type]
    blocks += [Text(_sentence(line), "warning") for line in findings.concerns(found)]
    if not found.refusal:
        blocks.append(Text(_sentence(findings.remark(found))))
    blocks += [Facts({"folder": str(found.data.root), **facts}), Text(" ".join(("pulmo inspect", *overrides)), "code")]
    whole = [Section("Verdict", blocks)]
    shown = {"Classes and splits": ["classes"], "Patients": ["ages"], "Boxes": ["boxes"]}
    shown |= {"Files": ["mean_films", "sizes"], FILMS: ["duplicates"]}
    for title, entries in sections(found).items():
        content: list[Block] = [Grid(table, caption) for caption, table in entries]
        if title == FILMS:
            content.insert(0, Text(EXPLAINED))
        whole.append(Section(title, [*content, *(pictures[name] for name in shown[title] if name in pictures)]))
    return page(f"Data set {found.name}", "What is in it, before training", whole)


def _tiles(found: Contents) -> Tiles:
    table, unknown = found.table, found.duplicates is None
    ill = (table["label"] > 0).mean()
    copies = 0 if found.duplicates is None else len(found.duplicates) - found.duplicates["group"].nunique()
    tiles = [
        Tile("images", f"{len(table):,}"),
        Tile("patients", f"{table['patient_id'].nunique():,}", "as far as they are known" if found.nameless else ""),
        Tile(tables.ill(found), f"{100 * ill:.1f} %"),
        Tile("unreadable files", "not looked at" if unknown else f"{len(found.unreadable):,}"),
        Tile("further images of a film", "not looked for" if unknown else f"{copies:,}"),
    ]
    return Tiles(tiles)


def _sentence(line: str) -> str:
    return f"{line[0].upper()}{line[1:]}."
