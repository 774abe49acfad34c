"""Where the heat lies, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from pulmo.explanation.localisation import FIGURES, as_plain, as_table, groups_of, located, picture_of, summary
from pulmo.transforms.geometry import Geometry

SIZE = 100  # so that the tolerance is 3 pixels
ALL = np.ones((SIZE, SIZE), bool)
COLUMNS = {"lungs": {figure: figure for figure in FIGURES}}


def left_half() -> np.ndarray:
    region = np.zeros((SIZE, SIZE), bool)
    region[:, :50] = True
    return region


def heat_at(*places: tuple[int, int]) -> np.ndarray:
    heat = np.zeros((SIZE, SIZE), np.float32)
    for y, x in places:
        heat[y, x] = 1
    return heat


def test_heat__counts_by_what_lies_inside() -> None:
    heat = heat_at((10, 10), (10, 90))
    heat[50, 20] = 0.5
    found = located(heat, left_half(), ALL)
    assert found["heat"] == pytest.approx(1.5 / 2.5)
    assert found["area"] == 0.5
    assert found["points"] == 0.5  # of two equal maxima one hits


@pytest.mark.parametrize(("x", "hits"), [(49, 1), (52, 1), (53, 0)])
def test_pointing__allows_three_hundredths_of_the_side(x: int, hits: int) -> None:
    found = located(heat_at((50, x)), left_half(), ALL)
    assert found["points"] == hits
    assert found["chance"] == pytest.approx(0.53)


def test_area__is_of_the_picture_without_black_bars() -> None:
    picture = picture_of(Geometry.fit((0, 0, 100, 50), SIZE, keep_aspect=True))
    assert picture.sum() == 5000
    found = located(heat_at((50, 5)), left_half() & picture, picture)
    assert (found["area"], found["heat"]) == (0.5, 1)


def test_heat__on_black_bars_counts_for_nothing() -> None:
    picture = picture_of(Geometry.fit((0, 0, 100, 50), SIZE, keep_aspect=True))
    heat = heat_at((50, 5), (50, 95)) + 2 * heat_at((5, 5))
    found = located(heat, left_half(), picture)
    assert (found["heat"], found["points"]) == (0.5, 0.5)
    assert np.isnan(located(heat_at((5, 5)), left_half(), picture)["heat"])


def test_heat__of_an_image_without_any_is_undefined_but_its_area_is_not() -> None:
    found = located(np.zeros((SIZE, SIZE), np.float32), left_half(), ALL)
    assert np.isnan([found["heat"], found["points"]]).all()
    assert found["area"] == 0.5


def table(count: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "patient_id": [f"p{i // 2}" for i in range(count)],
            "label": [1, 1, 0, 0] * (count // 4),
            "prediction": [1, 0, 1, 0] * (count // 4),
            "heat": np.where(np.arange(count) % 10 == 9, np.nan, rng.uniform(0, 1, count)),
            "area": 0.25,
            "points": np.arange(count) % 10 < 3,
            "chance": 0.3,
        }
    ).astype({"points": float})


def test_summary__is_means_with_intervals_by_patient() -> None:
    values = table()
    found = summary(values, COLUMNS).set_index("group")
    assert list(found.index) == [
        *("all images", "true positives", "false positives", "false negatives", "true negatives"),
    ]
    row = found.loc["all images"]
    assert (row["images"], row["without_heat"]) == (40, 4)
    assert row["heat"].value == pytest.approx(values["heat"].mean())
    assert row["times_area"].value == pytest.approx(values["heat"].mean() / 0.25)
    assert row["points"].value == pytest.approx(0.3)
    assert row["area"] == pytest.approx((0.25, 0.25, 0.25))
    # An independent cluster bootstrap, patient by patient.
    rng = np.random.default_rng(7)
    by_patient = [part["heat"].to_numpy() for _, part in values.groupby("patient_id")]
    draws = [np.nanmean(np.concatenate([by_patient[i] for i in rng.integers(20, size=20)])) for _ in range(4000)]
    assert row["heat"][1:] == pytest.approx(np.percentile(draws, [2.5, 97.5]), abs=0.01)
    positives = values[(values["label"] == 1) & (values["prediction"] == 1)]
    assert found.loc["true positives", "heat"].value == pytest.approx(positives["heat"].mean())


def test_summary__a_maximum_that_never_hits_has_an_exact_interval() -> None:
    row = summary(table().assign(points=0.0, area=np.linspace(0.1, 0.4, 40)), COLUMNS, resamples=200).iloc[0]
    assert row["points"] == pytest.approx((0, 0, 1 - 0.025 ** (1 / 20)))  # of 20 patients
    with_heat = table().assign(area=np.linspace(0.1, 0.4, 40)).dropna()
    assert row["times_area"].value == pytest.approx(with_heat["heat"].sum() / with_heat["area"].sum())


def test_summary__tells_nothing_twice() -> None:
    positives = table()[lambda values: (values["label"] == 1) & (values["prediction"] == 1)]
    assert list(summary(positives, COLUMNS, resamples=50)["group"]) == ["all images"]


def test_groups__of_unlabelled_images_are_all_of_them() -> None:
    assert list(groups_of(pd.DataFrame({"label": [-1, -1], "prediction": [0, 1]}))) == ["all images"]


def test_groups__of_several_classes_a_wrong_one_is_no_true_positive() -> None:
    groups = groups_of(pd.DataFrame({"label": [0, 1, 2, 2], "prediction": [0, 2, 1, 2]}), binary=False)
    assert list(groups) == ["all images", "called rightly", "called wrongly"]
    assert groups["called rightly"].tolist() == [True, False, False, True]
    assert groups["called wrongly"].tolist() == [False, True, True, False]


def test_summary__as_table_and_json_holds_each_figure() -> None:
    found = summary(table(8), COLUMNS, resamples=200)
    rows = as_table(found)
    assert set(rows["figure"]) == {*FIGURES, "times_area"}
    assert len(rows) == 5 * 5
    plain = as_plain(found)
    assert plain[0]["area"] == [0.25, 0.25, 0.25]
    assert plain[0]["images"] == 8
