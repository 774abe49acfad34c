"""On what a run was trained and tested, and whether anything leaked from one split into another."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

import pandas as pd

from pulmo.finished import FinishedRun
from pulmo.report.html import Block, Facts, Grid, Text
from pulmo.run_parts import table_of

SPLITS = {"train": "training", "val": "validation", "test": "test"}
HOW = {
    "auto": "test and validation images that the data set names as such stay so; the rest is cut by patient",
    "official": "as the data set gives it",
}
MOST = 8  # rows shown of a list that may be long


def data_name(run: FinishedRun) -> str:
    """The data set as people call it."""
    name = run.data_name
    return {"rsna": "RSNA Pneumonia Detection", "kermany": "Kermany (children)", "padchest": "PadChest"}.get(name, name)


def nameless(split: pd.DataFrame) -> "pd.Series[bool]":
    """Images whose patient nobody knows: without a name, or with that of the image or its file in place of one."""
    patient = split["patient_id"].fillna("")
    files = split["path"].fillna("").map(lambda path: PurePath(path).stem) if "path" in split else split["image_id"]
    return (patient == "") | (patient == split["image_id"]) | (patient == files)


def across(split: pd.DataFrame) -> pd.DataFrame:
    """Patients who stand in more than one split: `patient_id`, `splits`; patients without a name are none."""
    known = split[split["patient_id"].notna() & (split["patient_id"] != "")]
    splits = known.groupby("patient_id")["split"].agg(lambda names: ", ".join(sorted(set(names))))
    return splits[splits.str.contains(",")].rename("splits").reset_index()


def splits(run: FinishedRun, class_names: Sequence[str]) -> list[Block]:
    """Patients and images of each split, by the data's own classes."""
    split = run.split
    rows = []
    for name, title in SPLITS.items():
        part = split[split["split"] == name]
        counts = {of: int((part["label"] == label).sum()) for label, of in enumerate(class_names)}
        named = part.loc[~nameless(part), "patient_id"].nunique()
        alone = int(nameless(part).sum())  # each taken for a patient
        people = "unknown" if alone and not named else f"{named + alone:,}"
        row = {"Split": title, "Patients": people, "Images": f"{len(part):,}"}
        row |= {
            of: f"{count:,}" + (f" ({100 * count / len(part):.0f} %)" if len(part) else "")
            for of, count in counts.items()
        }
        rows.append(row)
    return [Grid(pd.DataFrame(rows))]


def facts(run: FinishedRun) -> list[Block]:
    """The data set, where it lay, and how it was split."""
    data = run.config.get("data")
    if not data:
        return []
    folds = f"fold {data.get('fold')} of {data.get('folds')}, by patient" if data.get("folds") else None
    how = HOW.get(str(data.get("split")), str(data.get("split")))
    return [Facts({"Data set": f"{data_name(run)}, {data.get('root')}", "Split": folds or how})]


def leaks(run: FinishedRun) -> list[Block]:
    """Patients in several splits, and images that are the same under two names."""
    split = run.split
    crossing = across(split)
    unknown = int(nameless(split).sum())
    blocks: list[Block] = []
    if len(crossing):
        blocks += [
            Text(
                f"LEAK: {len(crossing):,} patients stand in more than one split. The test figures are too good.",
                "warning",
            ),
            Grid(crossing.head(MOST), caption="Patients across splits" + _first(crossing)),
        ]
    same = identical(run)
    if same is not None and len(same):
        blocks += [
            Text(f"{len(same):,} images stand in two splits pixel by pixel, under two patients' names.", "warning"),
        ]
        if len(same.columns):  # else metrics.json has their number, and their names are gone
            blocks.append(Grid(same.head(MOST), caption="Identical images across splits" + _first(same)))
    if not blocks:
        named = "" if not unknown else " whose name is known"
        people = f"no patient{named} stands in two splits"
        pixels = "no image stands in two splits pixel by pixel"
        if same is None:
            pixels = "identical images were not looked for"
        if unknown == len(split):
            blocks.append(Text(f"{pixels[0].upper()}{pixels[1:]}."))
        elif unknown or same is None:
            blocks.append(Text(f"{people[0].upper()}{people[1:]}; {pixels}."))
        else:
            blocks.append(Text(f"Leak check passed: {people}; {pixels}.", "good"))
    if unknown:
        which = f"{unknown:,} images have" if unknown < len(split) else "The images have"
        blocks.append(
            Text(
                f"{which} no patient's name, or the image's own for it: each was taken for a patient of its own, "
                "so nobody knows whether a patient stands in two splits.",
                "warning",
            )
        )
    return blocks


def identical(run: FinishedRun) -> pd.DataFrame | None:
    """Images that stand in two splits pixel by pixel; None where the run did not look for them."""
    path = run.folder / "identical_across_splits.csv"
    if path.is_file():
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    counted = run.metrics.get("data/identical_across_splits") if run.has("metrics.json") else None
    return None if counted is None else pd.DataFrame(index=range(int(counted)))


def left_out(run: FinishedRun) -> list[Block]:
    """How many images were not used, and why."""
    path = run.folder / "skipped.csv"
    if not path.is_file():
        return []
    skipped = table_of(path)
    causes = Counter(skipped["cause"].fillna("unknown") if "cause" in skipped else ["unknown"] * len(skipped))
    told = "; ".join(f"{count:,} × {cause}" for cause, count in causes.most_common(MOST))
    return [Text(f"{len(skipped):,} images were left out, see skipped.csv: {told}.")]


def _first(table: pd.DataFrame) -> str:
    return f", the first {MOST} of {len(table):,}" if len(table) > MOST else ""
