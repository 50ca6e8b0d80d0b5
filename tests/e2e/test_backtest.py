"""``gatewise backtest``: forecasts from several origins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workplace import Place

SIZES = ("data.lookback=6", "data.horizon=3", "model.hidden_size=4", "trainer.max_epochs=1")
DAYS = pd.date_range("2020-01-01", periods=60)


def shops() -> pd.DataFrame:
    """Two series of 60 and of 45 days that end together."""
    parts = [
        pd.DataFrame(
            {"unique_id": shop, "ds": DAYS[-rows:], "y": 20 + np.arange(rows) % 7 + 0.1 * np.arange(rows)}
        )
        for shop, rows in (("a", 60), ("b", 45))
    ]
    return pd.concat(parts, ignore_index=True)


def trained(place: Place, *settings: str) -> Path:
    shops().to_csv(place.folder / "mine.csv", index=False)
    given = ("experiment=series/long", "data.file=mine.csv", "data.validation_steps=9", "data.test_steps=12")
    return place.train(*given, *SIZES, *settings).folder


def tables(run: Path) -> dict[str, pd.DataFrame]:
    (folder,) = (run / "backtests").iterdir()
    return {path.stem: pd.read_csv(path, dtype={"origin": str}) for path in folder.glob("*.csv")}


def test_forecasts_are_those_of_predict_and_means_are_of_all_origins(place: Place) -> None:
    run = trained(place, "task.output=quantiles", "task.baselines=[last value]")
    out = place.ok("backtest", "run=last", "origins=3", "step=4").out
    assert "origin 3 of 3, 2020-02-26: mse" in out
    found = tables(run)
    forecasts, whole = found["forecasts"], shops()
    whole["ds"] = whole["ds"].astype(str)
    assert forecasts["last row seen"].unique().tolist() == ["2020-02-18", "2020-02-22", "2020-02-26"]
    truth = forecasts.merge(whole, on=["unique_id", "ds"], suffixes=("", "_true"))
    np.testing.assert_allclose(truth["y_actual"], truth["y_true"], rtol=1e-5)
    # Of each origin, what predict says of the file that ends there.
    for origin, rows in forecasts.groupby("last row seen"):
        whole[whole["ds"] <= origin].to_csv(place.folder / "cut.csv", index=False)
        place.ok("predict", "run=last", "input=cut.csv", "output=out.csv")
        predicted = pd.read_csv(place.folder / "out.csv")
        assert predicted["ds"].tolist() == rows["ds"].tolist()
        np.testing.assert_allclose(predicted[["y", "y_lo80"]], rows[["y", "y_lo80"]], rtol=1e-4)
    errors = found["errors"].set_index(["origin", "forecast"])
    # The last value, by pandas: six values an origin.
    before = whole.set_index(["unique_id", "ds"])["y"]
    last = [before[key] for key in zip(forecasts["unique_id"], forecasts["last row seen"], strict=True)]
    missed = (forecasts["y_actual"] - last).abs().groupby(forecasts["origin"]).mean()
    naive = errors.xs("last value", level="forecast")
    np.testing.assert_allclose(naive["own_mae"].drop("mean"), missed, rtol=1e-4)
    assert naive.loc["mean", "own_mae"] == pytest.approx(missed.mean(), rel=1e-4)
    assert naive["count"].to_dict() == {"1": 6, "2": 6, "3": 6, "mean": 18}
    assert (
        set(found["errors_by_step"]["origin"]) == set(found["errors_by_series"]["origin"]) == {*"123", "mean"}
    )
    refused = place("backtest", "run=last", "origins=9", "step=4")
    assert refused.code == 1
    assert (
        "series 'a' is after row 25, and the run was trained on the rows to 39: give origins=5"
        in refused.line()
    )


MISTAKES = {
    "origins=0": "origins must be a whole number of at least 1, got 0",
    "step=0": "step must be a whole number of at least 1, got 0",
    "data.horizon=4": "data.horizon: leave it out: that is for refit=true",
    "data.test_steps=4": "data.test_steps: leave it out: the origins say what is tested",
    "trainer.max_epochs=4": "trainer: its settings are for refit=true",
    "data.file=no.csv": "data.file=no.csv was not found",
    "task.dropout=0.1": "task.dropout: no such setting of an evaluation",
}


@pytest.mark.slow
def test_a_model_of_each_origin_has_seen_nothing_after_it(place: Place) -> None:
    run = trained(place)
    for setting, said in MISTAKES.items():
        assert said in place("backtest", "run=last", setting).line()
    asked = ("backtest", "run=last", "origins=2", "refit=true", "trainer.max_epochs=2", "data.lookback=5")
    place.ok(*asked)
    first = tables(run)["forecasts"]
    changed = shops()
    changed.loc[changed["ds"] > "2020-02-23", "y"] += 50.0
    changed.to_csv(place.folder / "mine.csv", index=False)
    for folder in (run / "backtests").iterdir():
        folder.rename(place.folder / "before")
    place.ok(*asked)
    second = tables(run)["forecasts"]
    same = first["y"] == second["y"]
    assert same.groupby(first["origin"]).all().to_dict() == {"1": True, "2": False}
    # Nothing of the trainings stays but their tables.
    assert {path.suffix for path in (run / "backtests").rglob("*.*")} == {".csv"}
