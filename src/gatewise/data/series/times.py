"""Times written as text: which format they have, and a refusal where two formats would read them differently.

A format is ``number``, ``epoch_s`` (or ``_ms``, ``_us``, ``_ns``), ``ISO8601``, or one of strptime's with
``%q`` for the quarter, ``%G-W%V`` for the Monday of an ISO week, and ``%-d`` for a day without a leading 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import MAXYEAR, MINYEAR

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NUMBER, ISO = "number", "ISO8601"
EPOCHS = {"epoch_s": "s", "epoch_ms": "ms", "epoch_us": "us", "epoch_ns": "ns"}
NUMERIC = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?( ?[AaPp][Mm])?")
_YEARS = (1500, 2500)
"""Years that a guess may give; a date outside them is taken for something else."""
_ISO_CELL = re.compile(r"[0-9]{4}-[0-9]{1,2}(-[0-9]{1,2}([T ].*)?)?")
_OFFSET = re.compile(r"(Z|[+-][0-9]{2}:?[0-9]{2})$")
_MONTH = "[A-Za-z]{3,9}"

# A cell's shape, and the formats it may have; {s} is its separator, {b} its month's name.
_DATES: list[tuple[str, tuple[str, ...]]] = [
    (r"[0-9]{4}(?P<s>[-/.])[0-9]{1,2}(?P=s)[0-9]{1,2}", ("%Y{s}%m{s}%d",)),
    (r"[0-9]{4}(?P<s>[-/.])[0-9]{1,2}", ("%Y{s}%m",)),
    (r"[0-9]{1,2}(?P<s>[-/. ])[0-9]{1,2}(?P=s)[0-9]{4}", ("%d{s}%m{s}%Y", "%m{s}%d{s}%Y")),
    (r"[0-9]{1,2}(?P<s>[-/.])[0-9]{4}", ("%m{s}%Y",)),
    (r"[0-9]{1,2}(?P<s>[-/.])[0-9]{1,2}(?P=s)[0-9]{2}", ("%d{s}%m{s}%y", "%m{s}%d{s}%y", "%y{s}%m{s}%d")),
    (rf"[0-9]{{1,2}}(?P<s>[- /.]?)(?P<b>{_MONTH})(?P=s)[0-9]{{4}}", ("%d{s}{b}{s}%Y",)),
    (rf"[0-9]{{1,2}}(?P<s>[- /.]?)(?P<b>{_MONTH})(?P=s)[0-9]{{2}}", ("%d{s}{b}{s}%y", "%y{s}{b}{s}%d")),
    (rf"[0-9]{{4}}(?P<s>[- /.]?)(?P<b>{_MONTH})(?P=s)[0-9]{{1,2}}", ("%Y{s}{b}{s}%d",)),
    (rf"[0-9]{{4}}(?P<s>[- /.]?)(?P<b>{_MONTH})", ("%Y{s}{b}",)),
    (rf"(?P<b>{_MONTH})(?P<s>[- /.]?)[0-9]{{4}}", ("{b}{s}%Y",)),
    (rf"(?P<b>{_MONTH}) [0-9]{{1,2}}(?P<s>,?) [0-9]{{4}}", ("{b} %d{s} %Y",)),
    (r"[0-9]{4}(?P<s>[- /.]?)Q[1-4]", ("%Y{s}Q%q",)),
    (r"Q[1-4](?P<s>[- /.]?)[0-9]{4}", ("Q%q{s}%Y",)),
    (r"[0-9]{4}(?P<s>-?)W[0-9]{2}", ("%G{s}W%V",)),
    (r"[0-9]{4}(?P<s>-?)W[0-9]{2}(?P=s)[1-7]", ("%G{s}W%V{s}%u",)),
    (r"(19|20)[0-9]{6}", ("%Y%m%d",)),
    (r"[0-9]{8}", ("%d%m%Y", "%m%d%Y")),
    (r"(19|20)[0-9]{12}", ("%Y%m%d%H%M%S",)),
    (r"(19|20)[0-9]{10}", ("%Y%m%d%H%M",)),
    (r"(19|20)[0-9]{8}", ("%Y%m%d%H",)),
    (r"(19|20)[0-9]{5}", ("%Y%j",)),
    (r"[0-9]{6}", ("%Y%m", "%G%V", "%y%m%d")),
    (r"(19|20)[0-9]{2}[1-4]", ("%Y%q",)),
    (r"[0-9]{2}(0[1-9]|1[0-2])", ("%y%m",)),
]
_CLOCK = re.compile(
    r"(?P<date>.*?[0-9A-Za-z])(?P<gap>[T ])(?P<clock>[0-9]{1,2}:[0-9]{2}(?P<seconds>:[0-9]{2})?)"
    r"(?P<fraction>[.,][0-9]+)?(?P<half> ?[AaPp][Mm])?(?P<zone> ?(Z|[+-][0-9]{2}:?[0-9]{2}))?"
)
_FIELDS = {
    "Y": "[0-9]{4}", "G": "[0-9]{4}", "y": "[0-9]{2}", "q": "[1-4]", "f": "[0-9]{1,9}", "u": "[1-7]",
    "j": "[0-9]{3}", "b": _MONTH, "B": _MONTH, "a": "[A-Za-z]+", "A": "[A-Za-z]+", "p": "[AaPp][Mm]",
    "z": "(Z|[+-][0-9]{2}:?[0-9]{2})", "%": "%",
}  # fmt: skip


def parse_times(cells: Sequence[str], time_format: str) -> pd.Index:
    """The times of cells that all have one format; NaN or NaT for a cell that has not.

    Offsets that change, as between summer and winter, give times in UTC.
    """
    codes, distinct = _distinct(cells)
    times = _parse(distinct, time_format)
    return times if codes is None else times.take(codes)


def _distinct(cells: Sequence[str]) -> tuple[NDArray[np.int64] | None, list[str]]:
    """The place of each cell among the distinct ones, and these: many series have the same times.

    None in place of the places where most cells are distinct anyway.
    """
    codes, distinct = pd.factorize(np.array(cells, dtype=object))
    return (codes, list(distinct)) if len(distinct) < len(cells) / 2 else (None, list(cells))


def _parse(cells: Sequence[str], time_format: str) -> pd.Index:
    text = pd.Series(list(cells), dtype=object)
    if time_format == NUMBER:
        numbers: pd.Index = pd.Index(_numbers(text))
        return numbers
    if time_format in EPOCHS:
        nothing = np.iinfo(np.int64).min  # numpy's NaT
        whole = [
            int(cell) if re.fullmatch(r"-?[0-9]{1,18}|[1-8][0-9]{18}", cell) else nothing for cell in cells
        ]
        times = np.array(whole, dtype=np.int64).view(f"datetime64[{EPOCHS[time_format]}]")
        return _of_the_calendar(pd.DatetimeIndex(times))
    if time_format == ISO:
        fits = text.str.fullmatch(_ISO_CELL)
        return _dates(text.where(fits, None), ISO)
    plain = time_format.replace("%-", "%")
    fits = text.str.fullmatch(_pattern(plain))
    text = text.where(fits, None)
    if "%q" in plain:
        text, plain = _quarters_as_months(text, plain)
    elif "%V" in plain and "%u" not in plain:
        text, plain = text + " 1", plain + " %u"
    return _dates(text, plain)


def write_times(times: pd.Index, time_format: str | None) -> list[str]:
    """Times as text in a format; without one, numbers as they are and dates in ISO 8601."""
    if time_format in EPOCHS:
        step, origin = pd.Timedelta(f"1{EPOCHS[time_format]}"), pd.Timestamp(0)
        return [str((time - origin) // step) for time in times]
    if not isinstance(times, pd.DatetimeIndex) or time_format in (None, NUMBER, ISO):
        return [str(time) for time in times.astype(str)]
    return [_written(time, time_format) for time in times]


def possible_formats(
    cells: Sequence[str], day_first: bool | None, starts: NDArray[np.int64] | None = None
) -> dict[str, pd.Index]:
    """The formats that the cells may have, and the times they give; those that read most cells first.

    A format that reads every cell rules out those that do not; one in which the times increase, those in
    which they do not. ``day_first`` decides between day and month; ``starts`` are the first rows of series.
    """
    codes, cells = _distinct(cells)

    def of_rows(times: pd.Index) -> pd.Index:
        return times if codes is None else times.take(codes)

    first = next((cell for cell in cells if _formats_of(cell)), None)
    formats = [] if first is None else _formats_of(first)
    if day_first is not None:
        start = "%d" if day_first else "%m"
        formats = [f for f in formats if not _has_day_and_month_first(f) or f.startswith(start)]
    read = {f: _parse(cells, f) for f in formats}
    one_form = any(times.notna().all() for times in read.values())
    if not one_form and all(_ISO_CELL.fullmatch(cell) for cell in cells):
        # Forms of ISO 8601 side by side, such as midnight without its time.
        read = {ISO: _parse(cells, ISO)}
    read = dict(sorted(read.items(), key=lambda item: np.count_nonzero(item[1].isna())))
    whole = {f: times for f, times in read.items() if times.notna().all() and _is_plausible(times)}
    if not whole:
        return {f: of_rows(times) for f, times in list(read.items())[:1] if times.notna().any()}
    rising = {f: times for f, times in whole.items() if not len(not_rising(of_rows(times), starts))}
    left = rising or whole
    if NUMBER in left and _has_constant_step(of_rows(left[NUMBER]), starts):
        # As seconds since 1970 they would go on in the same way, and 2001 to 2012 are years, not 2020.
        left = {f: times for f, times in left.items() if f not in EPOCHS and f != "%y%m"}
    if "%Y%m%d" in left or any(f.startswith("%Y%m%d%H%M") for f in left):
        left.pop(NUMBER, None)
    return {_as_written(f, cells, times): of_rows(times) for f, times in _different(left).items()}


def not_rising(times: pd.Index, starts: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """The rows whose next row, of the same series, has no later time."""
    back = np.asarray(times[1:] <= times[:-1])
    if starts is not None:
        back[starts[1:-1] - 1] = False
    return np.flatnonzero(back)


def _different(read: dict[str, pd.Index]) -> dict[str, pd.Index]:
    """Readings without those that give the same times and would write the next ones alike."""
    kept: dict[str, pd.Index] = {}
    for time_format, times in read.items():
        same = any(times.equals(other) for other in kept.values())
        numbers = not isinstance(times, pd.DatetimeIndex) or len(set(times.day)) == 1
        if not same or (_has_day_and_month_first(time_format) and not numbers):
            kept[time_format] = times
    return kept


def _formats_of(cell: str) -> list[str]:
    """The formats that the shape of a cell allows."""
    formats = [f for f in _date_formats(cell) if parse_times([cell], f).notna().all()]
    if re.fullmatch("[0-9]{9,10}|[0-9]{12,13}|[0-9]{15,16}|[0-9]{18,19}", cell):
        formats.append(list(EPOCHS)[(len(cell) - 9) // 3])
    if NUMERIC.fullmatch(cell):
        formats.append(NUMBER)
    if formats:
        return formats
    clock = _CLOCK.fullmatch(cell)
    if clock is None:
        return []
    hours = "%I" if clock["half"] else "%H"
    end = f"{clock['gap']}{hours}:%M" + (":%S" if clock["seconds"] else "")
    if clock["fraction"]:
        end += clock["fraction"][0] + "%f"
    if clock["half"]:
        end += clock["half"][:-2] + "%p"
    if clock["zone"]:
        end += clock["zone"][: clock["zone"].startswith(" ")] + "%z"
    formats = [date + end for date in _date_formats(clock["date"])]
    if clock["fraction"] and _ISO_CELL.fullmatch(cell):
        formats = [ISO]  # any number of digits, also of none where a second is whole
    return [f for f in formats if parse_times([cell], f).notna().all()]


def _date_formats(cell: str) -> list[str]:
    formats = []
    for shape, candidates in _DATES:
        match = re.fullmatch(shape, cell)
        if match is None:
            continue
        named = match.groupdict()
        name = named.get("b") or ""
        for month in ("%b", "%B") if len(name) == 3 or not name else ("%B",):
            formats += [f.format(s=named.get("s") or "", b=month) for f in candidates]
            if not name or name.lower() != "may":
                break
    return list(dict.fromkeys(formats))


def _has_day_and_month_first(time_format: str) -> bool:
    """Whether day, month and year are numbers whose order ``day_first`` decides."""
    plain = time_format.replace("%-", "%")
    return re.match(r"%d[^%]?%m|%m[^%]?%d|%y[^%]%m[^%]%d", plain) is not None


def _numbers(text: pd.Series) -> pd.Series:
    """Whole numbers as int64 where all are, else float64; NaN for a cell that is no finite number."""
    fits = text.str.fullmatch(NUMERIC)
    if fits.all() and text.str.fullmatch(r"[+-]?[0-9]{1,19}").all():
        whole = text.map(int)
        if whole.abs().max() < 2**63:
            return whole.astype("int64")
    numbers = pd.Series([float(cell) if fit else np.nan for cell, fit in zip(text, fits, strict=True)])
    return numbers.where(np.isfinite(numbers))


def _dates(text: pd.Series, time_format: str) -> pd.DatetimeIndex:
    """Parse by pandas; where the offsets differ, in UTC."""
    offsets = set()
    if "%z" in time_format or time_format == ISO:
        offsets = {match[0] for cell in text if cell is not None and (match := _OFFSET.search(cell))}
    zoned = "%z" in time_format or (time_format == ISO and any(map(_has_offset, text)))
    if zoned and time_format == ISO:
        text = text.where(
            text.map(_has_offset), None
        )  # one without an offset cannot be placed among the others
    try:
        return _of_the_calendar(
            pd.DatetimeIndex(
                pd.to_datetime(text, format=time_format, errors="coerce", utc=zoned and len(offsets) > 1)
            )
        )
    except (ValueError, OverflowError, re.error):  # pandas' word on a format that it cannot use
        return pd.DatetimeIndex([pd.NaT] * len(text))


def _of_the_calendar(times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """The times, with NaT for one in a year that cannot be written: pandas has more years than strftime."""
    inside = (times.year >= MINYEAR) & (times.year <= MAXYEAR)
    return times if inside.all() else pd.DatetimeIndex(times.where(inside))


def offset_of(cell: str) -> str:
    """The offset from UTC that a time is written with, as +01:00; empty without one."""
    match = _OFFSET.search(cell) if _has_offset(cell) else None
    if match is None:
        return ""
    return "+00:00" if match[0] == "Z" else f"{match[0][:3]}:{match[0][-2:]}"


def _has_offset(cell: str | None) -> bool:
    return cell is not None and re.search(r"[T ].*(Z|[+-][0-9:]+)$", cell) is not None


def _pattern(time_format: str) -> str:
    """A regular expression for cells of a format: two digits where nothing separates them from others."""
    parts = re.split(r"(%.)", time_format)
    pattern = re.escape(parts[0])
    for number in range(1, len(parts), 2):
        before, after = parts[max(number - 2, 0) : number - 1], parts[number + 2 : number + 3]
        touches = (not parts[number - 1] and before and before[0][1] not in "bBaApz") or (
            not parts[number + 1] and after and after[0][1] not in "bBaApz"
        )
        pattern += _FIELDS.get(parts[number][1], "[0-9]{2}" if touches else "[0-9]{1,2}")
        pattern += re.escape(parts[number + 1])
    return pattern


def _quarters_as_months(text: pd.Series, time_format: str) -> tuple[pd.Series, str]:
    """Cells with a quarter rewritten with its first month."""
    year = "%Y" if "%Y" in time_format else "%y"
    pattern = (
        re.escape(time_format).replace(re.escape(year), "(?P<year>[0-9]+)").replace("%q", "(?P<q>[1-4])")
    )
    found = text.str.extract(pattern)
    months = found["q"].map({"1": "01", "2": "04", "3": "07", "4": "10"})
    return found["year"] + "-" + months, f"{year}-%m"


def _is_plausible(times: pd.Index) -> bool:
    if not isinstance(times, pd.DatetimeIndex) or not len(times):
        return True
    return bool(_YEARS[0] <= times.year.min() and times.year.max() <= _YEARS[1])


def _has_constant_step(times: pd.Index, starts: NDArray[np.int64] | None) -> bool:
    steps = np.diff(times)
    if starts is not None:
        steps = np.delete(steps, starts[1:-1] - 1)
    return len(steps) < 2 or len(np.unique(steps)) == 1


def _as_written(time_format: str, cells: Sequence[str], times: pd.Index) -> str:
    """The format, with ``%-d`` and the like or as ISO 8601 in general where it would be written otherwise."""
    without = re.sub(r"%([dmHI])", r"%-\1", time_format)
    some = slice(0, 100)
    if without == time_format or not isinstance(times, pd.DatetimeIndex):
        return time_format
    written = write_times(times[some], time_format)
    if written != list(cells[some]) and write_times(times[some], without) == list(cells[some]):
        return without
    if "%z" in time_format and written != list(cells[some]) and all(map(_ISO_CELL.fullmatch, cells)):
        return ISO
    return time_format


def _written(time: pd.Timestamp, time_format: str) -> str:
    if not MINYEAR <= time.year <= MAXYEAR:  # a forecast that goes past the last year
        return str(time)
    zone = "Z" if time.utcoffset() == pd.Timedelta(0) else f"{time:%z}"[:3] + ":" + f"{time:%z}"[3:]
    text = time_format.replace("%q", str(time.quarter)).replace("%z", zone).replace("%-", "%\0")
    text = re.sub("%\0(.)", lambda match: time.strftime(f"%{match[1]}").lstrip("0") or "0", text)
    return time.strftime(text)
