"""Tags that mark spans of words: how they are written, which may follow which, and the spans they make.

A tag of a span is a prefix and a class, as in ``B-person``. Of the words of a span,

``iob2``   the first has ``B``, the others ``I``.
``iob1``   all have ``I``; only the first of a span right behind another one of its class has ``B``.
``iobes``  the first has ``B``, the last ``E``, those between ``I``; a span of one word has ``S``.

A word outside of all spans has the tag ``O``. ``plain`` tags are one class for each word, without spans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

TagScheme = Literal["iob1", "iob2", "iobes", "plain"]
SpanScheme = Literal["iob2", "iobes"]
TAG_SCHEMES: tuple[str, ...] = get_args(TagScheme)
OUTSIDE = "O"
"""The tag of a word outside of all spans; also the number of its prefix is 0."""
PREFIXES = "OBIES"
_O, _B, _I, _E, _S = range(5)
_OF_SCHEME = {"iob1": "BI", "iob2": "BI", "iobes": "BIES"}


class Spans(NamedTuple):
    """N spans in a text, in their order."""

    first: NDArray[np.int64]
    """[N]: position of the first word."""
    end: NDArray[np.int64]
    """[N]: position after the last word."""
    classes: NDArray[np.int64]
    """[N]"""


@dataclass(frozen=True)
class SpanTags:
    """What each of K tags says: its prefix and the class of its span."""

    names: tuple[str, ...]
    """The classes."""
    prefixes: NDArray[np.int64]
    """[K]: place in ``PREFIXES``."""
    classes: NDArray[np.int64]
    """[K]: number of the class; -1 for ``O``."""

    def spans(self, tags: NDArray[np.int64], begins: NDArray[np.bool_]) -> Spans:
        """The spans of tags [N] as conlleval counts them, a sentence beginning where ``begins`` [N].

        Every sequence of tags has a meaning: where a prefix does not fit to the tag before, a span begins.
        """
        prefixes, classes = self.prefixes[tags], self.classes[tags]
        before = np.concatenate([[_O], prefixes[:-1]])
        before[begins] = _O
        other_class = classes != np.concatenate([[-1], classes[:-1]])
        is_inside = prefixes != _O
        starts_anyway = (prefixes == _B) | (prefixes == _S)
        follows_an_end = (before == _O) | (before == _E) | (before == _S)
        starts = is_inside & (starts_anyway | follows_an_end | other_class)
        first = np.flatnonzero(starts)
        breaks = np.append(np.flatnonzero(starts | ~is_inside), len(tags))
        end = breaks[np.searchsorted(breaks, first, "right")]
        return Spans(first, end, classes[first])

    def written(self, spans: Spans, begins: NDArray[np.bool_], scheme: TagScheme) -> NDArray[np.int64]:
        """The tags [N] that say the spans of a text in a scheme, all of which are among these."""
        count = len(begins)
        prefixes, classes = np.full(count, _O), np.full(count, -1)
        lengths = spans.end - spans.first
        inside = np.arange(lengths.sum()) + np.repeat(spans.first - (lengths.cumsum() - lengths), lengths)
        prefixes[inside], classes[inside] = _I, np.repeat(spans.classes, lengths)
        if scheme == "iob1":
            touches = (spans.first > 0) & ~begins[spans.first]
            touches[touches] = classes[spans.first[touches] - 1] == spans.classes[touches]
            prefixes[spans.first[touches]] = _B
        else:
            prefixes[spans.first] = _B
        if scheme == "iobes":
            prefixes[spans.end - 1] = np.where(lengths == 1, _S, _E)
        number = np.full((len(PREFIXES), len(self.names) + 1), -1)
        number[self.prefixes, self.classes] = np.arange(len(self.prefixes))
        tags: NDArray[np.int64] = number[prefixes, classes]
        assert count == 0 or tags.min() >= 0, "tags of every class and prefix"
        return tags


def span_tags(tags: Sequence[str]) -> SpanTags:
    """What each tag says; ValueError for one that is neither ``O`` nor a prefix, ``-`` and a class."""
    split = [(OUTSIDE, "-", "") if tag == OUTSIDE else tag.partition("-") for tag in tags]
    for tag, (prefix, _, name) in zip(tags, split, strict=True):
        if tag != OUTSIDE and (len(prefix) != 1 or prefix not in PREFIXES[1:] or not name):
            raise ValueError(f"tag {tag!r} is neither O nor a prefix and a class, such as B-person")
    names = tuple(sorted({name for _, _, name in split} - {""}))
    number = {name: i for i, name in enumerate(names)}
    prefixes = np.array([PREFIXES.index(prefix) for prefix, _, _ in split], dtype=np.int64)
    return SpanTags(names, prefixes, np.array([number.get(name, -1) for _, _, name in split], dtype=np.int64))


def all_tags(classes: Iterable[str], scheme: SpanScheme) -> tuple[str, ...]:
    """Every tag of a scheme: ``O`` first, then class by class."""
    return (OUTSIDE, *(f"{prefix}-{name}" for name in sorted(classes) for prefix in _OF_SCHEME[scheme]))


def has_prefix(tag: str, scheme: TagScheme) -> bool:
    """Whether a tag has the form that a scheme gives it."""
    prefix, dash, name = tag.partition("-")
    return tag == OUTSIDE or bool(dash and name and len(prefix) == 1 and prefix in _OF_SCHEME[scheme])


class Allowed(NamedTuple):
    """Which of K tags may begin and end a sentence, and which may follow which."""

    first: NDArray[np.bool_]
    """[K]"""
    after: NDArray[np.bool_]
    """[K, K]: whether the second may follow the first."""
    last: NDArray[np.bool_]
    """[K]"""


def allowed(tags: SpanTags, scheme: TagScheme) -> Allowed:
    """What a scheme allows."""
    # One more tag stands for what is before and after a sentence.
    prefixes, classes = np.append(tags.prefixes, _O), np.append(tags.classes, -1)
    before, after = prefixes[:, None], prefixes[None, :]
    same = classes[:, None] == classes[None, :]
    inside_before = (before == _B) | (before == _I)
    if scheme == "iobes":
        goes_on = (after == _I) | (after == _E)
        fits = inside_before == goes_on
        fits &= ~goes_on | same
    elif scheme == "iob2":
        fits = (after != _I) | (inside_before & same)
    elif scheme == "iob1":
        fits = (after != _B) | (inside_before & same)
    else:
        fits = np.ones((len(prefixes), len(prefixes)), bool)
    return Allowed(fits[-1, :-1], fits[:-1, :-1], fits[:-1, -1])


def count_illegal(tags: NDArray[np.int64], begins: NDArray[np.bool_], rules: Allowed) -> int:
    """How often a tag of [N] does not fit to the one before it, or to the end of its sentence."""
    if not len(tags):
        return 0
    fits = np.append(True, rules.after[tags[:-1], tags[1:]])
    fits[begins] = rules.first[tags[begins]]
    ends = np.append(begins[1:], True)
    return int((~fits).sum() + (~rules.last[tags[ends]]).sum())
