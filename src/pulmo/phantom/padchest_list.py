"""The rows of PadChest's csv: 36 columns, of which readers need a handful, and labels as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pulmo.phantom.anatomy import Anatomy
from pulmo.phantom.findings import Distractor, Finding

LIST_NAME = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"

Projection = Literal["PA", "L", "AP", "AP_horizontal"]

_PNEUMONIA: dict[Finding, tuple[str, ...]] = {
    "bacteria": (
        "['pneumonia']",
        "['infiltrates', ' pneumonia']",
        "['consolidation', ' pneumonia']",
        "['pneumonia', 'infiltrates']",
        "['alveolar pattern', 'pneumonia']",
    ),
    "virus": ("['atypical pneumonia', ' interstitial pattern']", "['interstitial pattern', ' pneumonia']"),
}
_NAME_OF: dict[Distractor, str] = {
    "nodule": "nodule",
    "large heart": "cardiomegaly",
    "effusion": "pleural effusion",
    "band": "laminar atelectasis",
    "devices": "electrical device",
}
_DICOM_VIEW: dict[Projection, str] = {"PA": "POSTEROANTERIOR", "L": "LATERAL", "AP": "AP", "AP_horizontal": ""}


@dataclass(frozen=True)
class Shot:
    """One image of PadChest."""

    number: int
    stem: str
    patient: str
    study: str
    date: str  # yyyymmdd
    projection: Projection
    odd: str | None  # replaces the label
    by_network: bool
    anatomy: Anatomy
    finding: Finding


def _labels(shot: Shot, seen: Sequence[Distractor]) -> str:
    if shot.odd is not None:
        return shot.odd
    others = [_NAME_OF[one] for one in seen]
    if shot.finding in _PNEUMONIA:
        texts = _PNEUMONIA[shot.finding]
        text = texts[sum(map(ord, shot.study)) % len(texts)]
        return text[:-1] + "".join(f", {other!r}" for other in others) + "]"
    return str(others or ["normal"])


def of_study(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`rows` with the frontal image's labels on the lateral one: PadChest labels the report, not the image."""
    frontal = {row["StudyID"]: row for row in rows if row["Projection"] != "L"}
    for row in rows:
        source = frontal[row["StudyID"]]
        row |= {key: source[key] for key in ("Labels", "LabelsLocalizationsBySentence", "ReportID")}
    return rows


def row_of(shot: Shot, seen: Sequence[Distractor], size: int) -> dict[str, Any]:
    """The row of one image, `size` pixels square, on which the distractors `seen` lie."""
    labels = _labels(shot, seen)
    return {
        "index": shot.number,
        "ImageID": f"{shot.stem}.png",
        "ImageDir": shot.number % 54,
        "StudyDate_DICOM": shot.date,
        "StudyID": shot.study,
        "PatientID": shot.patient,
        "PatientBirth": float(int(shot.date[:4]) - shot.anatomy.age) if shot.number % 37 != 36 else None,
        "PatientSex_DICOM": shot.anatomy.sex,
        "ViewPosition_DICOM": _DICOM_VIEW[shot.projection] if shot.number % 3 else None,
        "Projection": shot.projection,
        "MethodProjection": "Manual review of DICOM fields" if shot.number % 10 else "resnet-50.t7",
        "Pediatric": "No",
        "Modality_DICOM": "CR",
        "Manufacturer_DICOM": "PhilipsMedicalSystems" if shot.number % 2 else "ImagingDynamicsCompanyLtd",
        "PhotometricInterpretation_DICOM": "MONOCHROME2",
        "PixelRepresentation_DICOM": 0,
        "PixelAspectRatio_DICOM": "['1', '1']" if shot.number % 2 else None,
        "SpatialResolution_DICOM": 0.143 if shot.number % 2 else None,
        "BitsStored_DICOM": 12,
        "WindowCenter_DICOM": 2047.0,
        "WindowWidth_DICOM": 4095.0,
        "Rows_DICOM": size,
        "Columns_DICOM": size,
        "XRayTubeCurrent_DICOM": 320.0,
        "Exposure_DICOM": 3.0,
        "ExposureInuAs_DICOM": 3200.0,
        "ExposureTime": 10.0,
        "RelativeXRayExposure_DICOM": None,
        "ReportID": 4_000_000 + shot.number,
        "Report": "phantom .",
        "MethodLabel": "RNN_model" if shot.by_network else "Physician",
        "Labels": labels,
        "Localizations": "[]" if labels else None,
        "LabelsLocalizationsBySentence": f"[{labels}]" if labels else None,
        "labelCUIS": "[]" if labels else None,
        "LocalizationsCUIS": "[]" if labels else None,
    }
