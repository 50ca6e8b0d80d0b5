"""How a verb runs: its command line, its config, and the jobs of a multirun."""

from __future__ import annotations

import io
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict, read_write

from gatewise.cli.errors import guarded, reason, report
from gatewise.cli.listings import print_config, print_help, print_hydra_help
from gatewise.cli.options import read_options
from gatewise.config import hydra_internals
from gatewise.config.compose import Folders, explained, folders, hydra_session, import_users_modules
from gatewise.config.explain import Composition
from gatewise.config.freeze import ConfigCopy
from gatewise.config.resume import is_ignored, resumes
from gatewise.config.resumed_sweep import ResumedSweep, check_packages
from gatewise.config.users_files import check_local, check_written, located
from gatewise.runs.references import as_given
from gatewise.settings import SettingError

Task = Callable[[DictConfig], Any]


def run_verb(verb: str, argv: list[str], task: Task) -> int:
    """Run ``task`` on what ``argv`` composes from ``<verb>.yaml``, or print what an option asks for.

    Returns the exit code.
    """
    return guarded(lambda: _run_verb(verb, argv, task))


def _run_verb(verb: str, argv: list[str], task: Task) -> int:
    args = read_options(verb, argv)
    name = args.config_name or verb
    overrides: list[str] = args.overrides
    where = folders(args.config_path, args.config_dir)
    with ExitStack() as stack:
        loader = stack.enter_context(hydra_session(verb, where))
        composition = Composition(loader, name, [*overrides])
        stack.enter_context(explained(composition))
        stack.enter_context(located(loader, name, overrides))
        if verb == "train":
            check_local(loader)
        if args.help:
            print_help(loader, name, overrides, args.resolve)
        elif args.hydra_help:
            print_hydra_help(loader, overrides)
        elif args.cfg:
            print_config(loader, name, overrides, args.cfg, args.package, args.resolve)
        elif args.info:
            hydra_internals.show_info(args.info, name, overrides)
        else:
            return _run_jobs(composition, overrides, VerbJobs(verb, name, task, where), args.multirun)
    return 0


@dataclass
class VerbJobs:
    """The jobs of one command: each composes a config and does the verb's work on it.

    It can be sent to another process, where Hydra is started anew.
    """

    verb: str
    config_name: str
    work: Task
    where: Folders
    """Where the config files of the jobs are; in a sweep, its own copies of them."""
    of_hydra: list[str] = field(default_factory=list)
    """Overrides of Hydra's own settings, which hold for every job."""
    failures: dict[int, int] = field(default_factory=dict)
    """Exit codes by the id of the error that a job raised."""
    folder: Path = field(default_factory=Path.cwd)
    """Where the command was given, which relative paths start from."""
    resumed: ResumedSweep | None = None
    """The sweep that is resumed, which may be a stranger's."""

    module = "gatewise.cli.forked"
    """What imports all that a sweep's processes need."""

    def __call__(self, config: DictConfig) -> Any:
        """Do one job of Hydra's, which goes on with the others and then raises the first error alone."""
        overrides = as_given(HydraConfig.get().overrides.task)
        try:
            self._enter_folder()
            self.check(config, overrides)
            return self.work(config)
        except Exception as error:
            self.failures[id(error)] = report(error, f"job {', '.join(overrides) or 'without overrides'}: ")
            raise

    def _enter_folder(self) -> None:
        """Work where the command was given; a cluster that ran before (Ray) has its processes elsewhere."""
        try:
            if Path.cwd() != self.folder:
                os.chdir(self.folder)
            import_users_modules()
        except OSError as error:
            raise ValueError(
                f"{self.folder}: cannot be entered on {socket.gethostname()} ({error.strerror}): machines "
                f"of a cluster share the folder that a sweep is started in"
            ) from None

    def check(self, config: DictConfig, overrides: list[str]) -> None:
        """Raise ValueError where a setting of a composed config is of the wrong type, or a part is none."""
        if self.resumed is not None:
            self.resumed.check_training(config)
        if GlobalHydra.instance().is_initialized():  # else a launcher's process, and this has been done
            loader = GlobalHydra.instance().config_loader()
            if not (self.verb == "train" and resumes(overrides)):
                check_written(loader, self.config_name, overrides, config)
            Composition(loader, self.config_name, overrides).check_types(config, overrides)

    @contextmanager
    def composing_from(self, copy: ConfigCopy) -> Iterator[ConfigLoader]:
        """Hydra started on a sweep's copy of the config files, which jobs are composed from ever after."""
        self.where = copy.folders(self.where)
        self.of_hydra = copy.overrides(self.of_hydra, self.config_name)
        with hydra_session(self.verb, self.where) as loader:
            yield loader

    def run(self, overrides: Sequence[str]) -> str | None:
        """Do one job of a sweep, whose settings were checked, from its overrides; None, or why it failed."""
        given = [*overrides, *self.of_hydra, f"hydra.mode={RunMode.MULTIRUN.name}"]
        before = HydraConfig.instance().cfg
        try:
            with hydra_session(self.verb, self.where) as loader:
                with explained(Composition(loader, self.config_name, given)):
                    config = loader.load_configuration(self.config_name, given, RunMode.RUN)
                if self.resumed is not None:
                    self.resumed.check_training(config)
                HydraConfig.instance().set_config(config)
                environment = config.hydra.job.env_set
                with open_dict(config):
                    del config["hydra"]
                with env_override(environment):
                    self.work(config)
        except Exception as error:
            report(error)
            return reason(error)
        finally:
            HydraConfig.instance().cfg = before
        return None


def _run_jobs(composition: Composition, overrides: list[str], jobs: VerbJobs, multirun: bool) -> int:
    with ExitStack() as stack:
        if any(text.partition("=")[0] == "sweep.resume" for text in overrides):
            multirun, overrides = True, stack.enter_context(_resumed_sweep(composition, overrides, jobs))
        if not multirun and jobs.verb == "train" and resumes(overrides):
            config: DictConfig | None = _config_to_resume(composition, overrides)
        else:
            config = None if multirun else _config_of_one(composition, overrides)
        if multirun and f"hydra.mode={RunMode.MULTIRUN.name}" not in overrides:
            overrides = [*overrides, f"hydra.mode={RunMode.MULTIRUN.name}"]
        of_sweeps = [text for text in overrides if text.startswith("sweep.")]
        if config is not None and of_sweeps:
            raise SettingError(
                f"{of_sweeps[0]}: this is one training and no sweep: add -m and values, such as -m seed=1,2,3"
            )
        jobs.of_hydra = [text for text in overrides if text.startswith("hydra") and "hydra.mode=" not in text]
        try:
            if config is not None:
                _run_alone(jobs, overrides, config)
            else:
                if jobs.verb != "train":  # Hydra's sweeper writes a file of its own
                    overrides = [*overrides, f"hydra.sweep.dir={stack.enter_context(TemporaryDirectory())}"]
                with redirect_stderr(_WithoutHydrasLine(sys.stderr)):
                    hydra_internals.multirun(jobs.config_name, jobs, overrides)
        except Exception as error:
            if id(error) not in jobs.failures:
                raise
            return jobs.failures[id(error)]
    return 0


class _WithoutHydrasLine(io.TextIOBase):
    """stderr without the line that Hydra writes about the first error, which has been reported."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return (
            len(text) if text.startswith("Error executing job with overrides") else self._stream.write(text)
        )

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()


def _config_of_one(composition: Composition, overrides: list[str]) -> DictConfig | None:
    """The config of one job; None where it says, by a preset of ``sweep``, that it is one of a multirun."""
    try:
        config = composition.loader.load_configuration(composition.config_name, overrides, RunMode.RUN)
    except HydraException:
        # A sweep's list of values, or a group it chooses from, is no mistake.
        lenient = composition.composed(overrides)
        if lenient is None or lenient.hydra.mode != RunMode.MULTIRUN:
            raise
        return None
    if config.hydra.mode is None:
        config.hydra.mode = RunMode.RUN
    return config if config.hydra.mode == RunMode.RUN else None


def _config_to_resume(composition: Composition, overrides: list[str]) -> DictConfig:
    """The config that says where the run to resume lies; the other overrides are about the run's config."""
    finding = [text for text in overrides if is_ignored(text)]
    config = composition.loader.load_configuration(composition.config_name, finding, RunMode.RUN)
    if config.hydra.mode is None:
        config.hydra.mode = RunMode.RUN
    with read_write(config):
        config.hydra.overrides.task = [text for text in overrides if not text.startswith("hydra")]
    return config


def _run_alone(jobs: VerbJobs, overrides: list[str], config: DictConfig) -> None:
    with ExitStack() as silence:

        def work(config: DictConfig) -> Any:
            try:
                jobs.check(config, as_given(HydraConfig.get().overrides.task))
                return jobs.work(config)
            except Exception:
                # On its way out Hydra prints a line of its own about the error.
                silence.enter_context(redirect_stderr(io.StringIO()))
                raise

        hydra_internals.run(jobs.config_name, work, overrides, config)


@contextmanager
def _resumed_sweep(composition: Composition, overrides: list[str], jobs: VerbJobs) -> Iterator[list[str]]:
    """The command line that a sweep was started with, with what may be changed for ``sweep.resume=``.

    Hydra is started anew, on the config files of then.
    """
    ways = ("sweep.resume=", "paths.", "hydra.", "launcher=")
    finding = [text for text in overrides if text.startswith(ways)]
    config = composition.loader.load_configuration(
        composition.config_name, finding, RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    from gatewise.sweeps.folder import Sweep
    from gatewise.sweeps.resume import resumed_overrides, warn_of_edited

    sweep = Sweep.open(config.sweep.resume, Path(config.paths.sweeps_dir))
    jobs.resumed = ResumedSweep(sweep.folder, tuple(overrides), config)
    given = resumed_overrides(overrides, sweep)
    copy = sweep.config_copy()
    if copy is not None:
        warn_of_edited(copy.differing(composition.loader), sweep)
        given = copy.overrides(given, composition.config_name)
    check_packages([text for text in given if text not in overrides], sweep.folder)
    with nullcontext(composition.loader) if copy is None else jobs.composing_from(copy) as loader:
        stored = loader.load_configuration(
            composition.config_name, given, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
        jobs.resumed.check(stored)
        yield given
