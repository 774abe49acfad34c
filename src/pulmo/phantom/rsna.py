"""Phantoms in the layout of the RSNA Pneumonia Detection Challenge 2018, its quirks included.

DICOM without an age unit, `patientId` for what is an image, one csv row a box. Source of the layout: the
challenge's files on Kaggle (Shih et al. 2019, 10.1148/ryai.2019180041).
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    generate_uid,
)

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.drawing import Phantom, draw
from pulmo.phantom.findings import Finding
from pulmo.phantom.writing import fresh, generator, grey8, in_parallel, jpeg, mark

CLASS_OF: dict[Finding, str] = {
    "normal": "Normal",
    "distractor": "No Lung Opacity / Not Normal",
    "bacteria": "Lung Opacity",
    "virus": "Lung Opacity",
}

Storage = Literal["jpeg", "jpeg inverted", "raw 12 bit"]

_FINDINGS: tuple[Finding, ...] = ("normal", "distractor", "bacteria", "virus")
_SHARES = (0.28, 0.32, 0.25, 0.15)


@dataclass(frozen=True)
class Exam:
    """One image of the challenge."""

    number: int
    name: str  # what the challenge calls patientId
    patient: int
    follow_up: int  # 0 for the patient's first image
    anatomy: Anatomy
    finding: Finding
    storage: Storage


def write_rsna(
    root: Path,
    *,
    images: int = 300,
    seed: int = 0,
    size: int = 512,
    unlabelled: int = 6,
    monochrome1: int = 4,
    uncompressed: int = 4,
) -> None:
    """Write `images` labelled and `unlabelled` further DICOM files, and the challenge's tables, into `root`.

    `monochrome1` of the labelled files are inverted, `uncompressed` hold 12 of 16 bits with rescale and window,
    at most a quarter of them each. Raises DataError if `root` holds something already.
    """
    train, test = root / "stage_2_train_images", root / "stage_2_test_images"
    fresh(root, train.name, test.name)
    exams = _exams(seed, images, unlabelled, min(monochrome1, images // 4), min(uncompressed, images // 4))

    def write(exam: Exam) -> NDArray[np.float32]:
        phantom = draw(generator(seed, 1, exam.number), exam.anatomy, exam.finding, size=size)
        folder = train if exam.number < images else test
        _dicom(phantom, exam, seed).save_as(folder / f"{exam.name}.dcm", enforce_file_format=True)
        return phantom.boxes

    boxes = in_parallel(write, exams)[:images]
    _write_tables(root, exams[:images], boxes)
    mark(root, seed)


def _exams(seed: int, images: int, unlabelled: int, monochrome1: int, uncompressed: int) -> list[Exam]:
    rng = generator(seed, 0)
    odd = rng.permutation(images)[: monochrome1 + uncompressed].tolist()
    storage: dict[int, Storage] = dict.fromkeys(odd[:monochrome1], "jpeg inverted")
    storage |= dict.fromkeys(odd[monochrome1:], "raw 12 bit")
    exams: list[Exam] = []
    patient = 0
    while len(exams) < images + unlabelled:
        anatomy = Anatomy.sample(rng)
        # The first patient of all has three images, so that even a small set has someone seen twice.
        seen = 3 if patient == 0 else int(rng.choice((1, 2, 3), p=(0.8, 0.14, 0.06)))
        finding = _FINDINGS[rng.choice(4, p=_SHARES)]
        left = images - len(exams) if len(exams) < images else images + unlabelled - len(exams)
        for follow_up in range(min(seen, left)):
            if follow_up and rng.random() < 0.4:
                finding = _FINDINGS[rng.choice(4, p=_SHARES)]
            number = len(exams)
            name = str(uuid.UUID(bytes=rng.bytes(16), version=4))
            kept = storage.get(number, "jpeg")
            exams.append(Exam(number, name, patient, follow_up, anatomy, finding, kept))
        patient += 1
    return exams


def _write_tables(root: Path, exams: Sequence[Exam], boxes: Sequence[NDArray[np.float32]]) -> None:
    labels, classes = [], []
    for exam, found in sorted(zip(exams, boxes, strict=True), key=lambda pair: pair[0].name):
        for x1, y1, x2, y2 in found.tolist():
            labels.append((exam.name, x1, y1, x2 - x1, y2 - y1, 1))
        if not len(found):
            labels.append((exam.name, None, None, None, None, 0))
        classes += [(exam.name, CLASS_OF[exam.finding])] * max(1, len(found))
    columns = ["patientId", "x", "y", "width", "height", "Target"]
    pd.DataFrame(labels, columns=columns).to_csv(root / "stage_2_train_labels.csv", index=False)
    table = pd.DataFrame(classes, columns=["patientId", "class"])
    table.to_csv(root / "stage_2_detailed_class_info.csv", index=False)
    source = [(e.name, f"{e.patient + 1:08d}_{e.follow_up:03d}.png", f"{e.patient + 1:08d}") for e in exams]
    mapping = pd.DataFrame(source, columns=["patientId", "nih_image", "nih_patient"])
    mapping.to_csv(root / "nih_source.csv", index=False)


def _dicom(phantom: Phantom, exam: Exam, seed: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = ComputedRadiographyImageStorage
    study, series, instance = (_uid(seed, exam.name, level) for level in ("study", "series", "instance"))
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = instance, study, series
    dataset.StudyDate, dataset.StudyTime = "19010101", "000000.00"  # as the challenge's anonymiser left them
    dataset.Modality, dataset.ConversionType, dataset.BodyPartExamined = "CR", "WSD", "CHEST"
    dataset.PatientID = dataset.PatientName = exam.name
    dataset.PatientSex, dataset.ViewPosition = phantom.sex, phantom.view
    # The challenge writes '48', which is no valid age string ('048Y').
    dataset.add(DataElement(0x00101010, "AS", str(phantom.age), validation_mode=config.IGNORE))
    dataset.InstanceNumber, dataset.SeriesNumber, dataset.PatientOrientation = 1, 1, ""
    dataset.PixelSpacing = [0.143 * 1024 / phantom.image.shape[0]] * 2
    dataset.Rows, dataset.Columns = phantom.image.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if exam.storage == "jpeg inverted" else "MONOCHROME2"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = instance
    if exam.storage == "raw 12 bit":
        _store_raw(dataset, phantom)
    else:
        _store_jpeg(dataset, phantom, inverted=exam.storage == "jpeg inverted")
    return dataset


def _store_jpeg(dataset: Dataset, phantom: Phantom, *, inverted: bool) -> None:
    pixels = grey8(1 - phantom.image if inverted else phantom.image)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.LossyImageCompression = "01"
    dataset.PixelData = encapsulate([jpeg(pixels)])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit


def _store_raw(dataset: Dataset, phantom: Phantom) -> None:
    """12 bits in 16; only what lies in the window after rescaling is the picture."""
    stored = np.round(700 + 2400 * phantom.image).astype("<u2")
    stored[0, :], stored[-1, :] = 0, 4095  # stray values that a reader without the window would scale to
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = "1", "-1024", "US"
    # PS3.3 C.11.2.1.2: a linear window runs from c - 0.5 - (w - 1) / 2 to c - 0.5 + (w - 1) / 2.
    dataset.WindowCenter, dataset.WindowWidth = "876.5", "2401"
    dataset.PixelData = stored.tobytes()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _uid(seed: int, name: str, level: str) -> str:
    return str(generate_uid(entropy_srcs=[str(seed), name, level]))
