"""Pictures with their captions, and a data set of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from gatewise.data.module import BatchDataset
from gatewise.data.text.parallel_set import Numbers, numbered, padded, started
from gatewise.kinds.captions import CaptionBatch, CaptionFacts, References

THUMBNAIL = 32
"""Height and width, at most, at which pictures are compared."""
ROWS = 512
"""Pictures that are worked on at once."""


@dataclass(frozen=True)
class Captioned:
    """N pictures and their captions."""

    pictures: NDArray[Any]
    """[N, C, H, W]: uint8 pixels, or floats of maps; maybe a memory map."""
    names: Sequence[str]
    captions: Sequence[tuple[str, ...]]
    """Every right caption of each picture."""
    scenes: NDArray[np.int64] | None = None
    """[N, K, 5]: the things of each scene, see :mod:`gatewise.kinds.scenes`."""
    unseen: NDArray[np.bool_] | None = None
    """[N]: whether a scene has combinations that training has not."""

    def __len__(self) -> int:
        return len(self.names)

    def select(self, chosen: NDArray[np.int64]) -> Captioned:
        """Some of the pictures, in this order."""
        return Captioned(
            _Chosen(self.pictures, chosen),  # type: ignore[arg-type]
            [self.names[i] for i in chosen],
            [self.captions[i] for i in chosen],
            None if self.scenes is None else self.scenes[chosen],
            None if self.unseen is None else self.unseen[chosen],
        )


class _Chosen:
    """Some rows of an array, none of which is read before it is asked for."""

    def __init__(self, array: Any, chosen: NDArray[np.int64]) -> None:
        self.array, self.chosen = array, chosen
        self.shape = (len(chosen), *array.shape[1:])

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        found: NDArray[Any] = self.array[self.chosen[index]]
        return found


def scaler(pictures: NDArray[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of pictures [N, C, H, W]; 1 for one that is the same."""
    count, total, squares = 0, 0.0, 0.0
    for first in range(0, len(pictures), ROWS):
        part = np.asarray(pictures[first : first + ROWS], np.float64)
        count += part.size // part.shape[1]
        total = total + part.sum((0, 2, 3))
        squares = squares + np.square(part).sum((0, 2, 3))
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    return tuple(np.atleast_1d(mean).tolist()), tuple(np.where(std > 1e-6, std, 1.0).tolist())


class CaptionSet(BatchDataset):
    """Pictures with one caption each: in training every caption of a picture is an example of its own.

    ``dataset[indices]`` pads the captions to the longest of the batch. A part that is ``scored`` has each
    picture once, with the first of its captions, and in its batches everything that scores compare; with
    ``trained_on``, the nearest of those pictures too.
    """

    def __init__(
        self, part: Captioned, facts: CaptionFacts, scored: bool, trained_on: Captioned | None = None
    ) -> None:
        self.part, self.scored = part, scored
        counts = [1 if scored else len(captions) for captions in part.captions]
        self.owners = np.repeat(np.arange(len(part)), counts)
        """[E]: the picture of each example."""
        texts = [text for captions in part.captions for text in (captions[:1] if scored else captions)]
        self.numbers: Numbers = numbered(texts, facts.target)
        self.lengths = self.numbers.lengths
        """[E]: tokens of each caption, its end counted."""
        self._starts = self.numbers.starts
        self._references = References(part.captions) if scored else None
        self._nearest = None if trained_on is None else NearestPicture(trained_on)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, indices: list[int]) -> CaptionBatch:
        chosen = np.asarray(indices, dtype=np.int64)
        owners = self.owners[chosen]
        pictures = torch.from_numpy(np.array(self.part.pictures[owners]))
        ids, lengths = padded(self.numbers, self._starts, chosen)
        batch = CaptionBatch(pictures, started(ids), lengths + 1, torch.from_numpy(chosen))
        if not self.scored:
            return batch
        part = self.part
        return batch._replace(
            names=[part.names[i] for i in owners],
            references=[tuple(part.captions[i]) for i in owners],
            all_references=self._references,
            nearest=None if self._nearest is None else self._nearest.captions(pictures),
            scenes=None if part.scenes is None else torch.from_numpy(part.scenes[owners]),
            unseen=None if part.unseen is None else torch.from_numpy(part.unseen[owners]),
        )


class NearestPicture:
    """Finds the training picture whose pixels, or features, differ least from those of another.

    Pictures are compared by squared differences, at ``THUMBNAIL`` pixels of height and width at most.
    """

    def __init__(self, trained_on: Captioned) -> None:
        self.part = trained_on
        self._small: Tensor | None = None

    def captions(self, pictures: Tensor) -> list[str]:
        """The first caption of the nearest training picture of each of [B, C, H, W]."""
        if self._small is None:  # not before a test asks for it
            whole = self.part.pictures
            rows = (whole[first : first + ROWS] for first in range(0, len(whole), ROWS))
            self._small = torch.cat([_small(torch.from_numpy(np.array(row))) for row in rows])
        own, best = _small(pictures), []
        for part in own.split(ROWS):
            # Without the own square, which is the same for all.
            distances = self._small.square().sum(1) - 2 * part @ self._small.T
            best += distances.argmin(1).tolist()
        return [self.part.captions[number][0] for number in best]


def _small(pictures: Tensor) -> Tensor:
    """Pictures [B, C, H, W] as rows of numbers, of no more places than are compared."""
    height, width = (min(side, THUMBNAIL) for side in pictures.shape[2:])
    scaled = pictures.float()
    if (height, width) != tuple(pictures.shape[2:]):
        scaled = F.adaptive_avg_pool2d(scaled, (height, width))
    return scaled.flatten(1)
