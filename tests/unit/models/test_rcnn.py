"""Mask R-CNN and Faster R-CNN on square grey images of 64 pixels, with few proposals."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.resnet import resnet50

from pulmo.errors import ConfigError, WeightsError
from pulmo.models.rcnn import RCNN, rectangles

SIZE = 64
TRUTH = torch.tensor([[8.0, 8, 40, 56], [30, 4, 60, 30]])
NOTHING = torch.zeros(0, 4)
OF_BOXES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


def rcnn(kind: str = "faster_rcnn", **arguments: Any) -> RCNN:
    torch.manual_seed(0)
    settings = {"channels": 1, "size": SIZE, "proposals": [50, 20], "samples": 16} | arguments
    return RCNN(kind=kind, **settings)


def images(count: int = 2, channels: int = 1) -> Tensor:
    return torch.randn(count, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def mask_rcnn() -> RCNN:
    """Shared by tests that change nothing in it; each sets it to train or to evaluate."""
    return rcnn("mask_rcnn", frozen_norms=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File of a whole detector with norms of its own, as a training program leaves it."""
    net = rcnn("faster_rcnn", channels=3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "detector.pt"
    torch.save({"state_dict": {f"net.{name}": value for name, value in net.state_dict().items()}}, path)
    return path


@pytest.mark.parametrize("kind", ["mask_rcnn", "faster_rcnn"])
@pytest.mark.parametrize("version", [1, 2])
def test_training__losses_are_finite_numbers_with_an_image_without_boxes_among_them(kind: str, version: int) -> None:
    with torch.no_grad():
        losses = rcnn(kind, version=version)(images(), [TRUTH, NOTHING])
    assert set(losses) == OF_BOXES | ({"loss_mask"} if kind == "mask_rcnn" else set())
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values())
    assert all(loss > 0 for loss in losses.values())


def test_training__losses_fall() -> None:
    net = rcnn("mask_rcnn")
    net.detector.backbone.requires_grad_(False)  # for haste
    optimizer = torch.optim.Adam([part for part in net.parameters() if part.requires_grad], lr=1e-4)
    course = []
    for _ in range(5):
        losses = net(images(), [TRUTH, NOTHING])
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        course.append({name: loss.item() for name, loss in losses.items()})
    # Of these two: what the box head learns from changes with the proposals.
    assert course[-1]["loss_objectness"] < 0.8 * course[0]["loss_objectness"]
    assert course[-1]["loss_mask"] < 0.8 * course[0]["loss_mask"]


def test_training__gradients_reach_the_first_convolution_and_every_head() -> None:
    net = rcnn("mask_rcnn").train()
    sum(net(images(), [TRUTH, NOTHING]).values()).backward()
    blocks = ("backbone.body.conv1", "backbone.body.layer4", "backbone.fpn", "rpn.head")
    heads = ("roi_heads.box_predictor", "roi_heads.mask_predictor")
    for block in (*blocks, *heads):
        parameters = list(net.detector.get_submodule(block).parameters())
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in parameters), block


def test_training__images_without_boxes_alone_teach_that_there_is_nothing(mask_rcnn: RCNN) -> None:
    losses = mask_rcnn.train()(images(), [NOTHING, NOTHING])
    assert losses["loss_classifier"] > 0
    assert losses["loss_objectness"] > 0
    assert losses["loss_box_reg"] == losses["loss_rpn_box_reg"] == losses["loss_mask"] == 0


@pytest.mark.parametrize("flat", [[5.0, 5, 5, 30], [5.0, 5, 30, 5], [30.0, 30, 20, 20]])
def test_training__a_box_without_area_is_passed_over(mask_rcnn: RCNN, flat: list[float]) -> None:
    losses = []
    for boxes in (torch.cat([TRUTH, torch.tensor([flat])]), TRUTH):
        torch.manual_seed(0)  # of the sampling
        with torch.no_grad():
            losses.append(mask_rcnn.train()(images(1), [boxes]))
    assert losses[0].keys() == losses[1].keys()
    for name, loss in losses[0].items():
        torch.testing.assert_close(loss, losses[1][name], msg=name)


@pytest.mark.parametrize("kind", ["mask_rcnn", "faster_rcnn"])
def test_evaluation__boxes_lie_in_the_image_and_fall_by_score(kind: str) -> None:
    net = rcnn(kind, most=7, score_floor=0.2).eval()
    with torch.no_grad():
        found = net(images(3) * 3)
    assert len(found) == 3
    for part in found:
        boxes, scores = part[:, :4], part[:, 4]
        assert 0 < len(part) <= 7
        assert part.dtype == torch.float32
        assert (boxes >= 0).all()
        assert (boxes <= SIZE).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (scores.diff() <= 0).all()
        assert (scores > 0.2).all()
        assert (scores <= 1).all()


def test_evaluation__no_score_above_the_floor_gives_no_boxes() -> None:
    with torch.no_grad():
        found = rcnn(score_floor=0.999).eval()(images(2))
    assert [part.shape for part in found] == [(0, 5), (0, 5)]


def test_evaluation__an_image_is_answered_alike_alone_and_among_others(mask_rcnn: RCNN) -> None:
    with torch.no_grad():
        together = mask_rcnn.eval()(images(3))
        alone = mask_rcnn(images(3)[1:2])
    torch.testing.assert_close(together[1], alone[0], rtol=1e-3, atol=1e-3)


def test_mask_head__learns_and_is_passed_by_while_evaluating(mask_rcnn: RCNN) -> None:
    calls: list[bool] = []
    hook = mask_rcnn.detector.roi_heads.mask_head.register_forward_hook(
        lambda module, *_: calls.append(module.training)
    )
    with torch.no_grad():
        mask_rcnn.eval()(images())
        assert calls == []
        mask_rcnn.train()(images(), [TRUTH, NOTHING])
    hook.remove()
    assert calls == [True]


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("switched", [True, False])  # Lightning calls neither eval nor train before the first batch
def test_frozen_norms__keep_their_statistics_in_training(frozen: bool, switched: bool) -> None:
    net = rcnn(frozen_norms=frozen)
    norms = [module for module in net.detector.backbone.body.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    assert len(norms) == 53  # of a ResNet-50
    if switched:
        net.eval().train()
    with torch.no_grad():
        net(images(), [TRUTH, NOTHING])
    assert [torch.equal(norm.running_mean, mean) for norm, mean in zip(norms, before, strict=True)] == [frozen] * 53
    assert net.training
    assert net.detector.roi_heads.training


def test_frozen_norms__are_so_by_default_where_there_are_weights(whole: Path) -> None:
    assert not rcnn().frozen_norms
    assert rcnn(weights=whole).frozen_norms
    assert not rcnn(weights=whole, frozen_norms=False).frozen_norms


def test_frozen_norms__are_the_backbones_alone() -> None:
    net = rcnn("faster_rcnn", version=2, frozen_norms=True)
    heads = [module for module in net.detector.roi_heads.modules() if isinstance(module, nn.BatchNorm2d)]
    assert heads
    assert all(norm.training for norm in heads)


def test_weights__of_a_resnet50_fill_the_backbone_folded_to_one_channel(tmp_path: Path, caplog) -> None:
    torch.manual_seed(3)
    given = resnet50(weights=None).state_dict()
    torch.save(given, tmp_path / "resnet50.pt")
    with caplog.at_level(logging.INFO, logger="pulmo"):
        body = rcnn(weights=tmp_path / "resnet50.pt").detector.backbone.body.state_dict()
    torch.testing.assert_close(body["conv1.weight"], given["conv1.weight"].sum(1, keepdim=True))
    assert all(torch.equal(body[name], given[name]) for name in body if name != "conv1.weight")
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "of resnet50 loaded from" in caplog.messages[0]
    assert "first convolution folded 3→1" in caplog.messages[0]


def test_weights__of_a_whole_detector_give_the_same_answers(whole: Path) -> None:
    stored = torch.load(whole, weights_only=True)["state_dict"]
    net = rcnn(weights=whole, channels=3).eval()
    assert all(torch.equal(value, stored[f"net.{name}"]) for name, value in net.state_dict().items())
    grey = rcnn(weights=whole).eval()
    image = images(1)
    with torch.no_grad():
        torch.testing.assert_close(grey(image)[0], net(image.expand(-1, 3, -1, -1))[0], rtol=1e-3, atol=1e-3)


def test_weights__of_coco_with_its_91_classes_leave_the_box_predictor_fresh(
    whole: Path, tmp_path: Path, caplog
) -> None:
    coco = torch.load(whole, weights_only=True)["state_dict"]
    coco = {name.removeprefix("net.detector."): value for name, value in coco.items()}
    for name, rows in (("cls_score", 91), ("bbox_pred", 364)):
        coco[f"roi_heads.box_predictor.{name}.weight"] = torch.zeros(rows, 1024)
        coco[f"roi_heads.box_predictor.{name}.bias"] = torch.zeros(rows)
    torch.save(coco, tmp_path / "coco.pt")
    with caplog.at_level(logging.INFO, logger="pulmo"):
        net = rcnn(weights=tmp_path / "coco.pt", channels=3)
    assert net.detector.roi_heads.box_predictor.cls_score.weight.any()
    torch.testing.assert_close(net.detector.rpn.head.cls_logits.weight, coco["rpn.head.cls_logits.weight"])
    assert "box_predictor.cls_score.weight (91→2)" in caplog.text


def test_weights__of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="weights of another network"):
        rcnn(weights=tmp_path / "other.pt")


@pytest.mark.parametrize("channels", [1, 3])
def test_channels__are_those_of_the_first_convolution(channels: int) -> None:
    net = rcnn(channels=channels).eval()
    assert net.detector.backbone.body.conv1.weight.shape[1] == channels
    with torch.no_grad():
        assert net(images(1, channels))[0].shape[1] == 5


def test_anchors__are_squares_of_the_shares_and_their_ratios_at_each_level(mask_rcnn: RCNN) -> None:
    anchors = rcnn(anchor_sides=(0.125, 0.25, 0.5, 0.75, 1.0), anchor_ratios=(1.0, 4.0)).detector.rpn.anchor_generator
    sides = [[(x2 - x1, y2 - y1) for x1, y1, x2, y2 in level.tolist()] for level in anchors.cell_anchors]
    assert sides == [[(side, side), (side / 2, side * 2)] for side in (8, 16, 32, 48, 64)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"size": 100}, r"model\.input\.size=100: mask_rcnn takes a multiple of 32"),
        ({"anchor_sides": [0.1, 0.2]}, r"model\.net\.anchor_sides takes five shares, one a level"),
        ({"proposals": [100]}, r"model\.net\.proposals two numbers"),
    ],
)
def test_arguments__that_do_not_fit_are_refused_before_anything_is_built(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        rcnn("mask_rcnn", **arguments)


def test_rectangles__hold_the_pixels_whose_centre_is_inside() -> None:
    boxes = torch.tensor([[1.0, 0, 3, 2], [2.6, 1.4, 9, 2.6], [-4, -4, 0.4, 9]])
    masks = rectangles(boxes, (3, 4))
    assert masks.dtype == torch.uint8
    assert masks.tolist() == [
        [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]],
        [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]],
        [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    assert rectangles(NOTHING, (3, 4)).shape == (0, 3, 4)
