"""Pictures, or maps of their features, and sentences that say what is on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, get_args

from gatewise.kinds.kind import Facts
from gatewise.kinds.parallel_text import SPECIALS, Language, Units
from gatewise.kinds.subwords import Subwords
from gatewise.kinds.tokens import Normalization
from gatewise.settings import choice

if TYPE_CHECKING:
    from torch import Tensor

Form = Literal["pixels", "maps"]
"""What is read: pixels of 0 to 255, or maps of features that another network has made of pictures."""
OtherSize = Literal["resize", "crop", "refuse"]
"""What is done with a picture of another size: stretched to it, its middle, or nothing."""
OtherMode = Literal["convert", "refuse"]
"""What is done with a picture of other channels, as of grey for one of colours."""


@dataclass(frozen=True)
class CaptionFacts(Facts):
    """Pictures and their captions."""

    kind: ClassVar[str] = "captions"
    summary: ClassVar[str] = "pictures and their captions"

    form: str
    """``pixels`` or ``maps``."""
    channels: int
    """1 for pictures of grey, 3 of colours; or those of the maps."""
    height: int
    width: int
    """Pixels, or places of the maps, of each picture."""
    mean: tuple[float, ...]
    """Mean of each channel over the training pictures; inputs are scaled to (x - mean) / std."""
    std: tuple[float, ...]
    other_size: str
    """What is done with a picture of another size: ``resize``, ``crop`` or ``refuse``."""
    other_mode: str
    """What is done with a picture of other channels: ``convert`` or ``refuse``."""
    vocabulary: tuple[str, ...]
    """Token of each id; the first are ``SPECIALS``."""
    counts: tuple[int, ...]
    """How often each token occurs in the training captions, an end after each caption counted."""
    units: str
    """``subword``, ``word``, ``whitespace`` or ``char``."""
    lowercase: bool
    normalize: str | None
    """The Unicode normal form of every token; None where the text was left as it is."""
    longest: int
    """Tokens of the longest training caption, its end counted: none longer was ever seen."""
    most_frequent: str
    """The training caption that comes most often; of several the first in the alphabet."""
    scenes: bool = False
    """Whether the pictures are made scenes, of which a sentence can be found true or not."""
    subwords: str | None = None
    """What the subwords are made from, where they are the units."""

    def check(self) -> None:
        """Raise ValueError for values that no training can have given, as in a damaged file."""
        choice("form", self.form, get_args(Form))
        choice("other_size", self.other_size, get_args(OtherSize))
        choice("other_mode", self.other_mode, get_args(OtherMode))
        choice("units", self.units, get_args(Units))
        for name in ("channels", "height", "width", "longest"):
            if getattr(self, name) < 1:
                raise self.wrong(name, "must be at least 1")
        if self.form == "pixels" and self.channels not in (1, 3):
            raise self.wrong("channels", "must be 1 or 3 of pixels")
        self.check_scaler(self.channels, "channels")
        self.check_distinct("vocabulary")
        if self.vocabulary[: len(SPECIALS)] != SPECIALS:
            raise self.wrong("vocabulary", f"must begin with {', '.join(SPECIALS)}")
        self.check_counts("counts", len(self.vocabulary), "words of the vocabulary")
        if (self.subwords is not None) != (self.units == "subword"):
            raise self.wrong("subwords", "must be there where subwords are the units, else null")
        if self.subwords is not None and Subwords.read(self.subwords).pieces != self.vocabulary:
            raise self.wrong("vocabulary", "must be the pieces of subwords")
        if self.normalize not in (None, *get_args(Normalization)):
            raise self.wrong("normalize", f"must be null or one of {', '.join(get_args(Normalization))}")

    @cached_property
    def target(self) -> Language:
        """The language of the captions."""
        return Language(
            "captions", self.vocabulary, self.units, self.lowercase, self.normalize, self.subwords
        )


class References:
    """The right captions of all pictures of a part, which say how rare a word of theirs is.

    No sequence of its own: those are copied with every batch.
    """

    def __init__(self, captions: Sequence[Sequence[str]]) -> None:
        self.captions = captions


class CaptionBatch(NamedTuple):
    """B pictures, and a caption of each as token ids, padded at its end with 0."""

    pictures: Tensor
    """[B, C, H, W]: uint8 pixels, or floats of maps, not scaled yet."""
    target: Tensor
    """[B, T] int64: ``START_ID``, the tokens of each caption, ``END_ID``; [B, 2] where none is known."""
    target_lengths: Tensor
    """[B] int64: tokens of each caption, start and end counted, without padding."""
    indices: Tensor
    """[B] int64: the number of each example in its part, or picture in its file, from 0."""
    names: Sequence[str] | None = None
    """What each picture is called; None in training."""
    references: Sequence[tuple[str, ...]] | None = None
    """Every right caption of each picture, as it was read; None in training and where none is known."""
    all_references: References | None = None
    """Those of the whole part."""
    nearest: Sequence[str] | None = None
    """The first caption of the training picture nearest to each; None where that is not looked for."""
    scenes: Tensor | None = None
    """[B, K, 5] int64: the things of each scene, see :mod:`gatewise.kinds.scenes`."""
    unseen: Tensor | None = None
    """[B] bool: whether a scene has combinations of colour and shape that training has not."""
