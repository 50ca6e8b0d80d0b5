"""Read files of labelled feature sequences: sktime's ``.ts``, tables, numpy's ``.npz`` and ``.npy``.

``.ts``   see :mod:`gatewise.data.sequences.ts`.
``.csv``  a row per step or a row per sequence, see :mod:`gatewise.data.sequences.table`.
``.npz``  ``sequences`` [N, T, F] and, if they are padded, ``lengths`` [N]; or ``values``
          [sum of lengths, F] with ``lengths`` [N]. ``labels`` [N], text or whole numbers, is optional.
``.npy``  one sequence [T, F], or N of the same length [N, T, F], without labels.

Nothing in a file is executed: numpy's pickled arrays are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import TooLargeError, check_size
from gatewise.data.sequences.labelled import LabelledSequences, Reading
from gatewise.data.sequences.table import read_table
from gatewise.data.sequences.ts import read_ts
from gatewise.settings import did_you_mean


def read_sequences(path: Path, reading: Reading = Reading()) -> LabelledSequences:  # noqa: B008 - it is frozen
    """Read a ``.ts``, ``.csv``, ``.npz`` or ``.npy`` file, and prepare each sequence as ``reading`` says.

    Raises ValueError, with the line or the index of the sequence, if the file does not follow its format, a
    value is missing or not finite, or the file has no sequence.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        hint = did_you_mean(path.suffix, READERS)
        raise ValueError(f"{path}: unknown file type {path.suffix!r}{hint}; known: {', '.join(READERS)}")
    return reading.prepared(reader(path, reading))


def read_npz(path: Path, reading: Reading) -> LabelledSequences:
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
    return _checked(path, sequences, _npz_labels(arrays.get("labels"), len(sequences), path), reading)


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


def read_npy(path: Path, reading: Reading) -> LabelledSequences:
    """Read ``.npy``: one sequence [T, F], or several of the same length [N, T, F], without labels."""
    arrays = _load_numpy(path)
    if "" not in arrays:
        raise ValueError(f"{path} holds arrays by name: name it {path.stem}.npz")
    array = arrays[""]
    if array.ndim == 2:
        array = array[None]
    return _checked(path, list(_floats(array, 3, "the array [T, F] or [N, T, F]", path)), None, reading)


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


def _checked(
    path: Path, sequences: list[NDArray[np.float64]], labels: list[str] | None, reading: Reading
) -> LabelledSequences:
    if not sequences:
        raise ValueError(f"{path} holds no sequence")
    for index, sequence in enumerate(sequences):
        if sequence.size == 0:
            raise ValueError(
                f"{path}: sequence {index} is empty ({len(sequence)} steps of {sequence.shape[1]} features): "
                f"drop it"
            )
        wrong = ~np.isfinite(sequence) if reading.missing == "refuse" else np.isinf(sequence)
        if wrong.any():
            step, feature = np.argwhere(wrong)[0]
            is_missing = np.isnan(sequence[step, feature])
            setting = ", or set data.missing=interpolate" if is_missing else ""
            raise ValueError(
                f"{path}: sequence {index}, step {step}, feature {feature} is not a finite number: "
                f"{sequence[step, feature]}; correct it or drop the sequence{setting}"
            )
    return LabelledSequences(sequences, labels, [f"{path}: sequence {i}" for i in range(len(sequences))])


READERS: dict[str, Callable[[Path, Reading], LabelledSequences]] = {
    ".ts": read_ts,
    ".csv": read_table,
    ".npz": read_npz,
    ".npy": read_npy,
}
