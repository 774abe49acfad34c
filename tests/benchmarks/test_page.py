"""The benchmark's page says what was measured, in all three files."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from benchmarks.page import number, write_page


def row(name: str, value: float, ratio: float | None = None, aim: float | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "baseline": False, "ratio": ratio, "aim": aim}


def part(title: str, rows: list[dict[str, Any]], better: str = "higher", **other: Any) -> dict[str, Any]:
    return {"title": title, "note": f"note of {title}", "unit": "images / s", "better": better, "rows": rows, **other}


def baseline(name: str, value: float) -> dict[str, Any]:
    return {**row(name, value, 1.0), "baseline": True}


RESULTS = {
    "machine": {"processor": "two cores", "torch": "2.14.1"},
    "parts": [
        part(
            "Kermany",
            [
                baseline("ImageFolder", 812.34),
                row("MONAI | cached", 548.5, 0.675),
                row("broke", math.nan),
                row("pulmo", 12345.6, 15.2, 10.0),
                row("pulmo, slow", 2436.9, 3.0, 10.0),
            ],
        ),
        part(
            "Time", [baseline("pydicom", 8.0), row("pulmo", 2.0, 4.0, 5.0), row("pulmo, fast", 1.0, 8.0, 5.0)], "lower"
        ),
        part("Accuracy", [row("pulmo", 0.9279, aim=0.95), row("pulmo & lungs <crop>", 0.9551, aim=0.95)]),
        part("Memory", [row("pulmo", 260.0, aim=300.0), row("pulmo, large", 310.0, aim=300.0)], "lower"),
    ],
}


class Rows(HTMLParser):
    """The text of each cell of each table, and where the bars and the aims' lines end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.cells: list[list[str]] = []
        self.bars: list[float] = []
        self.aims: list[float] = []
        self._open = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "tr":
            self.cells.append([])
        self._open = tag == "td" or (self._open and tag in ("svg", "rect", "line", "text"))
        if tag == "td":
            self.cells[-1].append("")
        if tag == "rect" and given["width"].endswith("%"):
            self.bars.append(float(given["width"].rstrip("%")))
        if tag == "line" and given["class"] == "aim" and given["x1"].endswith("%"):
            self.aims.append(float(given["x1"].rstrip("%")))

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1][-1] += data.strip()

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "td"


def html_rows(folder: Path) -> list[list[str]]:
    return [cells for cells in Rows((folder / "bench.html").read_text()).cells if cells]


def markdown_rows(folder: Path) -> list[list[str]]:
    lines = [line for line in (folder / "bench.md").read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.replace("\\|", "¦").strip("|").split("|")] for line in lines]
    return [[cell.replace("¦", "|") for cell in row] for row in cells if len(row) == 5 and row[0]]


SHOWN = [
    ["ImageFolder", "812.3", "baseline", "", ""],
    ["MONAI | cached", "548.5", "0.675 ×", "", ""],
    ["broke", "failed", "–", "", ""],
    ["pulmo", "12,346", "15.2 ×", "10 ×", "met"],
    ["pulmo, slow", "2,437", "3 ×", "10 ×", "not met"],
    ["pydicom", "8", "baseline", "", ""],
    ["pulmo", "2", "4 ×", "5 ×", "not met"],
    ["pulmo, fast", "1", "8 ×", "5 ×", "met"],
    ["pulmo", "0.9279", "", "0.95", "not met"],  # no baseline: nothing is compared
    ["pulmo & lungs <crop>", "0.9551", "", "0.95", "met"],
    ["pulmo", "260", "", "300", "met"],
    ["pulmo, large", "310", "", "300", "not met"],
]


@pytest.mark.parametrize("read", [html_rows, markdown_rows])
def test_page__each_row_with_value_ratio_aim_and_verdict(tmp_path: Path, read: Any) -> None:
    write_page(RESULTS, tmp_path)
    assert read(tmp_path) == SHOWN


def test_page__titles_notes_machine_and_count_of_aims(tmp_path: Path) -> None:
    assert write_page(RESULTS, tmp_path / "new" / "folder") == tmp_path / "new" / "folder" / "bench.html"
    for name in ("bench.html", "bench.md"):
        text = (tmp_path / "new" / "folder" / name).read_text()
        assert all(word in text for word in ("Kermany", "note of Memory", "processor", "two cores", "4 of 8 aims met"))


def test_html__asks_the_network_for_nothing(tmp_path: Path) -> None:
    html = write_page(RESULTS, tmp_path).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not [word for word in ("http://", "https://", "src=", "<script", "@import", "<link") if word in html]


def test_html__bars_are_proportional_and_aims_stand_at_the_value_they_ask_for(tmp_path: Path) -> None:
    drawn = Rows(write_page(RESULTS, tmp_path).read_text())
    kermany, time, accuracy = drawn.bars[:4], drawn.bars[4:7], drawn.bars[7:9]  # what failed has none
    assert [bar / kermany[0] for bar in kermany] == pytest.approx([1, 0.675, 15.2, 3.0], rel=2e-3)
    assert drawn.aims[:2] == pytest.approx([10 * kermany[0]] * 2, rel=2e-3)  # ten times the baseline
    assert drawn.aims[2:4] == pytest.approx([time[0] / 5] * 2, rel=2e-3)  # a fifth of the baseline's time
    assert drawn.aims[4] / accuracy[0] == pytest.approx(0.95 / 0.9279, rel=2e-3)


def test_json__read_back_and_written_again_is_the_same_page(tmp_path: Path) -> None:
    first = write_page(RESULTS, tmp_path / "first").read_text()
    results = json.loads((tmp_path / "first" / "bench.json").read_text())
    assert results["parts"][0]["rows"][2]["value"] is None  # NaN is no JSON
    assert results["parts"][0]["rows"][3] == RESULTS["parts"][0]["rows"][3]  # type: ignore[index]
    assert write_page(results, tmp_path / "second").read_text() == first


def test_page__failed_with_an_aim_is_not_met(tmp_path: Path) -> None:
    write_page({"machine": {}, "parts": [part("Broken", [row("pulmo", math.nan, None, 3.0)])]}, tmp_path)
    assert html_rows(tmp_path) == markdown_rows(tmp_path) == [["pulmo", "failed", "", "3", "not met"]]


def test_page__a_part_may_say_what_its_aims_are_of(tmp_path: Path) -> None:
    rows = [baseline("old", 10.0), row("pulmo", 40.0, 4.0, 50.0)]
    write_page({"machine": {}, "parts": [part("Speed", rows, aim_of="value")]}, tmp_path)
    assert html_rows(tmp_path)[1] == ["pulmo", "40", "4 ×", "50", "not met"]


@pytest.mark.parametrize("wrong", [{"better": "bigger"}, {"aim_of": "median"}])
def test_page__refuses_other_words(tmp_path: Path, wrong: dict[str, str]) -> None:
    one = {**part("Speed", [row("pulmo", 1.0)]), **wrong}
    with pytest.raises(ValueError, match=rf"Speed: .*{next(iter(wrong.values()))}"):
        write_page({"machine": {}, "parts": [one]}, tmp_path)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.00005, "5e-05"),
        (0.92786, "0.9279"),
        (7.5349, "7.535"),
        (999.97, "1,000"),
        (1e6, "1,000,000"),
    ],
)
def test_number__four_digits_and_thousands_apart(value: float | None, text: str) -> None:
    assert number(value) == text
