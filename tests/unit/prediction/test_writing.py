"""From answers to rows: of several classes, of names that meet."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from pulmo.prediction.answers import Answer
from pulmo.prediction.asked import Asked, CutOff, Outcome
from pulmo.prediction.decoding import Prepared
from pulmo.prediction.members import Member, cut_off_of, names_of
from pulmo.prediction.names import Names
from pulmo.prediction.paths import Found
from pulmo.prediction.table import Table
from pulmo.prediction.writing import Writing
from pulmo.tasks.classification import ClassificationTask
from pulmo.tasks.segmentation import SegmentationTask
from pulmo.thresholds import Fixed
from pulmo.transforms.geometry import Geometry


def member(task: type, name: str = "net/1", **facts: Any) -> Member:
    """A run whose network is never asked."""
    made = task.__new__(task)
    made.__dict__ |= {"policy": Fixed(0.5), **facts}
    run = SimpleNamespace(name=name, folder=Path("/runs") / name, other_checkpoint="")
    return cast(Member, SimpleNamespace(task=made, run=run, digest="abc"))


THREE = {"class_names": ("Normal", "Bacterial", "Viral"), "is_binary": False}


def test_rows__of_several_classes_have_each_ones_score_and_no_threshold(tmp_path: Path) -> None:
    members = [member(ClassificationTask, **THREE), member(ClassificationTask, "net/2", **THREE)]
    cut_off = cut_off_of(members, None)
    writing = Writing.of(members, cut_off, Asked(runs=(), paths=(), out=tmp_path / "s.csv"))
    table = Table.begun(tmp_path / "s.csv", writing.columns, resume=False)
    prepared = Prepared(Found("x.png", "x"), shape=(4, 6))
    outcome = Outcome(cut_off)
    writing.write(table, [(prepared, Answer(0.5, (0.4, 0.6), (0.2, 0.3, 0.5)))], outcome)
    (row,) = pd.read_csv(tmp_path / "s.csv").to_dict("records")
    assert (row["decision"], row["score"], outcome.images, outcome.errors) == ("Viral", 0.5, 1, 0)
    assert pd.isna(row["threshold"])
    assert [row[f"score_{name}"] for name in THREE["class_names"]] == [0.2, 0.3, 0.5]
    assert [row["score@net/1"], row["score@net/2"]] == [0.4, 0.6]


def test_masks__of_images_with_one_name_lie_beside_each_other(tmp_path: Path) -> None:
    members = [member(SegmentationTask, class_names=("no lungs", "lungs"), target="lungs", smallest_area=0.0)]
    asked = Asked(runs=(), paths=(), out=tmp_path / "s.csv")
    writing = Writing.of(members, CutOff(0.5, "given"), asked)
    table = Table.begun(asked.out, writing.columns, resume=False)
    half = np.repeat([[1.0, 0.0]], 4, 0).repeat(2, 1).astype(np.float32)
    geometry = Geometry.fit((0, 0, 8, 6), 4, keep_aspect=False)
    found = [Found("a/x.png", "x"), Found("b/x.dcm", "x"), Found("../y.png", "../y")]
    pairs = [
        (Prepared(image, geometries=(geometry,), shape=(6, 8)), Answer(1.0, (1.0,), maps=[half])) for image in found
    ]
    writing.write(table, pairs, Outcome(writing.cut_off))
    rows = pd.read_csv(asked.out)
    assert rows["area"].tolist() == [0.5] * 3
    assert rows["mask"].nunique() == 3
    inside = tmp_path / "s_masks"
    assert all(Path(path).is_file() and Path(path).resolve().parent == inside for path in rows["mask"])
    assert writing.folders == [inside]


def test_names__files_of_rows_and_files_that_are_there_are_kept(tmp_path: Path) -> None:
    places = {"mask": (tmp_path / "m", ".png"), "dicom": (None, ".dcm")}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "there.png").touch()
    names = Names(places)
    names.keep([{"mask": f"{tmp_path}/x/../m/of a row.png"}, {"mask": ""}])
    for name in ("there", "of a row"):
        given = names.of(Found(f"b/{name}.dcm", name))
        assert given.startswith(f"{name}_")
        assert names.of(Found(f"b/{name}.dcm", name)) == f"{given}_2"
    assert names.of(Found("b/new.dcm", "new")) == "new"


def test_names__of_folders_and_files_that_are_called_alike_do_not_meet(tmp_path: Path) -> None:
    for first, second in (("x", "x.png/y"), ("y.png/x", "y")):
        names = Names({"mask": (tmp_path / first[0], ".png")})
        given = [names.of(Found(name, name)) for name in (first, second)]
        assert given[0] == first
        assert given[1].startswith(f"{Path(second).name}_")
        for name in given:
            path = tmp_path / first[0] / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_names__that_no_file_system_takes_are_cut_and_still_told_apart(tmp_path: Path) -> None:
    names = Names({"mask": (tmp_path / "m", ".png")})
    given = [names.of(Found(f"{name}.png", name)) for name in ("é" * 150 + "a", "é" * 150 + "b", "n" * 250)]
    assert len(set(given)) == 3
    for name in given:
        path = tmp_path / "m" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_names__what_a_job_that_was_cut_off_left_without_a_row_is_written_anew(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    for name in ("left", "of a row"):
        (folder / f"{name}.png").touch()
    rows = [{"mask": str(folder / "of a row.png")}]
    for ours, expected in (((folder,), "left"), ((), None)):
        names = Names({"mask": (folder, ".png")}, ours)
        names.keep(rows)
        given = names.of(Found("b/left.dcm", "left"))
        assert given == expected if expected else given.startswith("left_")
        assert names.of(Found("b/of a row.dcm", "of a row")).startswith("of a row_")


@pytest.mark.parametrize("said", [math.nan, math.inf])
def test_rows__an_answer_that_is_no_number_is_no_decision(tmp_path: Path, said: float) -> None:
    members = [member(ClassificationTask, class_names=("Normal", "Pneumonia"), is_binary=True, threshold=0.5)]
    asked = Asked(runs=(), paths=(), out=tmp_path / "s.csv")
    writing = Writing.of(members, cut_off_of(members, None), asked)
    table, outcome = Table.begun(asked.out, writing.columns, resume=False), Outcome(writing.cut_off)
    writing.write(table, [(Prepared(Found("x.png", "x"), shape=(4, 6)), Answer(said, (said,)))], outcome)
    (row,) = pd.read_csv(asked.out).to_dict("records")
    assert row["error"] == "the network's answer is no number"
    assert pd.isna(row["decision"])
    assert (outcome.errors, outcome.failed) == (1, ["x.png: the network's answer is no number"])


def test_masks__that_cannot_be_called_so_are_the_error_of_one_image(tmp_path: Path) -> None:
    members = [member(SegmentationTask, class_names=("no lungs", "lungs"), target="lungs", smallest_area=0.0)]
    asked = Asked(runs=(), paths=(), out=tmp_path / "s.csv")
    writing = Writing.of(members, CutOff(0.5, "given"), asked)
    table = Table.begun(asked.out, writing.columns, resume=False)
    geometry = Geometry.fit((0, 0, 8, 6), 4, keep_aspect=False)
    answer = Answer(1.0, (1.0,), maps=[np.ones((4, 4), np.float32)])
    long = "/".join(["d" * 250] * 20)  # a path that is longer than any may be
    pairs = [
        (Prepared(Found(f"{name}.png", name), geometries=(geometry,), shape=(6, 8)), answer)
        for name in ("a", long, "z")
    ]
    writing.write(table, pairs, Outcome(writing.cut_off))
    rows = pd.read_csv(asked.out)
    assert rows["error"].isna().tolist() == [True, False, True]
    assert "its mask cannot be called" in rows["error"][1]
    assert rows["mask"].notna().tolist() == [True, False, True]


def test_columns__of_runs_with_one_name_are_told_apart_by_more_of_their_paths(tmp_path: Path) -> None:
    members = []
    for place in ("here", "there"):
        made = member(ClassificationTask, **THREE)
        made.run.folder = tmp_path / place / "net" / "1"  # type: ignore[misc]
        members.append(made)
    assert names_of(members) == ["here/net/1", "there/net/1"]
    asked = Asked(runs=(), paths=(), out=tmp_path / "s.csv")
    writing = Writing.of(members, cut_off_of(members, None), asked)
    table = Table.begun(asked.out, writing.columns, resume=False)
    prepared = Prepared(Found("x.png", "x"), shape=(4, 6))
    writing.write(table, [(prepared, Answer(0.5, (0.4, 0.6), (0.2, 0.3, 0.5)))], Outcome(writing.cut_off))
    (row,) = pd.read_csv(asked.out).to_dict("records")
    assert [row["score@here/net/1"], row["score@there/net/1"]] == [0.4, 0.6]


def test_masks__of_members_that_draw_in_different_places_are_empty_and_so_is_the_score(tmp_path: Path) -> None:
    facts = {"class_names": ("no opacity", "opacity"), "target": "opacity", "smallest_area": 0.0}
    members = [member(SegmentationTask, name, **facts) for name in ("net/1", "net/2")]
    asked = Asked(runs=(), paths=(), out=tmp_path / "s.csv")
    writing = Writing.of(members, CutOff(0.5, "given"), asked)
    table = Table.begun(asked.out, writing.columns, resume=False)
    left = np.zeros((8, 8), np.float32)
    left[2:4, :4] = 0.9
    geometry = Geometry.fit((0, 0, 8, 8), 8, keep_aspect=False)
    prepared = Prepared(Found("x.png", "x"), geometries=(geometry, geometry), shape=(8, 8))
    said = [Answer(0.9, (0.9, 0.9), maps=[left, left[:, ::-1]]), Answer(0.9, (0.9, 0.9), maps=[left, left])]
    writing.write(table, [(prepared, each) for each in said], Outcome(writing.cut_off))
    apart, together = pd.read_csv(asked.out).to_dict("records")
    assert (apart["decision"], apart["area"]) == ("no opacity", 0)
    assert apart["score"] == pytest.approx(0.45)
    assert (together["decision"], together["area"]) == ("opacity", 8 / 64)
    assert together["score"] == pytest.approx(0.9)


@pytest.mark.parametrize("given", ["0.3", None])
def test_cut_off__of_one_run_is_its_own_unless_given(given: str | None) -> None:
    facts = {"class_names": ("Normal", "Pneumonia"), "is_binary": True, "threshold": 0.7}
    assert cut_off_of([member(ClassificationTask, **facts)], given).value == (0.7 if given is None else 0.3)
