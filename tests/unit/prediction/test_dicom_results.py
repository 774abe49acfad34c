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
from pulmo.prediction.dicom import DicomResults, NoResultError

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


NAMES = {"ISO_IR 100": "Müller^Jürgen", "\\ISO 2022 IR 87": "Yamada^Tarou=山田^太郎", "ISO_IR 192": "Ünal^A"}


@pytest.mark.parametrize("characters", NAMES)
@pytest.mark.parametrize("drawn", [mask(), None])
def test_results__text_of_any_character_set_and_of_ours_survives(
    radiograph: Callable[..., Path], tmp_path: Path, characters: str, drawn: NDArray[np.uint8] | None
) -> None:
    source, out = radiograph(), tmp_path / "out.dcm"
    image = pydicom.dcmread(source)
    image.PatientName, image.SpecificCharacterSet = NAMES[characters], characters.split("\\")
    image.save_as(source)
    made = DicomResults("Entzündung 肺炎", None, "run ü", "0.1.0")
    made.write(str(source), out, score=0.6, cut_off=0.5, decision="肺炎", mask=drawn)
    read = pydicom.dcmread(out)
    assert read.PatientName == NAMES[characters]
    assert drawn is not None or "肺炎" in str(read)


def test_results__an_optional_element_that_is_none_is_left_out_alone(
    radiograph: Callable[..., Path], tmp_path: Path
) -> None:
    source, out = radiograph(), tmp_path / "sr.dcm"
    image = pydicom.dcmread(source)
    with pydicom.config.disable_value_validation():
        image.StudyDate, image.PatientSex, image.AccessionNumber = "unknown", "male", "A7"
        image.save_as(source)
    results().write(str(source), out, score=0.6, cut_off=0.5, decision="x")
    read = pydicom.dcmread(out)
    assert (read.PatientName, read.AccessionNumber) == ("Ünal^A", "A7")
    assert not read.StudyDate
    assert not read.PatientSex


def test_results__a_source_that_is_gone_is_of_the_image_and_a_folder_that_is_a_file_of_the_disk(
    radiograph: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(NoResultError, match=r"its header cannot be read .No such file or directory"):
        results().write(str(tmp_path / "gone.dcm"), tmp_path / "sr.dcm", score=0.6, cut_off=0.5, decision="x")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*: (Not a directory|File exists)") as raised:
        results().write(str(radiograph()), tmp_path / "file" / "sr.dcm", score=0.6, cut_off=0.5, decision="x")
    assert not isinstance(raised.value, NoResultError)


@pytest.mark.parametrize("lacking", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_results__without_a_study_there_is_nothing_to_belong_to(
    radiograph: Callable[..., Path], tmp_path: Path, lacking: str
) -> None:
    with pytest.raises(DataError, match=f"the file has no {lacking}"):
        results().write(str(radiograph(lacking)), tmp_path / "sr.dcm", score=0.6, cut_off=0.5, decision="x")
    assert not (tmp_path / "sr.dcm").exists()


def test_results__a_picture_has_none(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(DataError, match="the image is no DICOM file"):
        results().write(str(tmp_path / "x.png"), tmp_path / "sr.dcm", score=0.6, cut_off=0.5, decision="x")
