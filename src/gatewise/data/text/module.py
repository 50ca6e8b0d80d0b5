"""Running text as batches for language modelling."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from gatewise.data.files import read_text
from gatewise.data.module import InOrder, SequenceDataModule
from gatewise.data.text.cache import prepared_text
from gatewise.data.text.coding import Ids, Settings
from gatewise.data.text.corpora import CORPORA
from gatewise.data.text.lanes import Lanes, OneLane, lanes_for
from gatewise.data.text.prepared import Counted
from gatewise.data.text.random_windows import RandomWindows
from gatewise.data.text.running import Source, Text
from gatewise.data.text.typed import check_typed, first_words, typed
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.subwords import BYTES
from gatewise.kinds.text import SUBWORD, TextBatch, TextFacts
from gatewise.kinds.tokens import END_OF_LINE, UNKNOWN, Normalization
from gatewise.settings import (
    AtLeast,
    Count,
    DataFiles,
    Folders,
    Fraction,
    Positive,
    listed,
    rule,
    split_fractions,
)
from gatewise.settings.checks import short

log = logging.getLogger(__name__)


Corpus = Literal["king_james"]
Unit = Literal["word", "char", "whitespace", "subword"]
PIECES = 8000
"""Size of a vocabulary of subwords where none is given."""


@rule
def check_source(corpus: Any, files: Any, train_files: Any, validation_files: Any, test_files: Any) -> None:
    """Raise ValueError if there is no text, or more than one source of it."""
    parts = {"train_files": train_files, "validation_files": validation_files, "test_files": test_files}
    settings = {"corpus": corpus, "files": files, **parts}
    chosen = {name for name, value in settings.items() if value is not None}
    if chosen != set(parts) and chosen - {"test_files"} not in ({"corpus"}, {"files"}):
        got = ", ".join(sorted(chosen)) or "none of them"
        raise ValueError(
            f"give either corpus ({', '.join(get_args(Corpus))}), or files, or all of train_files, "
            f"validation_files and test_files (the last may also go with corpus or files); got {got}"
        )


@rule
def check_split(validation_fraction: float, test_fraction: float) -> None:
    """Raise ValueError if no text is left to train on."""
    split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


@rule
def check_random_window(random_window: bool, window: int) -> None:
    """Raise ValueError for windows that are too short to draw their lengths."""
    if random_window and window < 20:
        raise ValueError(
            f"random_window draws lengths around window={window} with a deviation of 5: make window 20 or "
            f"more"
        )


@rule
def check_pieces(tokenizer: str, max_vocabulary: Any) -> None:
    """Raise ValueError for a vocabulary of subwords without room for the bytes."""
    if tokenizer == SUBWORD and max_vocabulary is not None and max_vocabulary < BYTES:
        raise ValueError(
            f"max_vocabulary={max_vocabulary} has no room for the {BYTES} bytes that every vocabulary of "
            f"subwords begins with: give some thousands"
        )


class LanguageText(SequenceDataModule):
    """Text split into training, validation and test parts, each read in parallel lanes.

    Args:
        corpus: one of ``CORPORA``. Give either this or ``files``, which are read one after the other. Both
            are split in order, at line ends, by ``validation_fraction`` and ``test_fraction`` of the
            characters.
        train_files, validation_files, test_files: or give each part its own files. ``test_files`` may also go
            with ``corpus`` or ``files``, which are then split into training and validation only.
        tokenizer: ``word``, ``char``, ``whitespace`` (for text that is tokenised already) or ``subword``
            (byte-level BPE, trained on the training part).
        lowercase: lower-case the text first; None does so where words are the tokens.
        normalize: Unicode normal form to bring the text to; None leaves it as it is.
        min_count: tokens that occur less often in training become ``<unk>``; of subwords, pairs that occur
            less often are not merged.
        max_vocabulary: largest size of the vocabulary, including special tokens; None means no limit, and
            8,000 subwords.
        max_tokens: use only the first tokens of the training part; None means all.
        window: steps per batch of truncated BPTT.
        random_window: draw the length of every training window around ``window``, as
            :class:`~gatewise.data.text.random_windows.RandomWindows` does.
        whole_windows: leave out what does not fill the last token of every training lane and the last window,
            as many published recipes do.
        batch_size: number of training lanes, over all processes.
        evaluation_lanes: number of lanes for validation and test, over all processes. One lane is exact: each
            token is predicted from all before it. Several are faster; each but the first then reads
            ``evaluation_warmup`` tokens before those it is scored on. The config says 500; a run from before
            there was this setting has none, and is scored as it was.
        evaluation_tokens: tokens of one batch in validation and test, over all lanes; changes no score.
        cache_dir: where the ids are kept in files, for the next training and for texts that do not fit into
            memory; None keeps them in memory.
    """

    facts_type = TextFacts
    decided = ("tokenizer", "lowercase", "normalize", "min_count", "max_vocabulary")
    load_draws = False
    takes_words = True
    lines_at_once = 16
    facts: TextFacts | None
    train_ids: Tensor
    validation_ids: Tensor
    test_ids: Tensor
    """[N] ids of each part, of the smallest integer type; they may lie in a file, and are only read."""

    def __init__(
        self,
        corpus: Corpus | None = None,
        files: DataFiles | None = None,
        train_files: DataFiles | None = None,
        validation_files: DataFiles | None = None,
        test_files: DataFiles | None = None,
        validation_fraction: Fraction = 0.05,
        test_fraction: Fraction = 0.05,
        tokenizer: Unit = "word",
        lowercase: bool | None = False,
        normalize: Normalization | None = None,
        min_count: Positive = 1,
        max_vocabulary: Annotated[int, AtLeast(3)] | None = None,
        max_tokens: Annotated[int, AtLeast(2)] | None = None,
        window: Positive = 35,
        random_window: bool = False,
        whole_windows: bool = False,
        evaluation_lanes: Positive = 1,
        evaluation_warmup: Count = 0,
        evaluation_tokens: Positive = 350,
        folders: Folders = (),
        batch_size: Positive = 20,
        seed: Count = 0,
        cache_dir: str | Path | None = None,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self.corpus = corpus
        lists = {"files": files, "train_files": train_files}
        lists |= {"validation_files": validation_files, "test_files": test_files}
        self.files = {name: listed for name, listed in lists.items() if listed is not None}
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.tokenizer, self.normalize = tokenizer, normalize
        self.lowercase = tokenizer not in ("char", SUBWORD) if lowercase is None else lowercase
        self.min_count, self.max_vocabulary, self.max_tokens = min_count, max_vocabulary, max_tokens
        self.window, self.random_window, self.whole_windows = window, random_window, whole_windows
        self.evaluation_lanes, self.evaluation_warmup = evaluation_lanes, evaluation_warmup
        self.evaluation_tokens = evaluation_tokens

    def load(self, test_only: bool) -> None:
        facts = self.facts
        settings = Settings(
            self.tokenizer,
            self.lowercase,
            self.normalize,
            self.min_count,
            self.max_vocabulary or (PIECES if self.tokenizer == SUBWORD else None),
            self.max_tokens,
        )
        only_test = test_only and facts is not None and "test_files" in self.files
        text = Text({"test": self._source("test_files")}) if only_test else self._text()
        prepared = prepared_text(text, settings, facts, self.cache_dir)
        if not only_test:
            self._check_training(len(prepared.ids["train"]), prepared.counted["train"].tokens)
        for name, ids in prepared.ids.items():
            if name != "train" and len(ids) < 2:
                raise _too_short(name, len(ids), text)
            setattr(self, f"{name}_ids", _tensor(ids))
        self.counted: Mapping[str, Counted] = prepared.counted
        self.facts = prepared.facts

    def _check_training(self, count: int, all_tokens: int) -> None:
        """Raise ValueError for too little text to fill the lanes."""
        if count <= self.batch_size:
            limited = f" (data.max_tokens={self.max_tokens})" if count < all_tokens else ""
            raise ValueError(
                f"the training text has {count} token(s){limited}, but data.batch_size="
                f"{self.batch_size} lanes need {self.batch_size + 1} or more: give more text or make "
                f"data.batch_size smaller"
            )

    def train_dataloader(self) -> DataLoader[Any]:
        _, world_size = self.shard()
        if self.batch_size % world_size:
            raise ValueError(
                f"data.batch_size={self.batch_size} lanes cannot be shared equally by {world_size} "
                f"processes: make it a multiple of {world_size}"
            )
        rank, world_size = self.shard()
        lanes = Lanes(
            self.train_ids,
            self.batch_size,
            self.window,
            rank,
            world_size,
            whole=self.whole_windows,
            sizes=self.counted["train"].sizes,
        )
        if not self.random_window:
            return DataLoader(lanes, sampler=InOrder(len(lanes)), batch_size=None)
        # Read from the Trainer when the epoch's windows are drawn: it sets its epoch later than this.
        trainer = self.trainer
        epoch = (lambda: 0) if trainer is None else (lambda: trainer.current_epoch)
        sampler = RandomWindows(lanes.length, self.window, self.seed, epoch)
        return DataLoader(lanes, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_windows(self.validation_ids, self.counted["validation"])

    def test_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_windows(self.test_ids, self.counted["test"])

    @classmethod
    def read_input(cls, given: Path | str, facts: TextFacts) -> Input:
        """Read words or a text file as one row of tokens [1, T], each with the next token as its target.

        The last target is IGNORED. The last line is left open for the model to continue, unless the text ends
        with a line end. Raises ValueError if the text has no token; words outside the vocabulary are logged.
        """
        ids, tokens = cls._read_text(given, facts)
        known = set(facts.vocabulary)
        unknown = [token for token in dict.fromkeys(tokens) if token not in known]
        if unknown:
            told = listed([short(token) for token in unknown], 10)
            log.warning("not in the vocabulary, read as %s: %s", UNKNOWN, told)
        targets = torch.cat([ids[1:], ids.new_tensor([IGNORED])])
        return Input(TextBatch(ids[None], targets[None]), str(given), steps=tokens)

    @classmethod
    def read_lines(cls, lines: Sequence[str], facts: TextFacts) -> Input:
        """Texts as rows of tokens [B, T], padded with 0 and IGNORED targets; what was typed is a column."""
        read = [cls._read_text(line, facts) for line in lines]
        padded = pad_sequence([ids for ids, _ in read], batch_first=True)
        targets = torch.full_like(padded, IGNORED)
        for row, (ids, _) in zip(targets, read, strict=True):
            row[: len(ids) - 1] = ids[1:]
        return Input(TextBatch(padded, targets), "input", {"token": [tokens for _, tokens in read]})

    @staticmethod
    def _read_text(given: Path | str, facts: TextFacts) -> tuple[Tensor, list[str]]:
        """The ids [T] of a text and its tokens as they were typed."""
        text = read_text(given) if isinstance(given, Path) else given
        check_typed(text)
        tokens = facts.tokenized(text.replace("\r\n", "\n"))
        if tokens and tokens[-1] == END_OF_LINE and not text.endswith("\n"):
            del tokens[-1]
        if not tokens:
            source = given if isinstance(given, Path) else f"the text {text[:60]!r}"
            raise ValueError(f"{source} holds no token: give at least one {facts.tokenizer}")
        return torch.from_numpy(facts.encoded(tokens)), tokens

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        how = [self.facts.tokenizer, "lower case" if self.facts.lowercase else "", self.facts.normalize]
        rows: dict[str, str | int] = {
            "training tokens": len(self.train_ids),
            "validation tokens": len(self.validation_ids),
            "test tokens": len(self.test_ids),
            "tokenizer": ", ".join(word for word in how if word),
            "vocabulary": len(self.facts.vocabulary),
        }
        if self.facts.tokenizer == SUBWORD:
            rows["characters of a token"] = f"{self.counted['train'].sizes[0]:.2f}"
        else:
            shares = (
                f"{self.counted[part].unknown / self.counted[part].tokens:.2%} of {part}"
                for part in ("validation", "test")
            )
            rows["unknown tokens"] = ", ".join(shares)
        if self.max_tokens is not None and self.max_tokens > self.counted["train"].tokens:
            rows["max_tokens"] = f"{self.max_tokens:,} is more than the text has, so that nothing is cut off"
        length = -(-(len(self.train_ids) - 1) // self.batch_size)
        if self.window > length:
            rows["window"] = (
                f"{self.window} steps are more than the {length} of a lane, so that an epoch is one step "
                f"(data.batch_size={self.batch_size})"
            )
        return rows

    def largest_batch(self) -> int:
        length = -(-(len(self.train_ids) - 1) // self.batch_size)
        return self.batch_size * min(self.window, length)

    def save_example(self, folder: Path) -> str:
        del folder  # a few words do not need a file
        assert self.facts is not None
        text = self.facts.decoded(self.test_ids[:60].tolist())
        return typed(first_words(text, 4))  # the split begins at the start of a line

    def _evaluation_windows(self, ids: Tensor, counted: Counted) -> DataLoader[Any]:
        rank, world_size = self.shard()
        pairs = len(ids) - 1
        count = lanes_for(pairs, self.evaluation_lanes, world_size)
        warmup = self.evaluation_warmup
        lanes: Lanes
        if self.evaluation_lanes == 1 or pairs <= count * warmup:  # several would read more, not less
            lanes = OneLane(ids, self.evaluation_tokens, rank, world_size, counted.sizes)
        else:
            window = max(self.evaluation_tokens // count, 1)
            lanes = Lanes(ids, count, window, rank, world_size, warmup, sizes=counted.sizes)
        return DataLoader(lanes, sampler=InOrder(len(lanes)), batch_size=None)

    def _text(self) -> Text:
        """The text in its parts."""
        starts = {"train": 0.0, "validation": 1 - self.validation_fraction - self.test_fraction}
        starts["test"] = 1 - self.test_fraction
        own = {}
        if "test_files" in self.files:
            own["test"] = self._source("test_files")
            starts = {"train": 0.0, "validation": 1 - self.validation_fraction}
        if self.corpus is not None:
            return Text(own, Source(text=CORPORA[self.corpus]()), starts)
        if "files" in self.files:
            return Text(own, self._source("files"), starts)
        parts = {name: self._source(f"{name}_files") for name in ("train", "validation")}
        return Text({**parts, **own})

    def _source(self, setting: str) -> Source:
        return Source(tuple(self.find(file, setting) for file in self.files[setting]), setting)


def _too_short(name: str, tokens: int, text: Text) -> ValueError:
    """What is wrong with a validation or test text of fewer than two tokens."""
    if text.whole is None or name in text.own:
        return ValueError(f"data.{name}_files: {tokens} token(s), but 2 or more are needed: give more text")
    place, length = text.whole.longest_line()
    return ValueError(
        f"the {name} text has {tokens} token(s), but needs 2 or more, as the text is split at line ends and "
        f"{place} has {length:,} of its characters: break that line, give more text, or a larger "
        f"data.{name}_fraction"
    )


def _tensor(ids: Ids) -> Tensor:
    with warnings.catch_warnings():
        # They may lie in a file that is not to be changed, and nothing changes them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(ids)
