"""A network that reads the border is told on, one that reads the lungs is not."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from tests.unit.tasks import known_boxes
from torch import Tensor, nn, optim

from pulmo.errors import ConfigError, DataError
from pulmo.explanation.images import Images
from pulmo.explanation.occlusion import OCCLUSIONS, WHOLE
from pulmo.explanation.probe import Probe, as_plain, probe, table_of
from pulmo.explanation.verdict import Row, Said, verdict
from pulmo.losses import ClassificationLoss
from pulmo.metrics.bootstrap import Interval
from pulmo.metrics.classification import binary_metrics
from pulmo.models.image_input import ImageInput
from pulmo.tasks.classification import ClassificationTask
from pulmo.thresholds import Fixed
from pulmo.transforms.preprocess import Preprocess

SIDE, COUNT = 40, 60
TOKEN, LUNGS = (slice(0, 3), slice(0, 3)), (slice(16, 33), slice(6, 28))  # on one side: mirrored they are told


class Reads(nn.Module):
    """Its logit is the mean of one part of the image."""

    def __init__(self, part: tuple[slice, slice], outputs: int) -> None:
        super().__init__()
        self.part, self.scale = part, nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = self.part
        return self.scale * image[:, :, rows, columns].mean((2, 3))


def reader(part: tuple[slice, slice]) -> ClassificationTask:
    return ClassificationTask(
        net=lambda outputs: Reads(part, outputs),
        image=ImageInput(1, [0.5], [0.1]),
        class_names=("normal", "pneumonia"),
        loss=ClassificationLoss(),
        optimizer=partial(optim.SGD, lr=0.1),
        threshold=Fixed(0.5),
    ).eval()


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """Noise; of the second class, lungs are brighter, and so is a token in the corner. Two images a patient."""
    folder = tmp_path_factory.mktemp("films")
    rng = np.random.default_rng(0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[LUNGS] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    rows = []
    for i in range(COUNT):
        label = i % 2
        image = rng.normal(128, 8, (SIDE, SIDE))
        image[LUNGS] += 40 * (label - 0.5)
        image[TOKEN] += 80 * (label - 0.5)
        path = folder / f"{i}.png"
        cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))
        rows.append((str(i), f"p{i // 2}", str(path), "test", label, [], str(folder / "mask.png"), ""))
    columns = ["image_id", "patient_id", "path", "split", "label", "boxes", "mask", "view"]
    return Images("films test", pd.DataFrame(rows, columns=columns), Preprocess(size=SIDE))


def of(films: Images, **changes: object) -> Images:
    return Images(films.name, films.table.assign(**changes), films.preprocess)  # type: ignore[arg-type]


def by_name(probed: Probe) -> dict[str, tuple[float, float, float]]:
    return {row.occlusion.name: row.auroc for row in probed.rows}


def test_probe__tells_on_a_network_that_reads_the_border(films: Images) -> None:
    probed = probe(reader(TOKEN), films, resamples=500)
    assert probed.told_on
    aurocs = by_name(probed)
    assert aurocs["whole image"][0] == aurocs["lungs removed"][0] == aurocs["borders only"][0] == 1
    assert aurocs["lungs only"][0] == 0.5
    said = "borders only: still ranks pneumonia with AUROC 1.000, from the outer tenth of the image alone"
    assert Said(said, "told on") in probed.verdict


def test_probe__clears_a_network_that_reads_the_lungs(films: Images) -> None:
    probed = probe(reader(LUNGS), films, resamples=500)
    assert not probed.told_on
    assert probed.cleared
    assert by_name(probed)["whole image"][0] == by_name(probed)["lungs only"][0] == 1
    # Filled with a mean of what is kept, the lungs would have told of the token.
    assert by_name(probed)["lungs removed"][0] == 0.5
    assert probed.verdict[0].text.startswith("no sign of a shortcut")


def _rows(patients: int = 50, **aurocs: tuple[float, float, float]) -> list[Row]:
    known = {part.name.replace(" ", "_"): part for part in (WHOLE, *OCCLUSIONS)}
    none = Interval(0, 0, 0)
    return [Row(known[name], 100, patients, Interval(*auroc), none, none, 0.5, 0.5) for name, auroc in aurocs.items()]


CLEAR = (0.5, 0.45, 0.55)


def test_verdict__an_interval_below_chance_tells_as_one_above(films: Images) -> None:
    rows = _rows(whole_image=(0.95, 0.9, 0.99), borders_only=(0.2, 0.15, 0.25), lungs_removed=CLEAR)
    assert [row.tells for row in rows] == [False, True, False]
    assert [row.clears for row in rows] == [True, False, True]
    (said,) = verdict(rows, reader(LUNGS), films)
    assert said.kind == "told on"
    assert said.text.startswith(
        "borders only: still ranks pneumonia with AUROC 0.200 (0.150–0.250), from the outer tenth"
    )
    assert said.text.endswith("; below 0.5: what is left is read the other way round")


@pytest.mark.parametrize("interval", [(0.45, 0.3, 0.55), (0.55, 0.45, 0.7)])
def test_verdict__an_interval_that_reaches_beyond_chance_clears_nothing(
    films: Images, interval: tuple[float, float, float]
) -> None:
    (said,) = verdict(_rows(whole_image=CLEAR, borders_only=interval), reader(LUNGS), films)
    assert said.kind == "open"
    assert said.text.startswith("too few images to tell")
    assert "beyond 0.4 to 0.6" in said.text


@pytest.mark.parametrize("borders", [(1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.9, 0.7, 0.95), (0.5, 0.45, 0.55)])
def test_verdict__of_few_patients_nothing_is_told_however_well_they_rank(
    films: Images, borders: tuple[float, float, float]
) -> None:
    (said,) = verdict(_rows(9, whole_image=CLEAR, borders_only=borders), reader(LUNGS), films)
    assert (said.kind, said.text) == (
        "open",
        "too few images to tell: borders only can be shown of 9 patients of one class, 10 are needed",
    )


def test_verdict__without_an_image_that_lacks_lungs_clears_nothing(films: Images) -> None:
    (said,) = verdict(_rows(whole_image=(0.95, 0.9, 0.99), centre_only=CLEAR), reader(LUNGS), films)
    assert said.kind == "open"
    assert "nothing to probe" in said.text


@pytest.mark.parametrize("outline", [(0.38, 0.33, 0.43), (0.7, 0.6, 0.8)])
def test_verdict__an_outline_that_tells_is_of_the_masks_and_no_shortcut(
    films: Images, outline: tuple[float, float, float]
) -> None:
    rows = _rows(whole_image=CLEAR, borders_only=CLEAR, outline_alone=outline)
    assert all(row.clears for row in rows)
    said = verdict(rows, reader(LUNGS), films)
    assert [line.kind for line in said] == ["cleared", "note"]
    assert said[1].text.startswith(f"the outline of the lung masks alone gives {outline[0]:.3f}")
    assert "of what it reads in a whole film this says nothing" in said[1].text


def test_probe__of_few_images_settles_nothing(films: Images) -> None:
    rng = np.random.default_rng(0)
    few = Images(films.name, films.table.iloc[rng.permutation(COUNT)[:40]].reset_index(drop=True), films.preprocess)
    noise = (slice(0, 3), slice(30, 33))
    probed = probe(reader(noise), few, resamples=200)
    assert not probed.told_on
    assert not probed.cleared
    assert "too few images to tell: without lungs the interval" in probed.verdict[0].text


def test_probe__counts_flips_and_drops_on_the_same_images(films: Images) -> None:
    probed = probe(reader(LUNGS), films, resamples=200)
    scores = probed.scores
    row = {row.occlusion.name: row for row in probed.rows}["lungs removed"]
    labels = torch.tensor(scores["label"].to_numpy())
    left = torch.tensor(scores["lungs removed"].to_numpy())
    assert row.auroc.value == pytest.approx(binary_metrics(left, labels, {})["auroc"])
    assert row.drop.value == pytest.approx(1 - row.auroc.value)
    assert row.flips.value == ((scores["whole image"] >= 0.5) != (scores["lungs removed"] >= 0.5)).mean()
    assert row.positives == pytest.approx(scores.loc[scores["label"] == 1, "lungs removed"].mean())


def test_probe__without_lung_masks_is_of_borders_and_centre(films: Images) -> None:
    probed = probe(reader(TOKEN), of(films, mask=""), resamples=200)
    assert [row.occlusion.name for row in probed.rows] == ["whole image", "centre only", "borders only"]
    assert probed.verdict[-1].text.startswith("no lung masks")


def test_probe__with_masks_of_one_class_alone_tells_so_and_is_json(films: Images) -> None:
    masks = films.table["mask"].where(films.table["label"] == 1, "")
    probed = probe(reader(LUNGS), of(films, mask=masks), resamples=200)
    plain = json.loads(json.dumps(as_plain(probed), allow_nan=False))
    assert plain["rows"]["lungs only"]["mean_score"]["negatives"] is None
    assert "can be shown of 0 patients of one class" in plain["verdict"][0]


def test_probe__compares_with_the_whole_of_those_images_that_have_a_mask(films: Images) -> None:
    some = films.table["mask"].where(films.table.index < 20, "")
    rows = {row.occlusion.name: row for row in probe(reader(LUNGS), of(films, mask=some), resamples=200).rows}
    assert rows["whole image"].images == rows["borders only"].images == COUNT
    assert rows["lungs removed"].images == 20


def test_probe__of_a_run_on_lungs_alone_sees_nothing_of_the_rest(films: Images) -> None:
    masked = Images(films.name, films.table, Preprocess(size=SIDE, use="lungs"))
    aurocs = by_name(probe(reader(TOKEN), masked, resamples=200))
    assert list(aurocs) == ["whole image", "centre only", "lungs removed", "outline alone"]
    assert aurocs["whole image"][0] == 0.5  # the corner is black for all
    told = probe(reader(LUNGS), masked, resamples=200)
    assert by_name(told)["whole image"][0] == 1
    assert by_name(told)["outline alone"][0] == 0.5


def test_probe__of_a_run_that_is_cropped_to_the_lungs_leaves_out_what_is_grey_all_over(films: Images) -> None:
    cropped = Images(films.name, films.table, Preprocess(size=SIDE, use="crop", margin=0.05))
    names = list(by_name(probe(reader(TOKEN), cropped, resamples=200)))
    assert names == ["whole image", "lungs only", "centre only", "lungs removed", "outline alone"]
    probed = probe(reader(TOKEN), cropped, resamples=200)
    assert probed.labels_shown == [0, 1, 0, 1]
    assert {name: len(shown) for name, shown in probed.examples.items()} == dict.fromkeys(names, 4)
    barred = Images(films.name, films.table, Preprocess(size=SIDE, use="crop", margin=0.05, keep_aspect=True))
    assert list(by_name(probe(reader(TOKEN), barred, resamples=200))) == names


def test_probe__leaves_out_what_cannot_be_read(films: Images, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "bad.png").write_bytes(b"not an image")
    paths = films.table["path"].where(films.table.index > 0, str(tmp_path / "bad.png"))
    probed = probe(reader(LUNGS), of(films, path=paths), resamples=200)
    assert probed.rows[0].images == COUNT - 1
    assert "bad.png" in caplog.text


@pytest.mark.parametrize(
    ("task", "change", "error", "said"),
    [
        (lambda: known_boxes.task(), {}, ConfigError, "of classifiers, not of a DetectionTask"),
        (lambda: reader(LUNGS), {"label": 1}, DataError, "two classes"),
        (lambda: reader(LUNGS), {"label": -1}, DataError, "two classes"),
    ],
)
def test_probe__refuses_what_it_cannot_rank(
    films: Images, task: Callable[[], ClassificationTask], change: dict[str, int], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        probe(task(), of(films, **change))


def test_table__has_a_row_an_occlusion_and_json_its_numbers(films: Images) -> None:
    probed = probe(reader(TOKEN), films, resamples=200)
    table = table_of(probed)
    assert list(table["shown"]) == [row.occlusion.name for row in probed.rows]
    assert table["drop"].iloc[0] == ""
    plain = as_plain(probed)
    assert plain["told_on"] is True
    assert plain["rows"]["borders only"]["auroc"] == [1.0, None, None]
