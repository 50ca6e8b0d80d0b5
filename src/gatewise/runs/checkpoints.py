"""Read checkpoints without running code that the file may contain."""

from __future__ import annotations

import errno
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Load a checkpoint without running code that the file may contain.

    Raises ValueError, naming the file and what to use instead, if it is not a complete checkpoint.
    """
    import torch  # takes seconds, and readers of the rest of a run do not need it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
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
    if not isinstance(checkpoint, dict):
        raise unusable(path, f"not a checkpoint of Gatewise's (holds a {type(checkpoint).__name__})")
    for name, kind in (("state_dict", Mapping), ("epoch", int)):
        if not isinstance(checkpoint.get(name), kind):
            raise unusable(path, f"not a checkpoint of Gatewise's (no {name})")
    return checkpoint


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
    for kind, state in read_checkpoint(last, "meta").get("callbacks", {}).items():
        if not kind.startswith("ModelCheckpoint") or state.get("monitor") is None:
            continue
        folder, path = Path(str(state.get("dirpath"))), Path(str(state.get("best_model_path") or "."))
        # Of the path what lies in the folder, which may have been moved.
        if path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts:
            found = last.parent / path.relative_to(folder)
            return found if found.is_file() else None
        return None
    return None


def unusable(path: Path, what: str) -> ValueError:
    """A ValueError for a checkpoint that is ``what``, saying what to use instead."""
    other = "last" if path.stem == "best" else "best"
    has_other = path.with_name(f"{other}.ckpt").is_file()
    instead = f", or evaluate and predict with checkpoint={other}" if has_other else ""
    return ValueError(f"{path}: {what}; train again{instead}")
