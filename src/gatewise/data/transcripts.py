"""Transcripts of recordings or strokes as units, and which of them are too long for their frames."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.data.classes import natural_order
from gatewise.settings import did_you_mean, listed

log = logging.getLogger(__name__)

UnitName = Literal["words", "characters", "phonemes"]
TooLong = Literal["refuse", "leave_out"]
Units = NDArray[np.int64]
JOINERS: dict[str, str] = {"words": " ", "characters": "", "phonemes": " "}
"""What stands between two units of a text: words and phonemes are parted by white space."""
_NAMED = 3
"""Transcripts that a warning names."""
_SHOWN_UNITS = 40
"""Units that a message lists."""


def cleaned(text: str) -> str:
    """A transcript with one space for any white space, and letters with their marks in one form (NFC)."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def split(text: str, joiner: str) -> list[str]:
    """The units of a text."""
    return cleaned(text).split(joiner) if joiner and text.strip() else list(cleaned(text))


def learnt(texts: Sequence[str], units: UnitName, alphabet: str | None = None) -> dict[str, Any]:
    """The facts ``units``, ``joiner`` and ``usual`` of training transcripts.

    The units are all that they have, or those of the text ``alphabet``. Raises ValueError where they have
    none.
    """
    joiner = JOINERS[units]
    found = {unit for text in texts for unit in split(text, joiner)}
    if alphabet is not None:
        chosen = tuple(alphabet.split() if joiner else unicodedata.normalize("NFC", alphabet))
    elif found:
        chosen = tuple(sorted(found, key=natural_order))
    else:
        raise ValueError("every transcript of the training is empty: give some that say something")
    index = {unit: number for number, unit in enumerate(chosen)}
    (usual, _), *_ = Counter(map(cleaned, texts)).most_common(1)
    return {
        "units": chosen,
        "joiner": joiner,
        "usual": tuple(index[unit] for unit in split(usual, joiner) if unit in index),
    }


def encoded(
    texts: Sequence[str], units: Sequence[str], joiner: str, place: Callable[[int], str]
) -> list[Units]:
    """The units of each transcript; ValueError, with its place, for one that is not among them."""
    index = {unit: number for number, unit in enumerate(units)}
    rows = []
    for number, text in enumerate(texts):
        read = split(text, joiner)
        for unit in read:
            if unit not in index:
                what = "word or phoneme" if joiner else "character"
                raise ValueError(
                    f"{place(number)}: the transcript has the {what} {unit!r}, which is not among the units"
                    f"{did_you_mean(unit, units) if joiner else ''}: correct it, or name the "
                    f"units in data.alphabet; they are {listed(list(map(repr, units)), _SHOWN_UNITS)}"
                )
        rows.append(np.array([index[unit] for unit in read], np.int64))
    return rows


def fitting(
    units: Sequence[Units],
    frames: NDArray[np.int64],
    stack: int,
    too_long: TooLong,
    place: Callable[[int], str],
) -> NDArray[np.int64]:
    """The numbers of the transcripts that fit into their frames, ``stack`` of which are a step of the model.

    A transcript takes a step for each unit, and one more between two that are equal. Raises ValueError for
    one that does not fit, or with ``too_long=leave_out`` where none is left; those left out are named in a
    warning.
    """
    needed = np.array([len(each) + int((each[1:] == each[:-1]).sum()) for each in units], np.int64)
    steps = -(-frames // stack)
    fits = needed <= steps
    if fits.all():
        return np.arange(len(units))

    def told(number: int) -> str:
        stacked = f" ({stack} of them are one step)" if stack > 1 else ""
        return (
            f"{place(number)}: its transcript takes {needed[number]} steps (a unit each, and one between two "
            f"that are equal), but there are {frames[number]} frames{stacked}"
        )

    wrong = np.flatnonzero(~fits).tolist()
    if too_long == "refuse":
        raise ValueError(f"{told(wrong[0])}: correct it, or leave it out with data.too_long=leave_out")
    log.warning(
        "%d of %d transcripts are left out, as they are longer than their frames: %s",
        len(wrong), len(units), listed([told(number) for number in wrong], _NAMED),
    )  # fmt: skip
    if not fits.any():
        raise ValueError(
            f"{told(wrong[0])}, and all others are too long as well: give more frames, or larger units"
        )
    return np.flatnonzero(fits)


def ngrams(units: Sequence[Units], order: int) -> tuple[tuple[int, ...], ...]:
    """Every ``order`` units in a row of transcripts, and how often: the fact ``ngrams``.

    Before a transcript there are ``order`` - 1 times -1, and behind it is one.
    """
    counts: Counter[tuple[int, ...]] = Counter()
    for each in units:
        whole = (*(-1,) * (order - 1), *each.tolist(), -1)
        counts.update(whole[end - order : end] for end in range(order, len(whole) + 1))
    return tuple((*ngram, count) for ngram, count in sorted(counts.items()))


class PaddedUnits:
    """The units of N transcripts in one flat array; ``padded`` gives those of some."""

    def __init__(self, units: Sequence[Units]) -> None:
        self.lengths = np.array([len(each) for each in units], np.int64)
        self.flat = np.concatenate([*units, np.zeros(0, np.int64)])
        self.starts = self.lengths.cumsum() - self.lengths

    def padded(self, indices: Sequence[int], fill: int) -> tuple[Units, Units]:
        """(Units [B, longest] with ``fill`` behind their ends, lengths [B])."""
        lengths = self.lengths[list(indices)]
        places = np.arange(lengths.max(initial=0))
        real = places < lengths[:, None]
        found = np.full(real.shape, fill)
        found[real] = self.flat[(self.starts[list(indices), None] + places)[real]]
        return found, lengths
