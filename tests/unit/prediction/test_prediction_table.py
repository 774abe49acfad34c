"""The table: whole rows only, after a kill, a full disk, and in two formats."""

import resource
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pulmo.errors import DataError
from pulmo.prediction.spelling import shown
from pulmo.prediction.table import Table, refuse_what_is_there
from pulmo.prediction.whole import whole

COLUMNS = ["path", "score", "error", "width"]


def rows(*numbers: int) -> list[dict[str, Any]]:
    return [{"path": f'/x, "{n}"\n.png', "score": n / 7, "error": "", "width": n} for n in numbers]


def begun(out: Path, *, resume: bool = False) -> Table:
    return Table.begun(out, COLUMNS, resume=resume)


def test_table__rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    table = begun(tmp_path / "new" / "scores.csv")
    table.add(rows(1, 2))
    table.add([{"path": "bad.png", "error": "the file is empty"}])
    read = pd.read_csv(tmp_path / "new" / "scores.csv", float_precision="round_trip")
    assert read["path"].tolist() == ['/x, "1"\n.png', '/x, "2"\n.png', "bad.png"]
    assert read["score"].tolist()[:2] == [1 / 7, 2 / 7], "to the last bit"
    assert read["score"].isna().tolist() == [False, False, True]
    assert [row["error"] for row in table.rows()] == ["", "", "the file is empty"]


@pytest.mark.parametrize("torn", [b'"/x, ""3""\n.png",0.4', b'"/x, ""3""\n', b'"/x, ', b"/y.png,0.1,,3"])
def test_resume__a_torn_line_is_cut_off_and_whole_ones_are_done(tmp_path: Path, torn: bytes) -> None:
    out = tmp_path / "scores.csv"
    table = begun(out)
    table.add(rows(1, 2))
    table.close()
    before = out.read_bytes()
    out.write_bytes(before + torn)
    again = begun(out, resume=True)
    assert len(again.done) == 2
    assert '/x, "2"\n.png' in again.done
    assert '/x, "3"\n.png' not in again.done
    again.add(rows(3))
    again.close()
    assert out.read_bytes().startswith(before)
    assert pd.read_csv(out)["width"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["a\rb.png", "a\r\nb.png", '"', "a,b", "x" * 200_000, " a ", "é\udcff"])
def test_rows__of_any_path_are_read_by_every_reader_and_gone_on_with(tmp_path: Path, name: str) -> None:
    out = tmp_path / "scores.csv"
    table = begun(out)
    table.add([{"path": shown(name), "score": 0.5, "error": "", "width": 1}, *rows(2)])
    table.close()
    assert pd.read_csv(out)["path"].tolist() == [shown(name), '/x, "2"\n.png']
    again = begun(out, resume=True)
    assert name in again.done
    assert [row["path"] for row in again.rows()] == [shown(name), '/x, "2"\n.png']
    again.close()


def test_parquet__takes_a_path_of_any_letters(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    table = begun(tmp_path / "scores.parquet")
    table.add([{"path": "a\rb.png", "score": 0.5, "error": "", "width": 1}])
    table.finish()
    assert pd.read_parquet(tmp_path / "scores.parquet")["path"].tolist() == ["a\rb.png"]


def test_table__that_another_process_writes_to_is_left_to_it(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    table = begun(out)
    table.add(rows(1))
    with pytest.raises(DataError, match=r"another process writes to .*scores\.csv: wait for it"):
        begun(out, resume=True)
    table.close()
    assert len(begun(out, resume=True).done) == 1
    assert out.read_bytes().count(b"/x,") == 1


def test_retry__takes_out_every_row_with_an_error(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    table = begun(out)
    table.add([*rows(1), {"path": "bad.png", "error": "empty"}, {"path": "b.dcm", "score": 0.5, "error": "no result"}])
    table.close()
    with open(out, "ab") as file:
        file.write(b"torn")
    again = Table.begun(out, COLUMNS, resume=True, retry=True)
    again.add(rows(2))
    again.close()
    assert pd.read_csv(out)["width"].tolist() == [1, 2]
    assert pd.read_csv(out)["error"].isna().all()


def test_resume__a_torn_header_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_bytes(b"path,sco")
    begun(tmp_path / "scores.csv", resume=True).add(rows(1))
    assert list(pd.read_csv(tmp_path / "scores.csv").columns) == COLUMNS


def test_table__in_the_place_of_a_folder_or_below_a_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder: give a file in it, such as .*scores\.csv"):
        refuse_what_is_there(tmp_path, resume=False)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*; give another place$"):
        Table.begun(tmp_path / "file" / "scores.csv", ["path"], resume=False)


@pytest.mark.parametrize("place", [0.5, 0.98])
def test_resume__a_damaged_parquet_is_told_as_such(tmp_path: Path, place: float) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "scores.parquet"
    table = Table.begun(out, ["path", "score", "error"], resume=False)
    table.add([{"path": f"film {n}", "score": n / 7, "error": ""} for n in range(5000)])
    table.finish()
    table.close()
    data = bytearray(out.read_bytes())
    start = int(len(data) * place)
    data[start : start + 60] = b"\xff" * 60
    out.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"is no parquet that can be gone on with"):
        Table.begun(out, ["path", "score", "error"], resume=True)
    assert out.read_bytes() == bytes(data)


@pytest.mark.parametrize("content", [b"a diary without an end of line", b'"path', b"path;score\n"])
def test_resume__what_is_no_table_of_ours_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "scores.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"no table that was begun here|written by another command"):
        begun(tmp_path / "scores.csv", resume=True)
    assert (tmp_path / "scores.csv").read_bytes() == content


def test_resume__a_quote_that_is_never_closed_cuts_nothing_off(tmp_path: Path) -> None:
    out = tmp_path / "scores.csv"
    plain = "".join(f"/{n}.png,0.5,,{n}\n" for n in range(3))
    out.write_text("path,score,error,width\n" + plain + '"/y.png,0.5,,3\n' + plain)
    before = out.read_bytes()
    with pytest.raises(DataError, match="has a quote that is not closed, 65 bytes into it"):
        begun(out, resume=True)
    assert out.read_bytes() == before


def test_resume__a_path_is_done_however_it_is_spelt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = begun(tmp_path / "scores.csv")
    table.add([{"path": "in/a.png"}, {"path": str(tmp_path / "b.png")}])
    table.close()
    done = begun(tmp_path / "scores.csv", resume=True).done
    assert all(path in done for path in (str(tmp_path / "in" / "a.png"), "./in//a.png", "b.png", "x/../b.png"))
    assert "a.png" not in done


def test_resume__of_a_parquet_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"path": ["a"], "label": [1]}).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(DataError, match="written by another command"):
        begun(tmp_path / "scores.parquet", resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_table__is_not_written_over_and_not_mixed_with_another(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("path,label\na,1\n")
    with pytest.raises(DataError, match=r"scores\.csv is there already: --resume goes on with it"):
        begun(tmp_path / "scores.csv")
    with pytest.raises(
        DataError, match=r"written by another command, its columns differ by error, label, score, width"
    ):
        begun(tmp_path / "scores.csv", resume=True)
    assert (tmp_path / "scores.csv").read_text() == "path,label\na,1\n"


def test_table__a_disk_that_fills_up_leaves_whole_rows_and_one_clear_line(tmp_path: Path) -> None:
    table = begun(tmp_path / "scores.csv")
    table.add(rows(1, 2))
    size = (tmp_path / "scores.csv").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (size + 25, hard)
    )  # the kernel takes 25 bytes more, in the midst of a row
    try:
        with pytest.raises(DataError, match=r"cannot write to .*scores\.csv: File too large; .*--resume goes on"):
            table.add(rows(*range(3, 60)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "scores.csv").stat().st_size == size
    table.add(rows(3))
    assert pd.read_csv(tmp_path / "scores.csv")["width"].tolist() == [1, 2, 3]


def test_table__a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write to .*: (Not a directory|File exists)"):
        begun(tmp_path / "file" / "scores.csv")
    with pytest.raises(DataError, match=r"give a name that ends in \.csv or \.parquet"):
        begun(tmp_path / "scores.xlsx")


def test_whole__is_there_only_when_all_was_written(tmp_path: Path) -> None:
    def fills_up() -> None:
        with whole(tmp_path / "x") as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left on device"):
        fills_up()
    assert not list(tmp_path.iterdir())
    with whole(tmp_path / "x") as part:
        part.write_text("all")
    assert (tmp_path / "x").read_text() == "all"
    assert len(list(tmp_path.iterdir())) == 1


def test_parquet__has_the_rows_with_their_types_and_is_gone_on_with(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "scores.parquet"
    table = begun(out)
    table.add([*rows(1, 2), {"path": "bad.png", "error": "the file is empty"}])
    table.close()
    assert not out.exists(), "a kill here leaves the rows so far in a csv"
    table = begun(out, resume=True)
    assert len(table.done) == 3
    table.add(rows(3))
    table.finish()
    table.close()
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]
    again = begun(out, resume=True)  # with more files than then
    assert len(again.done) == 4
    again.add(rows(4))
    again.finish()
    read = pd.read_parquet(out)
    assert read["path"].tolist() == ['/x, "1"\n.png', '/x, "2"\n.png', "bad.png", '/x, "3"\n.png', '/x, "4"\n.png']
    assert read["score"].dtype == float
    assert read["score"][0] == 1 / 7
    assert pd.isna(read["score"][2])
    assert read["error"].tolist() == ["", "", "the file is empty", "", ""]
