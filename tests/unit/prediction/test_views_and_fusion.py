"""Test-time augmentation and boxes of several looks: back where they were, by numbers worked out by hand."""

import numpy as np
import pytest
import torch

from pulmo.prediction.fusion import fused
from pulmo.prediction.views import FOUR, ZOOM, View, mean_map

SIZE = 64


def test_views__are_four_and_the_first_changes_nothing() -> None:
    image = torch.randint(0, 256, (2, 1, SIZE, SIZE), dtype=torch.uint8)
    assert torch.equal(FOUR[0](image), image)
    assert len({view(image).numpy().tobytes() for view in FOUR}) == 4
    assert all(view(image).shape == image.shape and view(image).dtype == torch.uint8 for view in FOUR)


@pytest.mark.parametrize("view", FOUR)
def test_view__a_map_and_a_box_of_what_it_shows_come_back_to_their_place(view: View) -> None:
    image = torch.zeros((1, 1, SIZE, SIZE), dtype=torch.uint8)
    image[..., 20:40, 8:24] = 255
    seen = view(image)[0, 0] > 127
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    box = torch.tensor([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1, 0.7]]).float()
    np.testing.assert_allclose(view.unbox(box, SIZE)[0], [8, 20, 24, 40, 0.7], atol=1)
    back, shown = view.unmask(view(image)[:, 0].float() / 255)
    inside = shown.bool()
    assert ((back[0] > 0.5) == (image[0, 0] > 127))[inside].float().mean() > 0.99
    assert float(shown.mean()) == pytest.approx(1 / ZOOM**2 if view.zoomed else 1.0, abs=0.02)


def test_mean_map__counts_only_views_that_show_a_pixel() -> None:
    ones, half = torch.ones(1, 2, 2), torch.full((1, 2, 2), 0.5)
    shown = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    mean = mean_map([(ones, torch.ones(2, 2)), (half * shown, shown)])
    assert mean[0].tolist() == [[0.75, 1.0], [0.75, 1.0]]


def test_fused__one_look_stays_as_it_is() -> None:
    boxes = np.array([[0, 0, 9, 9, 0.3], [1, 1, 9, 9, 0.9]], np.float32)
    np.testing.assert_array_equal(fused([boxes]), boxes)


def test_fused__boxes_of_one_finding_meet_at_their_mean_weighted_by_score() -> None:
    first = np.array([[0, 0, 10, 10, 0.9]], np.float32)
    second = np.array([[2, 0, 12, 10, 0.3], [50, 50, 60, 60, 0.8]], np.float32)  # IoU 80 / 120 with the first
    made = fused([first, second])
    # x: (0 · 0.9 + 2 · 0.3) / 1.2 = 0.5; scores: (0.9 + 0.3) / 2, and 0.8 / 2 for what one look alone has found
    np.testing.assert_allclose(made, [[0.5, 0, 10.5, 10, 0.6], [50, 50, 60, 60, 0.4]], atol=1e-6)


def test_fused__two_boxes_of_one_look_count_once() -> None:
    twice = np.array([[0, 0, 10, 10, 0.8], [0, 0, 10, 10, 0.6]], np.float32)
    assert fused([twice, np.zeros((0, 5), np.float32)])[0, 4] == pytest.approx(0.4)


def test_fused__nothing_anywhere_is_nothing() -> None:
    assert fused([np.zeros((0, 5), np.float32)] * 2).shape == (0, 5)
