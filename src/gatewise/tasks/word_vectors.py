"""Word vectors that were trained before, from a text file of GloVe's or word2vec's."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

log = logging.getLogger(__name__)


def check_frozen_vectors(vectors: str | None, freeze_embeddings: bool) -> None:
    """Raise ValueError for embeddings that nothing has trained and nothing trains."""
    if freeze_embeddings and vectors is None:
        raise ValueError("freeze_embeddings=true without vectors keeps random ones: give vectors=FILE")


def start_from(
    vectors: str, embedding: nn.Embedding, vocabulary: Sequence[str], folders: Sequence[str | Path]
) -> None:
    """Set the embeddings [V, E] of the V words of a vocabulary to the vectors of a file, where it has them.

    Those of other words stay random, and get as far apart as the known ones are. Raises ValueError as
    :func:`find_vectors` and :func:`read_vectors` do.
    """
    path = find_vectors(vectors, folders)
    weight = embedding.weight.data
    values, is_found = read_vectors(path, vocabulary, weight.shape[1])
    found = torch.from_numpy(is_found)
    known = torch.from_numpy(values)[found]
    weight.mul_(float(known.std()) / float(weight.std()))
    weight[found] = known
    log.info("%s has vectors of %d of the %d words", path, len(known), len(found))


def find_vectors(name: str, folders: Sequence[str | Path]) -> Path:
    """The file that ``task.vectors`` names; ValueError if none of the folders has it."""
    wanted = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for ~nobody
    places = (
        [wanted] if wanted.is_absolute() else [Path(folder) / wanted for folder in folders or (Path.cwd(),)]
    )
    for place in places:
        if place.is_file():
            return place
    tried = ", ".join(str(place.parent) for place in places)
    raise ValueError(f"task.vectors={name} was not found in {tried}: give an absolute path")


def read_vectors(
    path: Path, vocabulary: Sequence[str], size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(Vectors [V, size], which of the V words the file has); those of other words are 0.

    A line is a word and its numbers, separated by spaces; the first may be word2vec's two counts. A word is
    looked for as it is, and then in lower case. Raises ValueError, with the line, where a line has other than
    ``size`` numbers, or the file none of the words.
    """
    places = {word: i for i, word in enumerate(vocabulary)}
    vectors = np.zeros((len(vocabulary), size), np.float32)
    is_found = np.zeros(len(vocabulary), bool)
    is_exact = np.zeros(len(vocabulary), bool)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            # From the right: a word of GloVe's largest files may hold spaces.
            word, *values = line.rstrip().rsplit(b" ", size)
            if number == 1 and line.count(b" ") == 1 and size != 1:
                _check_header(path, line, size)
                continue
            token = word.decode("utf-8", "replace")
            place = places.get(token)
            is_same = place is not None
            if place is None:
                place = places.get(token.lower())
            if len(values) != size or (number <= 2 and line.count(b" ") != size and b" " in word):
                got = line.rstrip().count(b" ")
                raise ValueError(
                    f"{path}:{number}: {got} numbers, but task.embedding_size={size}: give vectors of that "
                    f"size, or set it to {got}"
                )
            if place is None or is_exact[place] or (is_found[place] and not is_same):
                continue
            try:
                vectors[place] = np.array(values, dtype=np.float32)
            except ValueError:
                raise ValueError(
                    f"{path}:{number}: what follows {token[:40]!r} are not {size} numbers"
                ) from None
            if not np.isfinite(vectors[place]).all():
                raise ValueError(f"{path}:{number}: a number of {token[:40]!r} is not finite")
            is_found[place], is_exact[place] = True, is_same
    if not is_found.any():
        raise ValueError(
            f"{path} has none of the {len(vocabulary)} words of the vocabulary: give another file"
        )
    return vectors, is_found


def _check_header(path: Path, line: bytes, size: int) -> None:
    _, _, stated = line.strip().partition(b" ")
    if not stated.isdigit() or int(stated) != size:
        raise ValueError(
            f"{path}:1: vectors of {stated.decode('utf-8', 'replace')[:20]} numbers, but "
            f"task.embedding_size={size}: set it to that"
        )
