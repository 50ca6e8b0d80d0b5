"""The base of data that is pictures with captions: their vocabulary, their parts, what a prediction reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gatewise.data.images.captioned_set import Captioned, CaptionSet, scaler
from gatewise.data.images.maps import read_maps
from gatewise.data.images.pictures import Wanted, png_of, read_picture
from gatewise.data.text.by_length import TextsByLength
from gatewise.data.text.vocabularies import language_of
from gatewise.kinds.captions import CaptionBatch, CaptionFacts
from gatewise.kinds.kind import Input
from gatewise.kinds.parallel_text import END_ID, START_ID, UNKNOWN_ID, Language, Units, in_one_line
from gatewise.kinds.tokens import Normalization
from gatewise.settings import AtLeast, Positive, rule


@rule
def check_size(units: str, vocabulary_size: int | None) -> None:
    """Raise ValueError for subwords without a size."""
    if units == "subword" and vocabulary_size is None:
        raise ValueError("subwords need a vocabulary_size, such as 4000: it says how long they become")


class PicturesWithCaptions(TextsByLength):
    """Pictures with captions in three parts; in training every caption of a picture is an example of its own.

    A subclass implements :meth:`load_all`, which calls :meth:`take`, and :meth:`load_test`.

    Args:
        units: ``word``, ``subword``, ``whitespace`` (for captions that are split already) or ``char``.
        vocabulary_size: largest size of the vocabulary, special tokens counted; None means no limit.
        min_count: words or characters that occur less often in training become ``<unk>``.
        lowercase, normalize: the case and the Unicode normal form in which captions are written.
        nearest: whether the caption of the nearest training picture is scored beside a test.
        batch_size: examples of a step at most, over all processes; their captions are about as long.
        settings: the others of :class:`gatewise.data.text.by_length.TextsByLength`; tokens are of captions.
    """

    facts_type = CaptionFacts
    takes_words = False
    lines_at_once = 1
    baseline = ("nearest picture", "pictures")
    decided: ClassVar[tuple[str, ...]] = ("units", "vocabulary_size", "min_count", "lowercase", "normalize")
    facts: CaptionFacts | None
    train_data: CaptionSet
    validation_data: CaptionSet
    test_data: CaptionSet

    def __init__(
        self,
        units: Units = "word",
        vocabulary_size: Annotated[int, AtLeast(4)] | None = None,
        min_count: Positive = 1,
        lowercase: bool = True,
        normalize: Normalization | None = "NFC",
        nearest: bool = True,
        batch_size: Positive = 64,
        **settings: Any,
    ) -> None:
        super().__init__(batch_size=batch_size, **settings)
        self.units, self.vocabulary_size, self.min_count = units, vocabulary_size, min_count
        self.lowercase, self.normalize = lowercase, normalize
        self.nearest = nearest

    def about_pictures(self) -> dict[str, Any]:
        """The facts of the pictures, without what is learnt of them."""
        raise NotImplementedError

    def take(self, parts: Mapping[str, Captioned]) -> None:
        """Fill ``facts``, unless they are set, and the three data sets."""
        train = parts["train"]
        if self.facts is None:
            self.facts = self._learnt(train)
        facts = self.facts
        self.train_data = CaptionSet(train, facts, scored=False)
        self.validation_data = self.scored(parts["validation"])
        self.test_data = CaptionSet(parts["test"], facts, True, train if self.nearest else None)

    def scored(self, part: Captioned) -> CaptionSet:
        """A part that is scored, by facts that are set."""
        assert self.facts is not None
        return CaptionSet(part, self.facts, scored=True)

    def _learnt(self, train: Captioned) -> CaptionFacts:
        texts = [in_one_line(text) for captions in train.captions for text in captions]
        language = language_of(
            texts,
            "captions",
            self.units,
            self.vocabulary_size,
            self.min_count,
            self.lowercase,
            self.normalize,
        )
        counted = Counter(texts)
        mean, std = scaler(train.pictures)
        ids = [language.ids(text) for text in counted]
        return CaptionFacts(
            **self.about_pictures(),
            channels=train.pictures.shape[1],
            height=train.pictures.shape[2],
            width=train.pictures.shape[3],
            mean=mean,
            std=std,
            vocabulary=language.vocabulary,
            counts=_counts(language, ids, list(counted.values())),
            units=self.units,
            lowercase=self.lowercase,
            normalize=self.normalize,
            longest=max(map(len, ids)) + 1,
            most_frequent=min(counted, key=lambda text: (-counted[text], text)),
            subwords=language.stored_subwords,
        )

    @classmethod
    def read_input(cls, given: Path | str, facts: CaptionFacts) -> Input:
        """A picture (PNG, JPEG), or maps of one or more (``.npz``), of the form that the run was trained on.

        Raises ValueError if the file cannot be used.
        """
        path = Path(given)
        pictures: NDArray[Any]
        is_maps = path.suffix.lower() == ".npz"
        if is_maps != (facts.form == "maps"):
            wanted = "maps of features (.npz)" if facts.form == "maps" else "pictures (PNG, JPEG)"
            raise ValueError(f"input={given}: the run was trained on {wanted}: give it one of these")
        if is_maps:
            pictures, numbers = read_maps([path], (facts.channels, facts.height, facts.width))
            names = list(numbers)
        else:
            pictures, names = read_picture(path, wanted_by(facts))[None], [path.name]
        count = len(names)
        batch = CaptionBatch(
            torch.from_numpy(pictures),
            torch.tensor([[START_ID, END_ID]]).expand(count, -1),
            torch.full((count,), 2),
            torch.arange(count),
            names,
        )
        return Input(batch, path.name)

    def describe(self) -> dict[str, str | int]:
        assert self.facts is not None, "describe() before setup()"
        facts = self.facts
        rows: dict[str, str | int] = {}
        for name, part in self.parts().items():
            captions = sum(map(len, part.part.captions))
            rows[f"{name} pictures"] = f"{len(part.part):,} with {captions:,} captions"
        kind = "pixels" if facts.form == "pixels" else "places"
        rows["pictures"] = f"{facts.channels} × {facts.height} × {facts.width} {kind}"
        lengths = self.train_data.lengths
        rows["captions"] = (
            f"{facts.units}; half of them have up to {int(np.median(lengths)) - 1} tokens, all up to "
            f"{int(lengths.max()) - 1}"
        )
        rows["vocabulary"] = len(facts.vocabulary)
        for name, part in list(self.parts().items())[1:]:
            unknown = float((part.numbers.ids == UNKNOWN_ID).mean())
            if unknown:
                rows[f"unknown in {name}"] = f"{unknown:.2%} of the tokens"
        return rows

    def save_example(self, folder: Path) -> str:
        assert self.facts is not None
        picture = np.array(self.test_data.part.pictures[:1])[0]
        path = folder / ("example.png" if self.facts.form == "pixels" else "example.npz")
        if self.facts.form == "pixels":
            path.write_bytes(png_of(picture))
        else:
            np.savez(path, maps=picture)
        return str(path)


def wanted_by(facts: CaptionFacts) -> Wanted:
    """What the pictures of a run are brought to."""
    return Wanted(
        facts.channels,
        facts.height,
        facts.width,
        facts.other_size,  # type: ignore[arg-type]  # checked with the facts
        facts.other_mode,  # type: ignore[arg-type]
    )


def _counts(language: Language, ids: Sequence[NDArray[np.int64]], times: Sequence[int]) -> tuple[int, ...]:
    """How often each token comes in captions that come so many times each, an end after each of them."""
    counts = np.zeros(len(language.vocabulary), np.int64)
    flat = np.concatenate(ids)
    np.add.at(counts, flat, np.repeat(np.asarray(times), [len(each) for each in ids]))
    counts[END_ID] += sum(times)
    return tuple(counts.tolist())
