"""``gatewise compare``: runs side by side, as a table, a CSV file and one page."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig
from rich.progress import track
from rich.text import Text

from gatewise.config.outputs import Output, find_output
from gatewise.runs.collection import Found, find, read_all
from gatewise.settings import flag, one_line, whole_number
from gatewise.views.compare.columns import differing
from gatewise.views.compare.page import page
from gatewise.views.compare.payload import payload
from gatewise.views.compare.served import Watched, serve
from gatewise.views.compare.table import Runs, as_csv, print_runs, table_rows
from gatewise.views.places import short
from gatewise.views.plain import cell, plain_console

PAGES = (".html",)


def main(config: DictConfig) -> int:
    """Print the runs that are named, and write their page and table; returns how many there are.

    Raises ValueError where there is none.
    """
    watch, port = flag("watch", config.watch), whole_number("port", config.port)
    output = find_output("output", config.output, PAGES, only=True)
    found = _found(config)
    if watch:
        serve(Watched(lambda: _found(config), _title(config)), port)
        return len(found.places)
    runs = _read(found)
    columns = differing([record for _, record in runs])
    print_runs(runs, columns)
    console = plain_console(soft_wrap=True)
    for line in found.problems:
        console.print(cell(line))
    if output is not None:
        table = replace(output, path=output.path.with_suffix(".csv"))
        _write(table, as_csv(table_rows(runs, columns), columns))
        output.write(page(payload(runs, found, _title(config))))
        console.print(Text.assemble("\nPage  ", (one_line(short(output.path)), "bold")))
        console.print(cell(f"Table {short(table.path)}"))
    return len(runs)


def _write(table: Output, text: str) -> None:
    """Beside a page that is no file (the standard output, a device) there is no table."""
    with contextlib.suppress(FileNotFoundError):
        if not table.path.exists() or table.path.is_file():
            table.write(text)


def _found(config: DictConfig) -> Found:
    runs_dir = Path(config.paths.runs_dir)
    found = find([str(word) for word in config.runs], runs_dir, Path(config.paths.sweeps_dir))
    if not found.places:
        where = ", ".join(str(word) for word in config.runs) or short(runs_dir)
        more = f" ({found.problems[0]})" if found.problems else ""
        raise ValueError(f"no runs found in {one_line(where)}{more}: train one first, or name where they lie")
    return found


def _read(found: Found) -> Runs:
    reading = track(read_all(found.places), "reading runs", total=len(found.places), transient=True)
    return list(reading)


def _title(config: DictConfig) -> str:
    return one_line(", ".join(str(word) for word in config.runs) or short(Path(config.paths.runs_dir)))
