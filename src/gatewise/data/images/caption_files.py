"""Own pictures, or maps of their features, with files of captions in the forms of COCO and Flickr."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatewise.data.files import digest, find_folder
from gatewise.data.images import pictures as reading
from gatewise.data.images.caption_formats import Described, read_captions, read_names
from gatewise.data.images.captioned_set import Captioned
from gatewise.data.images.captions import PicturesWithCaptions
from gatewise.data.images.maps import read_maps
from gatewise.data.images.pictures import Wanted, read_picture
from gatewise.data.images.stored import stored_once
from gatewise.data.kept import key_of
from gatewise.data.text.by_length import check_split as check_split  # of these settings too
from gatewise.data.text.parts import PARTS, draw_evenly, held_out_in_turn
from gatewise.kinds.captions import OtherMode, OtherSize
from gatewise.settings import DataFile, DataFiles, Folder, Fraction, Positive, did_you_mean, rule

log = logging.getLogger(__name__)

Missing = Literal["refuse", "leave_out"]
_READERS = 4
"""Threads that read pictures: decoding takes place outside of Python."""


@rule
def check_source(files: Any, images: Any, maps: Any) -> None:
    """Raise ValueError if there are no captions, or no pictures, or two sources of them."""
    if files is None:
        raise ValueError(
            "files must name files of captions: COCO's captions_*.json, Flickr's captions.txt or "
            "Flickr8k.token.txt, or a CSV with the columns image and caption"
        )
    if (images is None) == (maps is None):
        raise ValueError(
            "give one of images (a folder of PNG and JPEG files) and maps (.npz files of features), got "
            f"{'neither' if images is None else 'both'}"
        )


@rule
def check_parts(
    images: Any, validation_files: Any, validation_images: Any, validation_maps: Any, validation_list: Any,
    test_files: Any, test_images: Any, test_maps: Any, test_list: Any,
) -> None:  # fmt: skip
    """Raise ValueError for a part with pictures of its own and no captions, or chosen in two ways."""
    parts = {
        "validation": (validation_files, validation_images, validation_maps, validation_list),
        "test": (test_files, test_images, test_maps, test_list),
    }
    for part, (own, folder, features, chosen) in parts.items():
        if own is None and (folder is not None or features is not None):
            name = f"{part}_{'images' if folder is not None else 'maps'}"
            raise ValueError(f"{name} needs captions of their own: give {part}_files too")
        if own is not None and chosen is not None:
            raise ValueError(f"{part}_files and {part}_list are two sources of one part: give one of them")
        if (folder if images is None else features) is not None:
            kinds = ("maps", "images") if images is None else ("images", "maps")
            raise ValueError(f"{part}_{kinds[1]}: the training part has {kinds[0]}: give {part}_{kinds[0]}")


class CaptionFiles(PicturesWithCaptions):
    """Pictures of a folder, or maps of features, with files of captions.

    All captions of a picture are in one part. A part without files or a list of its own is a share of the
    pictures, drawn with the seed.

    Args:
        files: of captions, see :mod:`gatewise.data.images.caption_formats`.
        images: the folder in which they name PNG and JPEG files; give this or ``maps``.
        maps: ``.npz`` files of features, see :mod:`gatewise.data.images.maps`.
        validation_files, validation_images, validation_maps, test_files, test_images, test_maps: parts of
            their own; pictures that are not named come from ``images`` or ``maps``.
        validation_list, test_list: or a file that names a picture of ``files`` a line, as Flickr8k's
            ``Flickr_8k.testImages.txt``.
        validation_fraction, test_fraction: shares of the pictures to hold out.
        missing: what is done with captions whose picture is not there: ``refuse`` or ``leave_out``.
        channels: 1 for grey or 3 for colours.
        height, width: pixels that every picture is brought to.
        other_size: what is done with a picture of another size: ``resize`` stretches it, ``crop`` takes its
            middle, ``refuse`` ends with a message.
        other_mode: what is done with one of other channels: ``convert`` or ``refuse``.
        cache_dir: where decoded pictures are kept for the next training, by content; None keeps nothing.
        settings: those of :class:`PicturesWithCaptions`.
    """

    decided = (*PicturesWithCaptions.decided, "channels", "height", "width", "other_size", "other_mode")

    def __init__(
        self,
        files: DataFiles | None = None,
        images: Folder | None = None,
        maps: DataFiles | None = None,
        validation_files: DataFiles | None = None,
        validation_images: Folder | None = None,
        validation_maps: DataFiles | None = None,
        validation_list: DataFile | None = None,
        test_files: DataFiles | None = None,
        test_images: Folder | None = None,
        test_maps: DataFiles | None = None,
        test_list: DataFile | None = None,
        validation_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        missing: Missing = "refuse",
        channels: Literal[1, 3] = 3,
        height: Positive = 64,
        width: Positive = 64,
        other_size: OtherSize = "resize",
        other_mode: OtherMode = "convert",
        cache_dir: str | Path | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.sources = {
            "train": (files, images, maps),
            "validation": (validation_files, validation_images, validation_maps),
            "test": (test_files, test_images, test_maps),
        }
        self.lists = {"validation": validation_list, "test": test_list}
        self.shares = {"test": test_fraction, "validation": validation_fraction}
        self.missing = missing
        self.wanted = Wanted(channels, height, width, other_size, other_mode)
        self.cache_dir = None if cache_dir is None else Path(cache_dir).expanduser()
        self.left_out = 0
        """Pictures that captions name and that are not there."""

    def has_own(self, part: str) -> bool:
        return self.sources[part][0] is not None

    def about_pictures(self) -> dict[str, Any]:
        form = "maps" if self.sources["train"][2] is not None else "pixels"
        return {
            "form": form,
            "other_size": self.wanted.other_size,
            "other_mode": self.wanted.other_mode,
        }

    def load_test(self) -> None:
        assert self.facts is not None
        self.test_data = self.scored(self._read("test"))

    def load_all(self) -> None:
        self.left_out = 0
        whole = self._read("train")
        parts = {part: self._read(part) for part in PARTS[1:] if self.has_own(part)}
        left = np.arange(len(whole))
        for part, file in self.lists.items():
            if file is not None:
                chosen = self._listed(whole, file, f"{part}_list")
                parts[part], left = whole.select(chosen), np.setdiff1d(left, chosen)
        wanted = {name: round(share * len(left)) for name, share in self.shares.items() if name not in parts}
        for part, drawn, rest in held_out_in_turn(left, wanted, self.seed, draw_evenly):
            if not len(drawn):
                raise ValueError(
                    f"data.{part}_fraction={self.shares[part]} of {len(whole)} pictures leaves none for "
                    f"{part}: give more pictures, or a larger share"
                )
            parts[part], left = whole.select(drawn), rest
        if not len(left):
            raise ValueError("no picture is left to train on: give more, or hold out fewer")
        parts["train"] = whole.select(left)
        self.take(parts)

    def _listed(self, whole: Captioned, file: str, setting: str) -> NDArray[np.int64]:
        """The numbers of the pictures that a list names."""
        numbers = {name: number for number, name in enumerate(whole.names)}
        chosen = []
        for name, place in read_names(self.find(file, setting)).items():
            if name not in numbers:
                if self.missing == "refuse":
                    raise ValueError(
                        f"{place}: {name} has no captions{did_you_mean(name, numbers)}: correct the list, or "
                        f"set data.missing=leave_out"
                    )
                continue
            chosen.append(numbers[name])
        return np.sort(np.asarray(chosen, np.int64))

    def _read(self, part: str) -> Captioned:
        prefix = "" if part == "train" else f"{part}_"
        files, folder, maps = self.sources[part]
        assert files is not None
        described = _joined([read_captions(self.find(file, f"{prefix}files")) for file in files])
        if maps is None and folder is None:  # those of the training part
            prefix, (_, folder, maps) = "", self.sources["train"]
        if maps is not None:
            return self._with_maps(described, [self.find(file, f"{prefix}maps") for file in maps])
        assert folder is not None
        return self._with_pictures(described, find_folder(folder, self.folders, f"data.{prefix}images"))

    def _with_maps(self, described: Sequence[Described], paths: Sequence[Path]) -> Captioned:
        facts = self.facts
        shape = None if facts is None else (facts.channels, facts.height, facts.width)
        features, numbers = read_maps(paths, shape)
        there = list(self._there(described, numbers, f"has no map in {paths[0].name}"))
        chosen = np.asarray([numbers[each.name] for each in there], np.int64)
        captions = [tuple(each.captions) for each in there]
        return Captioned(features[chosen], [each.name for each in there], captions)

    def _with_pictures(self, described: Sequence[Described], folder: Path) -> Captioned:
        inside = {str(path.relative_to(folder)): path for path in _files(folder)}
        there = list(self._there(described, inside, f"is not in {folder}"))
        paths = [inside[each.name] for each in there]
        wanted = self.wanted
        place = None
        if self.cache_dir is not None:
            about = [repr(wanted), list(map(digest, paths))]
            place = self.cache_dir / "pictures" / f"{key_of(about, (reading,))}.npy"

        def fill(array: NDArray[Any]) -> None:
            with ThreadPoolExecutor(_READERS) as threads:
                for number, pixels in enumerate(threads.map(lambda path: read_picture(path, wanted), paths)):
                    array[number] = pixels

        shape = (len(there), wanted.channels, wanted.height, wanted.width)
        pixels = stored_once(place, shape, np.uint8, fill)
        return Captioned(pixels, [each.name for each in there], [tuple(each.captions) for each in there])

    def _there(
        self, described: Sequence[Described], known: Mapping[str, Any], problem: str
    ) -> Iterator[Described]:
        """The pictures that are ``known``; ValueError for one that is not, or it is left out."""
        left_out = []
        for each in described:
            if each.name in known:
                yield each
            elif self.missing == "refuse":
                raise ValueError(
                    f"{each.place}: the picture {each.name} {problem}{did_you_mean(each.name, known)}: add "
                    f"it, or set data.missing=leave_out"
                )
            else:
                left_out.append(each.name)
        self.left_out += len(left_out)
        if len(left_out) == len(described):
            raise ValueError(f"{described[0].place}: no picture of its captions is there: check the names")
        if left_out:
            log.warning(
                "%d of %d pictures that captions name are not there, as %s: left out",
                *(len(left_out), len(described), left_out[0]),
            )

    def describe(self) -> dict[str, str | int]:
        rows = super().describe()
        if self.left_out:
            rows["left out"] = f"{self.left_out} picture(s) that captions name and that are not there"
        return rows


def _joined(parts: Sequence[Sequence[Described]]) -> list[Described]:
    """The pictures of several files; one that is in several has the captions of all."""
    found: dict[str, Described] = {}
    for each in (each for part in parts for each in part):
        if each.name in found:
            found[each.name].captions.extend(each.captions)
        else:
            found[each.name] = each
    return list(found.values())


def _files(folder: Path) -> Iterator[Path]:
    """The pictures in a folder, and in the folders in it."""
    return (path for path in folder.rglob("*") if path.suffix.lower() in reading.SUFFIXES and path.is_file())
