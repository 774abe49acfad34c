import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pulmo.phantom import Anatomy, Phantom, draw, draw_lateral
from pulmo.phantom.findings import Finding

FINDINGS: tuple[Finding, ...] = ("normal", "distractor", "bacteria", "virus")
SICK: tuple[Finding, ...] = ("bacteria", "virus")


def phantom(seed: int, finding: Finding, size: int = 160, aspect: float = 1.0) -> Phantom:
    rng = np.random.default_rng(seed)
    return draw(rng, Anatomy.sample(rng), finding, size=size, aspect=aspect)


def component_boxes(mask: NDArray[np.uint8]) -> set[tuple[int, int, int, int]]:
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return {(int(x), int(y), int(x + w), int(y + h)) for x, y, w, h, _ in stats[1:]}


@pytest.mark.parametrize("finding", SICK)
@pytest.mark.parametrize("size", [64, 224])
def test_draw__boxes_are_tight_around_the_opacities(finding: Finding, size: int) -> None:
    for seed in range(12):
        drawn = phantom(seed, finding, size)
        assert {tuple(map(int, box)) for box in drawn.boxes} == component_boxes(drawn.opacities)


@pytest.mark.parametrize("finding", SICK)
def test_draw__opacities_lie_inside_the_lungs(finding: Finding) -> None:
    for seed in range(12):
        drawn = phantom(seed, finding)
        assert not np.any(drawn.opacities & ~drawn.lungs & 1)


@pytest.mark.parametrize("size", [64, 160])
def test_draw__pneumonia_has_one_to_three_boxes_and_nothing_else_has_any(size: int) -> None:
    seen = set()
    for seed in range(20):
        for finding in FINDINGS:
            drawn = phantom(seed, finding, size)
            if finding in SICK:
                assert drawn.label == 1
                assert drawn.opacities.sum() > 0.005 * drawn.lungs.sum()
                seen.add(len(drawn.boxes))
            else:
                assert drawn.label == 0
                assert drawn.opacities.sum() == 0
                assert drawn.boxes.shape == (0, 4)
    assert seen == {1, 2, 3}


def test_draw__virus_is_on_both_sides() -> None:
    for seed in range(12):
        columns = np.flatnonzero(phantom(seed, "virus").opacities.any(axis=0))
        assert columns[0] < 70
        assert columns[-1] > 90


@pytest.mark.parametrize("finding", SICK)
def test_draw__an_opacity_is_brighter_than_the_same_lung_without_it(finding: Finding) -> None:
    compared = 0
    for seed in range(12):
        sick, healthy = phantom(seed, finding), phantom(seed, "normal")
        if sick.distractors or healthy.distractors:
            continue  # not twins: a wire or a large heart changes the picture as well
        where = sick.opacities == 1
        assert sick.image[where].mean() > healthy.image[where].mean() + 0.03
        assert np.array_equal(sick.lungs, healthy.lungs)
        compared += 1
    assert compared >= 5


@pytest.mark.parametrize("finding", SICK)
def test_draw__pneumonia_leaves_no_trace_outside_the_lungs(finding: Finding) -> None:
    # Marker, collimation, exposure and noise must not tell the label.
    for seed in range(12):
        sick, healthy = phantom(seed, finding), phantom(seed, "normal")
        if sick.distractors or healthy.distractors:
            continue
        outside = cv2.dilate(sick.lungs, np.ones((41, 41), np.uint8)) == 0
        assert np.abs(sick.image - healthy.image)[outside].mean() < 0.015


def test_draw__lungs_are_darker_than_the_body_around_them() -> None:
    for seed in range(8):
        drawn = phantom(seed, "normal")
        ring = cv2.dilate(drawn.lungs, np.ones((15, 15), np.uint8)) - drawn.lungs
        assert drawn.image[drawn.lungs == 1].mean() < 0.8 * drawn.image[ring == 1].mean()


def test_draw__lungs_are_two_fields_on_either_side_of_the_middle() -> None:
    for seed in range(8):
        lungs = phantom(seed, "normal").lungs
        sizes = sorted(cv2.connectedComponentsWithStats(lungs)[2][1:, cv2.CC_STAT_AREA])
        assert sizes[-2] > 0.04 * lungs.size
        assert sum(sizes[:-2]) < 0.01 * lungs.size


def test_draw__same_seed_same_picture() -> None:
    first, second, other = phantom(3, "virus"), phantom(3, "virus"), phantom(4, "virus")
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.boxes, second.boxes)
    assert not np.array_equal(first.image, other.image)


def test_draw__two_images_of_a_patient_are_more_alike_than_two_patients() -> None:
    rng = np.random.default_rng(0)
    patients = [Anatomy.sample(rng) for _ in range(6)]
    pairs = [[draw(rng, one, "normal", size=96).lungs for _ in range(2)] for one in patients]
    ratios = np.array([[lungs[:, :48].sum() / lungs[:, 48:].sum() for lungs in pair] for pair in pairs])
    assert np.abs(ratios[:, 0] - ratios[:, 1]).mean() < np.abs(ratios - ratios[::-1]).mean()
    assert not np.array_equal(pairs[0][0], pairs[0][1])


def test_draw__mean_intensity_does_not_give_the_label_away() -> None:
    order: tuple[Finding, ...] = ("normal", "bacteria", "distractor", "virus")
    drawn = [phantom(seed, order[seed % 4], 64) for seed in range(160)]
    means = np.array([one.image.mean() for one in drawn])
    labels = np.array([one.label for one in drawn])
    above = means[labels == 1][:, None] > means[labels == 0][None, :]
    assert 0.25 < above.mean() < 0.75  # the AUROC, as the share of pairs in the right order


def test_draw__size_is_the_height_and_aspect_widens() -> None:
    drawn = phantom(0, "bacteria", size=96, aspect=1.5)
    assert drawn.image.shape == drawn.lungs.shape == drawn.opacities.shape == (96, 144)
    assert drawn.image.dtype == np.float32
    assert drawn.lungs.dtype == drawn.opacities.dtype == np.uint8
    assert drawn.boxes.dtype == np.float32
    assert 0 <= drawn.image.min() < drawn.image.max() <= 1


def test_draw_lateral__fills_the_range_and_differs_by_patient() -> None:
    rng = np.random.default_rng(0)
    one, two = (draw_lateral(rng, Anatomy.sample(rng), size=96) for _ in range(2))
    assert one.shape == (96, 96)
    assert one.min() == 0
    assert one.max() == 1
    assert not np.array_equal(one, two)
