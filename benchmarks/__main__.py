"""`python -m benchmarks`: measure, print ratios, write the page."""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.page import write_page
from benchmarks.parts import GPU, NETWORKS, PARTS, Part


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all, if none is named")
    parser.add_argument("--kermany", type=Path, default=Path("data/kermany"), help="a folder of data=kermany")
    parser.add_argument("--rsna", type=Path, default=Path("data/rsna"), help="a folder of data=rsna")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"), help="where the page goes")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="for the parts that train")
    parser.add_argument("--python", help="an interpreter that has monai and torchxrayvision too")
    asked = parser.parse_args(arguments)
    earlier = asked.out / "bench.json"
    parts: dict[str, Part] = {}
    if earlier.exists():
        parts = {part["title"]: part for part in json.loads(earlier.read_text())["parts"]}
    for name in asked.parts or PARTS:
        for part in PARTS[name](asked):
            parts[part["title"]] = part
            _print(part)
            page = write_page({"machine": _machine(), "parts": list(parts.values())}, asked.out)
    print(f"written: {page}")


def _machine() -> dict[str, Any]:
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "GPU": torch.cuda.get_device_name() if GPU else "none",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _print(part: Part) -> None:
    table = Table(title=part["title"])
    for column in ("", part["unit"], "ratio", "aim"):
        table.add_column(column)
    for row in part["rows"]:
        cells = [f"{row[key]:.3g}" if row[key] else "" for key in ("value", "ratio", "aim")]
        table.add_row(row["name"], *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
