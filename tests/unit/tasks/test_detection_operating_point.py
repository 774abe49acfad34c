"""Cut-off and overlap of boxes, fitted together on validation."""

import numpy as np
import pytest
from tests.unit.tasks.known_boxes import FAR, LEFT, RIGHT, Scored, batch, seen, task

from pulmo.tasks.detection import DetectionTask
from pulmo.thresholds import Best, Fixed, TargetSensitivity

NAN = float("nan")


@pytest.mark.parametrize(
    ("truths", "nms_iou", "score"),
    [
        ([[LEFT], [FAR]], 0.1, 1.0),  # at 0.5: (1/2 + 1) / 2
        ([[LEFT, RIGHT], [FAR]], 0.5, 1.0),  # at 0.1: (1/2 + 1) / 2
        ([[FAR], [FAR]], 0.1, 0.5),  # at 0.5 the same: the wrong boxes of the first image cost nothing more
    ],
)
def test_fit__takes_the_overlap_with_the_best_figure_of_equals_the_first(
    truths: list[list[list[int]]], nms_iou: float, score: float
) -> None:
    found: list[Scored] = [[[*LEFT, 0.9], [*RIGHT, 0.8]], [[*FAR, 0.7]]]
    module = task(*found, threshold=Best("rsna_score"), nms_ious=(0.1, 0.5))
    predictions = seen(module, *truths)
    module.fit_operating_point(predictions)
    assert module.nms_iou == module.figures["nms_iou"] == nms_iou
    assert module.threshold == module.figures["threshold"] == pytest.approx(0.35)  # half of the lowest score
    assert module.figures["threshold_is_fitted"] == 1
    assert module.measure(predictions)["rsna_score"] == score


def test_fit__forgets_the_validation_before() -> None:
    module = task([[*LEFT, 0.9], [*RIGHT, 0.8]], [[*FAR, 0.7]], threshold=Best("rsna_score"), nms_ious=(0.1, 0.5))
    chosen = []
    for truth in ([LEFT], [LEFT, RIGHT], [LEFT]):
        module.fit_operating_point(seen(module, truth, [FAR]))
        chosen.append(module.nms_iou)
    assert chosen == [0.1, 0.5, 0.1]


def test_fit__where_nothing_can_be_fitted_is_a_half_and_the_first_overlap_whatever_was_before() -> None:
    module = task([[*LEFT, 0.9], [*RIGHT, 0.8]], [], [], threshold=Best("rsna_score"), nms_ious=(0.1, 0.5))
    module.fit_operating_point(seen(module, [LEFT, RIGHT]))
    assert (module.nms_iou, module.threshold) == (0.5, pytest.approx(0.4))
    module.collected.reset()
    module.evaluate(batch([], [], first=1))  # neither true nor predicted boxes
    module.fit_operating_point(module.collected.gathered())
    assert (module.nms_iou, module.threshold) == (0.1, 0.5)


def test_fit__cut_off_and_overlap_are_chosen_together() -> None:
    # At 0.1 the right box of the pair is gone. At 0.5 the pair is found, and a cut-off above 0.3 drops the wrong box.
    module = task([[*LEFT, 0.9], [*RIGHT, 0.8], [*FAR, 0.3]], threshold=Best("f1"), nms_ious=(0.1, 0.5))
    module.fit_operating_point(seen(module, [LEFT, RIGHT]))
    assert (module.nms_iou, module.threshold) == (0.5, pytest.approx(0.55))


def test_fit__a_threshold_that_looks_at_no_figure_leaves_the_first_overlap() -> None:
    module = task([[*LEFT, 0.9], [*RIGHT, 0.8]], threshold=Fixed(0.4), nms_ious=(0.3, 0.1, 0.5))
    module.fit_operating_point(seen(module, [LEFT, RIGHT]))
    assert (module.nms_iou, module.threshold) == (0.3, 0.4)
    assert module.figures["threshold_is_fitted"] == 0


def test_fit__sensitivity_is_of_boxes() -> None:
    module = task([[*LEFT, 0.9], [*FAR, 0.4]], [[*LEFT, 0.2]], threshold=TargetSensitivity(0.6))
    module.fit_operating_point(seen(module, [LEFT, FAR], [LEFT]))  # three true boxes: found at 0.9, 0.4, 0.2
    assert module.threshold == pytest.approx(0.3)


def test_operating_points__by_hand() -> None:
    # Falling: right (0.9, image 0), wrong (0.6, image 1, which has no true box), right (0.4, image 0).
    module = task([[*LEFT, 0.9], [*FAR, 0.4]], [[*LEFT, 0.6]])
    points = module.operating_points(seen(module, [LEFT, FAR], []))
    assert points.cuts == pytest.approx([1, 0.75, 0.5, 0.2])
    wanted = {
        "sensitivity": [0, 1 / 2, 1 / 2, 1],
        "precision": [NAN, 1, 1 / 2, 2 / 3],
        "f1": [0, 2 / 3, 1 / 2, 4 / 5],
        "rsna_score": [0, 1 / 2, 1 / 4, 1 / 2],  # the image without a true box counts, as 0, from its first box on
    }
    assert set(points.figures) == set(wanted) == DetectionTask.fitted_figures
    for name, values in wanted.items():
        np.testing.assert_allclose(points.figures[name], values, rtol=1e-6, err_msg=name)


def test_operating_points__a_cut_off_above_a_score_of_one_is_none() -> None:
    module = task([[*LEFT, 1.0]])
    points = module.operating_points(seen(module, [FAR]))
    assert points.cuts.tolist() == [0.5]
