"""A checkpoint or a run's folder from elsewhere names what a network is made of, or nothing is built."""

import pytest

from pulmo.errors import PulmoError
from pulmo.tasks import trust

ACTS = [
    "pandas.read_pickle",
    "numpy.load",
    "numpy.savetxt",
    "torch.load",
    "torch.hub.load",
    "os.system",
    "subprocess.run",
    "builtins.eval",
    "pulmo.models.weights.torch.load",  # by way of what a module of ours imports
    "pulmo.data.lists.os.system",
    "pulmo.report.figures.save",
    "torch.utils.data.DataLoader",
]


@pytest.mark.parametrize("target", ACTS)
def test_check__refuses_what_acts_and_builds_nothing(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "instantiate", lambda *_, **__: pytest.fail("it was built"))
    with pytest.raises(PulmoError, match=rf"somewhere names {target}, .* PULMO_TRUST="):
        trust.built({"_target_": "pulmo.models.unet.UNet", "parts": [{"_target_": target}]}, "somewhere")


@pytest.mark.parametrize(
    "target",
    [
        *("pulmo.tasks.classification.ClassificationTask", "pulmo.tasks.schedules.cosine", "torch.optim.AdamW"),
        *("pulmo.models.torchvision_classifier.torchvision_classifier", "pulmo.transforms.preprocess.Preprocess"),
        *("segmentation_models_pytorch.losses.DiceLoss", "torch.nn.BCEWithLogitsLoss", "torchvision.models.ResNet"),
        *("torch.optim.lr_scheduler.StepLR", "pulmo.data.rsna.RSNA"),
    ],
)
def test_check__takes_what_networks_are_made_of(target: str) -> None:
    trust.check({"_target_": target}, "somewhere")


def test_check__refuses_references_to_elsewhere() -> None:
    with pytest.raises(PulmoError, match=r"the reference \$\{oc.env:HOME\}"):
        trust.check({"_target_": "pulmo.models.unet.UNet", "weights": "${oc.env:HOME}"}, "somewhere")


def test_check__takes_the_packages_that_the_user_trusts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULMO_TRUST", "mine, collections")
    assert trust.built({"_target_": "collections.OrderedDict", "a": 1}, "somewhere") == {"a": 1}
    with pytest.raises(PulmoError, match="pandas"):
        trust.check({"_target_": "pandas.read_pickle"}, "somewhere")
