"""A Run: one directory on disk that holds everything about one training."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from omegaconf import DictConfig, OmegaConf

from gatewise.facts import Facts, check_finite, facts_from_dict
from gatewise.runs.files import read_json_object, read_yaml, write_json, write_text
from gatewise.settings import nearest

LAST = "last"
STATES = ("created", "running", "done", "failed", "interrupted")
PARTS = ("task", "data", "model", "trainer")
"""Sections that every run's config has."""


class Run:
    """The directory of one training: its config, facts, status, metrics, checkpoints and plots.

    What Gatewise reads back (config, overrides, facts, status, metrics, summary, checkpoints) and the plots
    are written in one step, so that a reader finds whole files; ``log.txt``, the example input and what the
    other loggers write are not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.plots = folder / "plots"
        self.metrics_file = folder / "metrics.csv"
        self.log_file = folder / "log.txt"

    @property
    def id(self) -> str:
        """A name no other run has; also its W&B run id."""
        return self.folder.name

    @property
    def title(self) -> str:
        """Experiment and id, for the head of a picture."""
        return f"{self._config_file().get('name')} · {self.id}"

    @classmethod
    def create(
        cls,
        runs_dir: Path,
        name: str,
        config: DictConfig,
        overrides: Sequence[str],
        choices: Mapping[str, str | None],
    ) -> Run:
        """A new directory ``runs_dir/name/<date_time_unique>`` with the resolved config.

        ``runs_dir/last`` points to it from now on. Raises ValueError for a name that is no folder below
        ``runs_dir``, OSError where it cannot be written.
        """
        check_name(name)
        stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
        run = cls((runs_dir / name / f"{stamp}_{secrets.token_hex(3)}").resolve())
        run.folder.mkdir(parents=True)
        run.checkpoints.mkdir()
        run.plots.mkdir()
        write_text(
            run.folder / "overrides.yaml",
            OmegaConf.to_yaml({"overrides": list(overrides), "choices": dict(choices)}),
        )
        run.set_status("created")
        # The last one: a directory that holds it is a whole run.
        run.save_config(config)
        _point_last_to(run.folder, runs_dir)
        return run

    @classmethod
    def open(cls, reference: Any, runs_dir: Path, key: str = "run") -> Run:
        """The run of a directory, or the one started last for ``last``.

        Raises ValueError, naming the setting ``key``, where there is none.
        """
        if str(reference) == LAST:
            pointer = runs_dir / LAST
            if not pointer.exists():
                raise ValueError(
                    f"{key}=last: no run has been started in {runs_dir.resolve()}; train one first"
                )
            return cls(pointer.resolve())
        folder = Path(os.path.expanduser(str(reference)))  # noqa: PTH111 - Path's raises for ~nobody
        if not (folder / "config.yaml").is_file():
            what = "holds no config.yaml" if folder.is_dir() else "there is no such folder"
            near = sorted(p.name for p in folder.parent.glob("*") if (p / "config.yaml").is_file())
            close = nearest(folder.name, near)
            hint = (
                "give a run directory or last" if close is None else f"did you mean {folder.parent / close}?"
            )
            raise ValueError(f"{key}={reference}: not a run directory ({what}); {hint}")
        return cls(folder.resolve())

    def config(self) -> DictConfig:
        """The resolved config, as trained.

        Raises ValueError where the file is no run's config, or refers to other values: an interpolation calls
        code.
        """
        config = self._config_file()
        missing = [name for name in PARTS if not isinstance(config.get(name), DictConfig)]
        if missing:
            raise ValueError(
                f"{self.folder}/config.yaml: not a Gatewise run's config (it has no {', '.join(missing)}); "
                f"name the directory of a run"
            )
        for key, value in _leaves(OmegaConf.to_container(config)):
            if isinstance(value, str) and "${" in value:
                raise ValueError(
                    f"{self.folder}/config.yaml: {key}={value}: a stored config is resolved, and refers to "
                    f"nothing"
                )
        OmegaConf.set_struct(config, True)
        return config

    def _config_file(self) -> DictConfig:
        return read_yaml(self.folder / "config.yaml")

    def save_config(self, config: DictConfig) -> None:
        """Store the config, resolved."""
        write_text(self.folder / "config.yaml", OmegaConf.to_yaml(config, resolve=True))

    def choices(self) -> dict[str, str | None]:
        """The group choices (``model: bilstm`` …) the config was composed from."""
        return dict(self._overrides_file()["choices"])

    def overrides(self) -> list[str]:
        """What was asked for on the command line."""
        return list(self._overrides_file()["overrides"])

    def _overrides_file(self) -> dict[Any, Any]:
        path = self.folder / "overrides.yaml"
        stored = OmegaConf.to_container(read_yaml(path))
        assert isinstance(stored, dict)
        overrides, choices = stored.get("overrides"), stored.get("choices")
        listed = isinstance(overrides, list) and all(isinstance(text, str) for text in overrides)
        if not (listed and isinstance(choices, dict)):
            raise ValueError(
                f"{path}: must hold overrides (a list) and choices (group: choice); the file is damaged"
            )
        return stored

    def save_facts(self, facts: Facts) -> None:
        """Store what the data stated of itself; raises ValueError where a number of it is not finite."""
        check_finite(facts)
        write_json(self.folder / "facts.json", facts.to_dict())

    def facts(self) -> Facts:
        """The facts the task was built with; raises ValueError where training never got that far.

        So it does, naming the file, where that is damaged.
        """
        path = self.folder / "facts.json"
        if not path.is_file():
            raise ValueError(f"{self.folder}: the run ended before its data was read (no facts.json)")
        values = read_json_object(path)
        try:
            return facts_from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; the file is damaged: train again") from None

    def checkpoint(self, kind: str) -> Path:
        """``best`` or ``last`` checkpoint; raises ValueError where there is none yet."""
        path = self.checkpoints / f"{kind}.ckpt"
        if not path.is_file():
            found = ", ".join(sorted(p.stem for p in self.checkpoints.glob("*.ckpt"))) or "none"
            raise ValueError(f"{self.folder} has no checkpoint {kind!r} (found: {found})")
        return path

    def set_status(self, state: str, reason: str | None = None) -> None:
        """Record ``created``, ``running``, ``done``, ``failed`` or ``interrupted``, and why."""
        status = {
            "state": state,
            "reason": reason,
            "changed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        write_json(self.folder / "status.json", status)

    def state(self) -> str:
        """The recorded state; ``interrupted`` where a running process is gone without a word (killed)."""
        path = self.folder / "status.json"
        state = read_json_object(path).get("state")
        if state not in STATES:
            raise ValueError(
                f"{path}: state must be one of {', '.join(STATES)}, got {state!r}; the file is damaged: "
                f'write {{"state": "interrupted"}} into it to go on'
            )
        return "interrupted" if state in ("created", "running") and not self._locked() else str(state)

    @contextlib.contextmanager
    def lock(self, patience_seconds: float = 1.0) -> Iterator[None]:
        """Hold the run for this process; raises ValueError where another one trains it.

        One that only looks holds it for a moment, hence the patience. The system lets go of the lock when
        the process ends, however it ends.
        """
        with (self.folder / ".lock").open("a") as file:
            try:
                _take(file, patience_seconds)
            except BlockingIOError:
                raise ValueError(
                    f"{self.folder} is being trained by another process: wait or stop it"
                ) from None
            yield

    def _locked(self) -> bool:
        try:
            with self.lock(patience_seconds=0):
                return False
        except ValueError:
            return True
        except OSError:  # a read-only directory: nobody trains in it
            return False

    def summary(self) -> dict[str, Any]:
        """Best and final metrics, versions and times; empty before the first training ended."""
        path = self.folder / "summary.json"
        return read_json_object(path) if path.is_file() else {}

    def save_summary(self, values: Mapping[str, Any]) -> None:
        """Store the summary."""
        write_json(self.folder / "summary.json", dict(values))


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a config, with its key."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from _leaves(child, f"{key}[{index}]")
    else:
        yield key, node


def check_name(name: Any) -> None:
    """Raise ValueError for a run name that is no folder below the one of all runs."""
    parts = Path(name).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or Path(name).is_absolute():
        raise ValueError(f"name must be a folder such as text/mine, got {name!r}")


def _take(file: IO[str], patience_seconds: float) -> None:
    """Lock a file; BlockingIOError where another process keeps it for longer."""
    end = time.monotonic() + patience_seconds
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def _point_last_to(folder: Path, runs_dir: Path) -> None:
    temporary = runs_dir / f".{LAST}.{secrets.token_hex(3)}"
    temporary.symlink_to(folder.relative_to(runs_dir.resolve()), target_is_directory=True)
    temporary.replace(runs_dir / LAST)
