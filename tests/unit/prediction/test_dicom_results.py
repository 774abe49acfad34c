"""DICOM results read back by pydicom and highdicom: what they say, what they are about, and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from pulmo.errors import DataError
from pulmo.prediction.dicom import DicomResults

HEIGHT, WIDTH = 40, 60
BOXES = [[4.0, 6.0, 20.0, 30.0, 0.91], [30.0, 5.0, 59.5, 39.0, 0.5]]


@pytest.fixture
def radiograph(tmp_path: Path) -> Callable[..., Path]:
    """A digital radiograph as an archive has it; `without` leaves elements out."""

    def write(*without: str) -> Path:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        meta.MediaStorageSOPInstanceUID = generate_uid()
        image = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
        elements: dict[str, Any] = {
            "SOPClassUID": meta.MediaStorageSOPClassUID,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyInstanceUID": generate_uid(),
            "SeriesInstanceUID": generate_uid(),
            "PatientID": "p1",
            "PatientName": "Ünal^A",
            "SpecificCharacterSet": "ISO_IR 192",
            "Modality": "DX",
            "PixelSpacing": [0.2, 0.2],
            **{"Rows": HEIGHT, "Columns": WIDTH, "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2"},
            **{"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0},
            "PixelData": bytes(HEIGHT * WIDTH),
        }
        for name, value in elements.items():
            if name not in without:
                setattr(image, name, value)
        image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
        return tmp_path / "image.dcm"

    return write


def results(target: str | None = None) -> DicomResults:
    return DicomResults("Pneumonia", target, "run1 (abc), run2 (def)", "0.1.0")


def mask() -> NDArray[np.uint8]:
    drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
    drawn[5:30, 10:25] = 1
    return drawn


@pytest.mark.parametrize(("target", "meaning"), [("lungs", "Lung"), ("opacity", "Opacity")])
@pytest.mark.parametrize("drawn", [mask(), np.zeros_like(mask())])
def test_segmentation__has_the_mask_on_its_image_in_its_study(
    radiograph: Callable[..., Path], tmp_path: Path, target: str, meaning: str, drawn: NDArray[np.uint8]
) -> None:
    source, out = radiograph(), tmp_path / "out" / "deep" / "seg.dcm"
    results(target).write(str(source), out, score=0.8, cut_off=0.5, decision=target, mask=drawn)
    image, made = pydicom.dcmread(source), hd.seg.segread(out)
    assert made.StudyInstanceUID == image.StudyInstanceUID
    assert made.PatientID == "p1"
    assert made.SeriesInstanceUID != image.SeriesInstanceUID
    assert made.PatientName == "Ünal^A"
    assert (made.Rows, made.Columns, made.Modality, made.SegmentationType) == (HEIGHT, WIDTH, "SEG", "BINARY")
    found = made.get_pixels_by_source_instance([image.SOPInstanceUID], segment_numbers=[1])
    np.testing.assert_array_equal(found[0, ..., 0], drawn)
    segment = made.get_segment_description(1)
    assert segment.segment_label == meaning
    assert segment.segmented_property_type.meaning == meaning
    algorithm = segment.algorithm_identification
    assert (algorithm.name, algorithm.version, algorithm.parameters) == (
        "pulmo",
        "0.1.0",
        {"runs": "run1 (abc); run2 (def)"},
    )
    assert not list(out.parent.glob("*.part"))


def test_report__has_score_threshold_decision_algorithm_and_boxes(
    radiograph: Callable[..., Path], tmp_path: Path
) -> None:
    source, out = radiograph(), tmp_path / "sr.dcm"
    results().write(str(source), out, score=0.912345678, cut_off=0.25, decision="Pneumonia", boxes=BOXES)
    image, made = pydicom.dcmread(source), hd.sr.srread(out)
    assert made.StudyInstanceUID == image.StudyInstanceUID
    assert made.SOPClassUID == ComprehensiveSRStorage
    assert (made.VerificationFlag, made.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    whole, *rest = made.content.get_image_measurement_groups()
    values = {item.name.meaning: (item.value, item.unit.value) for item in whole.get_measurements()}
    assert values == {
        "Certainty of Finding": (91.2346, "%"),
        "Decision threshold of the certainty": (25.0, "%"),
    }
    (decision,) = whole.get_qualitative_evaluations()
    assert decision.value.meaning == "Pneumonia"
    assert not rest
    regions = made.content.get_planar_roi_measurement_groups()
    assert len(regions) == 2
    for group, (x1, y1, x2, y2, score) in zip(regions, BOXES, strict=True):
        assert group.roi.value.min(0).tolist() == [x1, y1]
        assert group.roi.value.max(0).tolist() == [x2, y2]
        assert group.get_measurements(hd.sr.CodedConcept("111012", "DCM", ""))[0].value == pytest.approx(100 * score)
    assert out.read_bytes().count(image.SOPInstanceUID.encode()) >= 4, "evidence, the whole image, each box"
    assert b"run1 (abc), run2 (def)" in out.read_bytes()


def test_report__of_several_classes_has_no_threshold(radiograph: Callable[..., Path], tmp_path: Path) -> None:
    results().write(str(radiograph()), tmp_path / "sr.dcm", score=0.6, cut_off=None, decision="Viral pneumonia, early")
    (whole,) = hd.sr.srread(tmp_path / "sr.dcm").content.get_image_measurement_groups()
    assert len(whole.get_measurements()) == 1
    assert whole.get_qualitative_evaluations()[0].value.meaning == "Viral pneumonia, early"


@pytest.mark.parametrize("lacking", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_results__without_a_study_there_is_nothing_to_belong_to(
    radiograph: Callable[..., Path], tmp_path: Path, lacking: str
) -> None:
    with pytest.raises(DataError, match=f"no DICOM result: the file has no {lacking}"):
        results().write(str(radiograph(lacking)), tmp_path / "sr.dcm", score=0.6, cut_off=0.5, decision="x")
    assert not (tmp_path / "sr.dcm").exists()


def test_results__a_picture_has_none(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="no DICOM result: the image is no DICOM file"):
        results().write(str(tmp_path / "x.png"), tmp_path / "sr.dcm", score=0.6, cut_off=0.5, decision="x")
