"""A look at recordings: what they sound like as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewise.data.sound.extra import libraries
from gatewise.data.sound.features import frames_of
from gatewise.data.sound.reading import read_sound
from gatewise.data.sound.recordings import Columns, read_manifests, sounds_in
from gatewise.data.text.tables import TABLES
from gatewise.kinds.sound import SoundForm

EXAMPLES = 4
"""Recordings that are looked at."""


def can_look() -> bool:
    """Whether the libraries are here that read sound."""
    try:
        libraries()
    except ValueError:
        return False
    return True


def first_recordings(path: Path) -> list[Path]:
    """The first recordings of a manifest or of a folder, or the recording itself; ValueError for none."""
    if path.is_dir():
        found = sounds_in(path)
        if not found:
            raise ValueError(f"{path}: no recording is in this folder")
    elif path.suffix.lower() in TABLES:
        found = read_manifests([path], Columns(), needs_label=False).paths
    else:
        found = [path]
    return found[:EXAMPLES]


def looked_at(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Name, rate, seconds, samples [N] and log-mel frames [T, F] of each recording, at its own rate.

    Raises ValueError for one that cannot be read.
    """
    return [_looked_at(path) for path in paths]


def _looked_at(path: Path) -> dict[str, Any]:
    soundfile, _ = libraries()
    rate = 16000
    try:
        info = soundfile.info(path)
        rate = info.samplerate
    except (soundfile.SoundFileError, OSError):
        info = None  # which reading it says in one line
    bins = 40 if rate >= 8000 else 20
    form = SoundForm(rate, "mean", "log_mel", bins, 13, 25.0, 10.0, 20.0, rate / 2, 0, "training")
    samples = read_sound(path, form).samples
    return {
        "name": path.name,
        "rate": rate,
        "channels": info.channels if info is not None else 1,
        "seconds": len(samples) / rate,
        "samples": samples,
        "frames": frames_of(samples, form),
    }
