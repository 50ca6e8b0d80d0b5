"""A data set of tagged sentences, and the tags of what was read in the scheme that the model learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.data.classes import natural_order
from gatewise.data.flat import padded_places
from gatewise.data.module import BatchDataset
from gatewise.data.text.columns import Sentences
from gatewise.data.text.tokenized import Tokenized
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.tag_schemes import (
    OUTSIDE,
    SpanScheme,
    TagScheme,
    all_tags,
    allowed,
    count_illegal,
    has_prefix,
    span_tags,
)
from gatewise.kinds.tagged_text import TaggedTextBatch, TaggedTextFacts
from gatewise.settings import did_you_mean, listed

MOST_NAMED = 30
"""Tags that a message lists."""
_FORMS: dict[TagScheme, str] = {
    "iob1": "O, B-… and I-…", "iob2": "O, B-… and I-…", "iobes": "O, B-…, I-…, E-… and S-…",
}  # fmt: skip


class TaggedSentences(BatchDataset):
    """Sentences as flat tensors; ``dataset[indices]`` pads them to the longest of the batch.

    Args:
        sentences: N words in S sentences.
        targets: [N] tag ids.
        usual: [types] the most frequent tag id of each different word in training; None: no batch shows it.
        with_texts: whether a batch has the words themselves.
    """

    def __init__(
        self,
        sentences: Tokenized,
        targets: NDArray[np.int64],
        facts: TaggedTextFacts,
        usual: NDArray[np.int64] | None = None,
        with_texts: bool = False,
    ) -> None:
        spelled, spelling_lengths = facts.spelled(sentences.types)
        self.types = torch.from_numpy(sentences.ids.astype(np.int64))
        """[N]: the number of each word among all that are different."""
        self.words = torch.from_numpy(facts.encoded(sentences.types))[self.types]
        """[N]"""
        self.targets = torch.from_numpy(targets)
        """[N]"""
        self.spellings = torch.from_numpy(spelled)
        """[types, C]"""
        self.spelling_lengths = torch.from_numpy(spelling_lengths)
        self.lengths = torch.from_numpy(sentences.lengths)
        """[S]"""
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.texts = sentences.texts() if with_texts else None
        self.usual = None if usual is None else torch.from_numpy(usual)[self.types]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> TaggedTextBatch:
        lengths = self.lengths[indices]
        places, real = padded_places(self.starts[indices], lengths)
        types, rows = torch.unique(self.types[places[real]], return_inverse=True)
        spelled = torch.zeros_like(places)
        spelled[real] = rows
        spelling_lengths = self.spelling_lengths[types]
        return TaggedTextBatch(
            self.words[places].masked_fill_(~real, 0),
            lengths,
            spelled,
            self.spellings[types, : int(spelling_lengths.max())],
            spelling_lengths,
            self.targets[places].masked_fill_(~real, IGNORED),
            None if self.texts is None else [self.texts[i] for i in indices],
            None if self.usual is None else self.usual[places].masked_fill_(~real, IGNORED),
        )


def learnt_tags(train: Sentences, scheme: TagScheme, tagged_as: SpanScheme) -> tuple[str, ...]:
    """The tags that a model learns from training sentences, in their order.

    Raises ValueError, with file and line, for tags that do not fit to the scheme.
    """
    if scheme == "plain":
        return tuple(sorted(set(train.tags), key=natural_order))
    _check_form(train, scheme)
    return all_tags({tag.partition("-")[2] for tag in set(train.tags)} - {""}, tagged_as)


def _check_form(sentences: Sentences, scheme: TagScheme) -> None:
    wrong = {tag for tag in set(sentences.tags) if not has_prefix(tag, scheme)}
    if wrong:
        place = next(i for i, tag in enumerate(sentences.tags) if tag in wrong)
        fits = [name for name in _FORMS if all(has_prefix(tag, name) for tag in set(sentences.tags))]
        hint = fits[-1] if fits else "plain, if tags have no prefixes"
        raise ValueError(
            f"{sentences.place(place)}: tag {sentences.tags[place][:40]!r} does not fit to data.scheme="
            f"{scheme} ({_FORMS[scheme]}): correct it, or set data.scheme={hint}"
        )


def targets_of(
    sentences: Sentences, tags: Sequence[str], scheme: TagScheme, tagged_as: str
) -> tuple[NDArray[np.int64], str]:
    """(Tag id [N] of each word, a line to tell) among the ``tags`` that the model learns, in ``tagged_as``.

    What the files' ``scheme`` does not allow is read as conlleval reads it, counted and told; if all is
    allowed, the line is empty. Raises ValueError, with file and line, for a tag that the training data does
    not have, or where another scheme fits better.
    """
    learnt = None if scheme == "plain" else span_tags(tags)
    known, shown, what = tags, tags, "tags"
    if learnt is not None:
        _check_form(sentences, scheme)
        known, shown, what = all_tags(learnt.names, _alike(scheme)), learnt.names, "classes"
    number = {tag: i for i, tag in enumerate(known)}
    unknown = set(sentences.tags) - set(number)
    if unknown:
        place = next(i for i, tag in enumerate(sentences.tags) if tag in unknown)
        tag = sentences.tags[place]
        word = tag if learnt is None else tag.partition("-")[2]
        raise ValueError(
            f"{sentences.place(place)}: tag {tag[:40]!r} is not among the {what} of the training data"
            f"{did_you_mean(word, shown)}: {listed(shown, MOST_NAMED)}"
        )
    ids = np.fromiter((number[tag] for tag in sentences.tags), np.int64, len(sentences.tags))
    if learnt is None:
        return ids, ""
    written, begins = span_tags(known), sentences.begins
    spans = written.spans(ids, begins)
    illegal = count_illegal(ids, begins, allowed(written, scheme))
    told = _of_illegal(sentences, scheme, illegal, len(spans.first)) if illegal else ""
    # The classes of both are the same, in the same order.
    return learnt.written(spans, begins, cast("TagScheme", tagged_as)), told


def _alike(scheme: TagScheme) -> SpanScheme:
    """A scheme with the same prefixes."""
    return "iobes" if scheme == "iobes" else "iob2"


def _of_illegal(sentences: Sentences, scheme: TagScheme, illegal: int, spans: int) -> str:
    """A line about tags that a scheme does not allow; ValueError if they are many, and few in another one."""
    file = sentences.files[0][1]
    for other in (name for name in _FORMS if name != scheme):
        if illegal <= spans / 2 or not all(has_prefix(tag, other) for tag in set(sentences.tags)):
            continue
        known = sorted(set(sentences.tags) | {OUTSIDE})
        number = {tag: i for i, tag in enumerate(known)}
        ids = np.array([number[tag] for tag in sentences.tags])
        there = count_illegal(ids, sentences.begins, allowed(span_tags(known), other))
        if there < illegal / 10:
            raise ValueError(
                f"{file}: {illegal} of its tags are not allowed where they are in data.scheme={scheme}, with "
                f"{spans} spans in all; in {other} it is {there}: set data.scheme={other}"
            )
    return (
        f"{file}: {illegal} tag(s) are not allowed where they are in the scheme {scheme}; a span begins or "
        f"ends there, as conlleval counts"
    )


def usual_tags(sentences: Tokenized, targets: NDArray[np.int64], tags: int) -> NDArray[np.int64]:
    """The most frequent tag id [types] of every word, of so many tags; of those as frequent the first."""
    pairs, counts = np.unique(sentences.ids * np.int64(tags) + targets, return_counts=True)
    order = np.lexsort((pairs, -counts))
    words = pairs[order] // tags
    first = np.unique(words, return_index=True)[1]  # every word occurs
    usual: NDArray[np.int64] = pairs[order][first] % tags
    return usual
