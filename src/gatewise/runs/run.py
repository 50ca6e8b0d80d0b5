"""A Run: one directory on disk with everything about one training."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewise.kinds.kind import Facts, check_finite
from gatewise.kinds.reading import facts_from_dict
from gatewise.runs.checkpoints import best_path
from gatewise.runs.code import commit_of
from gatewise.runs.files import read_json_object, replacing, rewrite_json, write_json
from gatewise.runs.folders import find_folder, new_folder, point_last_to
from gatewise.runs.inside import check_inside
from gatewise.runs.left_behind import FILES, remove_unfinished
from gatewise.runs.lock import holding, is_held
from gatewise.runs.reading import LARGEST_SETTINGS, is_there, read_bytes

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from gatewise.runs.config_files import Composition

LOCK = ".lock"
STATES = ("created", "running", "done", "pruned", "failed", "interrupted")


class Run:
    """The directory of one training: its config, facts, status, metrics, checkpoints, plots and tables.

    The files that Gatewise reads back (config, overrides, facts, status, metrics, summary, checkpoints) and
    the plots and tables are written atomically, so that a reader always finds complete files; ``log.txt``,
    the example input and the files of other loggers are not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.plots = folder / "plots"
        self.tables = folder / "tables"
        self.metrics_file = folder / "metrics.csv"
        self.validations_file = folder / "validations.csv"
        self.times_file = folder / "times.csv"
        self.log_file = folder / "log.txt"

    @property
    def id(self) -> str:
        """A name that no other run has; also its W&B run id."""
        return self.folder.name

    @property
    def title(self) -> str:
        """Experiment and id, for the title of a picture."""
        from gatewise.runs.config_files import read_yaml

        return f"{read_yaml(self.folder / 'config.yaml').get('name')} · {self.id}"

    @classmethod
    def create(
        cls,
        runs_dir: Path,
        name: str,
        config: DictConfig,
        overrides: Sequence[str],
        choices: Mapping[str, str | None],
        folder: Path | None = None,
        is_last: bool = True,
    ) -> Run:
        """Make a directory ``runs_dir/name/<date_time_unique>`` with the resolved config.

        Afterwards ``runs_dir/last`` points to it, where ``is_last``. If ``folder`` is given, that is the
        directory; it may have files of a killed process in it. Raises ValueError for a name that is not a
        folder below ``runs_dir``, OSError if it cannot be written.
        """
        run = cls(folder or new_folder(runs_dir, name))
        run.folder.mkdir(parents=True, exist_ok=True)
        run.checkpoints.mkdir(exist_ok=True)
        run.plots.mkdir(exist_ok=True)
        from gatewise.runs.config_files import Composition, write_composition

        write_composition(run.folder / "overrides.yaml", Composition(list(overrides), dict(choices)))
        run.set_status("created")
        # Written last: a directory with a config is a complete run.
        run.save_config(config)
        if is_last:
            point_last_to(run.folder, runs_dir)
        return run

    @classmethod
    def open(cls, reference: Any, runs_dir: Path, key: str = "run") -> Run:
        """The run in a directory; ``last`` means the run that was started last.

        Raises ValueError, naming the setting ``key``, if there is none.
        """
        return cls(find_folder(reference, runs_dir, "config.yaml", key, "run directory"))

    # Imported only when needed: importing OmegaConf takes longer than reading many runs.

    def config(self) -> DictConfig:
        """The resolved config, as trained.

        Raises ValueError if the file is not the config of a run, or has interpolations: those could call
        code.
        """
        from gatewise.runs.config_files import read_config

        return read_config(self.folder / "config.yaml")

    def save_config(self, config: DictConfig) -> None:
        """Store the config, resolved."""
        from gatewise.runs.config_files import write_config

        write_config(self.folder / "config.yaml", config)

    def choices(self) -> dict[str, str | None]:
        """The choice in each config group (``model: bilstm`` …) that the config was composed from."""
        return self._composition().choices

    def overrides(self) -> list[str]:
        """The overrides of the command line."""
        return self._composition().overrides

    def _composition(self) -> Composition:
        from gatewise.runs.config_files import read_composition

        return read_composition(self.folder / "overrides.yaml")

    def save_code(self, code: bytes | None) -> None:
        """Store the result of :func:`gatewise.runs.code.read_code`, that of a resume in a second file.

        Nothing is stored if it is None or equal to the first.
        """
        first, resumed = self.folder / "code.diff", self.folder / "code_resumed.diff"
        if code is None or (first.is_file() and read_bytes(first) == code):
            return
        with replacing(resumed if first.is_file() else first) as file:
            file.write(code)

    def commit(self) -> str | None:
        """The git commit the run was started from, with ``+changes`` if there were any; None if unknown."""
        path = self.folder / "code.diff"
        return commit_of(read_bytes(path)) if is_there(path) else None

    def save_facts(self, facts: Facts) -> None:
        """Store the facts of the data; raises ValueError if a number is not finite, or they contradict."""
        check_finite(facts)
        facts.check()
        write_json(self.folder / "facts.json", facts.to_dict())

    def facts(self) -> Facts:
        """The facts that the task was built with.

        Raises ValueError if training never got that far, or, naming the file, if the file is damaged.
        """
        path = self.folder / "facts.json"
        if not is_there(path):
            raise ValueError(f"{self.folder}: the run ended before its data was read (no facts.json)")
        values = read_json_object(path)
        try:
            return facts_from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}; the file is damaged: train again") from None

    def checkpoint(self, kind: str) -> Path:
        """The path of the ``best`` or ``last`` checkpoint; raises ValueError if there is none yet.

        Of a finished training that kept no best one, and tested its last weights, these are both.
        """
        path = self.checkpoints / f"{kind}.ckpt"
        if kind == "best":
            path = self.best_checkpoint() or path
            if not is_there(path) and self._tested_its_last():
                path = self.checkpoints / "last.ckpt"
        if not is_there(path):
            existing = [path.stem for path in sorted(self.checkpoints.glob("*.ckpt"))]
            way = f"continue training with resume={self.folder}"
            if kind == "best" and "last" in existing:
                way = "checkpoint=last takes the last weights"
            raise ValueError(
                f"{self.folder} has no checkpoint {kind!r} (found: {', '.join(existing) or 'none'}): {way}"
            )
        return path

    def best_checkpoint(self) -> Path | None:
        """The best one, whatever its name, as the finished training says, else as the last one does."""
        last = self.checkpoints / "last.ckpt"
        try:
            name = self.summary().get("best_checkpoint") if self.state() in ("done", "pruned") else None
            if isinstance(name, str) and not Path(name).is_absolute() and ".." not in Path(name).parts:
                return self.checkpoints / name
            return best_path(last) if is_there(last) else None
        except ValueError:
            return None  # one of these files is damaged; the best checkpoint may not be

    def _tested_its_last(self) -> bool:
        try:
            return self.state() == "done" and self.summary().get("best_checkpoint", "") is None
        except ValueError:
            return False  # one of these files is damaged

    def set_status(self, state: str, reason: str | None = None) -> None:
        """Record the state, one of ``STATES``, and the reason for it, on a full disk too."""
        status = {
            "state": state,
            "reason": reason,
            "changed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "pid": os.getpid(),
            "host": socket.gethostname(),
        }
        path = self.folder / "status.json"
        try:
            write_json(path, status)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not path.is_file():
                raise
            rewrite_json(path, status)

    def state(self) -> str:
        """The recorded state, or ``interrupted`` if the process was killed while it ran."""
        path = self.folder / "status.json"
        state = read_json_object(path, LARGEST_SETTINGS).get("state")
        if state not in STATES:
            raise ValueError(
                f"{path}: state must be one of {', '.join(STATES)}, got {state!r}; the file is damaged: "
                f'write {{"state": "interrupted"}} into it to continue'
            )
        gone = state in ("created", "running") and not is_held(self.folder / LOCK)
        return "interrupted" if gone else str(state)

    def reason(self) -> str | None:
        """The reason for the state, or None if none was recorded."""
        reason = read_json_object(self.folder / "status.json", LARGEST_SETTINGS).get("reason")
        return None if reason is None else str(reason)

    @contextlib.contextmanager
    def lock(self, patience_seconds: float = 1.0) -> Iterator[None]:
        """Hold the run for this process; raises ValueError, naming the other one, if another trains it.

        Raises it too for what would have a write end outside of the directory. What a killed process had
        begun to write is removed. A process that only checks the lock holds it for a moment, hence the
        patience.
        """
        check_inside(self.folder)
        with holding(self.folder / LOCK, patience_seconds):
            remove_unfinished(self.folder, FILES)
            yield

    def summary(self) -> dict[str, Any]:
        """Best and final metrics, versions and times; empty until a training of the run has ended."""
        path = self.folder / "summary.json"
        return read_json_object(path, LARGEST_SETTINGS) if is_there(path) else {}

    def save_summary(self, values: Mapping[str, Any]) -> None:
        """Store the summary."""
        write_json(self.folder / "summary.json", dict(values))
