import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pulmo.report.html import Facts, Fold, Grid, Picture, Pictures, Section, Text, Tile, Tiles, page
from pulmo.report.style import new_figure
from pulmo.report.thumbnails import thumbnail


def shown(*blocks: object) -> str:
    return page("title", "subtitle", [Section("part", blocks)])  # type: ignore[arg-type]


def test_page__escapes_what_users_named_in_every_block() -> None:
    evil = "<script>alert(1)</script>"
    picture = Picture(thumbnail(np.zeros((8, 8), np.uint8)), evil)
    table = pd.DataFrame({evil: [evil]})
    text = page(evil, evil, [Section(evil, [Text(evil), Text(evil, "code"), Facts({evil: evil}), Grid(table, evil)])])
    text += shown(Tiles([Tile(evil, evil, evil)]), Pictures([picture]), Fold(evil, [Text(evil, "warning"), picture]))
    assert "<script>" not in text
    assert text.count("&lt;script&gt;") >= 15


def test_page__needs_nothing_from_elsewhere() -> None:
    text = shown(Picture.of(new_figure(1, 1), "a figure"), Text("see https://example.org"))
    assert re.findall(r'(?:src|href)="(?!data:|#)', text) == []


def test_grid__numbers_stand_right_and_words_left() -> None:
    table = pd.DataFrame(
        {
            "run": ["1", "2"],
            "AUROC": ["0.951 (0.933–0.967)", "undefined"],
            "difference": ["+0.067 (+0.043 to +0.094)", "−0.001"],
            "p": ["< 0.001", "0.5"],
            "share": ["1,006 (25 %)", ""],
            "age": ["18–39", "40–59"],
            "note": ["too few", "2 positives"],
            "why": ["x" * 60, ""],
        }
    )
    assert Grid(table).looks == ["word", "number", "number", "number", "number", "word", "word", "long"]
    assert '<td class="number">0.951' in shown(Grid(table))


def test_picture__from_disk_is_smaller_and_looks_alike(tmp_path: Path) -> None:
    figure = new_figure(3, 3)
    figure.add_subplot().plot([0, 1], [0, 1])
    figure.savefig(tmp_path / "figure.png")
    picture = Picture.read(tmp_path / "figure.png", "a line")
    assert len(picture.data) < 0.7 * (tmp_path / "figure.png").stat().st_size
    assert picture.address.startswith("data:image/png;base64,")
    assert Picture.read(tmp_path / "figure.png", "", photo=True).address.startswith("data:image/jpeg;base64,")
    with pytest.raises(OSError, match="nowhere"):
        Picture.read(tmp_path / "nowhere.png", "")


def test_picture__two_panels_are_wide_and_thumbnails_keep_their_size() -> None:
    assert Picture.of(new_figure(7.6, 3.4), "").is_wide
    assert not Picture.of(new_figure(4.2, 4.2), "").is_wide
    assert "panorama" in shown(Picture.of(new_figure(7.6, 3.4), "")).partition("<main>")[2]
    heat = np.zeros((40, 40), np.float32)
    pair = Picture(thumbnail(np.full((40, 40), 99, np.uint8), heat), "")
    assert pair.is_wide  # the image, and beside it its heat
    assert "panorama" not in shown(Pictures([pair], small=True)).partition("<main>")[2]
