"""Which examples are joined to one, such as the characters of a line or the digits of a string."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gatewise.data.text.parts import PARTS
from gatewise.settings import rule


@rule
def check_sizes(least: int, most: int) -> None:
    """Raise ValueError for what is joined of no examples."""
    if least > most:
        raise ValueError(f"least={least} is more than most={most}: give no more")


class JoinsExamples:
    """Draws the examples of ``counts`` strings of each part, ``sizes`` (fewest, most) of one owner in each.

    Every example of a part is in about the same number of its strings. The test has a seed of its own, so
    that trainings with several seeds have the same test.
    """

    seed: int
    test_seed: int
    counts: Mapping[str, int]
    sizes: tuple[int, int]

    def generator(self, part: str) -> np.random.Generator:
        """What draws the strings of a part."""
        seed = self.test_seed if part == "test" else self.seed
        return np.random.default_rng([seed, 10 + PARTS.index(part)])

    def strings_of(
        self, part: str, owners: Sequence[str], generator: np.random.Generator
    ) -> Iterator[tuple[int, str, list[int]]]:
        """(Number, owner, its examples) of each string, of examples that belong to ``owners``."""
        of_whom = np.array(owners)
        names = np.unique(of_whom).tolist()
        decks = {name: _dealt(np.flatnonzero(of_whom == name), generator) for name in names}
        for number in range(self.counts[part]):
            name = names[number % len(names)]
            size = int(generator.integers(*self.sizes, endpoint=True))
            yield number, name, [next(decks[name]) for _ in range(size)]


def _dealt(cards: NDArray[np.int64], generator: np.random.Generator) -> Iterator[int]:
    """All of some numbers in a random order, and then again in another."""
    while True:
        yield from generator.permutation(cards).tolist()
