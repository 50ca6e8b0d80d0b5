"""Simple classifiers beside a network: the nearest neighbour and the nearest centroid.

The nearest of the training sequences gives its class, or the nearest of the classes' means, for which
sequences of several lengths are stretched to one. How far they are apart is measured step by step (squared
Euclidean distance, of single sequences where all are of one length), by dynamic time warping, or by warping
within the window for which most training sequences have a nearest neighbour of their own class ("DTW-CV"; the
narrowest of the best). So are the figures of the UCR archive made (Dau et al., The UCR time series archive,
IEEE/CAA Journal of Automatica Sinica 6, 2019).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import digest
from gatewise.data.sequences import warping
from gatewise.data.sequences.labelled import is_constant, moments
from gatewise.data.sequences.warping import Stacked

Sequences = Sequence[NDArray[np.float64]]
"""Each [T, F]."""
log = logging.getLogger(__name__)

CENTROID, EUCLIDEAN, DTW, WINDOW = (
    "nearest centroid",
    "1-NN Euclidean",
    "1-NN DTW",
    "1-NN DTW in a window",
)
FORGOTTEN = 60 * 24 * 60 * 60
"""Seconds after which answers that no training has asked for make room."""
_SLOW = 1.0
"""Seconds from which on answers are kept."""
_PER_PAIR = 300
"""Cells that a pair costs beside those of its steps."""
_AT_ONCE = 1 << 22
"""Numbers of differences that are held at once."""


@dataclass(frozen=True)
class Answers:
    """The class that each classifier gives to each test sequence, and the window that was chosen."""

    classes: dict[str, NDArray[np.int64]]
    """[N] by the name of the classifier."""
    percent: int | None = None
    """The window in percent of the longer sequence; None where none was looked for."""
    own: float = 0.0
    """Share of the training sequences whose nearest other one in this window has their class."""


def answers(
    train: Sequences,
    targets: NDArray[np.int64],
    test: Sequences,
    most_cells: int | None,
    folder: Path | None = None,
) -> Answers:
    """What the classifiers give to the ``test`` sequences, for ``train`` ones of the classes ``targets``.

    Warping a sequence of T steps onto one of S, both of F features, is T * S * F cells of work, and 300 more
    for the pair. A classifier that needs more than ``most_cells`` is left out, which a line says. In
    ``folder`` slow answers are kept for the next time.
    """
    if folder is None:
        return _computed(train, targets, test, most_cells)
    place = folder / "neighbours" / f"{_key(train, targets, test, most_cells)}.json"
    found = _read(place, len(test), int(targets.max()))
    if found is None:
        began = time.process_time()
        found = _computed(train, targets, test, most_cells)
        if time.process_time() - began > _SLOW:
            try:
                _write(place, found)
            except OSError as error:
                log.warning("%s cannot be used (%s): neighbours are sought anew", place.parent, error)
    return found


def answers_to_scaled(
    train: Sequences,
    targets: NDArray[np.int64],
    test: Sequences,
    scale: bool,
    most_cells: int | None,
    folder: Path | None,
) -> Answers:
    """The same, with ``scale`` for features that are scaled as a network's are; a line tells the window."""
    if scale:
        # Over all that they learn from, so that no draw of a validation part changes them.
        frames = np.concatenate(train)
        mean, std = moments(frames)
        std[is_constant(frames)] = 1.0
        train, test = ([(s - mean) / std for s in part] for part in (train, test))
    found = answers(train, targets, test, most_cells, folder)
    if found.percent is not None:
        log.info(
            "%s of %d %% of the longer sequence (%.4f of the training sequences by leave-one-out)",
            WINDOW, found.percent, found.own,
        )  # fmt: skip
    return found


def _computed(
    train: Sequences, targets: NDArray[np.int64], test: Sequences, most_cells: int | None
) -> Answers:
    classes: dict[str, NDArray[np.int64]] = {}
    ours, theirs = (np.array([len(s) for s in sequences]) for sequences in (train, test))
    features = train[0].shape[1]
    flat, asked = (_of_one_length(sequences, round(float(ours.mean()))) for sequences in (train, test))
    names = np.unique(targets)
    centroids = np.stack([flat[targets == name].mean(0) for name in names])
    classes[CENTROID] = names[_nearest_point(asked, centroids)]
    are_alike = len(np.unique(np.concatenate((ours, theirs)))) == 1
    if are_alike and _fits(EUCLIDEAN, asked.shape[0] * flat.size, most_cells):
        classes[EUCLIDEAN] = targets[_nearest_point(asked, flat)]
    pairs = len(train) * len(test)
    if not _fits(DTW, int(ours.sum()) * int(theirs.sum()) * features + _PER_PAIR * pairs, most_cells):
        return Answers(classes)
    known, asked_of = Stacked.of(train), Stacked.of(test)
    apart = warping.all_distances(asked_of, known)
    classes[DTW] = targets[apart.argmin(1)]
    # Half of all pairs, and the nearest alone in each window, of which two thirds of the cells on average.
    among = (int(ours.sum()) ** 2 // 2 + 67 * int((ours**2).sum())) * features + _PER_PAIR * len(train) ** 2
    if len(train) < 2 or not _fits(WINDOW, among, most_cells):
        return Answers(classes)
    percent, own = chosen_window(known, targets)
    nearest, _ = warping.nearest(asked_of, known, apart, percent)
    classes[WINDOW] = targets[nearest]
    return Answers(classes, percent, own)


def _of_one_length(sequences: Sequences, length: int) -> NDArray[np.float64]:
    """[N, length * F]: sequences [T, F], each stretched to a length by straight lines between its steps."""
    stretched = np.empty((len(sequences), length, sequences[0].shape[1]))
    for row, sequence in zip(stretched, sequences, strict=True):
        places = np.linspace(0, len(sequence) - 1, length)
        before = places.astype(np.int64)
        after = np.minimum(before + 1, len(sequence) - 1)
        share = (places - before)[:, None]
        row[:] = sequence[before] * (1 - share) + sequence[after] * share
    return stretched.reshape(len(sequences), -1)


def _fits(name: str, cells: int, most_cells: int | None) -> bool:
    if most_cells is None or cells <= most_cells:
        return True
    if most_cells:
        log.info(
            "no %s beside: it takes %.2g cells, and data.dtw_cells allows %.2g (null: any number)",
            name, cells, most_cells,
        )  # fmt: skip
    return False


def chosen_window(train: Stacked, targets: NDArray[np.int64]) -> tuple[int, float]:
    """The window, in percent, in which most sequences have a nearest other one of their class; their share.

    Of windows that are equally good, the narrowest.
    """
    bounds = warping.distances_among(train)
    own = {100: float((targets[bounds.argmin(1)] == targets).mean())}
    for percent in reversed(warping.PERCENTS[:-1]):
        nearest, bounds = warping.nearest(train, train, bounds, percent)
        bounds = np.maximum(bounds, bounds.T)
        own[percent] = float((targets[nearest] == targets).mean())
    best = max(own.values())
    percent = min(percent for percent, share in own.items() if share == best)
    return percent, best


def _nearest_point(asked: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """[N]: the nearest of the points [M, D] to each of ``asked`` [N, D], of equally near ones the first."""
    found = np.empty(len(asked), np.int64)
    at_once = max(_AT_ONCE // points.size, 1)
    for start in range(0, len(asked), at_once):
        apart = ((asked[start : start + at_once, None] - points) ** 2).sum(-1)
        found[start : start + at_once] = apart.argmin(1)
    return found


def _key(train: Sequences, targets: NDArray[np.int64], test: Sequences, most_cells: int | None) -> str:
    summed = hashlib.sha256(json.dumps([most_cells, train[0].shape[1], *_code()]).encode())
    for sequences in (train, test):
        summed.update(np.array([len(s) for s in sequences]).tobytes())
        for sequence in sequences:
            summed.update(np.ascontiguousarray(sequence).tobytes())
    summed.update(targets.tobytes())
    return summed.hexdigest()[:32]


@functools.cache
def _code() -> list[str]:
    """The files that decide the answers."""
    return [digest(Path(file)) for file in (__file__, warping.__file__)]


def _write(place: Path, found: Answers) -> None:
    """Put answers in their place whole, and remove what nobody has used for long."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for other in place.parent.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - other.stat().st_mtime > FORGOTTEN:
                other.unlink()
    classes = {name: given.tolist() for name, given in found.classes.items()}
    part = place.with_name(f".{place.stem}.{os.getpid()}")
    try:
        part.write_text(json.dumps({"classes": classes, "percent": found.percent, "own": found.own}))
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _read(place: Path, size: int, last: int) -> Answers | None:
    """The answers that were kept for ``size`` sequences; None where there are none, or they are damaged.

    ``last`` is the number of the last class.
    """
    try:
        stored = json.loads(place.read_text(encoding="utf-8"))
        classes = {str(name): np.array(given, np.int64) for name, given in stored["classes"].items()}
        if any(a.shape != (size,) or a.min() < 0 or a.max() > last for a in classes.values()):
            raise ValueError("it has answers to other sequences")
        percent = stored["percent"]
        found = Answers(classes, None if percent is None else int(percent), float(stored["own"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is damaged (%s): neighbours are sought anew", place, str(error).split("\n", 1)[0])
        return None
    with contextlib.suppress(OSError):
        os.utime(place)  # used last
    return found
