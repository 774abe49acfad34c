"""The benchmark's page: figures as JSON, as Markdown tables, and as one HTML file that needs nothing else."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from pulmo.report.style import BLUE, GREY, ORANGE, SKY, VERMILLION

ROOM = 76.0  # per cent of a chart's width that the longest bar takes; its value stands to the right of it
TEXT = 16.0  # and what the value's text may take: an aim's line in there moves it
COLOURS = {"blue": BLUE, "sky": SKY, "grey": GREY, "vermillion": VERMILLION, "orange": ORANGE}


def write_page(results: Mapping[str, Any], folder: Path) -> Path:
    """Write `bench.json`, `bench.md` and `bench.html` into `folder`, made if need be; give the path of the last.

    `results` holds `machine`, plain facts, and `parts`; a part has `title`, `note`, `unit`, `better` ("higher" or
    "lower") and `rows`; a row `name`, `value`, `baseline`, `ratio` and `aim`. What was not measured is None or NaN, and
    null in the JSON; such a value is shown as failed.

    `ratio` says how many times better than the baseline a row is, so above 1 is better, also where lower values are.
    `aim` is of the ratio in parts where any row has one, else of the value; a part may say which by `"aim_of": "ratio"`
    or `"value"`. The rows whose name begins with pulmo are drawn stronger.

    Raises ValueError where `better` or `aim_of` is neither of its two words.
    """
    plain = _plain(results)
    parts = [_part(part) for part in plain["parts"]]
    aims = [{"part": part["title"], **row} for part in parts for row in part["rows"] if row["verdict"]]
    page = {
        "machine": plain.get("machine", {}),
        "parts": parts,
        "aims": aims,
        "met": sum(row["verdict"] == "met" for row in aims),
        "colour": COLOURS,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    (folder / "bench.md").write_text("\n".join(_markdown(page)))
    loader = FileSystemLoader(Path(__file__).parent)
    html = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    (folder / "bench.html").write_text(html.get_template("page.html.j2").render(page))
    return folder / "bench.html"


def number(value: float | None) -> str:
    """Write four significant digits at most, thousands set apart; "–" where there is no number."""
    if value is None:
        return "–"
    if abs(value) >= 999.95:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def _plain(value: Any) -> Any:
    """Copy what JSON can hold, with None in place of NaN and infinity, which it cannot."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _part(part: dict[str, Any]) -> dict[str, Any]:
    """Add to a part and its rows what is shown: numbers as text, verdicts, bars in per cent of the chart's width."""
    rows = [{"baseline": False, "ratio": None, "aim": None, **row} for row in part["rows"]]
    of_ratio = any(row["ratio"] is not None for row in rows)
    part = {"note": "", "unit": "", "better": "higher", "aim_of": "ratio" if of_ratio else "value", **part}
    for key, words in {"better": ("higher", "lower"), "aim_of": ("ratio", "value")}.items():
        if part[key] not in words:
            raise ValueError(f"{part['title']}: {key} is {part[key]!r}; expected {words[0]!r} or {words[1]!r}")
    for row in rows:
        row["aim_value"] = _aim_value(row, part)
    longest = max((abs(row[key]) for row in rows for key in ("value", "aim_value") if row[key] is not None), default=0)
    scale = ROOM / longest if longest else 0.0
    compared = of_ratio or any(row["baseline"] for row in rows)
    return {**part, "compared": compared, "rows": [_shown(row, part, scale) for row in rows]}


def _aim_value(row: dict[str, Any], part: dict[str, Any]) -> float | None:
    """Give the value at which the row's aim is reached, in the part's unit."""
    aim, value, ratio = row["aim"], row["value"], row["ratio"]
    if aim is None or part["aim_of"] == "value":
        return None if aim is None else float(aim)
    if not (aim and value and ratio):
        return None
    return float(value * aim / ratio if part["better"] == "higher" else value * ratio / aim)


def _shown(row: dict[str, Any], part: dict[str, Any], scale: float) -> dict[str, Any]:
    value, ratio, aim, line = row["value"], row["ratio"], row["aim"], row["aim_value"]
    times = part["aim_of"] == "ratio"
    ratio_text = "–" if ratio is None else f"{number(ratio)} ×"
    value_text = "failed" if value is None else number(value)
    bar = 0.0 if value is None else max(value, 0) * scale
    mark = None if line is None else max(line, 0) * scale
    return {
        "name": row["name"],
        "baseline": row["baseline"],
        "kind": "baseline" if row["baseline"] else "ours" if row["name"].lower().startswith("pulmo") else "other",
        "failed": value is None,
        "value": value_text,
        "ratio": "baseline" if row["baseline"] else ratio_text,
        "aim": "" if aim is None else f"{number(aim)} ×" if times else number(aim),
        "verdict": _verdict(row, part),
        "reached": ratio_text if times and value is not None else value_text,
        "bar": round(bar, 2),
        "line": None if mark is None else round(mark, 2),
        "label": round(bar if mark is None or not bar - 1 < mark < bar + TEXT else max(bar, mark), 2),
    }


def _verdict(row: dict[str, Any], part: dict[str, Any]) -> str:
    """Say "met" or "not met", and nothing where there is no aim; what failed has not met it."""
    if row["aim"] is None:
        return ""
    times = part["aim_of"] == "ratio"
    reached = row["ratio"] if times else row["value"]
    if reached is None or row["value"] is None:
        return "not met"
    more_is_better = times or part["better"] == "higher"
    return "met" if (reached >= row["aim"] if more_is_better else reached <= row["aim"]) else "not met"


def _markdown(page: dict[str, Any]) -> Iterator[str]:
    yield from ("# pulmo: benchmark", "")
    if page["aims"]:
        yield from (f"{page['met']} of {len(page['aims'])} aims met.", "")
    if page["machine"]:
        yield from ("| machine | |", "|---|---|")
        yield from (f"| {_cell(key)} | {_cell(value)} |" for key, value in page["machine"].items())
        yield ""
    for part in page["parts"]:
        yield from (f"## {part['title']}", "")
        if part["note"]:
            yield from (part["note"], "")
        compared = "times better than baseline" if part["compared"] else ""
        yield f"| | {_cell(part['unit'])} ({part['better']} is better) | {compared} | aim | |"
        yield "|---|---:|---:|---:|---|"
        for row in part["rows"]:
            cells = (row["name"], row["value"], row["ratio"] if compared else "", row["aim"], row["verdict"])
            yield "| " + " | ".join(map(_cell, cells)) + " |"
        yield ""


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
