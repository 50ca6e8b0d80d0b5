"""Checkpoints that a reader or a crash at any moment finds whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins import TorchCheckpointIO

from gatewise.runs.files import replacing


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
        with replacing(path) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read a checkpoint; what it says of its folder is made to hold where the run directory was moved.

        A ModelCheckpoint that finds itself elsewhere forgets which weights were the best.
        """
        checkpoint: dict[str, Any] = super().load_checkpoint(path, *args, **kwargs)
        here = Path(path).resolve().parent
        for kind, state in checkpoint.get("callbacks", {}).items():
            there = state.get("dirpath") if kind.startswith("ModelCheckpoint") else None
            if there is not None and Path(there).name == here.name:
                state.update({key: _moved(value, there, str(here)) for key, value in state.items()})
        return checkpoint


def _moved(value: Any, there: str, here: str) -> Any:
    if isinstance(value, dict):
        return {_moved(key, there, here): item for key, item in value.items()}
    return here + value[len(there) :] if isinstance(value, str) and value.startswith(there) else value
