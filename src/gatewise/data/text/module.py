"""Running text as language-model batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from gatewise.data.files import read_text
from gatewise.data.module import InOrder, SequenceDataModule
from gatewise.data.text.corpora import CORPORA
from gatewise.data.text.lanes import Lanes, lanes_for
from gatewise.kinds.kind import IGNORED, Input
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.kinds.tokens import END_OF_LINE, UNKNOWN, TokenizerName, Vocabulary, make_tokenizer
from gatewise.settings import AtLeast, Count, DataFiles, Fraction, Positive, rule, split_fractions

log = logging.getLogger(__name__)


Corpus = Literal["king_james"]


@rule
def check_source(corpus: Any, files: Any, train_files: Any, validation_files: Any, test_files: Any) -> None:
    """Raise ValueError where there is no text, or more than one."""
    parts = {"train_files": train_files, "validation_files": validation_files, "test_files": test_files}
    settings = {"corpus": corpus, "files": files, **parts}
    given = {name for name, value in settings.items() if value is not None}
    if given != set(parts) and given - {"test_files"} not in ({"corpus"}, {"files"}):
        got = ", ".join(sorted(given)) or "none of them"
        raise ValueError(
            f"give either corpus ({', '.join(get_args(Corpus))}), or files, or all of train_files, "
            f"validation_files and test_files (the last may stand beside the others); got {got}"
        )


@rule
def check_split(validation_fraction: float, test_fraction: float) -> None:
    """Raise ValueError where no text is left to train on."""
    split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


class LanguageText(SequenceDataModule):
    """Text split into training, validation and test parts, each read in parallel lanes.

    Args:
        corpus: one of ``CORPORA``; or else ``files``, read one after the other. Both are split in order, at
            line ends, by ``validation_fraction`` and ``test_fraction`` of the characters.
        train_files, validation_files, test_files: the three parts as files of their own, instead.
            ``test_files`` may also stand beside ``corpus`` or ``files``, which then give no test part.
        tokenizer: ``word``, ``char`` or ``whitespace`` (text that is tokenised already).
        lowercase: fold the text first.
        min_count: rarer training tokens become ``<unk>``.
        max_vocabulary: size of the vocabulary at most, special tokens included; None means no limit.
        max_tokens: use only the first tokens of the training part; None means all.
        window: steps of one truncated-BPTT batch.
        batch_size: training lanes, over all processes.
        evaluation_lanes: lanes of validation and test.
    """

    facts_type = TextFacts
    load_draws = False
    takes_words = True
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
        lowercase: bool = False,
        min_count: Positive = 1,
        max_vocabulary: Annotated[int, AtLeast(3)] | None = None,
        max_tokens: Annotated[int, AtLeast(2)] | None = None,
        window: Positive = 35,
        evaluation_lanes: Positive = 10,
        folders: Sequence[str | Path] = (),
        batch_size: Positive = 20,
        seed: Count = 0,
    ) -> None:
        super().__init__(batch_size, seed, folders)
        self.corpus = corpus
        given = {"files": files, "train_files": train_files}
        given |= {"validation_files": validation_files, "test_files": test_files}
        self.files = {name: listed for name, listed in given.items() if listed is not None}
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.tokenizer, self.lowercase = tokenizer, lowercase
        self.min_count, self.max_vocabulary, self.max_tokens = min_count, max_vocabulary, max_tokens
        self.window, self.evaluation_lanes = window, evaluation_lanes

    def load(self, test_only: bool) -> None:
        known = self.facts
        tokenizer = (
            make_tokenizer(self.tokenizer, self.lowercase)
            if known is None
            else make_tokenizer(known.tokenizer, known.lowercase)
        )
        if test_only and known is not None and "test_files" in self.files:
            tokens = tokenizer.tokenize(self._text("test_files"))
            _check_length(tokens, "test")
            self.test_ids = torch.from_numpy(known.encoded(tokens))
            return
        parts = self._read()
        train, validation, test = (tokenizer.tokenize(part) for part in parts)
        train = train[: self.max_tokens]
        if len(train) <= self.batch_size:
            raise ValueError(
                f"the training text has {len(train)} token(s), but data.batch_size={self.batch_size} lanes "
                f"need {self.batch_size + 1} or more: give more text or make data.batch_size smaller"
            )
        for part, tokens in (("validation", validation), ("test", test)):
            _check_length(tokens, part)
        if known is None:
            vocabulary = Vocabulary.build(train, tokenizer.specials, self.min_count, self.max_vocabulary)
            self.facts = TextFacts(vocabulary.tokens, vocabulary.counts, self.tokenizer, self.lowercase)
        else:
            vocabulary = Vocabulary(known.vocabulary, known.counts)
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
        return self._windows(self.train_ids, self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_windows(self.validation_ids)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._evaluation_windows(self.test_ids)

    @classmethod
    def read_input(cls, given: Path | str, facts: TextFacts) -> Input:
        """Words, or a file of text, as one row of tokens [1, T], with the next token as target.

        The target after the last one is IGNORED. The last line is left open for a model to go on, unless the
        text ends in a line end. Raises ValueError where the text holds no token; words outside the vocabulary
        are logged.
        """
        text = read_text(given) if isinstance(given, Path) else given
        tokens = facts.tokenized(text.replace("\r\n", "\n"))
        if tokens and tokens[-1] == END_OF_LINE and not text.endswith("\n"):
            del tokens[-1]
        if not tokens:
            raise ValueError(f"the text {text!r} holds no token: give at least one {facts.tokenizer}")
        ids = torch.from_numpy(facts.encoded(tokens))
        vocabulary = set(facts.vocabulary)
        unknown = list(dict.fromkeys(token for token in tokens if token not in vocabulary))
        if unknown:
            more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
            log.warning("not in the vocabulary, read as %s: %s%s", UNKNOWN, ", ".join(unknown[:10]), more)
        targets = torch.cat([ids[1:], ids.new_tensor([IGNORED])])
        return Input(TextBatch(ids[None], targets[None]), str(given))

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        unknown = {
            "validation": float((self.validation_ids == 0).float().mean()),
            "test": float((self.test_ids == 0).float().mean()),
        }
        return {
            "training tokens": len(self.train_ids),
            "validation tokens": len(self.validation_ids),
            "test tokens": len(self.test_ids),
            "tokenizer": self.facts.tokenizer + (", lower case" if self.facts.lowercase else ""),
            "vocabulary": len(self.facts.vocabulary),
            "unknown tokens": ", ".join(f"{share:.2%} of {part}" for part, share in unknown.items()),
        }

    def save_example(self, folder: Path) -> str:
        del folder  # a few words need no file
        assert self.facts is not None
        text = self.facts.decoded(self.test_ids[:60].tolist())
        # From the start of a line, where the split begins, to the first mark that a shell would ask to quote.
        words = "".join(c if c.isalnum() else " " for c in text).split()
        return '"' + " ".join(words[:4]) + '"'

    def _evaluation_windows(self, ids: Tensor) -> DataLoader[Any]:
        _, world_size = self.shard()
        return self._windows(ids, lanes_for(len(ids) - 1, self.evaluation_lanes, world_size))

    def _windows(self, ids: Tensor, lanes: int) -> DataLoader[Any]:
        rank, world_size = self.shard()
        windows = Lanes(ids, lanes, self.window, rank, world_size)
        return DataLoader(windows, sampler=InOrder(len(windows)), batch_size=None)

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
        # A file that lacks its last line end must not run into the next one.
        return "".join(text if text.endswith("\n") else text + "\n" for text in texts)

    def _split(self, text: str) -> tuple[str, str, str]:
        """Training, validation and test part, cut after the line in which each fraction is reached."""

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
