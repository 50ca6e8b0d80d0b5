"""What earlier parts of a run have told W&B, as the files that W&B itself keeps of them say.

Each process that trains a run writes a file of its own, ``wandb/*run-*/run-ID.wandb``: blocks of 32 KiB (the
log format of LevelDB) that hold one protobuf message for each thing that was said.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatewise.config.wandb import STEP
from gatewise.runs.inside import is_inside
from gatewise.runs.unsent import BEGINNING

_BLOCK, _HEADER, _FILE_HEADER = 32768, 7, 7
_WHOLE, _FIRST, _LAST = 1, 2, 4


@dataclass
class Parts:
    """What is in the files of a run."""

    rows: int = 0
    """W&B's own step of the first row that is still to come."""
    last: dict[str, int] = field(default_factory=dict)
    """The last training step that each metric was logged at."""
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: set[str] = field(default_factory=set)
    """The digests of the artifacts that were logged."""


def read_parts(folder: Path) -> Parts:
    """What the files below a run's ``wandb/`` hold; nothing where there are none.

    Of a file that was cut off, what came before the cut. Raises ValueError, naming it, for a file that is
    none of W&B's.
    """
    parts = Parts()
    for path in sorted(folder.glob("*run-*/*.wandb"), key=lambda path: path.parent.name.split("run-", 1)[1]):
        try:
            for record in _records(path.read_bytes()):
                _take(record, parts)
        except Exception as error:  # protobuf's errors are of its own kind
            raise ValueError(f"{path}: not a file of W&B's ({error})") from error
    return parts


def check_sent(folder: Path, run: Path) -> None:
    """Raise ValueError where a file of W&B's in ``folder`` has it upload what does not lie in the ``run``.

    Such a file says by their paths which files W&B uploads, and a run directory may have come from anywhere.
    What W&B itself has copied to upload it lies in its own folder. The files of an artifact are named by
    where they were: those of a run that was moved are not there, and W&B uploads the rest.
    """
    from wandb import env

    staging = Path(env.get_data_dir(), "artifacts", "staging")
    for path in folder.glob("*.wandb"):
        try:
            named = [name for record in _records(path.read_bytes()) for name in _uploaded(record)]
        except Exception as error:  # protobuf's errors are of its own kind
            raise ValueError(f"{path}: not a file of W&B's ({error}): remove {folder}") from error
        for name in named:
            place = folder / "files" / name
            if Path(name).is_absolute() and not os.path.lexists(place):
                continue
            if ".." in place.parts or not (is_inside(place, run) or is_inside(place, staging)):
                raise ValueError(
                    f"{path}: has W&B upload {name}, which is no file of the run: if it is yours, upload it "
                    f"with wandb sync {folder}; else remove {folder}"
                )


def _uploaded(record: Any) -> Iterator[str]:
    """The paths of what a message has W&B upload."""
    yield from (item.path for item in record.files.files)
    yield from (record.tbrecord.log_dir, record.tbrecord.root_dir)
    for artifact in _artifacts(record):
        yield artifact.manifest.manifest_file_path
        yield from (entry.local_path for entry in artifact.manifest.contents)


def _artifacts(record: Any) -> tuple[Any, ...]:
    """The artifacts of a message; empty ones where it has none."""
    return record.artifact, record.request.log_artifact.artifact


def _take(record: Any, parts: Parts) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "history":
        row = {_name(item): json.loads(item.value_json) for item in record.history.item}
        parts.rows = max(parts.rows, record.history.step.num + 1)
        step = row.get(STEP)
        if isinstance(step, int):
            parts.last.update((name, max(step, parts.last.get(name, step))) for name in row)
    elif kind == "summary":
        for item in record.summary.update:
            names = list(item.nested_key) or [item.key]
            if not names[0].startswith("_"):
                _put(parts.summary, names, json.loads(item.value_json))
    else:
        parts.artifacts.update(artifact.digest for artifact in _artifacts(record) if artifact.digest)


def _name(item: Any) -> str:
    """The name that a value was logged under; a picture is several values below one name."""
    return str(item.key or item.nested_key[0])


def _put(values: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        below = values.get(name)
        values[name] = below if isinstance(below, dict) else {}
        values = values[name]
    values[names[-1]] = value


def _records(content: bytes) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2  # its stubs depend on the version of protobuf
    if not content.startswith(BEGINNING[: len(content)]):
        raise ValueError("it does not begin as one")
    message = b""
    for kind, piece in _pieces(content):
        message = piece if kind in (_WHOLE, _FIRST) else message + piece
        if kind in (_WHOLE, _LAST):
            record = messages.Record()
            record.ParseFromString(message)
            yield record


def _pieces(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, bytes) of each piece of a message, up to the first that is not whole."""
    at = _FILE_HEADER
    while at + _HEADER <= len(content):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        if kind == 0:  # the rest of a block that nothing was written to
            at += left
            continue
        start, at = at + _HEADER, at + _HEADER + length
        if at > len(content):
            return
        yield kind, content[start:at]
