"""Bad input of every kind to `pulmo predict`: a row with a clear error each, and the others scored all the same."""

import os
import resource
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from pulmo.cli import app
from pulmo.data.reading import read_grey
from tests.integration.test_predict import classifiers


@pytest.fixture(scope="module")
def classifier(shared: Path, phantoms: Path) -> Path:
    return classifiers(shared, phantoms) / "one"


@pytest.fixture(scope="module")
def good(phantoms: Path) -> Path:
    """A JPEG in DICOM."""
    for path in sorted((phantoms / "rsna" / "stage_2_train_images").glob("*.dcm")):
        if pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.is_compressed:
            return path
    raise LookupError("no phantom is compressed")


def predicted(*arguments: object, workers: int = 0) -> Any:
    given = [*map(str, arguments), "--workers", str(workers)]
    return CliRunner().invoke(app, ["predict", *given])


def damaged(root: Path, good: Path) -> dict[str, str]:
    """Write a bad file of each kind below `root`; give a part of the error that each should have, by name."""
    image = np.asarray(read_grey(good).image)
    jpeg, png = (cv2.imencode(suffix, image)[1].tobytes() for suffix in (".jpg", ".png"))
    data = good.read_bytes()
    files = {
        "empty.png": (b"", "the file is empty"),
        "empty.dcm": (b"", "the file is empty"),
        "text.dcm": (b"patient,label\n" * 40, "not a DICOM file, whatever its name says"),
        "text.png": (b"patient,label\n" * 40, "not an image that can be decoded"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "cut short"),
        "cut.png": (png[: len(png) // 2], "cut short"),
        "cut.dcm": (data[: len(data) * 2 // 3], "cannot be decoded|cut short|damaged|less than expected|lacks pixels"),
        "header only.dcm": (data[:600], "lacks pixels|cut short|damaged"),
        "huge.png": (_huge_png(), "20000×20000 pixels; at most 16384 a side"),
        "huge.jpg": (_claiming(image), "20000×20000 pixels; at most 16384 a side"),
        "pixel.png": (cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes(), "all of its 1×1 pixels are alike"),
        "black.png": (cv2.imencode(".png", image * 0)[1].tobytes(), "pixels are alike: there is nothing on it"),
    }
    for name, (content, _) in files.items():
        (root / name).write_bytes(content)
    told = {name: error for name, (_, error) in files.items()}
    floats = np.random.default_rng(0).random((40, 40), np.float32)
    floats[3, :5] = np.nan
    Image.fromarray(floats).save(root / "nan.tif")
    told["nan.tif"] = "5 pixels are not finite numbers"
    exam = pydicom.dcmread(good)
    del exam.PixelData
    exam.save_as(root / "no pixels.dcm")
    told["no pixels.dcm"] = r"the DICOM lacks pixels or their description \(no PixelData\)"
    for modality, error in (("SEG", "a segmentation"), ("KO", "a selection of key objects")):
        exam = pydicom.dcmread(good)
        exam.decompress()
        exam.Modality = modality
        exam.save_as(root / f"{modality}.dcm")
        told[f"{modality}.dcm"] = f"{error} .Modality {modality}., no radiograph"
    exam = pydicom.dcmread(good)
    exam.NumberOfFrames = 3
    exam.save_as(root / "film.dcm")
    told["film.dcm"] = "3 frames; a radiograph has one"
    exam = pydicom.dcmread(good)
    exam.Rows = exam.Columns = 20000
    exam.save_as(root / "huge.dcm")
    told["huge.dcm"] = "20000×20000 pixels; at most 16384 a side"
    (root / "gone.png").symlink_to(root / "nowhere.png")
    told["gone.png"] = "No such file or directory"
    os.mkfifo(root / "pipe.png")
    told["pipe.png"] = "neither a file nor a link to one"
    return told


def _huge_png() -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


def _claiming(image: np.ndarray) -> bytes:
    data = cv2.imencode(".jpg", image)[1].tobytes()
    return data.replace(struct.pack(">HH", *image.shape), struct.pack(">HH", 20000, 20000), 1)


def fine(root: Path, good: Path) -> set[str]:
    """Write what looks odd and is not."""
    image = np.asarray(read_grey(good).image)
    (root / "x.dcm").mkdir()
    shutil.copy(good, root / "x.dcm" / "inside a folder of that name.dcm")
    shutil.copy(good, root / "Röntgen 肺 1.dcm")
    shutil.copy(good, root / "IM0001")
    cv2.imwrite(str(root / "colour.png"), np.dstack([image, image // 2, image]))
    exam = pydicom.dcmread(good)
    exam.decompress()
    exam.SamplesPerPixel, exam.PhotometricInterpretation, exam.PlanarConfiguration = 3, "RGB", 0
    exam.PixelData = np.dstack([image] * 3).tobytes()
    exam.save_as(root / "colour.dcm")
    deep = image.astype(np.float32) * 1e4 - 3e5
    cv2.imwrite(str(root / "float.tif"), deep, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    return {
        "x.dcm/inside a folder of that name.dcm",
        "Röntgen 肺 1.dcm",
        "IM0001",
        "colour.png",
        "colour.dcm",
        "float.tif",
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_files__are_rows_with_clear_errors_among_good_ones(
    classifier: Path, good: Path, tmp_path: Path, workers: int
) -> None:
    root, out = tmp_path / "in", tmp_path / "scores.csv"
    root.mkdir()
    told, well = damaged(root, good), fine(root, good)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = predicted(classifier, root, "--out", out, "--batch-size", 4, workers=workers)
    assert result.exit_code == 0, result.output
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10, "400 MB a file that claims it"
    rows = pd.read_csv(out)
    rows.index = rows["path"].map(lambda path: Path(path).relative_to(root).as_posix())
    assert set(rows.index) == {*told, *well}
    for name, error in told.items():
        assert pd.Series([rows.loc[name, "error"]]).str.contains(error).all(), (name, rows.loc[name, "error"])
        assert "\n" not in rows.loc[name, "error"], name
        assert pd.isna(rows.loc[name, "score"]), name
    assert rows.loc[sorted(well), "score"].notna().all()
    assert rows.loc[sorted(well), "error"].isna().all()
    same = rows.loc[["Röntgen 肺 1.dcm", "IM0001", "x.dcm/inside a folder of that name.dcm"], "score"]
    assert np.ptp(same) < 1e-6, "but for what the batch changes"
    assert same.iloc[0] == pytest.approx(rows.loc["colour.dcm", "score"], abs=2e-2)
    assert f"{len(told)} with an error" in result.stdout


def test_nothing_but_bad_files__is_still_a_table_and_no_image_at_all_is_told(classifier: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = predicted(classifier, tmp_path / "in", "--out", tmp_path / "scores.csv")
    assert result.exit_code == 1
    assert f"no image in {tmp_path / 'in'}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    (tmp_path / "in" / "x.png").touch()
    result = predicted(classifier, tmp_path / "in", "--out", tmp_path / "scores.csv")
    assert result.exit_code == 0
    assert pd.read_csv(tmp_path / "scores.csv")["error"].tolist() == ["the file is empty"]


def test_full_disk__is_one_line_and_what_is_there_is_gone_on_with(classifier: Path, good: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "scores.csv"
    root.mkdir()
    for number in range(40):
        shutil.copy(good, root / f"{number:02d}.dcm")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        result = predicted(classifier, root, "--out", out, "--batch-size", 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    told = result.stderr.strip()  # an old rich ends its bar with a line of its own
    assert told.startswith(f"pulmo: cannot write to {out}: File too large; what is there is whole")
    assert "\n" not in told
    rows = pd.read_csv(out)
    assert 4 <= len(rows) < 40
    assert len(rows) % 4 == 0
    assert rows["score"].notna().all()
    assert predicted(classifier, root, "--out", out, "--resume").exit_code == 0
    assert pd.read_csv(out)["path"].tolist() == [str(root / f"{number:02d}.dcm") for number in range(40)]


def test_full_disk__a_mask_is_there_whole_or_not_at_all(opacities: Path, good: Path, tmp_path: Path) -> None:
    big = cv2.resize(np.asarray(read_grey(good).image), (1500, 1500))
    cv2.imwrite(str(tmp_path / "x.png"), big)
    (tmp_path / "masks").mkdir()
    arguments = [opacities, tmp_path / "x.png", "--out", tmp_path / "scores.csv", "--masks", tmp_path / "masks"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        result = predicted(*arguments, "--threshold", 0.3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    assert "masks/x.png: File too large" in result.stderr
    assert not list((tmp_path / "masks").iterdir())
    assert predicted(*arguments, "--threshold", 0.3, "--resume").exit_code == 0
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 1
    assert (tmp_path / "masks" / "x.png").is_file()


def test_read_only__place_is_told_before_anything_is_read(
    classifier: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def read_only(path: Any, *arguments: Any, **further: Any) -> int:
        if str(path).endswith("scores.csv"):
            raise OSError(30, "Read-only file system")
        return real(path, *arguments, **further)

    monkeypatch.setattr(os, "open", read_only)  # root may write anywhere
    monkeypatch.setattr("pulmo.prediction.decoding.read_grey", lambda *_: pytest.fail("an image was read"))
    result = predicted(classifier, good, "--out", tmp_path / "scores.csv")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"pulmo: cannot write to {tmp_path / 'scores.csv'}: Read-only file system")
