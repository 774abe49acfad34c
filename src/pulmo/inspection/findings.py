"""What a user must know before training on a data set: leaks, and what else is wrong or worth a word."""

from pulmo.data.splits import SPLITS
from pulmo.environment import holds_phantoms
from pulmo.inspection import tables
from pulmo.inspection.contents import Contents
from pulmo.inspection.duplicates import by_kind
from pulmo.sheets.ages import OLDEST, years

FEWEST = 100  # images from which a shortcut can be told
SHORTCUT = 0.05  # of the images, whose class is told beside those of the most frequent class
DRIFT = 1.25  # by which a rate may differ from the natural one without a word


def leaks(found: Contents) -> list[str]:
    """Each way in which training would see what it is tested on; empty where there is none that was looked for."""
    said = []
    if found.crossing:
        names = f"{', '.join(map(str, found.crossing[:3]))}{', …' if len(found.crossing) > 3 else ''}"
        said.append(f"{_many(len(found.crossing), 'patient')} in more than one split ({names})")
    if found.duplicates is not None:
        across = by_kind(found.duplicates)["across_splits"]
        if across.sum():
            kinds = ", ".join(f"{number:,} {kind}" for kind, number in across.items() if number)
            said.append(f"{_many(int(across.sum()), 'film')} in more than one split ({kinds})")
    return said


def verdict(found: Contents) -> str:
    """One line: the leaks, or what was looked for in vain."""
    told = leaks(found)
    if told:
        return f"leak: {'; '.join(told)}"
    unsure = f", as far as patients are known (of {found.nameless:,} images they are not)" if found.nameless else ""
    if found.duplicates is None:
        return f"no leak by patient{unsure}; duplicates were not looked for, since no file was read"
    if found.looked_at < len(found.table):
        part = f"{found.looked_at:,} of {len(found.table):,} images; the others have no file or cannot be read"
        return f"no leak by patient{unsure}, none by duplicates of {part}"
    return f"no leak by patient{unsure}, none by duplicates"


def concerns(found: Contents) -> list[str]:
    """What is no leak, and still wrong, unknown or misleading; one line each."""
    drawn = ["drawn phantoms, not patients"] if holds_phantoms(found.data.root) else []
    return [*drawn, *found.notes, *_of_lists(found), *_of_files(found), *_shortcuts(found)]


def remark(found: Contents) -> str:
    """What any accuracy on the test split has to be measured against."""
    name, accuracy = tables.majority(found)
    return f"saying {name} of every test image would be right in {accuracy:.1%}".replace("%", " %")


def _of_lists(found: Contents) -> list[str]:
    table, said = found.table, []
    if found.refusal and not found.crossing:  # a leak is told by itself
        said.append(f"training would refuse this split: {found.refusal}")
    if found.absent:
        said.append(f"{found.absent:,} of {len(table):,} listed images have no file below {found.data.root}")
    without, preprocess = int((table["mask"] == "").sum()), found.data.preprocess
    if without and preprocess.needs_mask and preprocess.mask_run is None:
        said.append(
            f"{without:,} of {len(table):,} images have no lung mask, and training would refuse them: "
            + ("preprocess.missing=skip leaves them out" if without < len(table) else _where_masks_are(found))
            + ", preprocess.mask=RUN has a run draw all"
        )
    if found.nameless and not found.notes:
        said.append(
            f"the patient of {found.nameless:,} images is not known: each counts as a patient, so two images of one "
            "patient may cross splits"
        )
    counts = [int((table["label"] == label).sum()) for label in range(len(found.class_names))]
    said += [f"no image of class {name}" for name, count in zip(found.class_names, counts, strict=True) if not count]
    natural, given = found.data.natural_rate, counts[-1] / max(1, len(table))
    if natural is not None and not 1 / DRIFT < given / natural < DRIFT:
        shares = f"{given:.1%} here, {natural:.1%} in the whole data set".replace("%", " %")
        said.append(f"{found.class_names[-1]}: {shares}; precision and NPV measured here do not hold there")
    of_normal = int((table.loc[table["label"] == 0, "boxes"].map(len) > 0).sum())
    if of_normal:
        said.append(f"{_many(of_normal, 'image')} of class {found.class_names[0]} with boxes")
    return said


def _where_masks_are(found: Contents) -> str:
    return f"{found.data.masks} has none called so" if found.data.masks else "give data.masks=FOLDER"


def _of_files(found: Contents) -> list[str]:
    said = []
    failed = len(found.unreadable)
    if failed:
        said.append(f"{_many(failed, 'file')} cannot be read: data.on_error=skip leaves them out")
    outside = int(tables.box_frame(found)["outside"].sum()) if found.table["boxes"].map(len).any() else 0
    if outside:
        said.append(f"{_many(outside, 'box', 'boxes')} reaching outside of the image, or empty")
    if "age" in found.table:
        given = ~found.table["age"].astype(str).str.lower().isin(tables.SAYS_NOTHING)
        odd = int((given & years(found.table["age"]).isna()).sum())
        if odd:
            said.append(f"{_many(odd, 'image')} with an age that is none, or above {OLDEST} years")
    if found.duplicates is not None:
        rows = by_kind(found.duplicates)
        if rows["labels"].sum():
            said.append(f"{_many(int(rows['labels'].sum()), 'film')} with images in two classes: one may be wrong")
        if rows["across_patients"].sum():
            said.append(f"{_many(int(rows['across_patients'].sum()), 'film')} filed under two patients or more")
    return said


def _shortcuts(found: Contents) -> list[str]:
    """What tells the class beside the film: a network learns it before it learns to read."""
    table = found.table
    read = table[(table["width"] > 0) & (table["error"] == "")]
    said = []
    for name, part, values in (
        ("the file's format", read, read["format"] + " " + read["bits"].astype(str) + " bit " + read["kind"]),
        ("the file's size", read, read["width"].astype(str) + " × " + read["height"].astype(str)),
        ("the view", table, table["view"]),
    ):
        if len(part) < FEWEST or values.nunique() > len(part) / 20:  # a rule takes several images of each value
            continue
        right = int(part.groupby(values)["label"].agg(lambda labels: labels.value_counts().iloc[0]).sum())
        plain = int(part["label"].value_counts().iloc[0])
        if right - plain > SHORTCUT * len(part):
            told = f"{right / len(part):.1%} rather than {plain / len(part):.1%}".replace("%", " %")
            said.append(f"{name} alone tells the class of {told} of the images: a shortcut to be learnt")
    return said


def counts(found: Contents) -> dict[str, int]:
    """Figures of summary.json: images and patients by split and class, and what was found."""
    figures = {f"listed/{name}": number for name, number in found.tally.items()}
    for split in [*SPLITS, "all"]:
        part = found.table if split == "all" else found.table[found.table["split"] == split]
        figures[f"{split}/images"], figures[f"{split}/patients"] = len(part), int(part["patient_id"].nunique())
        for label, name in enumerate(found.class_names):
            figures[f"{split}/images/{name}"] = int((part["label"] == label).sum())
    figures["boxes"] = int(found.table["boxes"].map(len).sum())
    figures["absent"] = found.absent
    if found.duplicates is not None:  # else it is not known
        figures["unreadable"] = len(found.unreadable)
    figures["patients_across_splits"] = len(found.crossing)
    if found.duplicates is not None:
        for kind, row in by_kind(found.duplicates).iterrows():
            figures |= {f"{kind}/{name}": int(number) for name, number in row.items()}
    return figures


def _many(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
