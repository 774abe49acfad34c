"""Phantoms as somebody might keep images of their own: class folders, or class folders with a csv."""

from pathlib import Path

import pandas as pd

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.drawing import draw
from pulmo.phantom.findings import Finding
from pulmo.phantom.writing import fresh, generator, grey8, in_parallel, mark, write_mask, write_png

_FINDINGS: tuple[Finding, ...] = ("normal", "bacteria", "normal", "virus")


def write_folder(root: Path, *, images: int = 40, seed: int = 0, size: int = 256, table: bool = False) -> None:
    """Write `images` PNGs into normal/ and pneumonia/, half each, two of every patient: p003_1.png, p003_2.png.

    With `table`, also masks/ and labels.csv: path, label (the class's name), patient, split, mask; a fifth of the
    patients each in val and test. Raises DataError if `root` holds something already.
    """
    fresh(root, "normal", "pneumonia", *(["masks"] if table else []))

    def write(number: int) -> tuple[str, str, str, str, str]:
        patient = number // 2
        finding = _FINDINGS[patient % 4]
        label = "normal" if finding == "normal" else "pneumonia"
        phantom = draw(generator(seed, 1, number), Anatomy.sample(generator(seed, 0, patient)), finding, size=size)
        name = f"p{patient:03d}_{number % 2 + 1}.png"
        write_png(root / label / name, grey8(phantom.image))
        if table:
            write_mask(root / "masks" / name, phantom.lungs)
        # By pairs of patients, so that each split has both classes.
        split = ("train", "train", "train", "val", "test")[patient // 2 % 5]
        return f"{label}/{name}", label, f"p{patient:03d}", split, f"masks/{name}"

    rows = in_parallel(write, range(images))
    if table:
        frame = pd.DataFrame(rows, columns=["path", "label", "patient", "split", "mask"])
        frame.to_csv(root / "labels.csv", index=False)
    mark(root, seed)
