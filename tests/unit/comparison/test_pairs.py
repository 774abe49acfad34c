from pathlib import Path

import pandas as pd

from pulmo.comparison import pairs, tested
from pulmo.comparison.pairs import AREAS, DECISIONS, pairs_of, remarks
from pulmo.finished import FinishedRun


def scored(name: str, scores: list[float]) -> tested.Tested:
    """Four images of four patients, two of them positive; called so at 0.5."""
    ids = [f"image {n}" for n in range(4)]
    table = pd.DataFrame({"image_id": ids, "patient_id": ids, "label": [0, 0, 1, 1], "score": scores})
    return tested.Tested(FinishedRun(Path(name)), name, table.assign(prediction=(table["score"] > 0.5).astype(int)), 50)


def test_remarks__holm_counts_the_pairs_that_have_a_p_value() -> None:
    right, wrong, mixed = [0.1, 0.2, 0.8, 0.9], [0.9, 0.8, 0.2, 0.1], [0.2, 0.7, 0.6, 0.9]
    runs = [scored("right", right), scored("wrong", wrong), scored("mixed", mixed)]
    tables = pairs.test_tables(pairs_of(runs))
    assert tables[AREAS]["p"].tolist().count("undefined") == 1  # all right against all wrong: no variance
    assert len(tables[DECISIONS]) == 3
    assert remarks(runs, tables) == ["Holm: adjusted for the pairs that have a p-value: 2 of AUROC, 3 of Decisions."]
    assert remarks(runs, {DECISIONS: tables[DECISIONS]}) == ["Holm: adjusted for the 3 pairs of a table."]
    assert remarks(runs[:2], pairs.test_tables(pairs_of(runs[:2]))) == []
