"""How a verb runs: its command line, its config, and the jobs of a multirun."""

from __future__ import annotations

import argparse
import io
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from gatewise.cli.errors import guarded, reason, report
from gatewise.config.compose import explained, hydra_session
from gatewise.config.explain import Composition
from gatewise.config.freeze import freeze
from gatewise.settings import SettingError, UsageError, closest, suggestion

Task = Callable[[DictConfig], Any]


def run_verb(verb: str, argv: list[str], task: Task) -> int:
    """Run ``task`` on what ``argv`` composes from ``<verb>.yaml``, or what Hydra's option says; exit code."""
    return guarded(lambda: _run_verb(verb, argv, task))


def _run_verb(verb: str, argv: list[str], task: Task) -> int:
    parser, args = _arguments(verb, argv)
    name = args.config_name or verb
    overrides: list[str] = args.overrides
    main = args.config_path
    if main is not None and not main.startswith("pkg://"):
        main = str(Path(main).resolve())
    with ExitStack() as stack:
        hydra = stack.enter_context(hydra_session(verb, main, args.config_dir))
        composition = Composition(hydra, name, [*overrides])
        stack.enter_context(explained(composition))
        if args.help:
            hydra.app_help(config_name=name, args_parser=parser, args=args)
        elif args.hydra_help:
            hydra.hydra_help(config_name=name, args_parser=parser, args=args)
        elif args.cfg:
            hydra.show_cfg(name, overrides, args.cfg, args.package, args.resolve)
        elif args.info:
            hydra.show_info(args.info, config_name=name, overrides=overrides)
        elif args.shell_completion:
            hydra.shell_completion(config_name=name, overrides=overrides)
        else:
            jobs = VerbJobs(verb, name, task, main, args.config_dir)
            return _run_jobs(composition, overrides, jobs, args.multirun)
    return 0


def _arguments(verb: str, argv: list[str]) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    def fail(message: str) -> NoReturn:
        raise UsageError(f"{message} (gatewise {verb} --help lists the options)")

    parser = get_args_parser()
    parser.prog = f"gatewise {verb}"
    parser.error = fail  # type: ignore[method-assign]
    for action in parser._actions:
        if action.dest == "shell_completion":
            # Hydra's text installs a completion that knows no verbs.
            action.help = "Answer a shell's completion; install it with gatewise completion"
    # Intermixed: settings may stand before and after the options.
    args, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        near = suggestion(closest(unknown[0], parser._option_string_actions))
        fail(f"{unknown[0]}: no such option{near}")
    wanted = [args.run, args.multirun, args.shell_completion, args.cfg is not None, args.info is not None]
    if sum(wanted) > 1:
        fail("only one of --run, --multirun, --cfg, --info and --shell-completion can be given")
    if args.resolve and not (args.cfg or args.help):
        fail("--resolve needs --cfg or --help")
    if args.experimental_rerun is not None:
        fail("--experimental-rerun is not supported")
    return parser, args


@dataclass
class VerbJobs:
    """The jobs of one command: each composes a config and does the verb's work on it.

    It can be sent to another process, where Hydra is started anew.
    """

    verb: str
    config_name: str
    work: Task
    main: str | None = None
    extra: str | None = None
    of_hydra: list[str] = field(default_factory=list)
    """Overrides of Hydra's own settings, which hold for every job."""
    loader: ConfigLoader | None = None
    """The config files as they were when the command began."""
    failures: dict[int, int] = field(default_factory=dict)
    """Exit codes by the id of the error that a job raised."""
    folder: Path = field(default_factory=Path.cwd)
    """Where the command was given, which relative paths start from."""

    module = "gatewise.cli.forked"
    """What imports all that a sweep's processes need."""

    def __call__(self, config: DictConfig) -> Any:
        """Do one job of Hydra's, which goes on with the others and then raises the first error alone."""
        overrides = list(HydraConfig.get().overrides.task)
        try:
            self._enter_folder()
            self.check(config, overrides)
            return self.work(config)
        except Exception as error:
            self.failures[id(error)] = report(error, f"job {', '.join(overrides) or 'without overrides'}: ")
            raise

    def _enter_folder(self) -> None:
        """Work where the command was given; a cluster that ran before (Ray) has its processes elsewhere."""
        if Path.cwd() == self.folder:
            return
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise ValueError(
                f"{self.folder}: cannot be entered on {socket.gethostname()} ({error.strerror}): machines "
                f"of a cluster share the folder that a sweep is started in"
            ) from None

    def check(self, config: DictConfig, overrides: list[str]) -> None:
        """Raise SettingError where a setting of a composed config is of the wrong type."""
        hydra = GlobalHydra.instance().hydra
        if hydra is not None:  # else it is a launcher's process, and this has been done
            Composition(hydra, self.config_name, overrides).check_types(config, overrides)

    def run(self, overrides: Sequence[str]) -> str | None:
        """Do one job of a sweep, whose settings were checked, from its overrides; None, or why it failed."""
        given = [*overrides, *self.of_hydra, f"hydra.mode={RunMode.MULTIRUN.name}"]
        before = HydraConfig.instance().cfg
        try:
            with hydra_session(self.verb, self.main, self.extra) as hydra:
                hydra.config_loader = self.loader or hydra.config_loader
                with explained(Composition(hydra, self.config_name, given)):
                    config = hydra.compose_config(self.config_name, given, RunMode.RUN)
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
    hydra, name = composition.hydra, composition.config_name
    if any(text.partition("=")[0] == "sweep.resume" for text in overrides):
        multirun, overrides = True, _resumed_sweep(composition, overrides)
    mode = hydra.get_mode(config_name=name, overrides=overrides)
    if mode is None or (multirun and mode == RunMode.RUN):
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        overrides = [*overrides, f"hydra.mode={mode.name}"]
    of_sweeps = [text for text in overrides if text.startswith("sweep.")]
    if mode == RunMode.RUN and of_sweeps:
        raise SettingError(
            f"{of_sweeps[0]}: this is one training and no sweep: add -m and values, such as -m seed=1,2,3"
        )
    jobs.of_hydra = [text for text in overrides if text.startswith("hydra") and "hydra.mode=" not in text]

    with ExitStack() as silence:

        def run_alone(config: DictConfig) -> Any:
            try:
                jobs.check(config, list(HydraConfig.get().overrides.task))
                return jobs.work(config)
            except Exception:
                # On its way out Hydra prints a line of its own about the error.
                silence.enter_context(redirect_stderr(io.StringIO()))
                raise

        try:
            if mode == RunMode.RUN:
                hydra.run(config_name=name, task_function=run_alone, overrides=overrides)
            else:
                # Jobs are composed when their turn comes, from what the user asked for when it began.
                freeze(hydra.config_loader)
                jobs.loader = hydra.config_loader
                hydra.multirun(config_name=name, task_function=jobs, overrides=overrides)
        except Exception as error:
            if id(error) not in jobs.failures:
                raise
            return jobs.failures[id(error)]
    return 0


def _resumed_sweep(composition: Composition, overrides: list[str]) -> list[str]:
    """The command line that a sweep was started with, with what may be changed for ``sweep.resume=``.

    What is composed from now on is composed from the config files of then.
    """
    hydra = composition.hydra
    finding = [text for text in overrides if text.startswith(("sweep.resume=", "paths."))]
    config = hydra.compose_config(
        composition.config_name, finding, RunMode.MULTIRUN, validate_sweep_overrides=False
    )
    from gatewise.sweeps.folder import Sweep
    from gatewise.sweeps.resume import compose_as_before, resumed_overrides

    sweep = Sweep.open(config.sweep.resume, Path(config.paths.sweeps_dir))
    given = resumed_overrides(overrides, sweep)
    compose_as_before(hydra.config_loader, sweep)
    return given
