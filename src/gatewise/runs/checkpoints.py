"""Checkpoints that a reader or a crash at any moment finds whole."""

from __future__ import annotations

import errno
import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from gatewise.runs.files import replacing

_LIGHTNING = "pytorch-lightning_version"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint in a file, on the CPU; no code that a file may hold is run.

    Raises ValueError, naming the file and what to use instead, where it is no whole checkpoint.
    """
    return _read(path, "cpu")


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the old one, then puts it in its place.

    Lightning's own way writes it in the system's temporary folder; where that is another file system, putting
    it in place is a copy, which a crash cuts short.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: Any,
        storage_options: Any = None,  # noqa: ARG002
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # By way of memory: torch hides a full disk behind an error of its own.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(path) as file:
            file.write(content.getbuffer())

    def load_checkpoint(
        self,
        path: Any,
        map_location: Any = "cpu",
        weights_only: bool | None = True,  # noqa: ARG002
    ) -> dict[str, Any]:
        """Read a checkpoint; what it says of its folder is made to hold where the run directory was moved.

        A ModelCheckpoint that finds itself elsewhere forgets which weights were the best. Raises ValueError
        as :func:`read_checkpoint` does: plain values and tensors are read, whatever ``weights_only`` says.
        """
        checkpoint = _read(Path(path), map_location)
        if _LIGHTNING not in checkpoint:
            raise _unusable(Path(path), f"not a checkpoint of Gatewise's (no {_LIGHTNING})")
        here = Path(path).resolve().parent
        for kind, state in checkpoint.get("callbacks", {}).items():
            there = state.get("dirpath") if kind.startswith("ModelCheckpoint") else None
            if there is not None and Path(there).name == here.name:
                state.update({key: _moved(value, there, str(here)) for key, value in state.items()})
        return checkpoint


def _read(path: Path, map_location: Any) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            checkpoint = torch.load(path, map_location=map_location, weights_only=True)
    except MemoryError:
        raise
    except OSError as error:
        # What a reader of a file that was cut short gets; anything else (permissions) is about the system.
        if error.errno != errno.EINVAL:
            raise
        raise _unusable(path, "damaged") from None
    except Exception as error:  # a damaged file makes torch raise almost anything
        code = isinstance(error, pickle.UnpicklingError) and "global" in str(error).lower()
        what = "holds code, refused" if code or "TorchScript" in str(error) else "damaged or no checkpoint"
        raise _unusable(path, what) from None
    if not isinstance(checkpoint, dict):
        raise _unusable(path, f"not a checkpoint of Gatewise's (holds a {type(checkpoint).__name__})")
    for name, kind in (("state_dict", Mapping), ("epoch", int)):
        if not isinstance(checkpoint.get(name), kind):
            raise _unusable(path, f"not a checkpoint of Gatewise's (no {name})")
    return checkpoint


def _unusable(path: Path, what: str) -> ValueError:
    other = "last" if path.stem == "best" else "best"
    found = path.with_name(f"{other}.ckpt").is_file()
    instead = f", or evaluate and predict with checkpoint={other}" if found else ""
    return ValueError(f"{path}: {what}; train again{instead}")


def _moved(value: Any, there: str, here: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, there, here): item for key, item in value.items()}
    return here + value[len(there) :] if isinstance(value, str) and value.startswith(there) else value
