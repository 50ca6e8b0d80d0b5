"""``gatewise backtest``: forecasts of a run from several origins, their errors and the means of these."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import DictConfig, OmegaConf, open_dict
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gatewise.config.places import look_here, take_own_cache
from gatewise.data.series import SeriesWindows
from gatewise.data.series.given import ORIGIN
from gatewise.kinds.series import SeriesFacts
from gatewise.runs.files import write_text
from gatewise.runs.folders import new_folder
from gatewise.runs.run import Run
from gatewise.tasks.forecast_report import MODEL
from gatewise.training.backtest import Fold, check_unseen, config_of, folds, refitted, validation_steps
from gatewise.training.parts import load_task, make_data, stored_config
from gatewise.training.tested import tested
from gatewise.views import screen
from gatewise.views.places import short
from gatewise.views.plain import cell, plain_console

FOLDER = "backtests"
"""Below the run's directory."""
MEAN = "mean"
NUMBER = "origin"
SHOWN = ("mse", "mae")


def main(config: DictConfig) -> pd.DataFrame:
    """Forecast from each origin, write the tables as they grow, and print the errors; returns these."""
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    trained, facts = stored_config(run), run.facts()
    assert isinstance(facts, SeriesFacts)
    with open_dict(trained):
        take_own_cache(trained, config)
        for part in ("data", "task", "trainer"):
            trained[part] = OmegaConf.merge(trained[part], config[part])
        look_here(trained, config)
    screen.quiet()
    horizon = int(trained.data.horizon) if config.refit else facts.horizon
    step = config.step or horizon
    origins, validation = folds(config.origins, step), horizon
    task = None if config.refit else load_task(run, config.checkpoint, trained)
    is_own = not config.data
    if config.refit or is_own:  # of other data nothing is known: the run may have seen it
        with screen.warnings_on_screen():
            whole = make_data(trained, None if config.refit else facts)
        assert isinstance(whole, SeriesWindows)
        if config.refit:
            validation = validation_steps(whole, horizon)
        else:
            check_unseen(whole, horizon, origins, step)
    tables: dict[str, list[pd.DataFrame]] = {}
    folder = None
    for fold in origins:
        own = config_of(trained, fold, horizon, validation)
        with _warnings(shown=fold.number == 1 and not (config.refit or is_own)):
            if task is None:
                data, model = refitted(own, run.choices())
            else:
                data, model = make_data(own, facts), task
        assert isinstance(data, SeriesWindows)
        metrics = tested(model, data, data.test_dataloader(), config.accelerator)
        given = data.test_input()
        rows = {**model.tables(), "forecasts": model.answer(given).table}
        for name, table in rows.items():
            if name != "comparison":  # of so few windows, no difference can be told from chance
                tables.setdefault(name, []).append(_of_origin(table, fold, given.columns))
        folder = folder or new_folder(run.folder, FOLDER)
        _write(folder, tables)
        where = f"{fold.number} of {len(origins)}, {_last_seen(given.columns)}"
        said = f"origin {where}: mse {metrics['test/mse']:.4g}, mae {metrics['test/mae']:.4g}"
        plain_console(soft_wrap=True).print(cell(said))
    errors = _with_mean(pd.concat(tables["errors"], ignore_index=True))
    for metric in SHOWN:
        plain_console().print(_shown(errors, metric))
    assert folder is not None
    plain_console(soft_wrap=True).print(cell(f"written to {short(folder)}"))
    return errors


@contextlib.contextmanager
def _warnings(shown: bool) -> Iterator[None]:
    """Show the warnings about the data, or have none: all origins are of the same."""
    if shown:
        with screen.warnings_on_screen():
            yield
        return
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _of_origin(table: pd.DataFrame, fold: Fold, columns: Any) -> pd.DataFrame:
    """A table with the number of its origin, and the last rows seen, in front."""
    table = table.copy()
    table.insert(0, NUMBER, str(fold.number))
    if ORIGIN not in table:
        table.insert(1, ORIGIN, _last_seen(columns))
    return table


def _last_seen(columns: Any) -> str:
    """The times of the last rows seen: of all series, the first and the last of them in the file's order."""
    times = list(dict.fromkeys(columns[ORIGIN]))
    return times[0] if len(times) == 1 else f"{times[0]} and {len(times) - 1} more"


def _write(folder: Path, tables: dict[str, list[pd.DataFrame]]) -> None:
    """Write the tables so far, those of errors with the means over the origins below."""
    for name, parts in tables.items():
        table = pd.concat(parts, ignore_index=True)
        if name.startswith("errors"):
            table = _with_mean(table)
        text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_text(folder / f"{name}.csv", text)


def _with_mean(table: pd.DataFrame) -> pd.DataFrame:
    """A table of errors with the mean over the origins of each forecast, target, step or series."""
    by = [name for name in ("forecast", "target", "step", "series") if name in table]
    mean = table.drop(columns=[NUMBER, ORIGIN]).groupby(by, sort=False).mean().reset_index()
    mean["count"] = table.groupby(by, sort=False)["count"].sum().to_numpy()
    mean.insert(0, NUMBER, MEAN)
    mean.insert(1, ORIGIN, "")
    return pd.concat([table, mean[table.columns]], ignore_index=True)


def _shown(errors: pd.DataFrame, metric: str) -> Table:
    """A row for each origin and the mean, a column for each forecast."""
    whole = errors[
        errors["target"] == ("all" if "all" in set(errors["target"]) else errors["target"].iloc[0])
    ]
    table = Table(title=cell(metric), title_justify="left", box=SIMPLE_HEAD, padding=(0, 0))
    table.add_column(NUMBER)
    names = list(dict.fromkeys(whole["forecast"]))
    for name in names:
        table.add_column(cell(name), justify="right", style="bold" if name == MODEL else "")
    for origin, rows in whole.groupby(NUMBER, sort=False):
        values = dict(zip(rows["forecast"], rows[metric], strict=True))
        table.add_row(cell(origin), *(f"{values[name]:.4g}" if name in values else "" for name in names))
    return table
