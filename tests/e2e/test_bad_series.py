"""What can be wrong with a user's series, each told from the command line in one line."""

from __future__ import annotations

import pandas as pd
import pytest
from workplace import Place

SIZES = ("data.lookback=6", "data.horizon=2", "model.hidden_size=4", "trainer.max_epochs=1")
DAYS = pd.date_range("2015-01-01", periods=40).strftime("%Y-%m-%d").tolist()
VALUES = [str(20 + day % 7) for day in range(40)]


def at(cells: list[str], changes: dict[int, str]) -> list[str]:
    return [changes.get(place, cell) for place, cell in enumerate(cells)]


HOURS = pd.date_range("2024-10-26 20:00", periods=40, freq="h", tz="Europe/Berlin")
TRAINED = {
    "no time": (at(DAYS, {9: "soon"}), VALUES, (), [":11: column 'date': 'soon'", "write them alike"]),
    "twice": (at(DAYS, {9: DAYS[8]}), VALUES, (), [":11: the time", "appears twice", "one row per"]),
    "unsorted": (DAYS[::-1], VALUES, (), [":3: the time '2015-02-08' comes after '2015-02-09'", "sort"]),
    "mixed steps": (
        [*DAYS[:20], *pd.date_range("2015-02-01", periods=20, freq="MS").strftime("%Y-%m-%d")],
        VALUES, ("data.irregular=refuse",), ["mine.csv: the time steps are irregular", "data.irregular=fill"],
    ),
    "short": (DAYS[:7], VALUES[:7], (), ["of 7 are too few", "data.lookback=6 + data.horizon=2"]),
    "infinite": (DAYS, at(VALUES, {9: "-inf"}), (), [":11: column 'y': '-inf'", "correct it"]),
    "missing": (DAYS, at(VALUES, {9: ""}), (), [":11: column 'y' has 1 missing", "data.missing"]),
    "decimal commas": (DAYS, [f'"{v},5"' for v in VALUES], (), [":2: column", "'20,5'", "decimal=comma"]),
    "bare commas": (DAYS, [f"{v},5" for v in VALUES], (), [":2: 3 cells", "decimal comma", "in quotes"]),
    "thousands": (DAYS, [f'"1,0{v}.5"' for v in VALUES], (), [":2: column 'y'", "data.thousands=comma"]),
    "no horizon": (DAYS, VALUES, ("data.horizon=0",), ["data.horizon", "at least 1", "got 0"]),
    "zones": ([str(t) for t in HOURS], VALUES, (), [":9: '2024-10-27 02:00:00+01:00'", "data.time_zone=utc"]),
    "clocks": ([f"{t:%Y-%m-%d %H:%M}" for t in HOURS], VALUES, (), [":9: the time", "data.time_zone="]),
    "no zone": (DAYS, VALUES, ("data.time_zone=Mars",), ["data.time_zone", "'Mars'"]),
}  # fmt: skip


@pytest.mark.parametrize(("times", "values", "settings", "bits"), TRAINED.values(), ids=TRAINED)
def test_a_training_is_refused(
    place: Place, times: list[str], values: list[str], settings: tuple[str, ...], bits: list[str]
) -> None:
    rows = [f"{time},{value}\n" for time, value in zip(times, values, strict=True)]
    (place.folder / "mine.csv").write_text("date,y\n" + "".join(rows))
    given = ("experiment=series/csv", "data.file=mine.csv", "data.time_column=date", *SIZES, *settings)
    result = place("train", *given)
    assert result.code == 1
    for bit in bits:
        assert bit in result.line(), result.err
    assert not (place.folder / "runs").exists()


def shops(names: str, count: int, ahead: int = 0) -> list[list[str]]:
    """Rows of shop, day, sales, price and sky; of those ``ahead`` the sales are not known."""
    return [
        [shop, DAYS[day], VALUES[day] if day < count else "", str(1 + day % 3), "red" if day % 2 else "blue"]
        for shop in names
        for day in range(count + ahead)
    ]


def changed(column: int, text: str, row: int = 3) -> list[list[str]]:
    rows = shops("a", 12, 2)
    rows[row][column] = text
    return rows


HEADER = "unique_id,ds,y,price,sky"
FILE = (HEADER, shops("a", 12, 2), ())
PREDICTED = {
    "no covariates": (HEADER, shops("a", 12), (), ["'price', 'sky'", "'2015-01-13', '2015-01-14'", "future"]),
    "one covariate": (HEADER, changed(3, "", 13), (), ["'price'", "not so at '2015-01-14'", "add rows"]),
    "longer": (HEADER, FILE[1], ("data.horizon=3",), ["'price', 'sky'", "not so at '2015-01-15'"]),
    "columns": (
        "unique_id,ds,sales,cost,sky", FILE[1], (),
        [":1: no column 'y'", "nor 'price'; it has unique_id, ds, sales, cost, sky", "trained on columns"],
    ),
    "category": (
        HEADER, changed(4, "grey"), (),
        [":5: column 'sky': 'grey' was never seen in training, which has 'blue', 'red'", "categories=zero"],
    ),
    "infinite": (HEADER, changed(2, "inf"), (), [":5: column 'y': 'inf'", "correct it"]),
    "missing": (HEADER, changed(2, "", 11 - 2), (), [":11: column 'y' has 1 missing", "fill them in"]),
    "twice": (HEADER, changed(1, DAYS[2]), (), [":5: the time '2015-01-03' appears twice"]),
    "no time": (HEADER, changed(1, "soon"), (), [":5: column 'ds': 'soon'", "form %Y-%m-%d"]),
    "decimal comma": (HEADER, changed(2, '"20,5"'), (), [":5: column 'y': '20,5'", "write a point"]),
    "short": (HEADER, shops("a", 4, 2), (), ["4 rows, but the model needs 6"]),
    "some short": (
        HEADER, shops("a", 12, 2) + shops("b", 4, 2), (),
        ["1 of 2 series have fewer than the 6 rows", "'b with 4'", "leave_out"],
    ),
    "no horizon": (HEADER, FILE[1], ("data.horizon=0",), ["data.horizon", "at least 1", "got 0"]),
}  # fmt: skip


def test_a_prediction_is_refused(place: Place) -> None:
    def write(header: str, rows: list[list[str]]) -> None:
        (place.folder / "mine.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")

    write(HEADER, shops("ab", 40))
    place.train(
        "experiment=series/long", "data.file=mine.csv", "data.columns=[y,price]", "data.known=[price]",
        "data.categories=[sky]", "data.known_categories=[sky]", *SIZES,
    )  # fmt: skip
    ask = ("predict", "run=last", "input=mine.csv", "output=out.csv")
    for header, rows, settings, bits in PREDICTED.values():
        write(header, rows)
        result = place(*ask, *settings)
        assert result.code == 1
        for bit in bits:
            assert bit in result.line(), result.err
        assert not (place.folder / "out.csv").exists()
    write(HEADER, [[row[0], f"2015-01-01 {number:02}:00", *row[2:]] for number, row in enumerate(FILE[1])])
    assert "do not go in steps of D, as those of the training do" in place.ok(*ask).out
    # Fits of the last windows end before the file does: the truth of what follows is not known.
    write(HEADER, FILE[1])
    place.ok(*ask, "data.in_sample=true")
    table = pd.read_csv(place.folder / "out.csv")
    assert list(table["last row seen"].unique()) == DAYS[5:12]
    assert table["y_actual"].isna().tolist() == [False] * 11 + [True] * 3
    known = table["ds"].map(dict(zip(DAYS, map(float, VALUES), strict=True)))
    assert table["y_actual"].dropna().tolist() == pytest.approx(known[table["y_actual"].notna()], abs=1e-5)
