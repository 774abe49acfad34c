"""Pages of one file: text, tables and pictures in the house look, light and dark, on screen, phone and paper.

A page holds its style and pictures itself, so that it can be mailed and read offline.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jinja2
import pandas as pd
from matplotlib.figure import Figure

from pulmo.report import style

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Text:
    """A paragraph; `kind` "warning" stands out, "code" is a command."""

    text: str
    kind: Literal["plain", "warning", "code", "good"] = "plain"


@dataclass(frozen=True)
class Facts:
    """Names and their values, one line each."""

    facts: dict[str, str]


@dataclass(frozen=True)
class Grid:
    """A table; numbers stand right. Cells are text already."""

    table: pd.DataFrame
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG or JPEG, what it shows, and what a reader who cannot see it is told."""

    data: bytes
    caption: str
    alt: str = ""

    @classmethod
    def of(cls, figure: Figure, caption: str, alt: str = "") -> "Picture":
        """A figure as a PNG."""
        with io.BytesIO() as stream:
            figure.savefig(stream, format="png")
            return cls(stream.getvalue(), caption, alt)

    @property
    def address(self) -> str:
        """The picture itself, as a data address."""
        kind = "png" if self.data.startswith(b"\x89PNG") else "jpeg"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room."""

    pictures: Sequence[Picture]


Block = Text | Facts | Grid | Picture | Pictures


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block] = field(default_factory=list)


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page as text; what users named is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    colours = {name.lower(): getattr(style, name) for name in ("BLUE", "SKY", "GREY", "VERMILLION", "ORANGE", "GREEN")}
    template = environment.get_template("page.html.j2")
    return template.render(title=title, subtitle=subtitle, sections=sections, colour=colours)
