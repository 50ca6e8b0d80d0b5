"""The base of data that is texts of many lengths, of which a batch has some of about the same length."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from gatewise.data.buckets import LengthBuckets
from gatewise.data.module import SequenceDataModule
from gatewise.data.text.kept_texts import Kept, Prepared, content_of
from gatewise.data.text.parts import draw_evenly, held_out_in_turn
from gatewise.settings import Count, Folders, Fraction, Positive, rule, split_fractions

log = logging.getLogger(__name__)


class TextsByLength(SequenceDataModule):
    """Texts of many lengths in three parts; a data set of them has ``lengths`` [N].

    A subclass implements :meth:`load_all`, :meth:`load_test` and :meth:`has_own`.

    Args:
        batch_tokens: tokens of a step at most, padding included, over all processes; None means no limit.
        batch_size: texts of a step at most, over all processes.
        cache_dir: where prepared texts are kept for the next start, by content; None keeps none.
    """

    takes_words = True
    lines_at_once = 64
    baseline: ClassVar[tuple[str, str] | None] = None
    """What a test learns from the training files to compare with, and what those are called; or nothing."""

    def __init__(
        self,
        batch_tokens: Positive | None = None,
        folders: Folders = (),
        batch_size: Positive = 32,
        seed: Count = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.batch_tokens = batch_tokens
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()

    def load(self, test_only: bool) -> None:
        if not (test_only and self.has_own("test")):
            self.load_all()
        elif self.baseline is None or not self._could_load_all(*self.baseline):
            self.load_test()

    def _could_load_all(self, baseline: str, files: str) -> bool:
        try:
            self.load_all()
        except ValueError as error:
            log.info("no %s, as the training %s cannot be read: %s", baseline, files, error)
            return False
        return True

    def load_all(self) -> None:
        """Read all parts, and fill ``facts`` (unless they are set) and the three data sets."""
        raise NotImplementedError

    def load_test(self) -> None:
        """Read the files of the test part alone; the facts are set."""
        raise NotImplementedError

    def prepared_once(
        self,
        kept: Kept[Prepared],
        files: Callable[[], Mapping[str, Sequence[Path]]],
        settings: Any,
        prepare: Callable[[], Prepared],
    ) -> Prepared:
        """What ``prepare`` makes of ``files`` by part, with these ``settings``, kept for the next start."""
        # A class of a user's own may have code that no key knows of.
        if self.cache_dir is None or not type(self).__module__.startswith("gatewise."):
            return prepare()
        modules = {each.__module__ for each in type(self).__mro__}
        own = [sys.modules[name] for name in sorted(modules) if name.startswith(str(__package__))]
        about = [type(self).__name__, content_of(files()), settings]
        return kept.prepared_once(self.cache_dir, about, self.facts, own, prepare)

    def has_own(self, part: str) -> bool:
        """Whether a part has files of its own."""
        raise NotImplementedError

    def sampler(
        self, dataset: Any, shuffle: bool, rank: int, world_size: int, epoch: Callable[[], int]
    ) -> Sampler[list[int]]:
        lengths = np.asarray(dataset.lengths)
        size, tokens = self.batch_size, self.batch_tokens
        return LengthBuckets(lengths, size, tokens, shuffle, self.seed, rank, world_size, epoch)

    def largest_batch(self) -> int:
        lengths = self.train_data.lengths  # type: ignore[attr-defined]
        longest = int(lengths.max())
        largest = min(self.batch_size, len(self.train_data)) * longest
        return largest if self.batch_tokens is None else min(largest, max(self.batch_tokens, longest))


@rule
def check_split(validation_fraction: float, test_fraction: float) -> None:
    """Raise ValueError if no text is left to train on."""
    split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


class TextsInShares(TextsByLength):
    """The same, of which a share is held out for each part that has no files of its own.

    Args:
        validation_fraction, test_fraction: shares of all texts to hold out, drawn with the seed.
        settings: those of :class:`TextsByLength`.
    """

    def __init__(
        self, validation_fraction: Fraction = 0.1, test_fraction: Fraction = 0.1, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.shares = {"test": test_fraction, "validation": validation_fraction}

    def held_out(
        self, count: int, own: Collection[str]
    ) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
        """(Part, its texts, those that are left), of so many texts, for each part that is not in ``own``."""
        wanted = {part: round(share * count) for part, share in self.shares.items() if part not in own}
        return held_out_in_turn(np.arange(count), wanted, self.seed, self.draw)

    @staticmethod
    def draw(left: NDArray[np.int64], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Draw so many of the texts with these numbers."""
        return draw_evenly(left, count, generator)
