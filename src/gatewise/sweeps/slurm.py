"""The jobs that a launcher has submitted to SLURM for a sweep: what they wait for, and cancelling them."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOOK_EVERY_SECONDS = 20.0
PATIENCE_SECONDS = 30.0
"""For an answer of SLURM."""


class SlurmJobs:
    """Jobs of the sweep ``mark``: its name is in the ``ID_submitted.pkl`` of submitit below ``folder``."""

    def __init__(self, folder: str, mark: str, say: Callable[[str], None]) -> None:
        # The part of the folder that does not depend on a job's number.
        parts = Path(folder).expanduser().absolute().parts
        self._folder = Path(*itertools.takewhile(lambda part: "%" not in part, parts))
        self._mark, self._say = mark.encode(), say
        self._ids: dict[Path, str | None] = {}
        """By file; None for a job of others."""
        self._before: set[str] = set()
        self._told = ""

    def begin(self) -> None:
        """Count only the jobs that are submitted from now on."""
        self._before |= set(self.ids())
        self._told = ""

    def ids(self) -> list[str]:
        """Numbers of the jobs, arrays by the one that all of their jobs share."""
        for path in self._folder.rglob("*_submitted.pkl"):
            if path not in self._ids:
                number = path.name.removesuffix("_submitted.pkl").split("_")[0]
                self._ids[path] = number if self._mark in path.read_bytes() else None
        return sorted({number for number in self._ids.values() if number} - self._before)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Say which of the jobs wait and why, whenever that changes."""
        stop = threading.Event()
        thread = threading.Thread(target=self._watch, args=(stop,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE_SECONDS)

    def _watch(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_EVERY_SECONDS):
            self.look()

    def look(self) -> None:
        """Ask SLURM for the jobs once, and say what has changed."""
        line = self._states()
        if line and line != self._told:
            self._told = line
            self._say(line)

    def _states(self) -> str:
        ids = self.ids()
        if not ids:
            return ""
        answer = _ask("squeue", "--noheader", "--array", f"--jobs={','.join(ids)}", "--format=%T|%r")
        if answer is None or answer.returncode:
            return ""
        counts = Counter(line.strip() for line in answer.stdout.splitlines() if line.strip())
        parts = []
        for (state, _, reason), count in sorted((text.partition("|"), n) for text, n in counts.items()):
            why = f" ({reason})" if state == "PENDING" and reason not in ("", "None") else ""
            parts.append(f"{count} {state.lower()}{why}")
        return f"SLURM {_jobs(ids)}: {', '.join(parts)}" if parts else ""

    def cancel(self) -> None:
        """Cancel the jobs, and say which; where SLURM does not, say how."""
        ids = self.ids()
        if not ids:
            return
        answer = _ask("scancel", *ids)
        if answer is not None and answer.returncode == 0:
            self._say(f"Cancelled: SLURM {_jobs(ids)}")
            return
        if answer is None:
            reason = "no answer"
        else:
            reason = "".join(answer.stderr.strip().splitlines()[-1:]) or f"exit code {answer.returncode}"
        self._say(
            f"SLURM {_jobs(ids)} may still be queued or running (scancel: {reason}). Cancel with: "
            f"scancel {' '.join(ids)}"
        )


def _jobs(ids: list[str]) -> str:
    return f"job{'s' if len(ids) > 1 else ''} {', '.join(ids)}"


def _ask(*command: str) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
