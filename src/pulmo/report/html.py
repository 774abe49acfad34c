"""Pages of one file: text, tables and pictures in the house look, light and dark, on screen, phone and paper.

A page holds its style and pictures itself, so that it can be mailed and read offline.
"""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from PIL import Image

from pulmo.report import rendering, style
from pulmo.report.cells import are_numbers

TEMPLATES = Path(__file__).parent / "templates"
LONG = 44  # characters of a cell that may be broken
WIDE = 1.7  # width by height of two panels
COLOURS = 64
"""Of a figure's palette: its lines and text look the same, at a quarter of the bytes."""


TextKind = Literal["plain", "warning", "code", "good", "lead", "heading"]


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` "warning" stands out, "code" is a command, "lead" is what to read if nothing else, "heading"
    is of a part of a section.
    """

    text: str
    kind: TextKind = "plain"


@dataclass(frozen=True)
class Facts:
    """Names and their values, one line each."""

    facts: dict[str, str]


@dataclass(frozen=True)
class Tile:
    """A figure that is to be seen from afar: its value, what it is, and what belongs to it, such as its interval."""

    name: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Tiles:
    """Tiles side by side."""

    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Grid:
    """A table; columns of numbers stand right, the first and those of words left. Cells are text already."""

    table: pd.DataFrame
    caption: str = ""

    @property
    def looks(self) -> list[str]:
        """Of each column: "number", or "word", or "long" where its words may be broken."""
        looks = []
        for place in range(len(self.table.columns)):
            cells = [str(cell) for cell in self.table.iloc[:, place]]
            numbers = place > 0 and are_numbers(cells)
            looks.append("number" if numbers else "long" if max(map(len, cells), default=0) > LONG else "word")
        return looks


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG, what it shows, and what a reader who cannot see it is told."""

    data: bytes
    caption: str
    alt: str = ""

    @classmethod
    def of(cls, figure: Figure, caption: str, alt: str = "") -> "Picture":
        """A figure as a PNG."""
        return cls(rendering.png(figure), caption, alt)

    @classmethod
    def read(cls, path: Path, caption: str, alt: str = "", *, photo: bool = False) -> "Picture":
        """A figure from disk, with fewer colours, or as a JPEG if it is a `photo`; OSError where it cannot be read."""
        with Image.open(path) as image, io.BytesIO() as stream:
            if photo:
                image.convert("RGB").save(stream, format="jpeg", quality=85, optimize=True)
            else:
                few = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
                few.save(stream, format="png", optimize=True)
            return cls(stream.getvalue(), caption, alt)

    @property
    def is_wide(self) -> bool:
        """Whether it would be too small to read at the width of a phone, where it is scrolled instead."""
        with Image.open(io.BytesIO(self.data)) as image:
            return image.width > WIDE * image.height

    @property
    def address(self) -> str:
        """The picture itself, as a data address."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room; `small` ones are as wide as a thumbnail."""

    pictures: Sequence[Picture]
    small: bool = False


@dataclass(frozen=True)
class Fold:
    """Blocks that are shown when `title` is clicked, and in print."""

    title: str
    blocks: Sequence["Block"]


Block = Text | Facts | Tiles | Grid | Picture | Pictures | Fold


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it; `listed` among the links at the top."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    listed: bool = True


def _marked(text: str) -> Markup:
    """The text, escaped; what stands between backticks is a command."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page as text; what users named is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["marked"] = _marked
    colours = {name.lower(): getattr(style, name) for name in ("BLUE", "SKY", "GREY", "VERMILLION", "ORANGE", "GREEN")}
    template = environment.get_template("page.html.j2")
    return template.render(title=title, subtitle=subtitle, sections=sections, colour=colours)
