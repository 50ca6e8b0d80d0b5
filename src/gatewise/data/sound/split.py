"""Which recordings are to train on, to validate on and to test on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatewise.data.classes import held_out
from gatewise.data.sound.recordings import Recordings
from gatewise.data.text.parts import PARTS, held_out_in_turn
from gatewise.settings import did_you_mean, listed


@dataclass(frozen=True)
class Split:
    """How the recordings of one source are split.

    Named speakers come first, else the parts that the source gives; a part that has none of these is drawn
    with the seed, of every class the same share. With ``speakers_apart`` no speaker may be in two parts, and
    whole speakers are drawn.
    """

    validation_fraction: float
    test_fraction: float
    validation_speakers: Sequence[str] | None
    test_speakers: Sequence[str] | None
    speakers_apart: bool
    seed: int

    def parts(self, sources: Mapping[str, Recordings], by_class: bool) -> dict[str, Recordings]:
        """The recordings of each part, of ``sources`` for train and for each part with one of its own.

        ``by_class`` draws the same share of each class. Raises ValueError where a part is left empty, a
        speaker is not there, or is in two parts where they are to be apart.
        """
        whole = sources["train"]
        chosen = self._given(whole, sources)
        left = np.setdiff1d(np.arange(len(whole)), np.concatenate([*chosen.values(), []]).astype(np.int64))
        shares = {"test": self.test_fraction, "validation": self.validation_fraction}
        wanted = {
            part: round(share * len(whole))
            for part, share in shares.items()
            if part not in chosen and part not in sources
        }
        classes = np.unique(whole.labels, return_inverse=True)[1] if by_class else np.zeros(len(whole), int)

        def draw(left: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
            if self.speakers_apart:
                return left[_whole_speakers(whole.chosen(left), count, generator)]
            return left[held_out(classes[left], count, generator, stratify=by_class)]

        for part, drawn, rest in held_out_in_turn(left, wanted, self.seed, draw):
            if not len(drawn):
                raise ValueError(
                    f"data.{part}_fraction={shares[part]} of {len(whole)} recordings leaves none for {part}: "
                    f"give more recordings, or a larger share"
                )
            chosen[part], left = drawn, rest
        if not len(left):
            raise ValueError(
                f"no recording is left to train on of {len(whole)}: give more, or smaller parts to hold out"
            )
        parts = {part: whole.chosen(numbers) for part, numbers in chosen.items()}
        parts |= {"train": whole.chosen(left)}
        parts |= {part: given for part, given in sources.items() if part != "train"}
        if self.speakers_apart:
            _check_apart(parts)
        return {part: parts[part] for part in PARTS}

    def _given(self, whole: Recordings, sources: Mapping[str, Recordings]) -> dict[str, NDArray[np.int64]]:
        """The numbers of the recordings of each part that is not drawn."""
        named = {"test": self.test_speakers, "validation": self.validation_speakers}
        chosen: dict[str, NDArray[np.int64]] = {}
        for part, names in named.items():
            if names and part not in sources:
                speakers = whole.known_speakers(f"data.{part}_speakers leaves some out")
                for name in names:
                    if name not in speakers:
                        raise ValueError(
                            f"data.{part}_speakers={name}: no such speaker"
                            f"{did_you_mean(name, set(whole.speakers))}; there are "
                            f"{listed(sorted(set(whole.speakers)), 20)}"
                        )
                chosen[part] = np.flatnonzero(np.isin(speakers, list(names)))
        if not chosen:
            splits = np.array(whole.splits)
            for part in ("test", "validation"):
                if part not in sources and (splits == part).any():
                    chosen[part] = np.flatnonzero(splits == part)
        return chosen


def _whole_speakers(left: Recordings, count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Which recordings of ``left`` are held out: all of so many speakers that about ``count`` are."""
    names, numbers, sizes = np.unique(
        left.known_speakers("data.speakers_apart draws whole speakers"),
        return_inverse=True,
        return_counts=True,
    )
    order = generator.permutation(len(names))
    # At least one, and never the last, who is left to train on.
    number = int(np.searchsorted(sizes[order].cumsum(), count)) + 1
    return np.isin(numbers, order[: min(number, len(names) - 1)])


def _check_apart(parts: Mapping[str, Recordings]) -> None:
    seen: dict[str, tuple[str, str]] = {}
    for part, recordings in parts.items():
        speakers = recordings.known_speakers("data.speakers_apart keeps the speakers of the parts apart")
        for speaker, place in zip(speakers.tolist(), recordings.places, strict=True):
            other, before = seen.setdefault(speaker, (part, place))
            if other != part:
                raise ValueError(
                    f"{place}: speaker {speaker!r} is in the {part} part, and in the {other} part too "
                    f"({before}), but data.speakers_apart=true: correct the split, or set it to false"
                )
