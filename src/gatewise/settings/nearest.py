"""Suggestions for a misspelt word: the known word nearest to it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 300
"""Characters of a word that is compared: comparing takes the square of it."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word closest to ``word``, or None if none is close; case does not count."""
    if len(word) > LONGEST:
        return None
    by_lowercase = {k.lower(): k for k in known if len(k) <= LONGEST}
    close = difflib.get_close_matches(word.lower(), by_lowercase, n=1, cutoff=0.5)
    return by_lowercase[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` for the known word closest to ``word``, or "" if none is close."""
    close = nearest(word, known)
    return "" if close is None else f" (did you mean {close!r}?)"


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate most similar to ``word``, a name or a dotted path, or None if none is similar."""
    from difflib import SequenceMatcher

    if len(word) > LONGEST:
        return None
    parent, _, name = word.rpartition(".")

    def similarity(candidate: str) -> float:
        other_parent, _, other_name = candidate.rpartition(".")
        names = SequenceMatcher(None, name, other_name).ratio()
        # The name counts for more: the right name under the wrong parent (lr for optimizer.lr) is likelier
        # than another setting of the same parent.
        return 0.7 * names + 0.3 * SequenceMatcher(None, parent, other_parent).ratio() if names >= 0.6 else 0

    best = max(sorted(c for c in candidates if len(c) <= LONGEST), key=similarity, default=None)
    return best if best is not None and similarity(best) >= 0.6 else None


def suggestion(candidate: str | None) -> str:
    """``"; did you mean x?"`` to end a message with, or "" if there is no candidate."""
    return "" if candidate is None else f"; did you mean {candidate}?"
