"""What the units of a model may follow, as numbers for each step of some sequences: NaN on padding."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.tokens import END_OF_LINE

MOST_COLUMNS = 8
"""Columns and classes that are features of their own; more would make every finding weaker."""
ENDS = frozenset(".!?。！？")
OPENING, CLOSING = "“‘«([{", "”’»)]}"

Features = dict[str, NDArray[np.float64]]


def of_tokens(rows: Sequence[Sequence[str]], vocabulary: Sequence[str], counts: Sequence[int]) -> Features:
    """Features of tokens of a vocabulary; the space that a subword begins with tells nothing of them."""
    summed: Counter[str] = Counter()
    for token, count in zip(vocabulary, counts, strict=True):
        summed[_unspaced(token)] += count
    return of_text([[_unspaced(token) for token in row] for row in rows], summed)


def of_text(rows: Sequence[Sequence[str]], counts: Mapping[str, int]) -> Features:
    """Features [B, T] of tokens by their text; ``counts`` is how often each occurs in training."""
    total = sum(counts.values())
    by_token = {
        "punctuation": lambda token: not _is_line_end(token) and all(_is_sign(c) for c in token),
        "end of a sentence": lambda token: token in ENDS,
        "end of a line": _is_line_end,
        "white space": lambda token: token.isspace() and not _is_line_end(token),
        "number": lambda token: token[:1].isdigit(),
        "capital letter": lambda token: token[:1].isupper(),
        "letters": len,
        "rarity": lambda token: -np.log((counts.get(token, 0) + 1) / (total + 1)),
    }
    known = {token for row in rows for token in row}
    features = {}
    for name, of in by_token.items():
        values = {token: float(of(token)) for token in known}
        features[name] = _padded([[values[token] for token in row] for row in rows])
    features["position in the line"] = _padded([_since(row, _is_line_end) for row in rows])
    features["position in the sentence"] = _padded([_since(row, ENDS.__contains__) for row in rows])
    features["inside quotes or brackets"] = _padded([_inside(row) for row in rows])
    return features


def of_labelled_text(
    rows: Sequence[Sequence[str]],
    counts: Mapping[str, int],
    targets: NDArray[np.int64],
    classes: Sequence[str],
) -> Features:
    """Features of the tokens of texts with a class each."""
    features = of_text(rows, counts)
    lengths = np.array([[len(row)] for row in rows])
    steps = np.arange(lengths.max(), dtype=float)
    share = {"share of the text": (steps + 1) / lengths, **_of_classes(targets, classes, len(steps))}
    return {
        **features,
        **{name: np.where(steps >= lengths, np.nan, values) for name, values in share.items()},
    }


def of_frames(
    inputs: NDArray[Any], lengths: NDArray[np.int64], targets: NDArray[np.int64], classes: Sequence[str]
) -> Features:
    """Features of the frames [B, T, F] of labelled sequences."""
    batch, time, size = inputs.shape
    steps = np.arange(time, dtype=float)
    features = {
        "position": np.tile(steps, (batch, 1)),
        "share of the sequence": (steps + 1) / lengths[:, None],
        "loudness": np.sqrt(np.square(inputs.astype(float)).mean(-1)),
        "change": _changes(inputs),
    }
    for number in range(min(size, MOST_COLUMNS)):
        features[f"feature {number + 1}"] = inputs[..., number].astype(float)
    features |= _of_classes(targets, classes, time)
    padding = steps >= lengths[:, None]
    return {name: np.where(padding, np.nan, values) for name, values in features.items()}


def of_series(inputs: NDArray[Any], columns: Sequence[str], season: int) -> Features:
    """Features of the steps of windows [B, T, C] of a series, whose season has so many steps."""
    batch, time, _ = inputs.shape
    features = {"position": np.tile(np.arange(time, dtype=float), (batch, 1))}
    for number, name in enumerate(columns[:MOST_COLUMNS]):
        values = inputs[..., number].astype(float)
        features[name] = values
        features[f"change of {name}"] = np.diff(values, axis=1, prepend=values[:, :1])
        if 1 < season < time:
            before = np.concatenate([values[:, :1].repeat(season, 1), values[:, :-season]], 1)
            features[f"{name} a season before"] = before
    return features


def _of_classes(targets: NDArray[np.int64], classes: Sequence[str], time: int) -> Features:
    return {
        f"class {name}": np.tile((targets == index)[:, None].astype(float), (1, time))
        for index, name in enumerate(classes[:MOST_COLUMNS])
    }


def _padded(rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Rows of any lengths as [B, T], NaN where one has ended."""
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = row
    return values


def _changes(inputs: NDArray[Any]) -> NDArray[np.float64]:
    steps = np.diff(inputs.astype(float), axis=1, prepend=inputs[:, :1].astype(float))
    changes: NDArray[np.float64] = np.sqrt(np.square(steps).mean(-1))
    return changes


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _unspaced(token: str) -> str:
    return token.removeprefix(" ") or token


def _is_line_end(token: str) -> bool:
    return token in (END_OF_LINE, "\n")


def _since(row: Sequence[str], ends: Any) -> list[float]:
    """Steps since the last one that ends something."""
    values, count = [], 0
    for token in row:
        values.append(float(count))
        count = 0 if ends(token) else count + 1
    return values


def _inside(row: Sequence[str]) -> list[float]:
    """Whether each step is between quotes or brackets of the same line."""
    values, depth, quoted = [], 0, False
    for token in row:
        if _is_line_end(token):
            depth, quoted = 0, False
        depth = max(depth - (len(token) == 1 and token in CLOSING), 0)
        values.append(float(depth > 0 or quoted))
        depth += len(token) == 1 and token in OPENING
        quoted ^= token == '"'
    return values
