"""Made pictures of coloured shapes, captions by a small grammar, combinations held out for the test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from gatewise.data.images import captioned_set, drawing
from gatewise.data.images.captioned_set import Captioned
from gatewise.data.images.captions import PicturesWithCaptions
from gatewise.data.images.drawing import draw
from gatewise.data.images.stored import stored_once
from gatewise.data.kept import key_of
from gatewise.data.text.parts import PARTS
from gatewise.kinds import scenes as grammar
from gatewise.kinds.scenes import CELLS, COLOURS, FIELDS, NONE, SHAPES, SIZES, sentences, things_of
from gatewise.settings import AtLeast, Positive, rule

MOST_THINGS = 3
"""Things of a scene; each has two at least."""


@rule
def check_picture_size(picture_size: int) -> None:
    """Raise ValueError for pictures that do not have whole cells."""
    if picture_size % 3:
        raise ValueError(
            f"picture_size={picture_size}: three cells of whole pixels lie side by side: choose "
            f"{picture_size - picture_size % 3}"
        )


class SceneCaptions(PicturesWithCaptions):
    """Scenes of two or three shapes on a grid of three by three, made from the seed.

    A shape has a colour, a size and a place, and no two of a scene the same colour and shape. ``held_out``
    pairs of a colour and a shape are in no scene of training and validation, each colour and each shape in
    one of them at most; every second scene of the test is of these pairs alone. The captions of a scene are
    ``captions`` different sentences that are true of it (:func:`gatewise.kinds.scenes.sentences`).

    Args:
        train_size, validation_size, test_size: scenes of each part.
        picture_size: height and width in pixels, a multiple of 3.
        captions: sentences about each scene.
        held_out: how many pairs of a colour and a shape training never sees.
        cache_dir: where the pictures are kept for the next training; None keeps nothing.
        settings: those of :class:`PicturesWithCaptions`.
    """

    def __init__(
        self,
        train_size: Positive = 8000,
        validation_size: Positive = 500,
        test_size: Positive = 1000,
        picture_size: Annotated[int, AtLeast(24)] = 48,
        captions: Annotated[int, AtLeast(1, 8)] = 5,
        held_out: Annotated[int, AtLeast(3, 6)] = 6,
        cache_dir: str | Path | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.part_sizes = {"train": train_size, "validation": validation_size, "test": test_size}
        self.picture_size, self.captions, self.held_out_pairs = picture_size, captions, held_out
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()

    def has_own(self, part: str) -> bool:  # noqa: ARG002
        return True

    def about_pictures(self) -> dict[str, Any]:
        return {"form": "pixels", "other_size": "resize", "other_mode": "convert", "scenes": True}

    def load_all(self) -> None:
        self.take({part: self._part(part) for part in PARTS})

    def load_test(self) -> None:
        self.load_all()  # all of it is made

    def _part(self, part: str) -> Captioned:
        number, count = PARTS.index(part), self.part_sizes[part]
        # Each part has its own draws, so that the size of one changes no other.
        generator = np.random.default_rng([self.seed, 10 + number])
        seen, unseen = held_out_pairs(self.held_out_pairs, self.seed)
        is_unseen = np.arange(count) % 2 == 1 if part == "test" else np.zeros(count, bool)
        scenes = made_scenes(count, seen, generator)
        scenes[is_unseen] = made_scenes(int(is_unseen.sum()), unseen, generator)
        captions = [_some_sentences(scene, self.captions, generator) for scene in scenes.tolist()]
        drawn = generator.spawn(1)[0]
        about = [self.seed, part, count, self.picture_size, self.captions, self.held_out_pairs]
        place = None
        if self.cache_dir is not None:
            key = key_of(about, (grammar, drawing, captioned_set))
            place = self.cache_dir / "pictures" / f"{key}.npy"
        shape = (count, 3, self.picture_size, self.picture_size)
        pictures = stored_once(place, shape, np.uint8, lambda array: draw(scenes, array, drawn))
        names = [f"scene {number}" for number in range(1, count + 1)]
        return Captioned(pictures, names, captions, scenes, is_unseen)

    def describe(self) -> dict[str, str | int]:
        _, unseen = held_out_pairs(self.held_out_pairs, self.seed)
        names = ", ".join(f"{COLOURS[colour]} {SHAPES[shape]}" for shape, colour in unseen)
        return {**super().describe(), "in the test alone": names}


def held_out_pairs(count: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(Pairs of shape and colour that training sees, those that it does not), [M, 2] each."""
    generator = np.random.default_rng([seed, 9])
    shapes, colours = generator.permutation(len(SHAPES)), generator.permutation(len(COLOURS))
    unseen = np.stack([shapes[:count], colours[:count]], 1)
    every = np.stack(np.meshgrid(np.arange(len(SHAPES)), np.arange(len(COLOURS)), indexing="ij"), -1)
    every = every.reshape(-1, 2)
    is_unseen = (every[:, None] == unseen).all(-1).any(1)
    return every[~is_unseen], unseen


def made_scenes(count: int, pairs: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Scenes [count, 3, 5] of two or three things, each of one of the ``pairs`` of shape and colour."""
    scenes = np.full((count, MOST_THINGS, FIELDS), NONE, np.int64)
    scenes[:, :, :2] = pairs[generator.random((count, len(pairs))).argsort(1)[:, :MOST_THINGS]]
    scenes[:, :, 2] = generator.integers(len(SIZES), size=(count, MOST_THINGS))
    cells = generator.random((count, CELLS**2)).argsort(1)[:, :MOST_THINGS]
    scenes[:, :, 3], scenes[:, :, 4] = cells % CELLS, cells // CELLS
    scenes[generator.random(count) < 0.5, -1] = NONE
    return scenes


def _some_sentences(scene: list[list[int]], count: int, generator: np.random.Generator) -> tuple[str, ...]:
    every = list(sentences(things_of(scene)))
    return tuple(every[number] for number in generator.permutation(len(every))[:count])
