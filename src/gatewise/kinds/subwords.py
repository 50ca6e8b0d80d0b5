"""Subwords: byte-level BPE, trained on any text and stored as a string.

Byte-level: every text is a sequence of bytes, each byte is a piece, and merges of them are larger pieces. So
no text has an unknown character, decoding gives the text back exactly, and a model's likelihood of the pieces
is that of the text, which can be compared per character with that of any other unit. What it costs is the 256
bytes in every vocabulary, and pieces that end inside a rare character.

No merge crosses words: letters with their marks and inner apostrophes, digits, other signs, each with the one
space before it; a line end is always a word of its own. A text can thus be cut before any space, and before
or after a line end, and its parts encoded one by one. For the first word of a line to be the same
piece as inside one, a space is put before every line that is not empty, and taken away in decoding.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewise.kinds.tokens import Normalization, Tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HuggingFaceTokenizer

FORMAT = 1
"""Version of the stored string."""
BYTES = 256
LONGEST = 256
"""Bytes of the longest piece: a line of one sign, repeated, is not worth more."""
_LETTERS = r"\p{L}[\p{L}\p{M}\x{200c}\x{200d}]{0,99}"
WORD = (
    rf"\n| ?{_LETTERS}(?:['’]{_LETTERS}){{0,9}}| ?\p{{N}}{{1,99}}| ?[^\s\p{{L}}\p{{N}}]{{1,99}}"
    r"|[^\S\n]{1,99}(?!\S)|[^\S\n]"
)
"""Words that no piece crosses, as the library ``tokenizers`` writes patterns; each character is in one.
The last of several spaces goes with the word after it, as in GPT-2; none is so long that it takes time."""
_BLANK = r"\t\x0b\x0c\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_RUN = re.compile(rf"\n| ?[^{_BLANK}\n]+|[{_BLANK}]+(?![^{_BLANK}\n])|[{_BLANK}]+")
"""Words that no space is between, in one; the library and Python do not call the same signs white space."""
_LINE = re.compile(r"^(?=[^\n])", re.MULTILINE)
_SPACE = re.compile(r"^ ", re.MULTILINE)


@dataclass(frozen=True)
class Subwords:
    """A byte-level BPE: ids are the special tokens, then the 256 bytes, then the merges in their order.

    Make one with :meth:`train` or :meth:`read`.
    """

    specials: tuple[str, ...]
    """Names of ids that no text has and decoding leaves out, such as the end of a sentence."""
    merges: tuple[tuple[int, int], ...]
    """The two pieces of each merge by their ids, from the first merge that is made to the last."""
    lowercase: bool = False
    normalize: str | None = None
    """The Unicode normal form that texts are brought to; None leaves them as they are."""

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        size: int,
        specials: Sequence[str] = (),
        lowercase: bool = False,
        normalize: Normalization | None = None,
        min_count: int = 2,
    ) -> Subwords:
        """The BPE of ``size`` pieces in all, or fewer where no pair comes ``min_count`` times any more.

        The same texts give the same pieces. Raises ValueError for a size without room for the bytes.
        """
        from tokenizers import pre_tokenizers, trainers

        least = len(specials) + BYTES
        if size < least:
            raise ValueError(
                f"a vocabulary of {size} pieces is too small: {BYTES} bytes and {len(specials)} special "
                f"tokens are {least}"
            )
        empty = cls(tuple(specials), (), lowercase, normalize)
        tokenizer = _with_words(_model({}, []))
        trainer = trainers.BpeTrainer(
            vocab_size=size - len(specials),
            min_frequency=min_count,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            max_token_length=LONGEST,
        )
        tokenizer.train_from_iterator((empty._marked(text) for text in texts), trainer)
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        ids = {letter: empty._first + byte for byte, letter in enumerate(_letters())}
        pairs = []
        for left, right in merges:
            pairs.append((ids[left], ids[right]))
            ids.setdefault(left + right, len(specials) + len(ids))
        return cls(tuple(specials), tuple(pairs), lowercase, normalize)

    @classmethod
    def read(cls, stored: str) -> Subwords:
        """Inverse of :meth:`stored`; ValueError, in one line, for a string that no training has given."""
        try:
            values = json.loads(stored)
            if values["format"] != FORMAT:
                raise ValueError(f"format {values['format']!r}, not {FORMAT}")
            merges = np.array(values["merges"] or np.empty((0, 2), np.int64))
            specials, lowercase, normalize = values["specials"], values["lowercase"], values["normalize"]
            if not (isinstance(specials, list) and all(isinstance(name, str) for name in specials)):
                raise TypeError("its special tokens are no names")
            if len(set(specials)) < len(specials):
                raise ValueError("a special token is there twice")
            if not isinstance(lowercase, bool) or normalize not in (None, "NFC", "NFKC"):
                raise TypeError("its lowercase or normalize is none that there is")
            if merges.ndim != 2 or merges.shape[1] != 2 or merges.dtype.kind != "i":
                raise TypeError("its merges are not pairs of numbers")
            made = cls(tuple(specials), tuple(map(tuple, merges.tolist())), lowercase, normalize)
            made._bytes  # noqa: B018 - checks the merges
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise ValueError(f"the stored subwords are damaged: {reason}") from error
        return made

    def stored(self) -> str:
        """All of it as JSON."""
        values = {"format": FORMAT, "specials": self.specials, "lowercase": self.lowercase}
        values |= {"normalize": self.normalize, "merges": self.merges}
        return json.dumps(values, separators=(",", ":"), ensure_ascii=False)

    def __len__(self) -> int:
        """Number of ids."""
        return len(self.specials) + len(self._bytes)

    @functools.cached_property
    def pieces(self) -> tuple[str, ...]:
        """The text of each id, all distinct; of a part of a character its bytes, such as ``<E2 80>``."""
        return (*self.specials, *map(_readable, self._bytes))

    def id_of(self, special: str) -> int:
        """The id of a special token."""
        return self.specials.index(special)

    def prepared(self, text: str) -> str:
        """The text in the normal form and the case in which it is encoded; decoding gives this back."""
        return Tokenizer(self.lowercase, self.normalize).prepared(text)

    def encode(
        self, texts: Sequence[str], dropout: float = 0.0
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """(Ids of all texts one after the other [sum of lengths], lengths [N]) of N texts.

        With ``dropout`` each merge is left out with this probability (Provilkov et al., "BPE-Dropout", ACL
        2020); the library draws without a seed. Runs on all cores and lets other threads run. A text of bytes
        that were no UTF-8 raises ValueError.
        """
        return self.encode_runs([self._marked(text) for text in texts], dropout)

    def runs(self, text: str, begins_line: bool = True) -> list[str]:
        """The words of a text or a piece of it, several in one where no space is between, to be encoded."""
        marked = self._marked(text)
        if not begins_line and marked[:1] == " ":
            marked = marked[1:]
        return _RUN.findall(marked)

    def encode_runs(
        self, runs: Sequence[str], dropout: float = 0.0
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """As :meth:`encode`, of what :meth:`runs` gives: the ids of a text are those of its runs."""
        try:
            encodings = self._tokenizer(dropout).encode_batch_fast(runs, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError) as error:
            raise ValueError("a text has bytes that are not UTF-8: save it with UTF-8 encoding") from error
        lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
        flat = itertools.chain.from_iterable(encoding.ids for encoding in encodings)
        return np.fromiter(flat, np.int32, int(lengths.sum())), lengths

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, without special tokens; what is no whole character becomes U+FFFD."""
        return _SPACE.sub("", self._joined(ids).decode("utf-8", "replace"))

    def characters(self, ids: Iterable[int]) -> int:
        """How many characters begin in the bytes of ids, the spaces before lines included."""
        return sum(byte & 0xC0 != 0x80 for byte in self._joined(ids))

    def words(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """[N]: which word each of N ids belongs to, counted from 0; a special token is one of its own."""
        first = self._first
        is_special = np.array([i < first for i in ids], dtype=bool)
        text = self._joined(ids).decode("utf-8", "surrogateescape")
        # The library takes no half characters, and the pattern takes any sign like another.
        whole = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
        spans = self._tokenizer(0.0).pre_tokenizer.pre_tokenize_str(whole) if whole else []
        ends = _byte_ends(text)[[end - 1 for _, (_, end) in spans]]
        sizes = np.array([0 if i < first else len(self._bytes[i - first]) for i in ids], dtype=np.int64)
        starts = sizes.cumsum() - sizes
        word = np.searchsorted(ends, starts, "right")
        begins = np.diff(word, prepend=-1) != 0
        begins |= is_special | np.roll(is_special, 1) & (np.arange(len(ids)) > 0)
        numbers: NDArray[np.int64] = begins.cumsum() - 1
        return numbers

    @property
    def _first(self) -> int:
        """The id of byte 0."""
        return len(self.specials)

    @functools.cached_property
    def _bytes(self) -> list[bytes]:
        """The bytes of each id after the special tokens; ValueError for merges that cannot be made."""
        pieces = [bytes([byte]) for byte in range(BYTES)]
        known = set(pieces)
        if len(set(self.merges)) < len(self.merges):
            raise ValueError("a merge is there twice")
        for number, pair in enumerate(self.merges, 1):
            left, right = (index - self._first for index in pair)
            if not (0 <= left < len(pieces) and 0 <= right < len(pieces)):
                raise ValueError(f"merge {number} is of a piece that there is not yet")
            piece = pieces[left] + pieces[right]
            if len(piece) > LONGEST:
                raise ValueError(f"merge {number} gives a piece of {len(piece)} bytes, and {LONGEST} may be")
            if piece not in known:  # two merges may give the same
                known.add(piece)
                pieces.append(piece)
        return pieces

    def _marked(self, text: str) -> str:
        """The text as it is encoded: with a space before every line that is not empty."""
        return _LINE.sub(" ", self.prepared(text))

    def _joined(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids, without special tokens."""
        first = self._first
        return b"".join(self._bytes[i - first] for i in ids if i >= first)

    def _tokenizer(self, dropout: float) -> HuggingFaceTokenizer:
        made = self._made
        if dropout not in made:
            letters = _letters()
            names = ["".join(letters[byte] for byte in piece) for piece in self._bytes]
            ids = {name: self._first + number for number, name in enumerate(names)}
            merges = [(names[left - self._first], names[right - self._first]) for left, right in self.merges]
            made[dropout] = _with_words(_model(ids, merges, dropout or None))
        return made[dropout]

    @functools.cached_property
    def _made(self) -> dict[float, HuggingFaceTokenizer]:
        """The library's tokenizers by their dropout."""
        return {}


class PieceTokenizer(Tokenizer):
    """Subwords as tokens: the text of each piece."""

    specials = ()

    def __init__(self, subwords: Subwords) -> None:
        super().__init__(subwords.lowercase, subwords.normalize)
        self.subwords = subwords

    def tokenize(self, text: str) -> list[str]:
        ids, _ = self.subwords.encode([text])
        return [self.subwords.pieces[i] for i in ids]

    def detokenize(self, tokens: Iterable[str]) -> str:
        ids = {piece: i for i, piece in enumerate(self.subwords.pieces)}
        return self.subwords.decode(ids[token] for token in tokens)


@functools.lru_cache(maxsize=4)
def read_subwords(stored: str) -> Subwords:
    """As :meth:`Subwords.read`, once for all who ask for the same."""
    return Subwords.read(stored)


def _model(ids: dict[str, int], merges: list[tuple[str, str]], dropout: float | None = None) -> Any:
    from tokenizers import models

    return models.BPE(vocab=ids, merges=merges, dropout=dropout) if ids else models.BPE()


def _with_words(model: Any) -> HuggingFaceTokenizer:
    """The library's tokenizer of a model, which splits a text into words of bytes."""
    from tokenizers import Regex, pre_tokenizers
    from tokenizers import Tokenizer as Made

    made = Made(model)
    words = pre_tokenizers.Split(Regex(WORD), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([words, letters])
    return made


@functools.cache
def _letters() -> list[str]:
    """The letter that stands for each byte in the library: of those that print, their own."""
    printing = {
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    }
    others = itertools.count(BYTES)
    return [chr(byte if byte in printing else next(others)) for byte in range(BYTES)]


def _readable(piece: bytes) -> str:
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return f"<{piece.hex(' ').upper()}>"


def _byte_ends(text: str) -> NDArray[np.int64]:
    """Where each character ends in the bytes of a text, in which a byte that is no UTF-8 is a character."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    sizes = 1 + (codes > 0x7F).astype(np.int64) + (codes > 0x7FF) + (codes > 0xFFFF)
    sizes[(codes >= 0xDC80) & (codes <= 0xDCFF)] = 1
    return sizes.cumsum()
