from types import SimpleNamespace

from pulmo.callbacks.progress import ProgressBar


def test_bar__counts_epochs_from_one_as_the_log_does() -> None:
    bar = ProgressBar()
    bar._trainer = SimpleNamespace(max_epochs=12)
    assert bar._get_train_description(0).strip() == "Epoch 1/12"
    assert bar._get_train_description(11).strip() == "Epoch 12/12"
