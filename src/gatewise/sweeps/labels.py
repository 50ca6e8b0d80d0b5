"""Configurations in a few words: settings by their last names, long values cut in the middle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from gatewise.settings import one_line

LONGEST = 28
"""Characters of a value."""


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Each setting by as few of its last parts as tell it from the others: ``optimizer.lr`` is ``lr``."""
    parts = {key: key.lstrip("+~").split(".") for key in keys}
    names: dict[str, str] = {}
    for count in range(1, max((len(p) for p in parts.values()), default=0) + 1):
        candidates = {key: ".".join(p[-count:]) for key, p in parts.items() if key not in names}
        taken = Counter([*candidates.values(), *names.values()])
        names.update({key: name for key, name in candidates.items() if taken[name] == 1})
    return {key: names.get(key, key) for key in keys}


def value_text(value: Any) -> str:
    """A value of a setting, for the screen and for pictures."""
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))


def cut(text: str, longest: int = LONGEST) -> str:
    """The text, with … in the place of its middle where it is too long."""
    if len(text) <= longest:
        return text
    head = (longest - 1) // 2
    return f"{text[:head]}…{text[len(text) - (longest - 1 - head) :]}"


def label(params: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """What one configuration was, as in ``model=gru lr=0.01``."""
    return "  ".join(
        f"{cut(one_line(names[key]))}={cut(value_text(value))}"
        for key, value in params.items()
        if key in names
    )
