"""Files to forecast from: one or many series, new ones too, with what is known of the horizon."""

import numpy as np
import pandas as pd
import pytest
from test_panels import LENGTHS, loaded, long_table, module

from gatewise.data.series import SeriesWindows
from gatewise.data.series.given import ORIGIN

COVARIATES = {
    "known": ["price"], "categories": ["sky"], "known_categories": ["sky"], "static": ["size"],
    "static_categories": ["town"],
}  # fmt: skip


def given(folder, facts, table, **settings):
    table.to_csv(folder / "new.csv", index=False)
    return SeriesWindows.read_input(folder / "new.csv", facts, **settings)


def with_future(table, days=3):
    """The table with rows after the last of each series, whose sales are not known."""
    parts = []
    for name, own in table.groupby("shop", sort=False):
        ahead = pd.date_range(own["day"].iloc[-1], periods=days + 1)[1:].strftime("%Y-%m-%d")
        rows = own.iloc[[-1] * days].assign(
            day=ahead, sales=np.nan, price=[1.5, 1.25, 1.75][:days], sky="sun"
        )
        parts += [own, rows.assign(shop=name)]
    return pd.concat(parts)


def refused(folder, facts, table, *said, **settings):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        given(folder, facts, table, **settings)
    for bit in said:
        assert bit in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_newest_rows_of_every_series_are_used(tmp_path):
    facts = loaded(tmp_path, targets=["sales"], scaling="series").facts
    table = long_table()
    found = given(tmp_path, facts, table)
    assert found.batch.inputs.shape == (3, 5, 2)
    assert found.columns["shop"] == [name for name in LENGTHS for _ in range(3)]
    last = [pd.Timestamp(own["day"].iloc[-1]) for _, own in table.groupby("shop", sort=False)]
    wanted = [str((day + pd.Timedelta(days=n)).date()) for day in last for n in (1, 2, 3)]
    assert found.columns["day"] == wanted
    assert found.batch.targets.isnan().all()
    inputs = facts.unscaled(found.batch.inputs[..., :1], found.batch.scales)[..., 0]
    for row, (_, own) in zip(inputs, table.groupby("shop", sort=False), strict=True):
        np.testing.assert_allclose(row, own["sales"].iloc[-5:], rtol=1e-5)
    # More history, and rows of others between, change nothing for series that the training knows.
    short = table.groupby("shop").tail(5).sort_values("day")
    again = given(tmp_path, facts, short)
    order = [list(LENGTHS).index(name) for name in again.columns["shop"][::3]]
    np.testing.assert_allclose(again.batch.inputs, found.batch.inputs[order])


def test_a_series_never_seen_is_scaled_by_its_history(tmp_path):
    facts = loaded(tmp_path, scaling="series").facts
    new = long_table({"z": 20}, seed=5)
    found = given(tmp_path, facts, new)
    assert found.batch.series.tolist() == [3]
    own = (new["sales"] - facts.mean[0]) / facts.std[0]
    assert found.batch.scales[0, :, 0].tolist() == pytest.approx([own.mean(), own.std(ddof=0)])
    np.testing.assert_allclose(
        facts.unscaled(found.batch.inputs[..., :1], found.batch.scales)[0, :, 0], new["sales"][-5:], rtol=1e-5
    )
    # A file without the column of the series is one series.
    alone = given(tmp_path, facts, new.drop(columns="shop"))
    np.testing.assert_array_equal(alone.batch.inputs, found.batch.inputs)
    assert list(alone.columns) == ["day"]


def test_covariates_of_the_horizon_come_from_later_rows_or_another_file(tmp_path):
    facts = loaded(tmp_path, **COVARIATES).facts
    table = long_table()
    found = given(tmp_path, facts, with_future(table))
    prices = np.array([1.5, 1.25, 1.75])
    for number in range(3):
        np.testing.assert_allclose(
            found.batch.future[number, :, 0], (prices - facts.mean[1]) / facts.std[1], rtol=1e-5
        )
    assert found.batch.categories[:, 5:, 0].tolist() == [[2, 2, 2]] * 3
    future = with_future(table)
    future[future["sales"].isna()][["shop", "day", "price", "sky"]].to_csv(
        tmp_path / "ahead.csv", index=False
    )
    apart = given(tmp_path, facts, table, future_file=str(tmp_path / "ahead.csv"))
    for one, other in zip(found.batch, apart.batch, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            np.testing.assert_array_equal(one, other)
    lacking = "'price', 'sky' of series 'b' must be known for the horizon, and not so at '2024-02-10'"
    refused(tmp_path, facts, table, lacking, "data.future_file")
    refused(tmp_path, facts, with_future(table, days=2), "not so at '2024-02-12'")
    empty = with_future(table)
    empty.loc[(empty["shop"] == "b") & (empty["day"] == "2024-02-11"), "price"] = np.nan
    refused(tmp_path, facts, empty, "'price' of series 'b' must be known", "'2024-02-11'")


def test_a_longer_horizon_and_every_origin(tmp_path):
    facts = loaded(tmp_path).facts
    table = long_table({"b": 12})
    longer = given(tmp_path, facts, table, horizon=7)
    assert longer.batch.targets.shape == (1, 7, 1)
    assert longer.columns["day"][-1] == "2024-01-19"
    fits = given(tmp_path, facts, table, in_sample=True)
    assert len(fits.batch.inputs) == 8  # after rows 5 to 12
    assert fits.columns[ORIGIN][::3] == [f"2024-01-{day:02}" for day in range(5, 13)]
    assert fits.columns["day"][:4] == ["2024-01-06", "2024-01-07", "2024-01-08", "2024-01-07"]
    truth = facts.unscaled(fits.batch.targets)[..., 0]
    np.testing.assert_allclose(truth[0], table["sales"][5:8], rtol=1e-5)
    assert np.isnan(truth).sum() == 1 + 2 + 3
    with pytest.raises(ValueError, match="horizon must be a whole number of at least 1 or null, got 0"):
        given(tmp_path, facts, table, horizon=0)


def test_what_does_not_fit_the_training_is_named(tmp_path):
    facts = loaded(tmp_path, **COVARIATES).facts
    table = with_future(long_table())
    refused(
        tmp_path, facts, table.drop(columns="price"), "no column 'price'", "trained on a column of that name"
    )
    storm = table.assign(sky=table["sky"].mask(table.index == 3, "storm"))
    refused(
        tmp_path,
        facts,
        storm,
        ":5: column 'sky': 'storm' was never seen in training, which has",
        "unknown_categories=zero",
    )
    found = given(tmp_path, facts, storm, unknown_categories="zero")
    assert (found.batch.categories >= 0).all()
    short = pd.concat([table, with_future(long_table({"q": 4}))])
    refused(tmp_path, facts, short, "1 of 4 series have fewer than the 5 rows", "'q with 4'", "leave_out")
    assert len(given(tmp_path, facts, short, short_series="leave_out").batch.inputs) == 3
    gap = table.assign(sales=table["sales"].mask((table["day"] == "2024-02-08") & (table["shop"] == "b")))
    refused(tmp_path, facts, gap, "new.csv:40: column 'sales' has 1 missing value(s)", "trained without any")


def test_a_run_that_fills_reads_files_with_gaps(tmp_path):
    table = long_table()
    table.loc[4, "sales"] = np.nan
    facts = loaded(tmp_path, table, missing="mask", irregular="fill").facts
    new = long_table({"b": 20}).drop(index=[17])
    new.loc[18, "sales"] = np.nan
    found = given(tmp_path, facts, new)
    assert found.batch.inputs[0, :, 2].tolist() == [1, 1, 0, 0, 1]
    assert found.batch.inputs[0, 2:4, 0].tolist() == [0, 0]
    assert found.columns["day"] == ["2024-01-21", "2024-01-22", "2024-01-23"]


def test_the_example_beside_a_run_can_be_predicted_from(tmp_path):
    for settings in ({}, COVARIATES):
        data = module(tmp_path, **settings)
        data.setup()
        path = data.save_example(tmp_path)
        found = SeriesWindows.read_input(path, data.facts)
        assert len(found.batch.inputs) == 3
        # With covariates, the horizon of the example is the end of the test part.
        end = 3 if settings else 0
        expected = data.test_data[[1]].inputs[0] if settings else data.test_data.values[35:40]
        np.testing.assert_allclose(found.batch.inputs[0], expected[: 5 - end + end], rtol=1e-5)
