"""Boxes around opacities: learnt, kept apart, measured, and given in pixels of the file."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from pulmo import run
from pulmo.cli import app
from pulmo.data.reading import read_grey
from pulmo.finished import FinishedRun
from pulmo.sheets.whole import sheets_of
from pulmo.tasks.base import Task
from pulmo.transforms.preprocess import Preprocess
from tests.conftest import boxes_of, command_line, compose_in, figures_of, ious, once
from tests.integration.conftest import LIGHT, fit, untrained
from tests.integration.test_resume import CutOffAt, CutOffError

TRAIN = Path(__file__).parents[2] / "train.py"
WIDTH, HEIGHT = 120, 90  # of the files; the network sees 64 × 64
SMALL = [
    *("model.input.size=64", "model.net.proposals=[50,20]", "model.net.samples=16", "data.batch_size=4"),
    *("data.num_workers=0", "strategy=cpu", "trainer.precision=32-true", "logger=csv", "augment=none"),
]
# Without weights from elsewhere a ResNet-50 begins with large gradients.
LEARNING = ["trainer.max_epochs=3", "model.optimizer.lr=1.5e-4", "trainer.gradient_clip_val=1.0"]


@pytest.fixture(scope="module")
def known(shared: Path, phantoms: Path) -> Path:
    """RSNA folder of four pictures, one of them without a box, each in every split and among the unlabelled.

    What generalises is not asked here: a detector that learns them by heart must find them again, by way of files,
    cache, network, suppression and threshold.
    """
    return once(shared / "known", lambda root: _write_known(phantoms / "rsna", root))


@pytest.fixture(scope="module")
def found(shared: Path, known: Path) -> Path:
    """Run of a Faster R-CNN on `known`."""
    overrides = ["model=faster_rcnn", *SMALL, *LEARNING, *LIGHT, *_places(known, shared / "found_cache")]
    overrides.append("predict=true")
    return once(shared / "found", lambda folder: run.train(compose_in(folder, *overrides), folder, overrides))


def _write_known(rsna: Path, root: Path) -> None:
    boxes = boxes_of(rsna)
    ill = [image_id for image_id in boxes if len(boxes[image_id])][:3]
    well = [image_id for image_id in boxes if not len(boxes[image_id])][:1]
    for split in ("train", "test"):
        (root / f"stage_2_{split}_images").mkdir(parents=True)
    labels, splits = [], []
    for picture in ill + well:
        grey = read_grey(rsna / "stage_2_train_images" / f"{picture}.dcm").image
        scale = np.array([WIDTH / grey.shape[1], HEIGHT / grey.shape[0]] * 2)
        grey = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        assert cv2.imwrite(str(root / "stage_2_test_images" / f"unlabelled-{picture}.png"), grey)
        for split in ("val", "test", *(f"train{copy}" for copy in range(12))):
            name = f"{split}-{picture}"
            assert cv2.imwrite(str(root / "stage_2_train_images" / f"{name}.png"), grey)
            splits.append({"image_id": name, "split": split.rstrip("0123456789")})
            for x1, y1, x2, y2 in boxes[picture] * scale:
                labels.append({"patientId": name, "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1, "Target": 1})
            if not len(boxes[picture]):
                labels.append({"patientId": name, "Target": 0})
    pd.DataFrame(labels).to_csv(root / "stage_2_train_labels.csv", index=False)
    pd.DataFrame(splits).to_csv(root / "split.csv", index=False)


def _places(root: Path, cache: Path) -> list[str]:
    return ["data=rsna", f"data.root={root}", f"data.split={root / 'split.csv'}", f"data.cache_dir={cache}"]


# Learning


def test_faster_rcnn__learns_what_it_is_shown(found: Path, known: Path, tmp_path: Path) -> None:
    before = untrained(compose_in(tmp_path / "run", "model=faster_rcnn", *SMALL, *_places(known, tmp_path)))
    _assert_learnt(found, before, figures_of(found))


@pytest.mark.slow
@pytest.mark.parametrize(("version", "epochs"), [(1, 4), (2, 5)])
def test_mask_rcnn__learns_what_it_is_shown(version: int, epochs: int, known: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    overrides = ["model=mask_rcnn", f"model.net.version={version}", *SMALL, *_places(known, tmp_path)]
    before = untrained(compose_in(tmp_path / "untrained", *overrides))
    after = fit(compose_in(folder, *overrides, *LEARNING, f"trainer.max_epochs={epochs}", *LIGHT))
    _assert_learnt(folder, before, after)
    masks = pd.read_csv(folder / "history.csv")["train/loss_mask"]
    assert masks.iloc[-1] < masks.iloc[0]
    shutil.rmtree(folder / "checkpoints")


def _assert_learnt(folder: Path, before: dict[str, float], after: dict[str, float]) -> None:
    losses = pd.read_csv(folder / "history.csv")["train/loss"]
    assert losses.iloc[-1] < 0.75 * losses.iloc[0]
    for figure in ("test/rsna_score", "test/froc_score"):
        assert after[figure] > before[figure] + 0.15, figure


# What a run leaves


def test_run_folder__holds_checkpoint_tables_and_figures(found: Path) -> None:
    present = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert present >= {
        "checkpoints/best.ckpt",
        *(f"{table}_{split}.csv" for table in ("predictions", "boxes") for split in ("val", "test", "unlabelled")),
        *("true_boxes_val.csv", "true_boxes_test.csv"),
        *(f"figures/{kind}_{split}.png" for kind in ("overlays", "roc", "scores") for split in ("val", "test")),
        *("figures/froc.png", "figures/learning_curves.png"),
    }
    parts = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert {f"train/{part}" for part in parts} <= set(pd.read_csv(found / "history.csv"))


def test_boxes__in_pixels_of_the_file_take_a_true_box_each_from_the_surest_down(found: Path, known: Path) -> None:
    truths, table = boxes_of(known), pd.read_csv(found / "boxes_test.csv")
    assert table["true_positive"].sum() >= 3
    assert table[["x1", "y1"]].min().min() >= 0
    assert table["x2"].max() <= WIDTH
    assert table["y2"].max() <= HEIGHT
    for image_id, boxes in table.groupby("image_id"):
        left = truths[str(image_id)]
        for *box, right in boxes.sort_values("score", ascending=False)[
            ["x1", "y1", "x2", "y2", "true_positive"]
        ].itertuples(index=False):
            overlaps = ious(np.array(box), left)
            assert right == (len(left) > 0 and overlaps.max() > 0.4)
            left = np.delete(left, overlaps.argmax(), axis=0) if right else left


def test_true_boxes__are_those_of_the_challenges_csv(found: Path, known: Path) -> None:
    truths, table = boxes_of(known), pd.read_csv(found / "true_boxes_test.csv", dtype={"image_id": str})
    tested = pd.read_csv(found / "predictions_test.csv", dtype={"image_id": str})
    assert len(table) == sum(len(truths[image_id]) for image_id in tested["image_id"]) > 0
    for image_id, boxes in table.groupby("image_id"):
        np.testing.assert_allclose(boxes[["x1", "y1", "x2", "y2"]], truths[str(image_id)], atol=0.01)


def test_metrics__average_precision_follows_from_the_tables_alone(found: Path) -> None:
    run = FinishedRun(found)
    sheets = sheets_of(run.predictions("test"), run.boxes("test"), None, 0.5, true_boxes=run.true_boxes("test"))
    assert sheets.boxes is not None
    for name in ("map", "map_50", "map_75"):
        assert sheets.boxes.figures[name].value == pytest.approx(figures_of(found)[f"test/{name}"], abs=1e-4)


def test_metrics__agree_with_the_tables_of_boxes_and_images(found: Path, known: Path) -> None:
    figures, truths = figures_of(found), boxes_of(known)
    boxes, images = pd.read_csv(found / "boxes_test.csv"), pd.read_csv(found / "predictions_test.csv")
    kept = boxes[boxes["score"] >= figures["threshold"]]
    right, wanted = int(kept["true_positive"].sum()), sum(len(truths[image_id]) for image_id in images["image_id"])
    assert figures["test/box_sensitivity"] == pytest.approx(right / wanted)
    assert figures["test/box_precision"] == pytest.approx(right / len(kept))
    assert figures["test/false_positives_per_image"] == pytest.approx((len(kept) - right) / len(images))
    assert images["label"].tolist() == [int(len(truths[image_id]) > 0) for image_id in images["image_id"]]
    surest = images["image_id"].map(boxes.groupby("image_id")["score"].max()).fillna(0)
    np.testing.assert_allclose(images["score"], surest, atol=1e-6)
    number = images["image_id"].map(kept["image_id"].value_counts()).fillna(0)
    assert images["predicted_boxes"].tolist() == number.tolist()
    assert figures["test/auroc"] == pytest.approx(roc_auc_score(images["label"], images["score"]))
    counted = images.loc[(images["true_boxes"] > 0) | (images["predicted_boxes"] > 0), "rsna_score"]
    assert figures["test/rsna_score"] == pytest.approx(counted.mean())


def test_boxes__of_an_image_overlap_no_more_than_was_fitted(found: Path) -> None:
    limit, most = figures_of(found)["nms_iou"], 0.0
    for _, boxes in pd.read_csv(found / "boxes_test.csv").groupby("image_id"):
        corners = boxes[["x1", "y1", "x2", "y2"]].to_numpy()
        for place in range(1, len(corners)):
            most = max(most, ious(corners[place], corners[:place]).max())
    assert most <= limit + 1e-4


def test_checkpoint__gives_the_same_boxes_with_nothing_but_the_file(found: Path) -> None:
    images, table = pd.read_csv(found / "predictions_test.csv"), pd.read_csv(found / "boxes_test.csv")
    task = Task.load_from_checkpoint(found / "checkpoints" / "best.ckpt")
    assert task.state() == {name: figures_of(found)[name] for name in ("threshold", "nms_iou")}
    preprocess = Preprocess(**{key: value for key, value in task.origin["preprocess"].items() if key != "_target_"})
    again = []
    for image_id, path in images[["image_id", "path"]].itertuples(index=False):
        image, geometry = preprocess(read_grey(path).image)
        with torch.no_grad():
            boxes = task(torch.from_numpy(image)[None, None])[0].double().numpy()
        left: list[np.ndarray] = []
        for box in boxes[np.argsort(-boxes[:, 4], kind="stable")]:
            if not left or ious(box[:4], np.stack(left)[:, :4]).max() <= task.state()["nms_iou"]:
                left.append(box)
        again += [(image_id, *geometry.unbox(box[None, :4].astype(np.float32))[0], box[4]) for box in left]
    columns = ["image_id", "x1", "y1", "x2", "y2", "score"]
    expected = pd.DataFrame(again, columns=columns).sort_values(["image_id", "score"], ignore_index=True)
    assert len(expected) > 3
    pd.testing.assert_frame_equal(
        table[columns].sort_values(["image_id", "score"], ignore_index=True),
        expected,
        check_dtype=False,
        rtol=1e-3,
        atol=1e-2,
    )


def test_predict__finds_in_unlabelled_files_what_it_has_learnt(found: Path, known: Path) -> None:
    table, images = pd.read_csv(found / "boxes_unlabelled.csv"), pd.read_csv(found / "predictions_unlabelled.csv")
    assert set(images["image_id"]) == {path.stem for path in (known / "stage_2_test_images").iterdir()}
    assert (images["label"] == -1).all()
    assert not set(images) & {"true_boxes", "rsna_score"}
    assert "true_positive" not in table
    same = pd.read_csv(found / "boxes_test.csv").drop(columns="true_positive")
    same["image_id"] = same["image_id"].str.replace("test-", "unlabelled-")
    by = ["image_id", "score"]
    pd.testing.assert_frame_equal(
        table.sort_values(by, ignore_index=True), same.sort_values(by, ignore_index=True), rtol=1e-3, atol=1e-2
    )


def test_pulmo_predict__boxes_are_those_of_the_run_in_three_forms(found: Path, known: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").touch()
    given = [found, known / "stage_2_test_images", tmp_path / "broken.dcm", "--workers", 0]
    given += ["--out", tmp_path / "s.csv"]
    result = CliRunner().invoke(app, ["predict", *map(str, given)])
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(tmp_path / "s.csv")
    rows.index = rows["path"].map(lambda path: Path(path).stem)
    known_images = pd.read_csv(found / "predictions_unlabelled.csv").set_index("image_id")
    known_boxes = pd.read_csv(found / "boxes_unlabelled.csv")
    known_boxes = known_boxes[known_boxes["score"] >= figures_of(found)["threshold"]]
    good = rows.drop(index="broken")
    np.testing.assert_allclose(good["score"], known_images["score"].loc[good.index], atol=1e-4)
    assert good["decision"].eq("opacity").astype(int).tolist() == known_images["prediction"].loc[good.index].tolist()
    boxes = pd.read_csv(tmp_path / "s_boxes.csv")
    boxes["image_id"] = boxes["path"].map(lambda path: Path(path).stem)
    columns = ["image_id", "x1", "y1", "x2", "y2", "score"]
    expected = known_boxes.sort_values(["image_id", "score"], ascending=[True, False])[columns]
    pd.testing.assert_frame_equal(
        boxes[columns].reset_index(drop=True), expected.reset_index(drop=True), rtol=0, atol=0.1
    )
    coco = json.loads((tmp_path / "s_boxes.coco.json").read_text())
    files = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    assert {(image["width"], image["height"]) for image in coco["images"]} == {(WIDTH, HEIGHT)}
    assert [files[found["image_id"]] for found in coco["annotations"]] == boxes["image_id"].tolist()
    x, y, width, height = np.array([found["bbox"] for found in coco["annotations"]]).T
    np.testing.assert_allclose(np.stack([x, y, x + width, y + height], 1), boxes[["x1", "y1", "x2", "y2"]], atol=0.11)
    submission = pd.read_csv(tmp_path / "s_submission.csv").set_index("patientId")["PredictionString"]
    assert set(submission.index) == {*files.values(), "broken"}, "the challenge wants a row for each image"
    for image_id, text in submission.fillna("").items():
        theirs = np.array(text.split(), float).reshape(-1, 5)
        assert theirs[:, 0].tolist() == boxes.loc[boxes["image_id"] == image_id, "score"].tolist()


# Hardly possible data, cut off, shared out


@pytest.mark.slow
@pytest.mark.parametrize("empty", ["val", "test"])
def test_split_without_box__has_null_figures_and_the_others_stay(empty: str, known: Path, tmp_path: Path) -> None:
    boxes, split = boxes_of(known), pd.read_csv(known / "split.csv")
    with_box = split["image_id"].map(lambda image_id: len(boxes[image_id]) > 0)
    split[(split["split"] != empty) | ~with_box].to_csv(tmp_path / "split.csv", index=False)
    folder, split_by = tmp_path / "run", f"data.split={tmp_path / 'split.csv'}"
    overrides = ["model=faster_rcnn", *SMALL, *LIGHT, "trainer.max_epochs=1", *_places(known, tmp_path)[:2]]
    overrides += [f"data.cache_dir={tmp_path}", split_by]
    run.train(compose_in(folder, *overrides), folder, overrides)
    figures, other = figures_of(folder), {"val": "test", "test": "val"}[empty]
    undefined = {"auroc", "sensitivity", "box_sensitivity", "froc_score", "map", "map_50", "map_75"}
    assert {name for name in undefined if figures[f"{empty}/{name}"] is None} == undefined
    assert not [name for name in undefined if figures[f"{other}/{name}"] is None]
    assert figures[f"{empty}/rsna_score"] in (None, 0.0), "0 where anything is found"
    assert figures[f"{empty}/false_positives_per_image"] is not None
    assert (folder / "figures" / "froc.png").exists()
    shutil.rmtree(folder / "checkpoints")


@pytest.mark.slow
@pytest.mark.parametrize("model", ["faster_rcnn", "mask_rcnn"])
def test_resume__cut_off_run_ends_at_the_same_weights(model: str, known: Path, tmp_path: Path) -> None:
    overrides = [f"model={model}", *SMALL, *LEARNING, *_places(known, tmp_path / "cache")]
    overrides += ["trainer.max_epochs=2", "trainer.limit_train_batches=3", "scheduler=cosine", "optimizer=sgd"]
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    fit(compose_in(straight, *overrides))
    cut.mkdir()
    experiment = run.build(compose_in(cut, *overrides), cut)
    experiment.trainer.callbacks.append(CutOffAt(1))  # type: ignore[attr-defined]
    with pytest.raises(CutOffError):
        run.fit(experiment)
    fit(compose_in(cut, *overrides, f"resume={cut}/checkpoints/last.ckpt"))
    ends = [torch.load(path / "checkpoints" / "last.ckpt", weights_only=True) for path in (straight, cut)]
    assert ends[0]["epoch"] == ends[1]["epoch"] == 1
    for name, weights in ends[0]["state_dict"].items():
        assert torch.equal(weights, ends[1]["state_dict"][name]), name
    assert ends[0]["pulmo"]["state"] == ends[1]["pulmo"]["state"]
    for name in ("history.csv", "boxes_test.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(straight / name), pd.read_csv(cut / name))
    for folder in (straight, cut):
        shutil.rmtree(folder / "checkpoints")


@pytest.mark.slow
def test_two_processes__give_the_figures_of_one_on_the_same_checkpoint(known: Path, tmp_path: Path) -> None:
    split = pd.read_csv(known / "split.csv")
    split = split[split["image_id"] != split.loc[split["split"] == "test", "image_id"].iloc[0]]
    split.to_csv(tmp_path / "split.csv", index=False)
    assert (split["split"] == "test").sum() % 2, "uneven, so that a padding sampler would show"
    overrides = ["model=mask_rcnn", *SMALL, *LEARNING, *LIGHT, *_places(known, tmp_path)]
    overrides += [f"data.split={tmp_path / 'split.csv'}", "trainer.max_epochs=2"]
    two, one = tmp_path / "two", tmp_path / "one"
    command = [sys.executable, TRAIN, *command_line(*overrides, f"run_dir={two}", "strategy=ddp_cpu")]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    experiment = run.build(compose_in(one, *overrides), one)
    (one / "checkpoints").mkdir(parents=True)
    (two / "checkpoints" / "best.ckpt").rename(one / "checkpoints" / "best.ckpt")
    run.test(experiment)
    by_two = figures_of(two)
    compared = [name for name in by_two if name.startswith(("val/", "test/", "threshold", "nms_iou"))]
    assert len(compared) > 30
    for name in compared:
        expected = np.nan if by_two[name] is None else by_two[name]
        assert experiment.task.figures[name] == pytest.approx(expected, abs=1e-5, nan_ok=True), name
    for name in ("predictions_val.csv", "predictions_test.csv", "boxes_val.csv", "boxes_test.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(two / name), pd.read_csv(one / name), rtol=1e-3, atol=1e-3)
    shutil.rmtree(one / "checkpoints")
