"""What a job puts down beside its table: by it --resume refuses to mix two jobs, and a user's file is known."""

import json
from pathlib import Path
from typing import Any

import pytest

from pulmo.errors import DataError
from pulmo.prediction.description import check, description_of, put_down, read


def told(**changes: Any) -> dict[str, Any]:
    run = {"run": "/runs/1", "checkpoint": "abc", "precision": "32-true"}
    lungs = {"run": "/runs/lungs", "checkpoint": "def", "precision": "32-true"}
    facts = {"pulmo": "1", "runs": [run], "threshold": 0.5, "threshold_is": "given", "views": 1, "masks_from": None}
    return {**facts, "lungs": lungs, **changes}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"lungs": {"run": "/runs/lungs", "checkpoint": "other"}}, "lungs"),
        ({"lungs": None}, "lungs"),
        ({"runs": [{"run": "/runs/1", "checkpoint": "abc", "precision": "bf16-mixed"}]}, "precision"),
        ({"runs": [{"run": "/runs/1", "checkpoint": "x", "precision": "32-true"}], "views": 4}, "runs, views"),
    ],
)
def test_check__a_job_of_other_makers_is_not_gone_on_with(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    out = tmp_path / "s.csv"
    put_down(out, told(), [])
    with pytest.raises(DataError, match=f"was begun with other {named}: give another --out"):
        check(out, told(**changes), [], resume=True)


def test_check__the_same_makers_elsewhere_go_on(tmp_path: Path) -> None:
    put_down(tmp_path / "s.csv", told(), [])
    moved = {"run": "/elsewhere/1", "checkpoint": "abc", "precision": "32-true"}
    check(tmp_path / "s.csv", told(runs=[moved], device="cuda"), [], resume=True)


@pytest.mark.parametrize("content", ["{}", "[1]", "not json", json.dumps({"pulmo": 1, "runs": []})])
def test_check__a_users_file_is_refused_and_stays(tmp_path: Path, content: str) -> None:
    path = description_of(tmp_path / "s.csv")
    path.write_text(content)
    assert read(path) is None
    with pytest.raises(DataError, match=r"s\.csv\.json is there and was not written by pulmo predict"):
        check(tmp_path / "s.csv", told(), [], resume=False)
    assert path.read_text() == content


def test_check__files_beside_are_ours_where_the_description_says_so(tmp_path: Path) -> None:
    out, beside = tmp_path / "s.csv", [tmp_path / "s_boxes.csv"]
    beside[0].touch()
    with pytest.raises(DataError, match=r"s_boxes\.csv is there and not of"):
        check(out, told(), beside, resume=False)
    put_down(out, told(), beside)
    check(out, told(), beside, resume=False)
    with pytest.raises(DataError, match=r"s_boxes\.csv is there and not of .*s\.parquet"):
        check(tmp_path / "s.parquet", told(), beside, resume=False)


def test_check__rows_that_nobody_knows_the_makers_of_are_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("path,score\n")
    with pytest.raises(DataError, match=r"s\.csv\.json is gone, by which it was known what made"):
        check(tmp_path / "s.csv", told(), [], resume=True)
    assert check(tmp_path / "t.csv", told(), [], resume=True) is None


def test_check__other_lung_masks_are_another_job(tmp_path: Path) -> None:
    put_down(tmp_path / "s.csv", told(masks_from="/a"), [])
    with pytest.raises(DataError, match="masks_from"):
        check(tmp_path / "s.csv", told(masks_from="/b"), [], resume=True)
