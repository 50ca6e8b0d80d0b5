"""Read files of labelled feature sequences: sktime's ``.ts``, numpy's ``.npz`` and ``.npy``.

``.ts``   header lines ``@key value``, then ``@data`` and one sequence per line: comma-separated values,
          a colon between the features, the label after the last colon. Lengths may differ.
``.npz``  ``sequences`` [N, T, F] and, if they are padded, ``lengths`` [N]; or ``values``
          [sum of lengths, F] with ``lengths`` [N]. ``labels`` [N], text or whole numbers, is optional.
``.npy``  one sequence [T, F], or N of the same length [N, T, F], without labels.

Nothing in a file is executed: numpy's pickled arrays are refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import TooLargeError, check_size, read_text
from gatewise.settings import did_you_mean
from gatewise.settings.checks import shown

UNLABELLED = "?"
"""What a file has in place of a label that is not known."""


@dataclass(frozen=True)
class LabelledSequences:
    """Feature sequences [T, F] float64; either all have a label or none has."""

    sequences: list[NDArray[np.float64]]
    labels: list[str] | None
    places: list[str]
    """``file:line`` or ``file: sequence i`` of each, for messages."""

    @property
    def feature_size(self) -> int:
        """F, the same for all sequences."""
        return int(self.sequences[0].shape[1])


def read_sequences(path: Path) -> LabelledSequences:
    """Read a ``.ts``, ``.npz`` or ``.npy`` file.

    Raises ValueError, with the line or the index of the sequence, if the file does not follow its format, a
    value is missing or not finite, or the file has no sequence.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        hint = did_you_mean(path.suffix, READERS)
        raise ValueError(f"{path}: unknown file type {path.suffix!r}{hint}; known: {', '.join(READERS)}")
    return reader(path)


def read_ts(path: Path) -> LabelledSequences:
    """Read sktime's ``.ts``: equal or unequal lengths, one or more features, with or without labels."""
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
            sequences.append(_ts_sequence(features, place))
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
        raise ValueError(f"{path} holds no sequence after the line @data")
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


def _ts_sequence(text: str, place: str) -> NDArray[np.float64]:
    """[T, F] from ``feature 1 values:feature 2 values:...``, values separated by commas."""
    features = text.split(":")
    lengths = [feature.count(",") + 1 for feature in features]
    if min(lengths) != max(lengths):
        raise ValueError(
            f"{place}: features of {min(lengths)} and {max(lengths)} values in one sequence: "
            f"make all equally long"
        )
    cells = ",".join(features).split(",")
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([], dtype=np.float64)
    if len(values) == 0 or not np.isfinite(values).all() or not _is_plain(text):
        index = next((i for i, cell in enumerate(cells) if not _is_finite(cell)), 0)
        where = f"{place}: value {index % lengths[0] + 1} of feature {index // lengths[0] + 1}"
        if cells[index].strip() in ("?", ""):
            raise ValueError(f"{where} is missing ({cells[index]!r}): fill it in or drop the sequence")
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


def read_npz(path: Path) -> LabelledSequences:
    """Read ``.npz`` in one of the layouts described at the top of this file."""
    arrays = _load_numpy(path)
    if "" in arrays:
        raise ValueError(f"{path} holds one array without a name: name it {path.stem}.npy")
    names = ("sequences", "values", "lengths", "labels")
    for name in arrays:
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(f"{path}: unknown array {name!r}{hint}; known: {', '.join(names)}")
    if ("sequences" in arrays) == ("values" in arrays):
        raise ValueError(f"{path}: needs one of sequences [N, T, F] and values [sum of lengths, F]")
    lengths = arrays.get("lengths")
    if lengths is not None and (lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 1).any()):
        raise ValueError(f"{path}: lengths must be [N] whole numbers of at least 1")
    if "sequences" in arrays:
        padded = _floats(arrays["sequences"], 3, "sequences [N, T, F]", path)
        if lengths is None:
            lengths = np.full(padded.shape[0], padded.shape[1])
        if len(lengths) != len(padded) or lengths.max(initial=0) > padded.shape[1]:
            raise ValueError(
                f"{path}: lengths [{len(lengths)}] up to {lengths.max(initial=0)} do not fit sequences "
                f"{list(padded.shape)}"
            )
        sequences = [row[:length] for row, length in zip(padded, lengths, strict=True)]
    else:
        values = _floats(arrays["values"], 2, "values [sum of lengths, F]", path)
        # In Python's numbers: those of numpy begin anew beyond 64 bits.
        total_length = None if lengths is None else sum(lengths.tolist())
        if lengths is None or total_length != len(values):
            total = "no lengths" if lengths is None else f"lengths that add up to {total_length}"
            raise ValueError(f"{path}: {total} for values of {len(values)} rows: they must add up to that")
        sequences = np.split(values, np.cumsum(lengths, dtype=np.int64)[:-1])
    return _checked(path, sequences, _npz_labels(arrays.get("labels"), len(sequences), path))


def _npz_labels(labels: NDArray[Any] | None, size: int, path: Path) -> list[str] | None:
    if labels is None:
        return None
    if labels.shape != (size,) or labels.dtype.kind not in "iuU":
        raise ValueError(
            f"{path}: labels must be [{size}] text or whole numbers, "
            f"got {list(labels.shape)} of {labels.dtype}"
        )
    try:
        return [str(label) for label in labels.tolist()]
    except (ValueError, SystemError):  # by which Python knows no such character
        raise ValueError(f"{path}: labels hold characters that there are not: correct the file") from None


def read_npy(path: Path) -> LabelledSequences:
    """Read ``.npy``: one sequence [T, F], or several of the same length [N, T, F], without labels."""
    arrays = _load_numpy(path)
    if "" not in arrays:
        raise ValueError(f"{path} holds arrays by name: name it {path.stem}.npz")
    array = arrays[""]
    if array.ndim == 2:
        array = array[None]
    return _checked(path, list(_floats(array, 3, "the array [T, F] or [N, T, F]", path)), None)


def _load_numpy(path: Path) -> dict[str, NDArray[Any]]:
    check_size(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's, on what it then refuses
            loaded = np.load(path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"": loaded}
            with loaded:
                check_size(path, sum(member.file_size for member in loaded.zip.infolist()))
                arrays = {name: loaded[name] for name in loaded.files}
    except TooLargeError:
        raise
    except MemoryError as error:
        raise TooLargeError(f"{path}: {' '.join(str(error).split())}: take a part of it") from error
    except Exception as error:  # a damaged header makes numpy raise almost anything
        reason = " ".join(str(error).split())
        if "pickle" in reason.lower():
            reason = "it is not numpy's format or holds pickled objects, which are never loaded"
        raise ValueError(f"{path} cannot be read: {reason}; save plain number arrays with numpy") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path}: {name} is no array of numpy's: save the file with numpy.savez")
    return arrays


def _floats(array: NDArray[Any], ndim: int, name: str, path: Path) -> NDArray[np.float64]:
    """The numbers of an array as float64, so that those of a scaler lose nothing."""
    if array.ndim != ndim or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{path}: {name} must have {ndim} axes of numbers, got {list(array.shape)} of {array.dtype}"
        )
    with np.errstate(over="ignore"):  # numbers too large for float64 become infinite and are reported
        return array.astype(np.float64)


def _checked(path: Path, sequences: list[NDArray[np.float64]], labels: list[str] | None) -> LabelledSequences:
    if not sequences:
        raise ValueError(f"{path} holds no sequence")
    for index, sequence in enumerate(sequences):
        if sequence.size == 0:
            raise ValueError(
                f"{path}: sequence {index} is empty ({len(sequence)} steps of {sequence.shape[1]} features): "
                f"drop it"
            )
        if not np.isfinite(sequence).all():
            step, feature = np.argwhere(~np.isfinite(sequence))[0]
            raise ValueError(
                f"{path}: sequence {index}, step {step}, feature {feature} is not a finite number: "
                f"{sequence[step, feature]}; correct it or drop the sequence"
            )
    return LabelledSequences(sequences, labels, [f"{path}: sequence {i}" for i in range(len(sequences))])


READERS: dict[str, Callable[[Path], LabelledSequences]] = {".ts": read_ts, ".npz": read_npz, ".npy": read_npy}
