"""`report.html`: at the end of a run, and by `pulmo report RUN` from its folder alone."""

import base64
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner, Result

from pulmo import run
from pulmo.cli import app
from pulmo.finished import FinishedRun
from pulmo.heatmaps import HeatMaps
from pulmo.pages import cases, report
from pulmo.report.thumbnails import thumbnail
from tests.conftest import SMALL, compose_in

SECTIONS = (
    "In short",
    "What was run",
    "Data, split and leak check",
    "Training",
    "Test figures",
    "Curves",
    "Operating points",
    "Calibration: are scores probabilities?",
    "Best and worst cases",
    "Run it again",
    "Where it ran",
)


@pytest.fixture(scope="module")
def finished(phantoms: Path, cache_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier's run on Kermany phantoms."""
    folder = tmp_path_factory.mktemp("report") / "run"
    places = ["data=kermany", f"data.root={phantoms / 'kermany'}", f"data.cache_dir={cache_dir}"]
    overrides = [*SMALL, *places, "trainer.max_epochs=2", "callbacks.progress_bar=null", "logger=csv", "report=true"]
    run.train(compose_in(folder, *overrides), folder, overrides)
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The run, moved to where another machine would have it."""
    return Path(shutil.copytree(finished, tmp_path / "elsewhere" / "moved & <escaped>"))


def typed(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def sections_of(page: Path) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", page.read_text())


def section(page: Path, title: str) -> str:
    return page.read_text().partition(f"<h2>{title}</h2>")[2].partition("</section>")[0]


def test_report__stands_in_the_folder_when_the_run_ends(finished: Path) -> None:
    page = finished / "report.html"
    assert [title for title in SECTIONS if title not in sections_of(page)] == []
    text = page.read_text()
    assert "Left out" not in text
    assert "<dt>took</dt>" in section(page, "Where it ran")
    assert "drawn phantoms, not patients" in text
    assert len(text) < 3e6
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", text)  # nothing is fetched


def test_report__figures_are_those_of_metrics_json(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    told = section(finished / "report.html", "Test figures")
    for name, key in (("AUROC", "auroc"), ("sensitivity", "sensitivity"), ("specificity", "specificity")):
        row = re.search(rf"<td class=\"\w+\">{name}</td><td class=\"number\">([\d.]+)", told)
        assert row is not None
        assert float(row[1]) == pytest.approx(metrics[f"test/{key}"], abs=5e-4)


def test_report__every_test_patient_is_counted_and_the_split_is_free_of_leaks(finished: Path) -> None:
    split = pd.read_csv(finished / "split.csv", dtype=str)
    told = section(finished / "report.html", "Data, split and leak check")
    test = split[split["split"] == "test"]
    assert f'<td class="number">{test["patient_id"].nunique()}</td><td class="number">{len(test)}</td>' in told
    assert "Leak check passed: no patient stands in two splits" in told


def test_report__a_patient_in_two_splits_is_told_on(copied: Path) -> None:
    split = pd.read_csv(copied / "split.csv", dtype=str)
    places = [split.index[split["split"] == name][0] for name in ("train", "test")]
    split.loc[places, "patient_id"] = "twice"
    split.to_csv(copied / "split.csv", index=False)
    assert typed(copied).exit_code == 0
    told = section(copied / "report.html", "Data, split and leak check")
    assert "LEAK: 1 patients stand in more than one split" in told
    assert "twice" in told
    assert "none of whom is in the training data" not in (copied / "report.html").read_text()


@pytest.mark.parametrize("known", ["none", "most"])
def test_report__vouches_for_no_patient_whose_name_nobody_knows(copied: Path, known: str) -> None:
    split = pd.read_csv(copied / "split.csv", dtype=str)
    stems = split["path"].map(lambda path: Path(path).stem)
    nameless = split.index[::5] if known == "most" else split.index
    split.loc[nameless, "patient_id"] = stems[nameless]  # as a data set puts it that does not know
    split.to_csv(copied / "split.csv", index=False)
    assert typed(copied).exit_code == 0
    told = section(copied / "report.html", "Data, split and leak check")
    assert "Leak check passed" not in told
    assert "each was taken for a patient of its own" in told
    assert "none of whom is in the training data" not in (copied / "report.html").read_text()
    assert (">unknown<" in told) == (known == "none")
    assert ("whose patients are unknown" in section(copied / "report.html", "In short")) == (known == "none")
    assert ("No patient whose name is known stands in two splits" in told) == (known == "most")


def test_report__images_that_stand_in_two_splits_leak_their_patients(copied: Path) -> None:
    assert "none of whom is in the training data" in (copied / "report.html").read_text()
    (copied / "identical_across_splits.csv").write_text("image_id,of\nx,y\n")
    assert typed(copied).exit_code == 0
    assert "1 images stand in two splits pixel by pixel" in section(
        copied / "report.html", "Data, split and leak check"
    )
    assert "none of whom is in the training data" not in (copied / "report.html").read_text()


def test_report__nothing_is_passed_where_identical_images_were_not_looked_for(copied: Path) -> None:
    figures = json.loads((copied / "metrics.json").read_text())
    (copied / "metrics.json").write_text(json.dumps(figures | {"data/identical_across_splits": None}))
    assert typed(copied).exit_code == 0
    told = section(copied / "report.html", "Data, split and leak check")
    assert "passed" not in told
    assert "No patient stands in two splits; identical images were not looked for." in told


def test_report__worst_cases_are_the_confidently_wrong(finished: Path) -> None:
    metrics = json.loads((finished / "metrics.json").read_text())
    table = pd.read_csv(finished / "predictions_test.csv")
    told = section(finished / "report.html", "Best and worst cases")
    for title, chosen, ascending in (
        ("Worst: PNEUMONIA, missed", (table["label"] == 1) & (table["score"] < metrics["threshold"]), True),
        ("Worst: NORMAL, called PNEUMONIA", (table["label"] == 0) & (table["score"] >= metrics["threshold"]), False),
        ("Best: PNEUMONIA, found", (table["label"] == 1) & (table["score"] >= metrics["threshold"]), False),
    ):
        expected = table[chosen].sort_values("score", ascending=ascending, kind="stable")["image_id"].head(3).tolist()
        group = told.partition(f"<h3>{title}</h3>")[2].partition("<h3>")[0]
        assert re.findall(r"<figcaption>(.*?): ", group) == expected
        assert group.count("data:image/jpeg") == len(expected)


def test_report__is_rebuilt_from_a_moved_folder_and_moved_images(copied: Path, phantoms: Path, tmp_path: Path) -> None:
    (copied / "report.html").unlink()
    shutil.rmtree(copied / "figures")
    elsewhere = shutil.copytree(phantoms / "kermany", tmp_path / "other disk")
    result = typed(copied, f"data.root={elsewhere}")
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith(str(copied / "report.html"))
    assert "Left out" not in (copied / "report.html").read_text()
    assert "moved &amp; &lt;escaped&gt;" in section(copied / "report.html", "Run it again")
    assert "<escaped>" not in (copied / "report.html").read_text()


def test_report__a_folder_that_is_not_there_leaves_the_old_page_as_it_is(copied: Path, tmp_path: Path) -> None:
    before = (copied / "report.html").read_bytes()
    result = typed(copied, f"data.root={tmp_path / 'nowhere'}")
    assert result.exit_code == 1
    assert f"no folder {tmp_path / 'nowhere'}" in result.stderr
    assert (copied / "report.html").read_bytes() == before


def test_report__of_another_checkpoint_than_the_best_is_refused(copied: Path) -> None:
    before = (copied / "report.html").read_bytes()
    result = typed(shutil.copy(copied / "checkpoints" / "best.ckpt", copied / "checkpoints" / "later.ckpt"))
    assert result.exit_code == 1
    assert "a report is of best.ckpt" in result.stderr
    assert (copied / "report.html").read_bytes() == before


def test_report__without_the_images_all_else_is_there(
    copied: Path, phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace(str(phantoms / "kermany"), str(tmp_path / "nowhere")))
    result = typed(copied)
    assert result.exit_code == 0, result.output
    assert "Best and worst cases: left out: no folder" in caplog.text
    assert "Left out: no folder" in section(copied / "report.html", "Best and worst cases")
    assert (copied / "report.html").read_text().count("Left out") == 1


def test_report__a_run_whose_weights_were_taken_away_shows_its_cases_without_heat(copied: Path) -> None:
    shutil.rmtree(copied / "checkpoints")
    assert typed(copied).exit_code == 0
    told = section(copied / "report.html", "Best and worst cases")
    assert "without heat maps" in told
    assert told.count("data:image/jpeg") >= 3


def test_report__an_image_that_is_gone_is_named(copied: Path, phantoms: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(phantoms / "kermany", tmp_path / "fewer")
    for path in elsewhere.glob("test/*/*"):
        path.unlink()
    assert typed(copied, f"data.root={elsewhere}").exit_code == 0
    assert "Left out: " in section(copied / "report.html", "Best and worst cases")
    assert "AUROC" in section(copied / "report.html", "Test figures")


def test_report__an_override_that_names_nothing_is_refused(copied: Path) -> None:
    for override, said in (("data.rot=/x", "did you mean data.root?"), ("data=rsna", "the run's own test images")):
        result = typed(copied, override)
        assert result.exit_code == 1
        assert said in result.stderr


def test_report__a_run_that_was_killed_early_says_what_it_lacks(copied: Path) -> None:
    for name in ("metrics.json", "predictions_test.csv", "predictions_val.csv", "report.html", "environment.json"):
        (copied / name).unlink()
    shutil.rmtree(copied / "checkpoints")
    shutil.rmtree(copied / "figures")
    (copied / "history.csv").write_text("epoch,val/l")  # broken off
    state = {"state": "interrupted", "began": "2026-01-01T00:00:00", "ended": "2026-01-01T00:00:09", "cause": "Ctrl-C"}
    (copied / "state.json").write_text(json.dumps(state))
    assert typed(copied).exit_code == 0
    page = copied / "report.html"
    told = section(page, "In short")
    assert "The run was interrupted: Ctrl-C" in told
    assert "pulmo train resume=" in told
    assert "No metrics.json" in told
    assert "no environment.json" in section(page, "Where it ran")
    assert "No patient stands in two splits; identical images were not looked for." in section(
        page, "Data, split and leak check"
    )


def test_report__a_broken_validation_table_costs_no_test_figure(copied: Path) -> None:
    table = pd.read_csv(copied / "predictions_val.csv", dtype=str)
    table.assign(label=-1).to_csv(copied / "predictions_val.csv", index=False)
    assert typed(copied).exit_code == 0
    page = copied / "report.html"
    assert "AUROC" in section(page, "Test figures")
    assert "Nothing can be fitted on validation" in section(page, "In short")


def test_report__classes_of_a_run_without_a_checkpoint_are_those_of_its_scores(tmp_path: Path) -> None:
    (tmp_path / "predictions_test.csv").write_text("image_id,label,score_a,score_b,score_c\nx,0,0.5,0.3,0.2\n")
    run = FinishedRun(tmp_path)
    assert report._names(lambda: run.class_names, run) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("part", "section_of", "stays"),
    [
        ("history.csv", "In short", "of 100 images with"),
        ("skipped.csv", "Data, split and leak check", "Leak check passed"),
        ("split.csv", "Data, split and leak check", "Data set"),
        ("predictions_val.csv", "Test figures", "AUROC"),
    ],
)
def test_report__an_empty_file_costs_what_it_should_have_held_and_nothing_else(
    copied: Path, part: str, section_of: str, stays: str
) -> None:
    (copied / part).write_text("")
    assert typed(copied).exit_code == 0
    told = section(copied / "report.html", section_of)
    assert stays in told
    assert f"{part} cannot be read" in (copied / "report.html").read_text()


def test_report__what_goes_wrong_never_ends_a_finished_run(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "page", full)
    folder = train("trainer.max_epochs=1", "callbacks.progress_bar=null", "logger=csv", "report=true")
    assert json.loads((folder / "state.json").read_text())["state"] == "finished"
    assert not (folder / "report.html").exists()
    assert "no report.html" in caplog.text
    assert "No space left on device" in caplog.text


def test_report__of_masks_has_their_figures_and_no_operating_points_of_images(
    train: Callable[..., Path], phantoms: Path
) -> None:
    masks = ["data.target=lungs", f"data.masks={phantoms / 'kermany_masks'}", "preprocess.missing=skip"]
    net = ["model=unext", "model.net.widths=[8,8,16,16,16]", "model.input.size=64"]
    folder = train(*net, *masks, "trainer.max_epochs=1", "logger=csv", "report=true", data="kermany")
    page = folder / "report.html"
    dice = pd.read_csv(folder / "predictions_test.csv")["dice"].mean()
    assert f"Dice of {dice:.3f}" in section(page, "In short")
    assert "Operating points" not in sections_of(page)
    split = pd.read_csv(folder / "split.csv")
    healthy = int(((split["split"] == "test") & (split["label"] == 0)).sum())
    for made in ("at the end of the run", "again"):
        balance = re.sub(r"(\s|<[^>]*>)+", " ", section(page, "Data, split and leak check"))
        assert re.search(rf"NORMAL PNEUMONIA .* test \d+ \d+ {healthy} ", balance), made
        assert typed(folder).exit_code == 0
    assert "data:image/jpeg" in section(page, "Best and worst cases")
    assert np.isfinite(dice)


def test_report__is_left_out_where_it_is_not_wanted(train: Callable[..., Path]) -> None:
    assert not (train("trainer.max_epochs=1", "report=false") / "report.html").exists()


def test_report__made_again_tells_what_was_measured_since(copied: Path) -> None:
    page = copied / "report.html"
    assert not section(page, "Measured afterwards")
    done = CliRunner().invoke(app, ["evaluate", str(copied), "--split", "val", "--resamples", "200"])
    assert done.exit_code == 0, done.output
    (copied / "evaluations" / "broken").mkdir()
    probe = {"images": "kermany test", "told_on": True, "cleared": False, "verdict": ["borders only: still ranks"]}
    (copied / "explanations" / "probe_test").mkdir(parents=True)
    (copied / "explanations" / "probe_test" / "probe.json").write_text(json.dumps(probe))
    (copied / "explanations" / "probe_val").mkdir()
    (copied / "explanations" / "probe_val" / "probe.json").write_text("[]")
    assert typed(copied).exit_code == 0
    told = section(page, "Measured afterwards")
    intervals = pd.read_csv(copied / "evaluations" / "kermany_val" / "intervals.csv").set_index("figure")
    assert f"{intervals.loc['auroc', 'value']:.3f}" in told
    assert "evaluations/kermany_val" in told
    assert "Shortcut probe of kermany test: Borders only: still ranks. See explanations/probe_test/explain.html" in told
    assert "Left out: evaluations/broken cannot be read" in told
    assert "Left out: explanations/probe_val/probe.json cannot be read" in told


def test_report__the_lead_gives_each_figure_its_own_words(finished: Path) -> None:
    table = pd.read_csv(finished / "predictions_test.csv")
    ill, called = table["label"] == 1, table["prediction"] == 1
    finds, clears = round(100 * called[ill].mean()), round(100 * (~called)[~ill].mean())
    told = section(finished / "report.html", "In short")
    assert f"of 100 images with PNEUMONIA it finds {finds}" in told
    assert f"of 100 without it clears {clears}" in told
    assert finds != clears, "else the two could stand in each other's place"


def test_report__classes_are_counted_by_split(finished: Path) -> None:
    split = pd.read_csv(finished / "split.csv")
    told = re.sub(r"<[^>]+>", "|", section(finished / "report.html", "Data, split and leak check"))
    for name, title in (("train", "training"), ("val", "validation"), ("test", "test")):
        part = split[split["split"] == name]
        row = re.sub(r"\|[\s|]*", "|", told[told.index(f"|{title}|") :]).split("|")[1:6]
        assert row[:3] == [title, str(part["patient_id"].nunique()), str(len(part))]
        assert [cell.partition(" ")[0] for cell in row[3:]] == [str((part["label"] == label).sum()) for label in (0, 1)]


def test_report__each_case_is_shown_with_its_own_image_and_heat(finished: Path) -> None:
    told = section(finished / "report.html", "Best and worst cases")
    shown = re.findall(r"data:image/jpeg;base64,([\w+/=]+).*?<figcaption>(.*?): ", told, flags=re.DOTALL)
    run = FinishedRun(finished)
    prepared = cases.from_files(run, ())([image_id for _, image_id in shown])
    heats = HeatMaps(run.task)(torch.from_numpy(prepared)[:, None])
    for (data, _), image, heat in zip(shown, prepared, heats, strict=True):
        seen, expected = (
            cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR).astype(int)
            for picture in (base64.b64decode(data), thumbnail(image, heat))
        )
        assert np.abs(seen - expected).mean() < 2
    assert len(shown) >= 6
