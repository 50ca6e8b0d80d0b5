"""Read checkpoints without running code that the file may contain."""

from __future__ import annotations

import errno
import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gatewise.runs.reading import opened, special
from gatewise.runs.seal import NoZipError, is_whole

DEEPEST, MOST_VALUES = 64, 1_000_000
"""How deeply the values of a checkpoint may nest, and how many there may be."""

_PLAIN = (int, float, bool, str, bytes, type(None))
_verified: dict[Path, tuple[int, int, int]] = {}
"""What tells the checkpoints that this process has verified from later ones of their name."""


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Load a checkpoint without running code that the file may contain.

    Its checksum is verified once, and not where no tensor is read (``map_location="meta"``). Raises
    ValueError, naming the file and what to use instead, if it is not a complete checkpoint.
    """
    if (kind := special(path)) is not None:
        raise unusable(path, f"is {kind} and no file")
    if str(map_location) != "meta":
        verify(path)
    with opened(path) as file:
        checkpoint = _load(path, file, map_location)
    if not isinstance(checkpoint, dict):
        raise unusable(path, f"not a checkpoint of Gatewise's (holds a {type(checkpoint).__name__})")
    for name, kind_of_value in (("state_dict", Mapping), ("epoch", int)):
        if not isinstance(checkpoint.get(name), kind_of_value):
            raise unusable(path, f"not a checkpoint of Gatewise's (no {name})")
    _check_values(path, checkpoint)
    return checkpoint


def _check_values(path: Path, checkpoint: dict[str, Any]) -> None:
    """Raise ValueError for values that take more than the file has when they are gone through or copied.

    That are lists in lists without end, and tensors that show a few numbers as many (by their strides).
    """
    import torch

    pending: list[tuple[Any, int]] = [(checkpoint, 0)]
    count = 0
    while pending:
        value, depth = pending.pop()
        if isinstance(value, dict):
            inside: list[Any] = [item for pair in value.items() for item in pair]
        elif isinstance(value, (list, tuple, set, frozenset)):
            inside = list(value)
        elif isinstance(value, torch.Tensor) and _shows_more_than_it_holds(value):
            raise unusable(path, f"has a tensor of {tuple(value.shape)} that holds fewer numbers")
        else:
            continue
        count += len(inside)
        if depth > DEEPEST or count > MOST_VALUES:
            raise unusable(path, f"nests more than {DEEPEST} deep, or has more than {MOST_VALUES:,} values")
        pending += [(item, depth + 1) for item in inside if type(item) not in _PLAIN]


def _shows_more_than_it_holds(tensor: Any) -> bool:
    import torch

    is_plain = tensor.layout is torch.strided and not tensor.is_quantized
    return is_plain and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()


def _load(path: Path, file: BinaryIO, map_location: Any) -> Any:
    import torch  # takes seconds, and readers of the rest of a run do not need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location=map_location, weights_only=True)
    except MemoryError:
        raise
    except OSError as error:
        # Reading a file that was cut short gives EINVAL; any other error (permissions) is the system's.
        if error.errno != errno.EINVAL:
            raise
        raise unusable(path, "damaged") from None
    except Exception as error:  # a damaged file makes torch raise almost anything
        code = isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower()
        what = "holds code, refused" if code or "TorchScript" in str(error) else "damaged or no checkpoint"
        raise unusable(path, what) from None


def verify(path: Path) -> None:
    """Raise ValueError where a checkpoint is not as it was written; one that was verified is not again."""
    with opened(path) as file:
        status = os.fstat(file.fileno())
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        if _verified.get(path) == identity:
            return
        try:
            whole = is_whole(file)
        except NoZipError:
            return  # what it is else is said by what reads it
    if not whole:
        raise unusable(path, "damaged: its content is not what its checksum says")
    _verified[path] = identity


def check_finite(path: Path, weights: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the checkpoint at ``path``, where its ``weights`` are NaN or infinite."""
    import torch

    for name, values in weights.items():
        if isinstance(values, torch.Tensor) and not bool(torch.isfinite(values).all()):
            raise unusable(path, f"its weights {name} are not all numbers (NaN or infinite)")


def best_path(last: Path) -> Path | None:
    """The checkpoint that was the best when ``last`` was written, as its callback says; None for none.

    That may have any name, and there may be several of the best. Raises ValueError as
    :func:`read_checkpoint`.
    """
    for state in kept_by(read_checkpoint(last, "meta")):
        if state.get("monitor") is None:
            continue
        folder, path = Path(str(state.get("dirpath"))), Path(str(state.get("best_model_path") or "."))
        # Of the path what lies in the folder, which may have been moved.
        if path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts:
            found = last.parent / path.relative_to(folder)
            return found if found.is_file() else None
        return None
    return None


def kept_by(checkpoint: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The states of the callbacks that keep checkpoints; what is no such state is left out."""
    states = checkpoint.get("callbacks")
    named = states.items() if isinstance(states, dict) else ()
    return [
        state for name, state in named if str(name).startswith("ModelCheckpoint") and isinstance(state, dict)
    ]


def unusable(path: Path, what: str) -> ValueError:
    """A ValueError for a checkpoint that is ``what``, saying what to use instead."""
    other = "last" if path.stem == "best" else "best"
    has_other = path.with_name(f"{other}.ckpt").is_file()
    instead = f", or evaluate, predict and inspect with checkpoint={other}" if has_other else ""
    return ValueError(f"{path}: {what}; train again{instead}")
