"""Figures, tables and boxes of a detector whose answers are known, worked out by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.tasks.known_boxes import FAR, LEFT, RIGHT, SIZE, Known, Scored, batch, seen, task
from tests.unit.tasks.quiet_trainer import loader, trainer
from torch import Tensor, nn

from pulmo.callbacks.finetune import StagedFinetuning
from pulmo.errors import ConfigError
from pulmo.tasks.detection import DetectionTask, apart, scaled_boxes
from pulmo.thresholds import Best, Fixed
from pulmo.types import Predictions

NAN = float("nan")

# At 0.5: image 0 has one of its two opacities and a wrong box, image 1 a wrong box, image 2 nothing, image 3 misses.
ANSWERS: list[Scored] = [
    [[*LEFT, 0.9], [30, 0, 50, 20, 0.6], [*FAR, 0.3], [2, 0, 22, 20, 0.8]],
    [[*FAR, 0.7]],
    [],
    [],
]
TRUTHS: list[list[list[int]]] = [[LEFT, FAR], [], [], [FAR]]


def test_measure__boxes_and_images_by_hand() -> None:
    module = task(*ANSWERS, report_thresholds=(0.95,))
    figures = module.measure(seen(module, *TRUTHS))  # of the overlapping pair in image 0 the surer is left
    assert (figures["box_sensitivity"], figures["box_precision"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert figures["false_positives_per_image"] == 2 / 4
    assert figures["rsna_score"] == pytest.approx((1 / 3 + 0 + 0) / 3)  # 1 / (1 + 1 + 1); image 2 does not count
    # Images by their surest box: 0.9, 0.7, none, none; with opacity: the first and the last.
    assert (figures["sensitivity"], figures["specificity"]) == (0.5, 0.5)
    assert figures["auroc"] == (1 + 1 + 0 + 0.5) / 4
    assert figures["accuracy@0.95"] == 0.5
    # Over all boxes, whatever the cut-off: right, wrong, wrong, right, in four images with three true boxes. So 1/3 at
    # 1/8 and 1/4 false positives an image, 2/3 at 1/2 and the four rates beyond.
    assert figures["froc_score"] == pytest.approx((2 * 1 / 3 + 5 * 2 / 3) / 7)


def test_table__by_hand() -> None:
    module = task(*ANSWERS)
    table = module.table_columns(seen(module, *TRUTHS))
    wanted = {
        "label": [1, 0, 0, 1],
        "score": [0.9, 0.7, 0, 0],
        "prediction": [1, 1, 0, 0],
        "true_boxes": [2, 0, 0, 1],
        "predicted_boxes": [2, 1, 0, 0],
        "rsna_score": [1 / 3, 0, NAN, 0],
    }
    assert list(table) == list(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(table[name], values, rtol=1e-6, err_msg=name)


def test_table__a_score_at_the_cut_off_counts_alike_in_every_column() -> None:
    # 0.9 in single precision lies below 0.9.
    module = task([[*LEFT, 0.9]], [[*LEFT, 0.8]], threshold=Fixed(0.9))
    predictions = seen(module, [LEFT], [])
    module.fit_operating_point(predictions)
    table = module.table_columns(predictions)
    assert table["prediction"].tolist() == table["predicted_boxes"].tolist() == [0, 0]
    assert module.measure(predictions)["box_sensitivity"] == 0
    assert len(module.drawn(batch([LEFT]), predictions, 0)["scores"]) == 0


def test_quality__is_the_rsna_score_of_images_with_a_true_box() -> None:
    module = task(*ANSWERS)
    name, values = module.quality(seen(module, *TRUTHS)) or ("", torch.zeros(0))
    assert name == "RSNA score"
    assert values.tolist() == pytest.approx([1 / 3, NAN, NAN, 0], nan_ok=True)


def test_boxes__below_the_threshold_are_in_the_table_and_those_too_near_a_surer_one_are_not() -> None:
    module = task(*ANSWERS)
    columns = module.box_columns(seen(module, *TRUTHS))
    assert columns is not None
    assert columns["row"].tolist() == [0, 0, 0, 1]
    assert columns["score"].tolist() == pytest.approx([0.9, 0.6, 0.3, 0.7])
    assert columns["true_positive"].tolist() == [1, 0, 1, 0]
    assert columns["box"].tolist() == [LEFT, [30, 0, 50, 20], FAR, FAR]


def test_drawn__are_the_true_boxes_and_those_predicted_from_the_threshold_on() -> None:
    module = task(*ANSWERS)
    predictions = seen(module, *TRUTHS)
    drawn = module.drawn(batch(TRUTHS[0]), predictions, 0)
    assert drawn["true_boxes"].tolist() == [LEFT, FAR]
    assert drawn["predicted_boxes"].tolist() == [LEFT, [30, 0, 50, 20]]
    assert drawn["scores"].tolist() == pytest.approx([0.9, 0.6])
    assert module.drawn(batch([]), predictions, 2)["predicted_boxes"].shape == (0, 4)


def test_no_box_anywhere__is_measured_as_nothing_found() -> None:
    module = task([], [], threshold=Best("rsna_score"))
    predictions = seen(module, [LEFT], [])
    module.fit_operating_point(predictions)
    figures = module.measure(predictions)
    assert (figures["rsna_score"], figures["box_sensitivity"], figures["sensitivity"]) == (0, 0, 0)
    assert np.isnan(figures["box_precision"])
    assert module.table_columns(predictions)["prediction"].tolist() == [0, 0]
    assert module.box_columns(predictions)["box"].shape == (0, 4)  # type: ignore[index]


def test_box_scale__shrinks_and_grows_about_the_centre_inside_the_image() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60, 0.7], [0, 0, 8, 16, 1.0]])
    assert scaled_boxes(boxes, 0.5, SIZE).tolist() == [[15, 30, 25, 50, pytest.approx(0.7)], [2, 4, 6, 12, 1]]
    # Centre (20, 40), sides 40 × 80: 0 to 80, of which 64 are in the image.
    assert scaled_boxes(boxes, 2.0, SIZE)[0].tolist() == [0, 0, 40, 64, pytest.approx(0.7)]
    assert scaled_boxes(torch.zeros(0, 5), 0.5, SIZE).shape == (0, 5)


def test_box_scale__is_of_all_that_is_measured() -> None:
    small = task([[0, 0, 20, 20, 0.9]], [], box_scale=0.5)
    predictions = seen(small, [[5, 5, 15, 15]], [])
    assert predictions["boxes"][0].tolist() == [[5, 5, 15, 15, pytest.approx(0.9)]]
    assert small.measure(predictions)["rsna_score"] == 1


def test_apart__drops_the_weaker_of_boxes_that_overlap_by_more_whatever_their_order() -> None:
    boxes = torch.tensor([[*RIGHT, 0.8], [*LEFT, 0.9], [*FAR, 0.1]], dtype=torch.float32)  # IoU 1/3
    given = Predictions(row=torch.tensor([0]), boxes=[boxes])
    assert [round(score, 1) for score in apart(given, 0.3)["boxes"][0][:, 4].tolist()] == [0.9, 0.1]
    assert [round(score, 1) for score in apart(given, 0.34)["boxes"][0][:, 4].tolist()] == [0.9, 0.8, 0.1]


def test_needs__are_boxes_alone() -> None:
    assert DetectionTask.needs({}) == {"boxes"}


def test_state__goes_through_a_checkpoint_of_plain_values(tmp_path) -> None:
    fitted = task([[*LEFT, 0.9], [*RIGHT, 0.8]], [[*FAR, 0.7]], threshold=Best("rsna_score"), nms_ious=(0.1, 0.5))
    fitted.fit_operating_point(seen(fitted, [LEFT, RIGHT], [FAR]))
    checkpoint: dict[str, Any] = {}
    fitted.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, tmp_path / "best.ckpt")
    restored = task([[*LEFT, 0.9], [*RIGHT, 0.8]], [[*FAR, 0.7]], nms_ious=(0.1, 0.5))
    predictions = seen(restored, [LEFT, RIGHT], [FAR])
    assert (restored.nms_iou, restored.measure(predictions)["box_sensitivity"]) == (None, pytest.approx(2 / 3))
    restored.on_load_checkpoint(torch.load(tmp_path / "best.ckpt", weights_only=True))
    assert (restored.nms_iou, restored.threshold) == (0.5, fitted.threshold)
    assert restored.measure(predictions)["box_sensitivity"] == 1


def test_training__sums_the_parts_and_weighs_batches_by_images() -> None:
    run = trainer()
    run.fit(task([], [], []), loader(batch([LEFT], []), batch([FAR])), loader(batch([LEFT], [])))
    logged = {name: float(value) for name, value in run.callback_metrics.items()}
    # (2 + 0.5) / 2 over two images and 2 over one; the other part is half of it.
    assert logged["train/loss_classifier"] == pytest.approx(4.5 / 3)
    assert logged["train/loss_box_reg"] == pytest.approx(2.25 / 3)
    assert logged["train/loss"] == pytest.approx(6.75 / 3)


def test_monitorable__is_what_validation_logs_and_the_sum_of_the_losses() -> None:
    module, run = task([[*LEFT, 0.9]], [], report_thresholds=(0.3,)), trainer()
    run.fit(module, loader(batch([LEFT], [])), loader(batch([LEFT], [])))
    logged = {name for name in run.callback_metrics if name.startswith("val/")}
    assert module.monitorable == logged | {"train/loss"}
    assert {"val/rsna_score", "val/accuracy@0.3"} <= logged


class Frozen(Known):
    """Its norm never learns, whatever it is told, as those of RCNN(frozen_norms=True)."""

    def __init__(self, answers: Sequence[Scored]) -> None:
        super().__init__(answers)
        self.norm, self.free = nn.BatchNorm2d(1), nn.BatchNorm2d(1)
        self.train()

    def train(self, mode: bool = True) -> "Frozen":
        super().train(mode)
        self.norm.eval()
        return self

    def forward(self, image: Tensor, truth: Sequence[Tensor] | None = None) -> Any:
        self.free(self.norm(image.float() + 1))
        return super().forward(image, truth)


@pytest.mark.filterwarnings("ignore:Found . module.s. in eval mode")
@pytest.mark.parametrize("blocks", [None, [""]])
def test_norms__that_the_network_keeps_frozen_are_so_in_every_epoch_of_every_stage(blocks: list[str] | None) -> None:
    module, run = task(), trainer(epochs=2)
    module.net = Frozen([[], []])
    if blocks is not None:
        run.callbacks.append(StagedFinetuning([{"learn": [{"block": name} for name in blocks]}]))
    run.fit(module, loader(batch([LEFT], [])), loader(batch([LEFT], [])))
    assert module.net.norm.num_batches_tracked == 0
    assert module.net.free.num_batches_tracked == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"nms_ious": []}, r"model\.task\.nms_ious=\[\]: at least one share of overlap"),
        ({"nms_ious": [0.1, 1.2]}, r"model\.task\.nms_ious=\[0\.1, 1\.2\]: at least one share of overlap, 0 to 1"),
        ({"box_scale": 0.0}, r"model\.task\.box_scale=0\.0: a factor above 0, at most 2"),
        ({"box_scale": 2.5}, r"model\.task\.box_scale=2\.5: a factor above 0"),
        ({"threshold": Best("youden")}, "this model is measured by f1, precision, rsna_score, sensitivity"),
    ],
)
def test_settings__that_cannot_be_are_refused_with_the_remedy(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        task(**arguments)
