"""On what a run was trained and tested, and whether anything leaked from one split into another."""

from collections import Counter

import pandas as pd

from pulmo.finished import FinishedRun
from pulmo.report.html import Block, Facts, Grid, Text

SPLITS = {"train": "training", "val": "validation", "test": "test"}
MOST = 8  # rows shown of a list that may be long


def data_name(run: FinishedRun) -> str:
    """The data set as people call it."""
    name = run.data_name
    return {"rsna": "RSNA Pneumonia Detection", "kermany": "Kermany (children)", "padchest": "PadChest"}.get(name, name)


def across(split: pd.DataFrame) -> pd.DataFrame:
    """Patients who stand in more than one split: `patient_id`, `splits`; patients without a name are none."""
    known = split[split["patient_id"].notna() & (split["patient_id"] != "")]
    splits = known.groupby("patient_id")["split"].agg(lambda names: ", ".join(sorted(set(names))))
    return splits[splits.str.contains(",")].rename("splits").reset_index()


def on_what(run: FinishedRun, class_names: list[str]) -> list[Block]:
    """The split with its class balance, the leak check, and what was left out."""
    split = run.split
    rows = []
    for name, title in SPLITS.items():
        part = split[split["split"] == name]
        counts = {of: int((part["label"] == label).sum()) for label, of in enumerate(class_names)}
        row = {"Split": title, "Patients": f"{part['patient_id'].nunique():,}", "Images": f"{len(part):,}"}
        row |= {
            of: f"{count:,}" + (f" ({100 * count / len(part):.0f} %)" if len(part) else "")
            for of, count in counts.items()
        }
        rows.append(row)
    return [*_facts(run), Grid(pd.DataFrame(rows)), *leaks(run), *_left_out(run)]


def _facts(run: FinishedRun) -> list[Block]:
    data = run.config.get("data")
    if not data:
        return []
    folds = f"fold {data.get('fold')} of {data.get('folds')}, by patient" if data.get("folds") else None
    how = {"auto": "by patient", "official": "as the data set gives it"}.get(
        str(data.get("split")), str(data.get("split"))
    )
    return [Facts({"Data set": f"{data_name(run)}, {data.get('root')}", "Split": folds or how})]


def leaks(run: FinishedRun) -> list[Block]:
    """Patients in several splits, and images that are the same under two names."""
    split = run.split
    crossing = across(split)
    unknown = int((split["patient_id"].isna() | (split["patient_id"] == "")).sum())
    blocks: list[Block] = []
    if len(crossing):
        blocks += [
            Text(
                f"LEAK: {len(crossing):,} patients stand in more than one split. The test figures are too good.",
                "warning",
            ),
            Grid(crossing.head(MOST), caption="Patients across splits" + _first(crossing)),
        ]
    path = run.folder / "identical_across_splits.csv"
    if path.is_file():
        same = pd.read_csv(path, dtype=str)
        blocks += [
            Text(f"{len(same):,} images stand in two splits pixel by pixel, under two patients' names.", "warning"),
            Grid(same.head(MOST).fillna(""), caption="Identical images across splits" + _first(same)),
        ]
    if not blocks:
        hashed = run.metrics.get("data/identical_across_splits") if run.has("metrics.json") else None
        pixels = "no image stands in two splits" if hashed == 0 else "identical images were not looked for"
        blocks.append(Text(f"Leak check passed: no patient stands in two splits; {pixels}.", "good"))
    if unknown:
        blocks.append(Text(f"{unknown:,} images have no patient's name; each was taken for a patient of its own."))
    return blocks


def _left_out(run: FinishedRun) -> list[Block]:
    path = run.folder / "skipped.csv"
    if not path.is_file():
        return []
    skipped = pd.read_csv(path, dtype=str)
    causes = Counter(skipped["cause"].fillna("unknown") if "cause" in skipped else ["unknown"] * len(skipped))
    told = "; ".join(f"{count:,} × {cause}" for cause, count in causes.most_common(MOST))
    return [Text(f"{len(skipped):,} images were left out, see skipped.csv: {told}.")]


def _first(table: pd.DataFrame) -> str:
    return f", the first {MOST} of {len(table):,}" if len(table) > MOST else ""
