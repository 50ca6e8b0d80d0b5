"""Read sktime's ``.ts``: header lines ``@key value``, then ``@data`` and one sequence per line.

A line has comma-separated values, a colon between the features, and the label after the last colon. Lengths
may differ, unless ``@equalLength true`` says that they do not. A value that is not known is ``?``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import read_text
from gatewise.data.sequences.labelled import UNLABELLED, LabelledSequences, Reading
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

_MISSING = ("?", "", "nan")
"""Values that are not known, in lower case."""


def read_ts(path: Path, reading: Reading) -> LabelledSequences:
    """The sequences of a ``.ts`` file, with NaN where ``reading`` lets values be missing.

    Raises ValueError, with the line, if the file does not follow the format.
    """
    header: dict[str, str] = {}
    in_data = False
    sequences, labels, places = [], [], []
    classes: list[str] | None = None
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.strip()
        if not line or line.startswith(("#", "%")):
            continue
        place = f"{path}:{number}"
        if in_data:
            features, _, label = line.rpartition(":") if classes is not None else (line, "", "")
            if classes is not None:
                labels.append(_ts_label(label.strip(), classes, place))
            sequences.append(_ts_sequence(features, place, reading.missing != "refuse"))
            places.append(place)
            _check_shape(sequences, header, place)
        elif line.lower() == "@data":
            in_data = True
            classes = _ts_classes(header, path)
        elif line.startswith("@"):
            key, _, value = line[1:].replace("\t", " ").partition(" ")
            header[key.lower()] = value.strip()
        else:
            raise ValueError(
                f"{place}: {line[:30]!r} comes before the line @data: the header needs that line"
            )
    if not sequences:
        lacks = (
            "holds no sequence after the line @data"
            if in_data
            else "has no line @data with sequences below it"
        )
        raise ValueError(f"{path} {lacks}" if header or in_data else f"{path} is empty: it holds no sequence")
    return LabelledSequences(sequences, None if classes is None else labels, places)


def _ts_classes(header: dict[str, str], path: Path) -> list[str] | None:
    """The labels that the header allows (an empty list: any), or None if the file has no labels."""
    if header.get("timestamps", "false").lower() == "true":
        raise ValueError(f"{path}: @timeStamps true is not supported: write the values without time stamps")
    if header.get("targetlabel", "false").lower().startswith("true"):
        raise ValueError(f"{path}: @targetLabel true (regression) is not supported: give class labels")
    switch, *classes = header.get("classlabel", "false").split()
    if switch.lower() not in ("true", "false"):
        raise ValueError(f"{path}: @classLabel must be followed by true or false, got {shown(switch)}")
    return classes if switch.lower() == "true" else None


def _ts_label(label: str, classes: list[str], place: str) -> str:
    if classes and label not in classes and label != UNLABELLED:
        raise ValueError(
            f"{place}: label {shown(label)} is not one of @classLabel{did_you_mean(label, classes)}: "
            f"add it there, or put the label after the last colon"
        )
    return label


def _ts_sequence(text: str, place: str, may_miss: bool) -> NDArray[np.float64]:
    """[T, F] from ``feature 1 values:feature 2 values:...``, values separated by commas."""
    features = text.split(":")
    lengths = [feature.count(",") + 1 for feature in features]
    if min(lengths) != max(lengths):
        raise ValueError(
            f"{place}: features of {min(lengths)} and {max(lengths)} values in one sequence: "
            f"make all equally long"
        )
    cells = ",".join(features).split(",")
    gaps = np.zeros(len(cells), bool)
    if may_miss:
        gaps[:] = [cell.strip().lower() in _MISSING for cell in cells]
        cells = ["nan" if gap else cell for cell, gap in zip(cells, gaps.tolist(), strict=True)]
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([], dtype=np.float64)
    if len(values) == 0 or not (np.isfinite(values) | gaps).all() or not _is_plain(text):
        index = next((i for i, cell in enumerate(cells) if not (gaps[i] or _is_finite(cell))), 0)
        where = f"{place}: value {index % lengths[0] + 1} of feature {index // lengths[0] + 1}"
        if cells[index].strip() in ("?", ""):
            raise ValueError(
                f"{where} is missing ({cells[index]!r}): fill it in, drop the sequence, or set "
                f"data.missing=interpolate or data.missing=forward_fill"
            )
        raise ValueError(
            f"{where} is not a finite number: {shown(cells[index].strip())}: correct it or drop the sequence"
        )
    return np.ascontiguousarray(values.reshape(len(features), lengths[0]).T)


def _is_finite(cell: str) -> bool:
    try:
        return bool(np.isfinite(np.array([cell], dtype=np.float64)).all()) and _is_plain(cell)
    except ValueError:
        return False


def _is_plain(text: str) -> bool:
    """Whether it has no ``1_000`` and no digits of other scripts, which Python reads as numbers too."""
    return text.isascii() and "_" not in text


def _check_shape(sequences: list[NDArray[np.float64]], header: dict[str, str], place: str) -> None:
    """Raise ValueError if the last sequence is not as the header, or the first sequence, says."""
    length, size = sequences[-1].shape
    declared = header.get("dimensions", header.get("dimension"))
    one_feature = header.get("univariate", "false").lower() == "true"
    if declared is not None:
        expected, source = _ts_number("dimensions", declared, place), "@dimensions says"
    else:
        expected = 1 if one_feature else sequences[0].shape[1]
        source = "@univariate true says" if one_feature else "the first sequence has"
    if size != expected:
        raise ValueError(f"{place}: {size} features, but {source} {expected}: correct the header or the line")
    if header.get("equallength", "false").lower() != "true":
        return
    declared = header.get("serieslength")
    expected = sequences[0].shape[0] if declared is None else _ts_number("seriesLength", declared, place)
    if length != expected:
        source = "the first sequence has" if declared is None else "@seriesLength says"
        raise ValueError(
            f"{place}: {length} steps, but {source} {expected}: correct the line, or write @equalLength false"
        )


def _ts_number(key: str, value: str, place: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]{0,17}", value):
        raise ValueError(f"{place.rpartition(':')[0]}: @{key} must be a whole number, got {shown(value)}")
    return int(value)
