"""The base of every DataModule, and the samplers that draw its batches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from gatewise.data.files import find_file
from gatewise.kinds.kind import Facts, Input
from gatewise.settings import Count, Folders, Positive, check_constructor, checked, rule, split_fractions


class BatchDataset(Dataset[Any]):
    """Examples whose ``dataset[indices]`` is a whole batch (a named tuple of :mod:`gatewise.kinds`)."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, indices: list[int]) -> NamedTuple:
        raise NotImplementedError


@rule
def check_held_out(
    validation_file: str | None, test_file: str | None, validation_fraction: float, test_fraction: float
) -> None:
    """Raise ValueError if nothing of the training file is left to train on."""
    if not (test_file or validation_file):
        split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


class SequenceDataModule(pl.LightningDataModule):
    """Turns files into batches; after ``setup()``, its ``facts`` describe the data.

    If ``facts`` are set before ``setup()`` (as in an evaluation), the vocabulary, scaler and classes come
    from them instead of from the training files.

    A subclass implements :meth:`load`, which fills ``facts`` and the three data sets, :meth:`describe` and
    :meth:`save_example`, and for ``gatewise predict`` :meth:`read_input`.

    Args:
        batch_size: examples per step, over all processes.
        seed: for every random draw (splits, order of the training examples).
        folders: searched in this order for relative file names; none means the working folder.
    """

    section: ClassVar[str] = "data"
    """The section of a config that takes it."""
    facts_type: ClassVar[type[Facts]]
    takes_words: ClassVar[bool] = False
    """Whether :meth:`read_input` accepts words as well as the name of a file."""
    takes_folders: ClassVar[bool] = False
    """Whether it accepts the name of a folder."""
    input_reader: ClassVar[str] = ""
    """Dotted name of a function of a path and facts that reads an input; its others are settings."""
    reads_strokes: ClassVar[bool] = False
    """Whether it has a :meth:`read_strokes` for what is written with a pen, for ``gatewise draw``."""
    lines_at_once: ClassVar[int] = 1
    """Most texts that :meth:`read_lines` takes; the task answers them together."""
    decided: ClassVar[tuple[str, ...]] = ()
    """Settings that decide the facts, which an evaluation has from the training."""
    known_set: ClassVar[str] = ""
    """The setting that names a known set, which is downloaded before a training."""
    load_draws: ClassVar[bool] = True
    """Whether :meth:`load` draws from the seed; if not, trainings with several seeds share what it loads."""

    train_data: BatchDataset
    validation_data: BatchDataset
    test_data: BatchDataset

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_constructor(cls)

    @checked
    def __init__(self, batch_size: Positive, seed: Count, folders: Folders = ()) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed
        self.folders = (folders,) if isinstance(folders, (str, Path)) else tuple(folders)
        self.facts: Facts | None = None
        self._loaded = False

    def largest_batch(self) -> int | None:
        """Frames of the largest training batch, its padding too; None where that is not known."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Read the files, on the first call only. Raises ValueError if they cannot be used."""
        if self._loaded:
            return
        if self.facts is not None and not isinstance(self.facts, self.facts_type):
            raise ValueError(
                f"{type(self).__name__} gives {self.facts_type.summary}, "
                f"but the run was trained on {self.facts.summary}: choose data of that kind"
            )
        self.load(test_only=stage == "test" and self.facts is not None)
        self._loaded = True

    def load(self, test_only: bool) -> None:
        """Read the files, and fill ``facts`` (unless they are set) and the three data sets.

        With ``test_only`` the facts are set, and files that the test split does not need may be missing.
        """
        raise NotImplementedError

    def save_example(self, folder: Path) -> str:
        """Make an input for prediction from the test split: a file written to ``folder``, or words.

        Returns what the user types after ``input=``; without an example of its own a DataModule says ``...``.
        """
        del folder
        return "..."

    @classmethod
    def read_input(cls, given: Path | str, facts: Any) -> Input:  # noqa: ARG003
        """Read a user's input to predict from: a file or, with ``takes_words``, words.

        One with an ``input_reader`` takes its settings as well. Raises ValueError if it cannot be used.
        """
        raise ValueError(f"input={given}: {cls.__name__} reads no input to predict from")

    @classmethod
    def read_stream(cls, facts: Any) -> Any:  # noqa: ARG003
        """What turns bytes as they come into frames: it has ``accept(bytes)``, ``end()`` and ``seconds``.

        Raises ValueError if the data cannot be read so.
        """
        raise ValueError(f"stream=true: {cls.__name__} reads whole inputs alone, and no sound as it comes")

    @classmethod
    def read_lines(cls, lines: Sequence[str], facts: Any) -> Input:
        """Read texts to predict from, up to ``lines_at_once`` of them, each one line and not blank.

        They are answered by :meth:`gatewise.tasks.task.Task.answer_lines`. Raises ValueError if one of them
        cannot be used; which one is then found by reading each by itself.
        """
        (line,) = lines
        return cls.read_input(line, facts)

    @classmethod
    def read_strokes(cls, given: Any, facts: Any) -> Input:  # noqa: ARG003
        """Read strokes, lists of points [x, y] with y upwards; ValueError if they cannot be used."""
        raise ValueError(f"{cls.__name__} reads no strokes")

    def describe(self) -> dict[str, str | int]:
        """A few numbers about the data, for a table on the screen; call it after ``setup()``."""
        return {}

    def parts(self) -> dict[str, Any]:
        """The three data sets by the names that a table on the screen has for them."""
        return {"training": self.train_data, "validation": self.validation_data, "test": self.test_data}

    def find(self, file: str | Path, setting: str) -> Path:
        """The path of the file that ``data.<setting>`` names; ValueError if there is none."""
        return find_file(file, self.folders, f"data.{setting}")

    def history(self) -> Iterable[Any]:
        """What came before the test part, whole and in order, for a task that compares with it.

        Nothing where that is not known, or only the test split was loaded.
        """
        return ()

    def train_dataloader(self) -> DataLoader[Any]:
        return self.batches(self.train_data, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.batches(self.validation_data, shuffle=False)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.batches(self.test_data, shuffle=False)

    def shard(self) -> tuple[int, int]:
        """(rank, number of processes) of this process; (0, 1) outside a Trainer."""
        trainer = self.trainer
        return (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)

    def batches(self, dataset: BatchDataset, shuffle: bool) -> DataLoader[Any]:
        """A loader of this process's share of every batch of ``dataset``."""
        rank, world_size = self.shard()
        # Read from the Trainer when the order is drawn: Lightning sets a resumed sampler's epoch too late.
        trainer = self.trainer
        overfit = getattr(trainer, "overfit_batches", 0) > 0
        epoch = (lambda: 0) if trainer is None or overfit else (lambda: trainer.current_epoch)
        sampler = self.sampler(dataset, shuffle, rank, world_size, epoch)
        if overfit:
            # The same batches in every epoch, as a plain list: Lightning would replace a sampler that may
            # shuffle by one that draws single examples.
            batches: Any = list(sampler)
            return DataLoader(Subset(dataset, batches), batch_size=None)
        return DataLoader(dataset, sampler=sampler, batch_size=None, **self.loading(dataset))

    def loading(self, dataset: Any) -> Mapping[str, Any]:  # noqa: ARG002
        """Settings of a loader of ``dataset``: of processes that make its batches, where that takes long."""
        return {}

    def sampler(
        self, dataset: Any, shuffle: bool, rank: int, world_size: int, epoch: Callable[[], int]
    ) -> Sampler[list[int]]:
        """What draws the batches of an epoch, this process's share of each; see :class:`EpochBatches`."""
        return EpochBatches(len(dataset), self.batch_size, shuffle, self.seed, rank, world_size, epoch)


class SharedBatches(Sampler[list[int]]):
    """Sampler of one epoch's batches: lists of indices, this process's share of each.

    A subclass implements ``__len__`` and :meth:`batches`, whose order depends only on (seed, epoch), so that
    a resumed epoch sees the same batches as an uninterrupted one. ``batch_size`` counts the examples of one
    step over all processes. A shuffled (training) batch with fewer examples than processes is filled up, so
    that every process has work in each step; unshuffled, every example comes exactly once. Raises ValueError
    where the processes cannot share a batch.
    """

    def __init__(
        self, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int, epoch: Callable[[], int]
    ) -> None:
        if batch_size < world_size:
            raise ValueError(
                f"data.batch_size={batch_size} is shared by {world_size} processes: "
                f"make it at least {world_size}"
            )
        self.batch_size, self.shuffle = batch_size, shuffle
        self.seed, self.rank, self.world_size, self.epoch = seed, rank, world_size, epoch
        self.start = 0
        """Batches that the next pass skips, because a resumed epoch has seen them already."""

    def batches(self) -> Iterable[NDArray[np.int64]]:
        """The batches of the epoch, over all processes."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[list[int]]:
        first, self.start = self.start, 0
        for batch in itertools.islice(self.batches(), first, None):
            if self.shuffle and len(batch) < self.world_size:
                # Repeat the batch's own examples: if one is left, every process computes its gradient.
                batch = np.resize(batch, self.world_size)
            share = batch[self.rank :: self.world_size]
            if len(share):
                yield share.tolist()


class EpochBatches(SharedBatches):
    """Batches of ``batch_size`` of ``size`` examples; :class:`SharedBatches` says how they are shared.

    Raises ValueError if there is no example, or too few for the processes.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        shuffle: bool,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(batch_size, shuffle, seed, rank, world_size, epoch)
        if size < 1:
            raise ValueError("no example is in it: give more data, or make its share larger")
        if not shuffle and size < world_size:
            # A process without an example would skip the all-reduce, and the others would wait for it.
            raise ValueError(
                f"{size} example(s) to score cannot be shared by {world_size} processes: give more data, or "
                f"set trainer.devices={size}"
            )
        self.size = size

    def __len__(self) -> int:
        whole, rest = divmod(self.size, self.batch_size)
        # Unshuffled, the last batch may be too small for this process to get a share.
        return whole + (rest > 0 if self.shuffle else rest > self.rank)

    def batches(self) -> Iterator[NDArray[np.int64]]:
        order = np.arange(self.size)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch()]).permutation(self.size)
        for start in range(0, self.size, self.batch_size):
            yield order[start : start + self.batch_size]


class InOrder(Sampler[int]):
    """A sequential sampler: the numbers below ``size`` in order, from ``start`` in a resumed epoch."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.start = 0
        """Numbers that the next pass skips, because a resumed epoch has seen them already."""

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        first, self.start = self.start, 0
        yield from range(first, self.size)
