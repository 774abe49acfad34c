import gzip
from pathlib import Path

import pandas as pd
import pytest

from pulmo.data.lists import by_stem, images_below, masks_for, one_row_each, read_list, with_files
from pulmo.errors import DataError


@pytest.mark.parametrize(
    "content",
    [
        b"id,name\n1,Mu\xc3\xb1oz\n2,\n",
        b"id;name\n1;Mu\xc3\xb1oz\n2;\n",
        b"id\tname\n1\tMu\xc3\xb1oz\n2\t\n",
        b"id,name\n1,Mu\xf1oz\n2,\n",  # latin-1
        b"\xef\xbb\xbfid,name\n1,Mu\xc3\xb1oz\n2,\n",  # Excel's byte-order mark
        b'"id","name"\n"1","Mu\xc3\xb1oz"\n"2",""\n',
        b"id,name\r\n1,Mu\xc3\xb1oz\r\n2,\r\n",
        b"id,name\n1,Mu\xc3\xb1oz\n2\n",
        b"id, name \n1, Mu\xc3\xb1oz\n2,\n",
        "id\tname\n1\tMuñoz\n2\t\n".encode("utf-16"),  # Excel's "Unicode text"
        "id;name\n1;Muñoz\n2;\n".encode("utf-16-le"),  # without its mark
        "id,name\r\n1,Muñoz\r\n2,\r\n".encode("utf-16-be"),
    ],
    ids=[
        *("comma", "semicolon", "tab", "latin-1", "byte-order mark", "quoted", "Windows", "short row", "blanks"),
        *("UTF-16", "UTF-16 little-endian", "UTF-16 big-endian"),
    ],
)
def test_read_list__any_separator_quoting_or_encoding_gives_the_same_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(content)
    assert read_list(path, ["id", "name"]).to_dict("list") == {"id": ["1", "2"], "name": ["Muñoz", ""]}


def test_read_list__cells_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,value\n007,NA\n1e3,nan\n")
    assert read_list(path, ["id"]).to_dict("list") == {"id": ["007", "1e3"], "value": ["NA", "nan"]}


@pytest.mark.filterwarnings("ignore:Length of header")
def test_read_list__rows_that_end_in_a_separator_do_not_shift(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,name\n1,a,\n2,b,\n")
    assert read_list(path, ["id"]).to_dict("list") == {"id": ["1", "2"], "name": ["a", "b"]}


def test_read_list__the_separator_in_a_cell_is_text(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text('id;labels\n1;"a;b"\n2;[c, d]\n')
    assert read_list(path, ["id"])["labels"].tolist() == ["a;b", "[c, d]"]


def test_read_list__a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,name\n")
    assert len(read_list(path, ["id", "name"])) == 0


def test_read_list__gzip_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "list.csv.gz"
    path.write_bytes(gzip.compress(b"id,name\n1,a\n"))
    assert read_list(path, ["id"])["name"].tolist() == ["a"]


def test_read_list__a_missing_column_is_told_beside_those_there(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("id,name\n1,a\n")
    with pytest.raises(DataError, match=r"list\.csv has no column label, patient; it has id, name"):
        read_list(path, ["id", "label", "patient"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("blank.csv", b"\n\n"),
        ("ragged.csv", b"id,name\n1,a\n2,b,c,d\n"),
        ("open_quote.csv", b'id,name\n"1,a\n'),
        ("cut.csv.gz", gzip.compress(b"id,name\n1,a\n" * 99)[:-12]),
        ("renamed.csv.gz", b"id,name\n1,a\n"),
        ("cut_utf16.csv", "id,name\n1,a\n".encode("utf-16")[:-1]),
    ],
    ids=["empty", "blank", "ragged", "open quote", "cut gzip", "no gzip", "cut UTF-16"],
)
def test_read_list__what_is_no_csv_is_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=f"{name} is no csv: ."):
        read_list(tmp_path / name, ["id"])


def test_read_list__an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*absent\.csv"):
        read_list(tmp_path / "absent.csv", ["id"])


def test_one_row_each__rows_that_stand_there_twice_count_once(caplog: pytest.LogCaptureFixture) -> None:
    rows = pd.DataFrame({"id": ["1", "2", "1"], "label": ["a", "b", "a"]})
    assert one_row_each(rows, "id", Path("list.csv"))["id"].tolist() == ["1", "2"]
    assert "list.csv: 1 rows stand there twice" in caplog.text


def test_one_row_each__rows_that_contradict_each_other_are_refused() -> None:
    rows = pd.DataFrame({"id": ["1", "2", "1"], "label": ["a", "b", "b"]})
    with pytest.raises(DataError, match=r"contradicts itself about 1 of its id, such as 1: label is 'a' and 'b'"):
        one_row_each(rows, "id", Path("list.csv"))


def test_one_row_each__a_row_without_its_key_is_refused() -> None:
    with pytest.raises(DataError, match=r"list\.csv: 1 of 2 rows have no id"):
        one_row_each(pd.DataFrame({"id": ["1", ""], "label": ["a", "b"]}), "id", Path("list.csv"))


def test_with_files__absent_ones_are_left_out_unless_kept(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"image_id": ["1", "2"], "path": ["a.png", None]})
    source, root = Path("list.csv"), Path("here")
    assert with_files(table, source, root, keep=False)["path"].tolist() == ["a.png"]
    assert "list.csv: 1 of 2 listed images are not in here" in caplog.text
    assert with_files(table, source, root, keep=True)["path"].tolist() == ["a.png", ""]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_images_below__finds_images_by_suffix_sorted_without_leavings(tmp_path: Path) -> None:
    images = ["a/1.PNG", "a/b/2.dcm", "a-b/3.jpeg", "c d/ä.tif", "e.png/4.bmp"]  # the last one's folder has a suffix
    others = [".DS_Store", "a/._1.png", "__MACOSX/a/1.png", "list.csv", "a/notes.txt", ".hidden/9.png"]
    touch(tmp_path, *images, *others)
    assert [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path)] == images
    assert images_below(tmp_path) == sorted(images_below(tmp_path))


def test_images_below__passes_over_the_folder_of_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "raw/1.png", "masks/1.png", "masks/deep/2.png", "raw/masks/3.png")
    found = [tmp_path / "raw/1.png", tmp_path / "raw/masks/3.png"]
    assert images_below(tmp_path, without=str(tmp_path / "masks")) == found
    monkeypatch.chdir(tmp_path)
    assert images_below(tmp_path, without="raw/../masks/") == found


def test_by_stem__the_first_of_one_stem_holds(tmp_path: Path) -> None:
    touch(tmp_path, "x.dcm", "x.png", "y.png")
    assert by_stem(images_below(tmp_path)) == {"x": str(tmp_path / "x.dcm"), "y": str(tmp_path / "y.png")}


def test_masks__no_folder_has_no_masks(tmp_path: Path) -> None:
    assert masks_for([str(tmp_path / "x.png")], tmp_path, None) == [""]


def test_masks__a_stem_of_one_image_and_one_mask_is_enough(tmp_path: Path) -> None:
    touch(tmp_path, "masks/train/x.png")
    images = [str(tmp_path / "images/train/NORMAL/x.jpeg"), str(tmp_path / "images/train/NORMAL/y.jpeg")]
    assert masks_for(images, tmp_path / "images", str(tmp_path / "masks")) == [str(tmp_path / "masks/train/x.png"), ""]


def test_masks__images_of_one_stem_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "masks/normal/0.png")
    touch(tmp_path, "masks/pneumonia/0.png")
    images = [str(tmp_path / f"images/{label}/0.png") for label in ("pneumonia", "normal", "other")]
    expected = [str(tmp_path / f"masks/{label}/0.png") for label in ("pneumonia", "normal")]
    assert masks_for(images, tmp_path / "images", str(tmp_path / "masks")) == [*expected, ""]


def test_masks__one_that_could_be_of_two_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "masks/0.png")
    images = [str(tmp_path / f"images/{label}/0.png") for label in ("pneumonia", "normal")]
    with pytest.raises(DataError, match="Several images are called so"):
        masks_for(images, tmp_path / "images", str(tmp_path / "masks"))
