"""Small series files that were once read wrongly without a word: each by the name of its case."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from workplace import Place, Result, read_json

SMALL = (
    "experiment=series/csv", "data.lookback=6", "data.horizon=2", "data.batch_size=16",
    "model.hidden_size=4", "trainer.max_epochs=1",
)  # fmt: skip
WAVE = 20 + 5 * np.sin(np.arange(60) / 5)


def write(place: Place, header: str, times: list[str], *columns: list[str]) -> str:
    rows = [",".join(row) for row in zip(times, *columns, strict=True)]
    (place.folder / "mine.csv").write_text("\n".join([header, *rows]) + "\n")
    return "data.file=mine.csv"


def texts(values: np.ndarray, form: str = ".3f") -> list[str]:
    return [format(value, form) for value in values]


def dates(frequency: str, form: str) -> list[str]:
    return pd.date_range("2015-01-01", periods=60, freq=frequency).strftime(form).tolist()


def refused(result: Result, *bits: str) -> None:
    assert result.code == 1
    for bit in bits:
        assert bit in result.line(), result.err


def predicted(place: Place, column: str) -> list[str]:
    place.ok("predict", "run=last", "input=mine.csv", "output=out.csv")
    with (place.folder / "out.csv").open(newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def nothing_is_left(place: Place) -> None:
    assert not (place.folder / "runs").exists()


@pytest.mark.slow
def test_day_first(place: Place) -> None:
    file = write(place, "date,y", dates("MS", "%d/%m/%Y"), texts(WAVE))
    settings = (*SMALL, file, "data.time_column=date")
    refused(
        place("train", *settings),
        "mine.csv:3: column 'date': '01/02/2015' can be 2015-02-01 (%d/%m/%Y) or 2015-01-02 (%m/%d/%Y)",
        "data.day_first=true or data.day_first=false",
    )
    nothing_is_left(place)
    place.train(*settings, "data.day_first=true")
    # 60 months from January 2015 end in December 2019; the example beside the run is written alike.
    assert predicted(place, "date") == ["01/01/2020", "01/02/2020"]
    run = place.last().folder
    assert (run / "example.csv").read_text().splitlines()[-1].startswith("01/12/2019,")
    # The run knows how its dates are written; it has no data.day_first to give.
    (place.folder / "mine.csv").write_text("date,y\n" + "".join(f"13/{m:02}/2020,1\n" for m in range(1, 7)))
    assert predicted(place, "date") == ["13/07/2020", "13/08/2020"]


@pytest.mark.slow
def test_yyyymm(place: Place) -> None:
    file = write(place, "month,y", dates("MS", "%Y%m"), texts(WAVE))
    settings = (*SMALL, file, "data.time_column=month")
    refused(
        place("train", *settings),
        "mine.csv:2: column 'month': '201501' can be 2015-01-01 (%Y%m)",
        "or the number 201501",
        "'data.time_format=%Y%m'",
        "'data.time_format=number'",
    )
    nothing_is_left(place)
    place.train(*settings, "data.time_format=%Y%m")
    assert predicted(place, "month") == ["202001", "202002"]


@pytest.mark.slow
def test_time_of_day(place: Place) -> None:
    file = write(place, "t,y", [f"00:{minute:02}" for minute in range(60)], texts(WAVE))
    settings = (*SMALL, file, "data.time_column=t")
    refused(
        place("train", *settings),
        "mine.csv:2: column 't': '00:00' is a time of day",
        "data.time_format=%H:%M",
    )
    nothing_is_left(place)
    place.train(*settings, "data.time_format=%H:%M")
    assert predicted(place, "t") == ["01:00", "01:01"]


def test_unnamed_index(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"date": dates("D", "%Y-%m-%d"), "y": WAVE.round(3)})
    table.to_csv(place.folder / "mine.csv")  # with pandas' row numbers, which have no name
    run = place.train(*SMALL, "data.file=mine.csv", "data.time_column=date")
    assert "mine.csv: column 'Unnamed: 0' only numbers the rows and is left out" in caplog.text
    facts = read_json(run.folder / "facts.json")
    assert (facts["columns"], facts["targets"]) == (["y"], ["y"])
    assert predicted(place, "date") == ["2015-03-02", "2015-03-03"]


@pytest.mark.slow
def test_thousands_dropped(place: Place) -> None:
    sales = [f'"{value:,.2f}"' for value in 1000 * WAVE]
    file = write(place, "date,sales,visits", dates("D", "%Y-%m-%d"), sales, texts(WAVE))
    settings = (*SMALL, file, "data.time_column=date")
    refused(
        place("train", *settings),
        "mine.csv:2: column 'sales': '20,000.00' is not a number as it is written: set data.thousands=comma",
        "'data.columns=[visits]'",
    )
    nothing_is_left(place)
    place.train(*settings, "data.thousands=comma")
    facts = read_json(place.last().folder / "facts.json")
    assert facts["columns"] == ["sales", "visits"]
    # Of the 42 training rows, by numpy.
    np.testing.assert_allclose(facts["mean"], [(1000 * WAVE).round(2)[:42].mean(), WAVE.round(3)[:42].mean()])
    assert len(predicted(place, "sales")) == 2


@pytest.mark.slow
def test_forecast_precision(place: Place) -> None:
    """The same series with and without ten million added give forecasts that differ by ten million."""
    wave = 0.1 * np.sin(np.arange(60) / 4)
    forecasts, errors = [], []
    for offset in (0, 10_000_000):
        file = write(place, "t,hz", dates("h", "%Y-%m-%d %H:%M"), texts(offset + wave, ".4f"))
        run = place.train(*SMALL, file, "data.time_column=t")
        forecasts.append(np.array(predicted(place, "hz"), dtype=np.float64))
        errors.append(run.summary()["test"]["hz/mae"])
        shown = place.ok("predict", "run=last", "input=mine.csv").out
        assert f"{forecasts[-1][0]:.4f}" in shown
    # Numbers near 1e7 have steps of 2e-9 in float64, of 1 in float32.
    np.testing.assert_allclose(forecasts[1] - 10_000_000, forecasts[0], rtol=0, atol=1e-7)
    assert errors[1] == pytest.approx(errors[0], rel=1e-5)


@pytest.mark.slow
def test_a_run_reads_and_scores_files_in_its_own_style(place: Place) -> None:
    """Separators, decimal marks and dates of the training hold for predict and evaluate as well."""
    days = pd.date_range("2015-01-01", periods=60)
    rows = [
        f"{day.day}.{day.month}.{day.year};{value:.3f}".replace(".", ",")
        for day, value in zip(days, WAVE, strict=True)
    ]
    rows = [row.replace(",", ".", 2) for row in rows]
    (place.folder / "mine.csv").write_text("\n".join(["Tag;Wert", *rows]) + "\n")
    settings = (
        "data.file=mine.csv",
        "data.time_column=Tag",
        "data.separator=semicolon",
        "data.decimal=comma",
    )
    run = place.train(*SMALL, *settings)
    assert predicted(place, "Tag") == ["2.3.2015", "3.3.2015"]
    assert read_json(run.folder / "facts.json")["mean"][0] == pytest.approx(WAVE.round(3)[:42].mean())
    place.ok("predict", "run=last", f"input={run.folder}/example.csv")
    (place.folder / "other.csv").write_text((place.folder / "mine.csv").read_text())
    place.ok("evaluate", "run=last", "data.test_file=other.csv")
    (place.folder / "point.csv").write_text("Tag;Wert\n" + "".join(f"{d}.1.2015;1.5\n" for d in range(1, 9)))
    result = place("predict", "run=last", "input=point.csv")
    refused(result, "point.csv:2: column 'Wert': '1.5' is not a number as this run reads them: write a comma")
    assert "data." not in result.err  # predict has no such settings
    result = place("evaluate", "run=last", "data.test_file=point.csv")
    refused(result, "point.csv:2: column 'Wert': '1.5'", "set data.decimal=point")


@pytest.mark.slow
def test_dates_and_the_chosen_targets_are_in_the_picture(place: Place, figures: list) -> None:
    file = write(place, "date,a,b", dates("D", "%Y-%m-%d"), texts(WAVE), texts(WAVE**2))
    settings = (*SMALL, file, "data.time_column=date")
    refused(
        place("train", *settings, "task.pictured=[c]"), "task.pictured: 'c' is no target; choose from a, b"
    )
    run = place.train(*settings, "task.pictured=[b]")
    report = read_json(run.folder / "test_report.json")["forecasts"]
    (window,) = report["windows"]
    # Test rows are the last twelve, the 6 windows begin before them: the middle one is the fourth of 11.
    assert window["times"][6:] == dates("D", "%Y-%m-%d")[53:55]
    np.testing.assert_allclose(np.array(window["truth"])[:, 1], (WAVE**2).round(3)[53:55], rtol=1e-5)
    axes = next(figure.axes[0] for figure in figures if figure.axes[0].get_ylabel() == "b")
    assert axes.get_xticklabels()[0].get_text() == window["times"][0]


def test_a_test_without_the_training_file_has_the_baselines_that_need_none(place: Place) -> None:
    mine = write(place, "date,wave", dates("D", "%Y-%m-%d"), texts(WAVE))
    given = ("data.time_column=date", "task.output=quantiles")
    place.train(*SMALL, mine, *given, "task.baselines=[drift,linear]")
    run = place.last()
    tables = {path.name for path in run.tables.glob("*.csv")}
    assert tables == {"errors.csv", "errors_by_step.csv", "comparison.csv", "anomalies.csv"}
    rows = pd.read_csv(run.tables / "errors.csv").set_index("forecast")
    summary = read_json(run.folder / "summary.json")
    assert rows["mse"].to_dict() == pytest.approx(
        {"this run": summary["test"]["mse"], **{n: s["mse"] for n, s in summary["baselines"].items()}}, 1e-4
    )
    assert list(summary["baselines"]) == ["drift", "linear"]
    (place.folder / "mine.csv").rename(place.folder / "new.csv")
    out = place.ok("evaluate", "run=last", "data.test_file=new.csv").out
    assert "Without the training data there is no baseline linear" in out
    assert "drift, the best baseline" in out
    assert "lie outside of their 95 % interval" in out
    refused(place("evaluate", "run=last", "task.baselines=[dritf]"), "did you mean 'drift'?")


@pytest.mark.slow
def test_many_series(place: Place) -> None:
    """A table of two shops with a price known for the horizon, and one shop more in the forecast."""
    rows = [f"{shop},{day},{20 + n % 7 + 100 * (shop == 'b')},{1 + n % 3}" for shop in "ab" for n, day in
            enumerate(dates("D", "%Y-%m-%d"))]  # fmt: skip
    (place.folder / "mine.csv").write_text("\n".join(["shop,day,sales,price", *rows]) + "\n")
    place.train(
        "experiment=series/long", "data.file=mine.csv", "data.series_column=shop", "data.time_column=day",
        "data.columns=[sales,price]", "data.targets=[sales]", "data.known=[price]", "data.lookback=6",
        "data.horizon=2", "task.forecaster=decoder", "model.hidden_size=4", "trainer.max_epochs=1",
    )  # fmt: skip
    run = place.last().folder
    example = str(run / "example.csv")
    place.ok("predict", "run=last", f"input={example}", "output=out.csv")
    with (place.folder / "out.csv").open(newline="") as file:
        found = [(row["shop"], row["day"]) for row in csv.DictReader(file)]
    assert found == [(shop, day) for shop in "ab" for day in ("2015-02-28", "2015-03-01")]
    refused(
        place("predict", "run=last", f"input={example}", "data.horizon=3"),
        "'price' of series 'a' must be known for the horizon, and not so at '2015-03-02'",
    )
    mistake = place("predict", "run=last", f"input={example}", "data.horizont=3")
    assert "data.horizont: no such setting of a prediction; did you mean horizon?" in mistake.line()
    mistake = place("predict", "run=last", f"input={example}", "data.horizon=0")
    assert "data.horizon must be a whole number of at least 1" in mistake.line()
    new = "".join(f"z,2015-01-{n:02},{n},1\n" for n in range(1, 13))
    (place.folder / "mine.csv").write_text("shop,day,sales,price\n" + new)
    refused(place("predict", "run=last", "input=mine.csv"), "'2015-01-13', '2015-01-14'", "data.future_file")
    (place.folder / "ahead.csv").write_text("shop,day,price\nz,2015-01-13,2\nz,2015-01-14,2\n")
    place.ok("predict", "run=last", "input=mine.csv", "data.future_file=ahead.csv", "output=out.csv")
    assert "z,2015-01-14," in (place.folder / "out.csv").read_text()
