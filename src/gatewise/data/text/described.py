"""What a data set of labelled texts is, in rows for the screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from gatewise.data.text.texts import TextsOfClasses
from gatewise.kinds.labelled_text import ReadTextFacts
from gatewise.settings import listed

MOST_NAMED = 10
"""Classes that are named."""


def described(
    parts: Mapping[str, TextsOfClasses], facts: ReadTextFacts, longest: int, shares: Mapping[str, str]
) -> dict[str, str | int]:
    """Sizes of the parts, ``shares`` of classes, lengths and tokens; ``longest`` is the longest text's."""
    rows: dict[str, str | int] = {f"{name} texts": len(part) for name, part in parts.items()}
    lengths = torch.cat([part.lengths for part in parts.values()]).float()
    how = [facts.tokenizer, "lower case" if facts.lowercase else "", facts.normalize]
    unknown = {name: float((part.tokens == 0).float().mean()) for name, part in parts.items()}
    rows |= {
        **shares,
        "tokens per text": f"{int(lengths.min())} to {int(lengths.max())}, half of them up to "
        f"{int(lengths.median())}",
        "tokenizer": ", ".join(word for word in how if word),
        "vocabulary": len(facts.vocabulary),
        "unknown tokens": ", ".join(f"{share:.2%} of {part}" for part, share in unknown.items()),
    }
    if facts.max_length is not None and longest > facts.max_length:
        rows["cut"] = f"texts of more than {facts.max_length} tokens; the longest has {longest:,}"
    return rows


def shares_of(classes: Sequence[str], counts: Sequence[int]) -> str:
    """Classes with their shares of the texts."""
    shares = [f"{name} {count / sum(counts):.1%}" for name, count in zip(classes, counts, strict=True)]
    return listed(shares, MOST_NAMED)
