"""What figures are called."""

import pytest

from pulmo.report.titles import title_of


@pytest.mark.parametrize(
    ("figure", "title"),
    [
        ("auroc", "AUROC"),
        ("balanced_accuracy", "balanced accuracy"),
        ("auroc/Bacterial pneumonia", "AUROC, Bacterial pneumonia"),
        ("accuracy@0.5", "accuracy@0.5"),
    ],
)
def test_title__is_the_fields_term_and_tells_the_class(figure: str, title: str) -> None:
    assert title_of(figure) == title
