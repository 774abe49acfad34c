"""Which files a command line means, and in which order."""

import io
import json
import os
import subprocess
import threading
from pathlib import Path

import pytest

from pulmo.errors import DataError
from pulmo.prediction.paths import images_in, is_read_once


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.png", "a.dcm", "notes.txt", "sub dir/ü 1.JPG", "sub dir/deep/c.tiff", ".hidden.png", ".git/d.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"x")
    (tmp_path / "in" / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "in" / "1.2.840.7").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "in" / "x.dcm").mkdir()
    (tmp_path / "in" / "x.dcm" / "inside.bmp").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str, listed: str | None = None) -> list[str]:
    return [image.path for image in images_in(given, listed)]


def test_folder__gives_images_by_suffix_or_dicom_mark_in_order_with_all_below(tree: Path) -> None:
    expected = ["1.2.840.7", "IM0001", "a.dcm", "b.png", "sub dir/deep/c.tiff", "sub dir/ü 1.JPG", "x.dcm/inside.bmp"]
    assert names("in") == [f"in/{name}" for name in expected]


def test_name__is_the_way_below_the_given_folder_without_an_image_suffix(tree: Path) -> None:
    assert [image.name for image in images_in(["in"])][:2] == ["1.2.840.7", "IM0001"]
    assert [image.name for image in images_in(["in/sub dir", "in/b.png"])] == ["deep/c", "ü 1", "b"]
    assert [image.name for image in images_in(["in/**/*.tiff"])] == ["sub dir/deep/c"]


def test_pattern__gives_its_matches_in_order_and_says_so_without_any(tree: Path) -> None:
    assert names("in/**/*.[pJ]*") == ["in/b.png", "in/sub dir/ü 1.JPG"]
    assert names("in/*.txt") == ["in/notes.txt"], "written out, it is read whatever it is"
    (empty,) = images_in(["in/*.nope"])
    assert empty.error == "no file matches this pattern"


def test_pattern__a_file_of_that_very_name_comes_first(tree: Path) -> None:
    Path("in/scan[1].png").write_bytes(b"x")
    Path("in/scan1.png").write_bytes(b"x")
    assert names("in/scan[1].png") == ["in/scan[1].png"]


def test_paths__each_image_comes_once_however_often_it_is_meant(tree: Path) -> None:
    assert names("in/b.png", "in/", "./in/b.png", "in/*.dcm").count("in/b.png") == 1
    assert len(names("in/b.png", "in", "in/a.dcm")) == 7
    assert len(names("in", str(tree / "in"), str(tree / "in" / "b.png"))) == 7


def test_folder__what_is_written_is_no_input(tree: Path) -> None:
    assert len([*images_in(["in"], left_out=[(tree / "in" / "sub dir").resolve()])]) == 5


def test_folder__masks_that_a_job_has_drawn_are_no_input(tree: Path) -> None:
    for name in ("in/scores_masks", "in/lungs_masks"):
        (tree / name).mkdir()
        (tree / name / "m.png").write_bytes(b"x")
    told = {"pulmo": "1", "runs": [], "threshold_is": "given", "views": 1}
    (tree / "in" / "scores.csv.json").write_text(json.dumps(told))
    (tree / "in" / "lungs.csv.json").write_text("{}")
    assert [name for name in names("in") if "masks" in name] == ["in/lungs_masks/m.png"]
    assert names("in/scores_masks") == ["in/scores_masks/m.png"], "which is asked for"


def test_folder__a_link_into_itself_is_walked_once_and_a_broken_one_is_given(tree: Path) -> None:
    Path("in/loop").symlink_to(tree / "in", target_is_directory=True)
    Path("in/gone.png").symlink_to("nowhere.png")
    assert len(names("in")) == 8
    assert "in/gone.png" in names("in")


def test_folder__a_link_to_itself_costs_no_other_entry(tree: Path) -> None:
    Path("in/self.png").symlink_to("self.png")
    Path("in/self").symlink_to("self")
    assert len(names("in")) == 8
    assert "in/self.png" in names("in"), "whose reading says what is wrong"


def test_folder__is_entered_once_however_many_links_lead_to_it(tree: Path) -> None:
    for number in range(5):
        (tree / "in" / f"round {number}").mkdir()
        for other in range(5):
            (tree / "in" / f"round {number}" / f"to {other}").symlink_to(tree / "in" / f"round {other}")
        (tree / "in" / f"round {number}" / "x.png").write_bytes(b"x")
    found = [os.path.realpath(path) for path in names("in", "in/round 3/to 1")]
    assert len(found) == len(set(found)) == 7 + 5


def test_folder__may_lie_as_deep_as_the_system_lets_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    os.mkdir("deep")
    os.chdir("deep")
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    Path("x.png").write_bytes(b"x")
    try:
        os.chdir(tree)
        assert len(names("deep")) == 1
    finally:
        subprocess.run(["rm", "-r", tree / "deep"], check=True)  # pytest's own way of clearing up calls itself


def test_path__two_points_lead_up_from_where_a_link_leads_to(tree: Path) -> None:
    (tree / "out" / "side").mkdir(parents=True)
    Path("in/link").symlink_to(tree / "out" / "side")
    Path("out/b.png").write_bytes(b"another")
    assert names("in/b.png", "in/link/../b.png") == ["in/b.png", "in/link/../b.png"]
    assert names("in/b.png", "in/x.dcm/../b.png") == ["in/b.png"]


def test_folder__pictures_without_a_suffix_are_known_by_how_they_begin_and_others_are_told(tree: Path) -> None:
    Path("in/jpeg").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    Path("in/png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    Path("in/a.jpeg.part").write_bytes(b"\xff\xd8\xff\xe0 and so on")
    passed: list[str] = []
    found = [image.path for image in images_in(["in"], passed=passed.append)]
    assert {"in/jpeg", "in/png"} <= set(found)
    assert passed == ["in/a.jpeg.part", "in/notes.txt"]


def test_folder__one_that_cannot_be_entered_is_a_row_of_its_own(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    found = {image.path: image.error for image in images_in(["in"])}
    assert found["in/sub dir/deep"] == "Permission denied"
    assert found["in/sub dir/ü 1.JPG"] == ""
    assert len(found) == 7


def test_list__a_path_a_line_from_a_file_or_the_standard_input(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("list.txt").write_bytes("\ufeffin/a.dcm\r\n\r\nin/sub dir/ü 1.JPG\n".encode())
    assert names(listed="list.txt") == ["in/a.dcm", "in/sub dir/ü 1.JPG"]
    monkeypatch.setattr("sys.stdin", io.StringIO("in/b.png\nabsent.png\n"))
    assert names("in/a.dcm", "-") == ["in/a.dcm", "in/b.png", "absent.png"]
    with pytest.raises(DataError, match=r"--list none\.txt: No such file"):
        names(listed="none.txt")


def test_list__of_a_pipe_is_read_once_and_names_of_any_bytes_are_kept(tree: Path) -> None:
    os.mkfifo("pipe")
    name = os.fsdecode(b"in/\xff\xfe.png")

    def write() -> None:
        with open("pipe", "wb") as pipe:
            for number in range(3000):
                pipe.write(f"absent {number}.png\n".encode())
            pipe.write(os.fsencode(name))  # without an end of line

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    found = names(listed="pipe")
    assert len(found) == 3001
    assert found[-1] == name
    assert is_read_once("pipe")
    assert is_read_once("-")
    assert not is_read_once(None)
    Path("list.txt").touch()
    assert not is_read_once("list.txt")


def test_list__that_nobody_writes_to_is_waited_for_until_it_is_wanted_no_more(tree: Path) -> None:
    os.mkfifo("pipe")
    held = os.open("pipe", os.O_RDWR)  # a writer that says nothing
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    assert [*images_in([], "pipe", stop=stop)] == []
    os.close(held)


def test_folder__is_walked_as_it_is_asked_for(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (entered.append(str(path)), scandir(path))[1])
    found = images_in(["in"])
    for _ in range(4):
        next(found)
    assert entered == ["in"], "what lies below is not looked at before its turn"
