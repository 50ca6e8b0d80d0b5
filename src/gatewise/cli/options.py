"""The options of a verb: those of Hydra's programs that make sense here, with their meaning here."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from gatewise import __version__
from gatewise.settings import UsageError, closest, suggestion

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")

OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("--help", "-h"): {"action": "store_true", "help": "List groups, choices and settings"},
    ("--hydra-help",): {"action": "store_true", "help": "List these options and Hydra's own groups"},
    ("--version",): {
        "action": "version",
        "version": f"gatewise {__version__}",
        "help": "Print the version",
    },
    ("--cfg", "-c"): {
        "choices": ("job", "hydra", "all"),
        "help": "Print the config instead of running it [job|hydra|all]",
    },
    ("--resolve",): {
        "action": "store_true",
        "help": "With --cfg or --help: print values in place of references to them",
    },
    ("--package", "-p"): {"help": "With --cfg: print this section alone"},
    ("--run", "-r"): {"action": "store_true", "help": "Run one job"},
    ("--multirun", "-m"): {"action": "store_true", "help": "Run a sweep"},
    ("--config-path", "-cp"): {"help": "A folder, or pkg:// and a package, in place of Gatewise's conf/"},
    ("--config-name", "-cn"): {"help": "A primary config in place of the verb's own"},
    ("--config-dir", "-cd"): {"help": "A folder of further config files"},
    ("--info", "-i"): {
        "const": "all",
        "nargs": "?",
        "choices": INFO,
        "help": f"Print what is known of the config [{'|'.join(INFO)}]",
    },
}
NAMES = sorted(name for names in OPTIONS for name in names)

_OF_OTHERS = {
    "--shell-completion": "is not supported: gatewise completion bash|zsh|fish prints what a shell needs",
    "-sc": "is not supported: gatewise completion bash|zsh|fish prints what a shell needs",
    "--experimental-rerun": "is not supported",
}
"""Options that other programs of Hydra's have."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} ({self.prog} --hydra-help lists the options)")


def read_options(verb: str, argv: list[str]) -> argparse.Namespace:
    """The options among ``argv``, with the settings as ``overrides``; UsageError where they make no sense."""
    parser = _Parser(prog=f"gatewise {verb}", add_help=False)
    parser.add_argument("overrides", nargs="*")
    for names, settings in OPTIONS.items():
        parser.add_argument(*names, **settings)
    # Intermixed: settings may stand before and after the options.
    args, unknown = parser.parse_known_intermixed_args(argv)
    if unknown:
        name = unknown[0].partition("=")[0]
        if name in _OF_OTHERS:
            parser.error(f"{name} {_OF_OTHERS[name]}")
        parser.error(f"{unknown[0]}: no such option{suggestion(closest(name, NAMES))}")
    if sum((args.run, args.multirun, args.cfg is not None, args.info is not None)) > 1:
        parser.error("only one of --run, --multirun, --cfg and --info can be given")
    if args.resolve and not (args.cfg or args.help):
        parser.error("--resolve needs --cfg or --help")
    if args.package is not None and not args.cfg:
        parser.error("--package needs --cfg")
    for name in ("package", "config_path", "config_name", "config_dir"):
        if getattr(args, name) == "":
            parser.error(f"--{name.replace('_', '-')}: a name is required, got nothing")
    return args


def options_help() -> str:
    """Every option and what it does, one line each."""
    return "\n".join(f"{','.join(names)} : {settings['help']}" for names, settings in OPTIONS.items())
