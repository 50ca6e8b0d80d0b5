"""Strokes as steps of equal distance, all of a file in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewise.data.flat import places_of
from gatewise.data.strokes.drawings import Drawings
from gatewise.kinds.strokes import StrokeReading

Floats = NDArray[np.float64]
LONGEST = 100_000
"""Steps of one drawing."""
FLATTEST = 100
"""A height is at least this part of the width: a line without a height has none to be measured by."""


@dataclass(frozen=True)
class Tracks:
    """The ways of a pen, N of them one after the other."""

    points: Floats
    """[sum of lengths, 2]"""
    is_lifted: NDArray[np.bool_]
    """[sum of lengths]: whether the pen came to the point through the air, from another stroke."""
    lengths: NDArray[np.int64]
    """[N], each at least 1."""

    @property
    def starts(self) -> NDArray[np.int64]:
        starts: NDArray[np.int64] = self.lengths.cumsum() - self.lengths
        return starts

    def chosen(self, indices: NDArray[np.int64]) -> Tracks:
        """Those of some indices."""
        lengths = self.lengths[indices]
        places = places_of(self.starts[indices], lengths)
        return Tracks(self.points[places], self.is_lifted[places], lengths)

    def turned(self, matrices: Floats) -> Tracks:
        """Each multiplied with its matrix [N, 2, 2] from the left."""
        points = np.einsum("pij,pj->pi", np.repeat(matrices, self.lengths, 0), self.points)
        return Tracks(points, self.is_lifted, self.lengths)

    def normalised(self, how: str) -> Tracks:
        """Each in the middle, with its larger side or its height 1 (``box``, ``height``), or as it is."""
        if how == "none":
            return self
        middle, side = (np.repeat(of, self.lengths, 0) for of in self.boxes(how))
        return Tracks((self.points - middle) / side, self.is_lifted, self.lengths)

    def boxes(self, how: str) -> tuple[Floats, Floats]:
        """The middle of each [N, 2], and what becomes 1 [N, 1]."""
        if how == "none":
            return np.zeros((len(self.lengths), 2)), np.ones((len(self.lengths), 1))
        low = np.minimum.reduceat(self.points, self.starts)
        high = np.maximum.reduceat(self.points, self.starts)
        sides = high - low
        larger = sides.max(1)
        side = np.maximum(sides[:, 1], larger / FLATTEST) if how == "height" else larger
        side[side == 0] = 1.0  # a dot
        return (low + high) / 2, side[:, None]

    def steps(self, features: Sequence[str]) -> Floats:
        """[sum of lengths, F]: what each step has, of the names of ``kinds.strokes.FEATURES``."""
        moved = np.diff(self.points, axis=0, prepend=self.points[:1])
        moved[self.starts] = 0.0
        x, y = self.points.T
        columns = {"x": x, "y": y, "dx": moved[:, 0], "dy": moved[:, 1], "pen_up": self.is_lifted}
        return np.stack([columns[name] for name in features], 1).astype(np.float64, copy=False)

    def at_equal_times(self, count: int) -> Floats:
        """[N, count, 2]: places at ``count`` equally spaced numbers of each one's steps."""
        wanted = np.linspace(0.0, 1.0, count) * (self.lengths - 1)[:, None] + self.starts[:, None]
        steps = np.arange(len(self.points))
        columns = [np.interp(wanted.ravel(), steps, column) for column in self.points.T]
        return np.stack(columns, 1).reshape(len(self.lengths), count, 2)


def joined_tracks(several: Sequence[Tracks]) -> Tracks:
    """Those of several parts, one after the other."""
    fields = zip(*((each.points, each.is_lifted, each.lengths) for each in several), strict=True)
    return Tracks(*map(np.concatenate, fields))


def tracks_of(drawings: Drawings, reading: StrokeReading) -> Tracks:
    """Drawings normalised, and with steps as far apart as is wanted; ValueError for one with too many."""
    sizes = np.array([len(stroke) for strokes in drawings.strokes for stroke in strokes])
    counts = np.array([len(strokes) for strokes in drawings.strokes])
    firsts = counts.cumsum() - counts
    points = _as_read(drawings).normalised(reading.normalise).points
    gone = _gone(points, sizes)
    if reading.spacing:
        steps = np.add.reduceat(gone[1] / reading.spacing, firsts)
        if steps.max() > LONGEST:
            raise ValueError(
                f"{drawings.places[int(steps.argmax())]}: {steps.max():,.0f} steps, of at most {LONGEST:,}: "
                f"make data.spacing={reading.spacing:g} larger, or drop it"
            )
        points, sizes = _spaced(points, sizes, gone, reading.spacing)
    is_lifted = np.zeros(len(points), bool)
    is_lifted[np.delete(sizes.cumsum() - sizes, firsts)] = True
    return Tracks(points, is_lifted, np.add.reduceat(sizes, firsts))


def in_the_drawing(tracks: Tracks, drawings: Drawings, how: str) -> Floats:
    """[sum of lengths, 2]: where the steps of normalised tracks lie in the drawings that they are of."""
    middle, side = (np.repeat(of, tracks.lengths, 0) for of in _as_read(drawings).boxes(how))
    return tracks.points * side + middle


def _as_read(drawings: Drawings) -> Tracks:
    points = [np.concatenate(strokes) for strokes in drawings.strokes]
    flat = np.concatenate(points)
    return Tracks(flat, np.zeros(len(flat), bool), np.array(list(map(len, points))))


def _gone(points: Floats, sizes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """The way to each point along the strokes before it and its own, and the way of each stroke."""
    starts = sizes.cumsum() - sizes
    apart = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    apart[starts] = 0.0
    gone = apart.cumsum()
    return gone, gone[starts + sizes - 1] - gone[starts]


def _spaced(
    points: Floats, sizes: NDArray[np.int64], gone: tuple[Floats, Floats], spacing: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Points as far apart along each stroke, from its first to its last, and how many each stroke has."""
    starts = sizes.cumsum() - sizes
    so_far, ways = gone
    parts = np.maximum(np.rint(ways / spacing).astype(np.int64), ways > 0)
    counts = parts + 1
    begins = counts.cumsum() - counts
    number = np.arange(counts.sum()) - np.repeat(begins, counts)
    share = number / np.repeat(np.maximum(parts, 1), counts)
    wanted = np.repeat(so_far[starts], counts) + share * np.repeat(ways, counts)
    spaced = np.stack([np.interp(wanted, so_far, column) for column in points.T], 1)
    # Where one stroke ends and the next begins, the way gone is the same.
    spaced[begins], spaced[begins + parts] = points[starts], points[starts + sizes - 1]
    return spaced, counts
