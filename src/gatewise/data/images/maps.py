"""Maps of features that another network has made of pictures, from ``.npz`` files.

A file has the array ``maps``, [N, C, H, W] of any kind of float, or [C, H, W] for one picture, and ``names``
[N], what the pictures are called in the file of captions; without names a single map is called by its file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]


def read_maps(
    paths: Sequence[Path], shape: Shape | None = None
) -> tuple[NDArray[np.float32], dict[str, int]]:
    """The maps [N, C, H, W] of all files, and the number of each by name.

    Raises ValueError, with the file, for one that cannot be read, or whose maps are of another shape than
    ``shape`` or those before, are not finite, or lack a name or have one twice.
    """
    found: list[NDArray[np.float32]] = []
    numbers: dict[str, int] = {}
    first = paths[0]
    for path in paths:
        maps, names = _read(path)
        if shape is None:
            shape = maps.shape[1:]
        if maps.shape[1:] != shape:
            of = "those of the training" if not found else f"those of {first}"
            raise ValueError(f"{path}: maps of {_said(maps.shape[1:])}, but {of} are of {_said(shape)}")
        if not np.isfinite(maps).all():
            number = int(np.flatnonzero(~np.isfinite(maps).all(axis=(1, 2, 3)))[0])
            raise ValueError(f"{path}: the map of {names[number]!r} has a number that is not finite")
        for name in names:
            if name in numbers:
                raise ValueError(f"{path}: a second map of {name!r}: leave one out")
            numbers[name] = len(numbers)
        found.append(maps)
    return found[0] if len(found) == 1 else np.concatenate(found), numbers


def _read(path: Path) -> tuple[NDArray[np.float32], list[str]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            if "maps" not in archive.files:
                held = ", ".join(archive.files) or "nothing"
                raise ValueError(f"it has no array 'maps' [pictures, channels, rows, columns], but {held}")
            maps = np.asarray(archive["maps"])
            names = archive["names"].tolist() if "names" in archive.files else None
    except (OSError, ValueError, KeyError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: {str(error) or 'it is no .npz file'}") from None
    maps = maps[None] if maps.ndim == 3 else maps
    if maps.ndim != 4 or maps.dtype.kind != "f" or 0 in maps.shape:
        raise ValueError(
            f"{path}: maps of shape {list(maps.shape)} and type {maps.dtype}: give floats of shape "
            f"[pictures, channels, rows, columns]"
        )
    names = [path.name] if names is None and len(maps) == 1 else names
    if names is None or len(names) != len(maps):
        count = "no" if names is None else len(names)
        raise ValueError(f"{path}: {len(maps)} maps, {count} names: give an array 'names', one for each")
    return maps.astype(np.float32, copy=False), [str(name) for name in names]


def _said(shape: Sequence[int]) -> str:
    """A shape in words."""
    return f"{shape[0]} channels of {shape[1]} × {shape[2]}"
