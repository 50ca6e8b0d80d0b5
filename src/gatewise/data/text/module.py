"""Running text as batches for language modelling."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from gatewise.data.files import read_text
from gatewise.data.module import InOrder, SequenceDataModule
from gatewise.data.text.corpora import CORPORA
from gatewise.data.text.lanes import Lanes, OneLane, lanes_for
from gatewise.data.text.random_windows import RandomWindows
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.kinds.tokens import (
    END_OF_LINE,
    UNKNOWN,
    Normalization,
    TokenizerName,
    Vocabulary,
    make_tokenizer,
)
from gatewise.settings import AtLeast, Count, DataFiles, Folders, Fraction, Positive, rule, split_fractions

log = logging.getLogger(__name__)


Corpus = Literal["king_james"]


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


class LanguageText(SequenceDataModule):
    """Text split into training, validation and test parts, each read in parallel lanes.

    Args:
        corpus: one of ``CORPORA``. Give either this or ``files``, which are read one after the other. Both
            are split in order, at line ends, by ``validation_fraction`` and ``test_fraction`` of the
            characters.
        train_files, validation_files, test_files: or give each part its own files. ``test_files`` may also go
            with ``corpus`` or ``files``, which are then split into training and validation only.
        tokenizer: ``word``, ``char`` or ``whitespace`` (for text that is tokenised already).
        lowercase: lower-case the text first; None does so unless characters are the tokens.
        normalize: Unicode normal form to bring the text to; None leaves it as it is.
        min_count: tokens that occur less often in training become ``<unk>``.
        max_vocabulary: largest size of the vocabulary, including special tokens; None means no limit.
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
    """

    facts_type = TextFacts
    load_draws = False
    takes_words = True
    lines_at_once = 16
    facts: TextFacts | None

    def __init__(
        self,
        corpus: Corpus | None = None,
        files: DataFiles | None = None,
        train_files: DataFiles | None = None,
        validation_files: DataFiles | None = None,
        test_files: DataFiles | None = None,
        validation_fraction: Fraction = 0.05,
        test_fraction: Fraction = 0.05,
        tokenizer: TokenizerName = "word",
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
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.corpus = corpus
        lists = {"files": files, "train_files": train_files}
        lists |= {"validation_files": validation_files, "test_files": test_files}
        self.files = {name: listed for name, listed in lists.items() if listed is not None}
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.tokenizer, self.normalize = tokenizer, normalize
        self.lowercase = tokenizer != "char" if lowercase is None else lowercase
        self.min_count, self.max_vocabulary, self.max_tokens = min_count, max_vocabulary, max_tokens
        self.window, self.random_window, self.whole_windows = window, random_window, whole_windows
        self.evaluation_lanes, self.evaluation_warmup = evaluation_lanes, evaluation_warmup
        self.evaluation_tokens = evaluation_tokens

    def load(self, test_only: bool) -> None:
        facts = self.facts
        tokenizer = (
            make_tokenizer(self.tokenizer, self.lowercase, self.normalize)
            if facts is None
            else facts.make_tokenizer()
        )
        if test_only and facts is not None and "test_files" in self.files:
            tokens = tokenizer.tokenize(self._text("test_files"))
            _check_length(tokens, "test")
            self.test_ids = torch.from_numpy(facts.encoded(tokens))
            return
        parts = self._read()
        train, validation, test = (tokenizer.tokenize(part) for part in parts)
        self.all_tokens = len(train)
        train = train[: self.max_tokens]
        if len(train) <= self.batch_size:
            limited = f" (data.max_tokens={self.max_tokens})" if len(train) < self.all_tokens else ""
            raise ValueError(
                f"the training text has {len(train)} token(s){limited}, but data.batch_size="
                f"{self.batch_size} lanes need {self.batch_size + 1} or more: give more text or make "
                f"data.batch_size smaller"
            )
        for part, tokens in (("validation", validation), ("test", test)):
            _check_length(tokens, part)
        if facts is None:
            vocabulary = Vocabulary.build(train, tokenizer.specials, self.min_count, self.max_vocabulary)
            if len(vocabulary.tokens) == len(tokenizer.specials):
                raise ValueError(
                    f"none of the {len(train)} training tokens comes {self.min_count} times or more, so that "
                    f"all would be {UNKNOWN}: give more text or make data.min_count smaller"
                )
            self.facts = TextFacts(
                vocabulary.tokens,
                vocabulary.counts,
                self.tokenizer,
                self.lowercase,
                self.normalize,
                tokenizer.marks,
            )
        else:
            vocabulary = Vocabulary(facts.vocabulary, facts.counts)
        self.train_ids = torch.from_numpy(vocabulary.encode(train))
        self.validation_ids = torch.from_numpy(vocabulary.encode(validation))
        self.test_ids = torch.from_numpy(vocabulary.encode(test))

    def train_dataloader(self) -> DataLoader[Any]:
        _, world_size = self.shard()
        if self.batch_size % world_size:
            raise ValueError(
                f"data.batch_size={self.batch_size} lanes cannot be shared equally by {world_size} "
                f"processes: make it a multiple of {world_size}"
            )
        rank, world_size = self.shard()
        lanes = Lanes(
            self.train_ids, self.batch_size, self.window, rank, world_size, whole=self.whole_windows
        )
        if not self.random_window:
            return DataLoader(lanes, sampler=InOrder(len(lanes)), batch_size=None)
        # Read from the Trainer when the epoch's windows are drawn: it sets its epoch later than this.
        trainer = self.trainer
        epoch = (lambda: 0) if trainer is None else (lambda: trainer.current_epoch)
        sampler = RandomWindows(lanes.length, self.window, self.seed, epoch)
        return DataLoader(lanes, sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_windows(self.validation_ids)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_windows(self.test_ids)

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
            more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
            log.warning("not in the vocabulary, read as %s: %s%s", UNKNOWN, ", ".join(unknown[:10]), more)
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
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"input={text!a} has bytes that are not UTF-8: set the terminal to UTF-8")
        tokens = facts.tokenized(text.replace("\r\n", "\n"))
        if tokens and tokens[-1] == END_OF_LINE and not text.endswith("\n"):
            del tokens[-1]
        if not tokens:
            source = given if isinstance(given, Path) else f"the text {text[:60]!r}"
            raise ValueError(f"{source} holds no token: give at least one {facts.tokenizer}")
        return torch.from_numpy(facts.encoded(tokens)), tokens

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        unknown = {
            "validation": float((self.validation_ids == 0).float().mean()),
            "test": float((self.test_ids == 0).float().mean()),
        }
        how = [self.facts.tokenizer, "lower case" if self.facts.lowercase else "", self.facts.normalize]
        rows: dict[str, str | int] = {
            "training tokens": len(self.train_ids),
            "validation tokens": len(self.validation_ids),
            "test tokens": len(self.test_ids),
            "tokenizer": ", ".join(word for word in how if word),
            "vocabulary": len(self.facts.vocabulary),
            "unknown tokens": ", ".join(f"{share:.2%} of {part}" for part, share in unknown.items()),
        }
        if self.max_tokens is not None and self.max_tokens > self.all_tokens:
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
        # The split begins at the start of a line; punctuation is dropped, which a shell would need quoted.
        words = "".join(c if c.isalnum() else " " for c in text).split()
        return '"' + " ".join(words[:4]) + '"'

    def _evaluation_windows(self, ids: Tensor) -> DataLoader[Any]:
        rank, world_size = self.shard()
        pairs = len(ids) - 1
        count = lanes_for(pairs, self.evaluation_lanes, world_size)
        warmup = self.evaluation_warmup
        lanes: Lanes
        if self.evaluation_lanes == 1 or pairs <= count * warmup:  # several would read more, not less
            lanes = OneLane(ids, self.evaluation_tokens, rank, world_size)
        else:
            window = max(self.evaluation_tokens // count, 1)
            lanes = Lanes(ids, count, window, rank, world_size, warmup)
        return DataLoader(lanes, sampler=InOrder(len(lanes)), batch_size=None)

    def _read(self) -> tuple[str, str, str]:
        """The texts of the three parts."""
        if self.corpus is not None:
            return self._split(CORPORA[self.corpus]())
        if "files" in self.files:
            return self._split(self._text("files"))
        return self._text("train_files"), self._text("validation_files"), self._text("test_files")

    def _text(self, setting: str) -> str:
        paths = [self.find(file, setting) for file in self.files[setting]]
        texts = [read_text(path) for path in paths]
        for path, text in zip(paths, texts, strict=True):
            if not text.strip():
                raise ValueError(f"{path} holds no text: fill it, or leave it out of data.{setting}")
        # A file without a final line end must not run into the next one.
        return "".join(text if text.endswith("\n") else text + "\n" for text in texts)

    def _split(self, text: str) -> tuple[str, str, str]:
        """The training, validation and test parts, cut after the line in which each fraction is reached."""

        def line_end(share: float) -> int:
            return text.find("\n", round(share * len(text))) + 1 or len(text)

        if "test_files" in self.files:
            validation_start = line_end(1 - self.validation_fraction)
            return text[:validation_start], text[validation_start:], self._text("test_files")
        validation_start = line_end(1 - self.validation_fraction - self.test_fraction)
        test_start = line_end(1 - self.test_fraction)
        return text[:validation_start], text[validation_start:test_start], text[test_start:]


def _check_length(tokens: Sequence[str], part: str) -> None:
    if len(tokens) < 2:
        raise ValueError(
            f"the {part} text has {len(tokens)} token(s), but needs 2 or more: give more text "
            f"in more lines (it is split at line ends), or a larger data.{part}_fraction"
        )
