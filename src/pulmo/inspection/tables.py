"""What a data set holds, as tables of text: for the screen and for the page."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pulmo.data.splits import SPLITS
from pulmo.inspection.contents import Contents
from pulmo.inspection.duplicates import by_kind
from pulmo.sheets.ages import NAMES, age_bands

UNKNOWN, SAYS_NOTHING = "unknown", ("", "nan", "none", "unknown")


def classes(found: Contents) -> pd.DataFrame:
    """Images, with their patients, of each class in each split, and how large a share is not normal."""
    rows = []
    for split in [*SPLITS, "all"]:
        part = found.table if split == "all" else found.table[found.table["split"] == split]
        row = {"split": split, "images": f"{len(part):,}", "patients": f"{part['patient_id'].nunique():,}"}
        for label, name in enumerate(found.class_names):
            of_class = part[part["label"] == label]
            row[name] = f"{len(of_class):,} ({of_class['patient_id'].nunique():,})"
        rows.append(row | {ill(found): _share((part["label"] > 0).sum(), len(part))})
    return pd.DataFrame(rows)


def ill(found: Contents) -> str:
    """Heading of the share of images that are not of the first class, the normal one."""
    names = found.class_names
    return f"{names[1]}, share" if len(names) == 2 else f"not {names[0]}, share"


def groups(found: Contents) -> dict[str, pd.DataFrame]:
    """By sex, age and view, as far as the data set knows: images of each split and the share that is not normal."""
    table = found.table
    columns = {name: table[name].astype(str) for name in ("sex", "view") if name in table}
    columns = {name: values.where(~values.str.lower().isin(SAYS_NOTHING), UNKNOWN) for name, values in columns.items()}
    if "age" in table:
        columns["age"] = age_bands(table["age"], UNKNOWN)
    return {name: _by(table, values, ill(found)) for name, values in columns.items() if (values != UNKNOWN).any()}


def _by(table: pd.DataFrame, values: pd.Series, share: str) -> pd.DataFrame:
    names = sorted(values.unique(), key=lambda name: (name == UNKNOWN, NAMES.index(name) if name in NAMES else 9, name))
    rows = []
    for name in names:
        part = table[values == name]
        row = {"": name, "images": f"{len(part):,}", "patients": f"{part['patient_id'].nunique():,}"}
        row |= {split: f"{(part['split'] == split).sum():,}" for split in SPLITS}
        rows.append(row | {share: _share((part["label"] > 0).sum(), len(part))})
    return pd.DataFrame(rows)


def boxes(found: Contents) -> pd.DataFrame:
    """Images of each split by their number of boxes; empty where the data set has none."""
    number = found.table["boxes"].map(len)
    if not number.any():
        return pd.DataFrame()
    most = min(int(number.max()), 4)
    columns = {str(count): number == count for count in range(most)}
    columns[f"{most} or more" if number.max() > most else str(most)] = number >= most
    rows = []
    for split in [*SPLITS, "all"]:
        inside = (found.table["split"] == split) | (split == "all")
        row = {"split": split, "boxes": f"{number[inside].sum():,}"}
        rows.append(row | {f"{name} boxes": f"{(chosen & inside).sum():,}" for name, chosen in columns.items()})
    return pd.DataFrame(rows).rename(columns={"1 boxes": "1 box"})


def box_frame(found: Contents) -> pd.DataFrame:
    """One row a box: `width`, `height` in pixels of the file, `share` of the image (NaN where its size is not known),
    `x1, y1, x2, y2` as shares of its sides, and whether the box is `outside` of the image or empty.
    """
    rows = [
        (*box, width, height)
        for drawn, width, height in zip(found.table["boxes"], found.table["width"], found.table["height"], strict=True)
        for box in drawn
    ]
    frame = pd.DataFrame(rows, columns=["x1", "y1", "x2", "y2", "file_width", "file_height"], dtype=float)
    size = frame[["file_width", "file_height"]].where(frame["file_width"] > 0)
    frame["width"], frame["height"] = frame["x2"] - frame["x1"], frame["y2"] - frame["y1"]
    frame["outside"] = (frame[["width", "height"]] <= 0).any(axis=1) | (frame[["x1", "y1"]] < 0).any(axis=1)
    frame["outside"] |= (frame["x2"] > size["file_width"]) | (frame["y2"] > size["file_height"])
    frame["share"] = frame["width"] * frame["height"] / (size["file_width"] * size["file_height"])
    for name, side in (("x1", "file_width"), ("x2", "file_width"), ("y1", "file_height"), ("y2", "file_height")):
        frame[name] = frame[name] / size[side]
    return frame.drop(columns=["file_width", "file_height"])


def box_sizes(frame: pd.DataFrame) -> pd.DataFrame:
    """Smallest, quartiles and largest of the boxes' sides and areas."""
    rows = []
    for name, values, form in (
        ("width in pixels", frame["width"], "{:,.0f}"),
        ("height in pixels", frame["height"], "{:,.0f}"),
        ("share of the image", frame["share"] * 100, "{:.1f} %"),
    ):
        if values.notna().any():
            rows.append({"": name} | _quantiles(values, form))
    return pd.DataFrame(rows)


def files(found: Contents) -> pd.DataFrame:
    """Files by what their headers say; empty where none was read."""
    read = found.table[(found.table["width"] > 0) & (found.table["error"] == "")]
    if read.empty:
        return pd.DataFrame()
    rows = []
    for (name, bits, kind), part in read.groupby(["format", "bits", "kind"], sort=False):
        row = {"format": name, "bits": str(bits), "greys or colours": kind, "files": f"{len(part):,}"}
        rows.append((len(part), row | {ill(found): _share((part["label"] > 0).sum(), len(part))}))
    ordered = [row for _, row in sorted(rows, key=lambda entry: -entry[0])]
    return pd.DataFrame(ordered)


def masks(found: Contents) -> pd.DataFrame:
    """Images of each split with and without a lung mask; empty where there is no mask."""
    masked = found.table["mask"] != ""
    if not masked.any():
        return pd.DataFrame()
    rows = []
    for split in [*SPLITS, "all"]:
        inside = (found.table["split"] == split) | (split == "all")
        with_mask, without = f"{(masked & inside).sum():,}", f"{(~masked & inside).sum():,}"
        rows.append({"split": split, "with a lung mask": with_mask, "without": without})
    return pd.DataFrame(rows)


def sizes(found: Contents) -> pd.DataFrame:
    """Smallest, quartiles and largest of the images' sides, and their most frequent size."""
    read = found.table[(found.table["width"] > 0) & (found.table["error"] == "")]
    if read.empty:
        return pd.DataFrame()
    pairs = read["width"].astype(str) + " × " + read["height"].astype(str)
    often = pairs.value_counts()
    rows = [{"": f"{side} in pixels"} | _quantiles(read[side].astype(float), "{:,.0f}") for side in ("width", "height")]
    frame = pd.DataFrame(rows)
    return frame.assign(**{"most frequent": [often.index[0], f"{often.iloc[0]:,} files"]})


def causes(found: Contents) -> pd.DataFrame:
    """Why files give no picture: how many of each cause, and one of them."""
    failed = found.unreadable
    # Numbers differ from file to file: "cut short: the file ends after 1234 bytes" is one cause.
    cause = failed["cause"].str.replace(r"\d[\d×.,]*", "N", regex=True)
    rows = [
        {"cause": part["cause"].iloc[0], "files": f"{len(part):,}", "such as": part["path"].iloc[0]}
        for _, part in sorted(failed.groupby(cause), key=lambda entry: -len(entry[1]))
    ]
    return pd.DataFrame(rows)


def copies(found: Contents) -> pd.DataFrame:
    """Films of several images, by how far these differ; empty where there are none, or none was read."""
    if found.duplicates is None or found.duplicates.empty:
        return pd.DataFrame()
    names = {
        "films": "films",
        "images": "images",
        "across_splits": "across splits",
        "across_patients": "of several patients",
        "labels": "of several classes",
    }
    counted = by_kind(found.duplicates).rename(columns=names)
    return counted.map("{:,}".format).reset_index().rename(columns={"kind": ""})


def _quantiles(values: pd.Series, form: str) -> dict[str, str]:
    names = ("smallest", "25 % below", "50 % below", "75 % below", "largest")
    return dict(zip(names, map(form.format, values.quantile([0, 0.25, 0.5, 0.75, 1])), strict=True))


def _share(part: float, whole: int) -> str:
    return f"{part / whole:.1%}".replace("%", " %") if whole else "–"


def majority(found: Contents, split: str = "test") -> tuple[str, float]:
    """The most frequent class of a split, and the accuracy of one who always says it."""
    labels: Sequence[int] = found.table.loc[found.table["split"] == split, "label"].tolist()
    counts = np.bincount(labels, minlength=len(found.class_names))
    return found.class_names[int(counts.argmax())], float(counts.max() / max(1, counts.sum()))
