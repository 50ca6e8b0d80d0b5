"""Settings that were read from the environment: a run keeps ``<oc.env:NAME>``, and never the value.

Where a config says ``${oc.env:NAME}``, what the variable holds may be a secret, and run directories are sent
to others. What is stored is read from the environment again only where the user's own config or the variable
``GATEWISE_ENVIRONMENT`` names it: else a stranger's run could have any secret of the user's sent somewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

CONSENT = "GATEWISE_ENVIRONMENT"
"""Variable with the names, separated by commas, that a run directory may have read from the environment."""
KEPT_AS_VALUES = {
    *("GATEWISE_DATA", "GATEWISE_CACHE", "XDG_CACHE_HOME", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("HOME", "USER", "LOGNAME", "PWD", "TMPDIR", "SCRATCH", "HOSTNAME"),
}
"""Variables that Gatewise's own config files name, and such as say where and who one is."""
_ENV, _DECODE = re.compile(r"<oc\.env:(\w+)>"), re.compile(r"<oc\.decode:(<oc\.env:\w+>)>")

_names: set[str] = set()
_values: dict[str, tuple[Any, Any]] = {}


def note(config: DictConfig) -> None:
    """Take what the user's own config refers to: it may be read, and its values are not to be stored."""
    _names.clear()
    _values.clear()
    marked = dict(leaves(_marked(config)))
    for key, value in marked.items():
        if isinstance(value, str) and (names := _ENV.findall(value)):
            _names.update(names)
            _values[key] = (_resolved(config, key), value)


def names_in(config: DictConfig) -> dict[str, str]:
    """The variables that a config reads, but for ``KEPT_AS_VALUES``, each with a setting that does.

    However it is written: by what resolving it asks the environment for.
    """
    found: dict[str, str] = {}
    with _marking():
        for name in config:
            with contextlib.suppress(OmegaConfBaseException):  # it says nothing without what it lacks
                child = None if OmegaConf.is_missing(config, name) else config[name]
                values = OmegaConf.to_container(child, resolve=True) if OmegaConf.is_config(child) else child
                for key, value in leaves(values, str(name)):
                    for variable in _ENV.findall(value) if isinstance(value, str) else ():
                        found.setdefault(variable, key)
    return found


def for_children() -> dict[str, str]:
    """The variables by which the other processes of a training may read what this one may."""
    names = _names | consented()
    return {CONSENT: ",".join(sorted(names))} if names else {}


def stored(config: DictConfig) -> Any:
    """The resolved values of a config as they are written anywhere: with references to the environment."""
    marked = _marked(config)
    return _mapped(marked, lambda key, value: _values[key][1] if _is_noted(key, value) else value)


def as_stored(key: str, value: Any) -> Any:
    """One value of the config as it may be written: a reference where it came from the environment."""
    return _mapped(value, lambda inner, one: _values[inner][1] if _is_noted(inner, one) else one, key)


def filled(values: Any) -> Any:
    """Stored values, in which what may be read from the environment is a reference again."""
    allowed = _names | consented()

    def fill(_: str, value: Any) -> Any:
        names = _ENV.findall(value) if isinstance(value, str) else []
        if not names or not allowed.issuperset(names):
            return value
        return _ENV.sub(r"${oc.env:\1}", _DECODE.sub(r"${oc.decode:\1}", value))

    return _mapped(values, fill)


def check_filled(config: DictConfig, reference: str) -> None:
    """Raise ValueError for a setting that a stored config has from the environment, and that is not there."""
    for key, value in leaves(OmegaConf.to_container(config)):
        for name in _ENV.findall(value) if isinstance(value, str) else ():
            raise ValueError(
                f"{reference}: {key} came from the environment variable {name}, whose value the run does not "
                f"hold: give it again, or set {CONSENT}={name} to have it read again"
            )
        for name in re.findall(r"\$\{oc\.env:(\w+)\}", value) if isinstance(value, str) else ():
            if name not in os.environ:
                raise ValueError(
                    f"{reference}: {key} came from the environment variable {name}, which is not set"
                )


def as_given(overrides: Any) -> list[str]:
    """Overrides of a command line from Hydra's config, with the references that they hold."""
    texts: Any = OmegaConf.to_container(overrides, resolve=False)
    return [str(text) for text in texts]


def has_references(values: Any) -> bool:
    """Whether stored values name the environment."""
    return any(isinstance(value, str) and _ENV.search(value) for _, value in leaves(values))


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a config, with its key."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from leaves(child, f"{key}.{name}".lstrip("."))
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from leaves(child, f"{key}[{index}]")
    else:
        yield key, node


def _mapped(node: Any, change: Any, key: str = "") -> Any:
    if isinstance(node, dict):
        return {name: _mapped(child, change, f"{key}.{name}".lstrip(".")) for name, child in node.items()}
    if isinstance(node, list):
        return [_mapped(child, change, f"{key}[{index}]") for index, child in enumerate(node)]
    return change(key, node)


def consented() -> set[str]:
    """The variables that the user lets a stranger's directory read."""
    return set(filter(None, os.environ.get(CONSENT, "").replace(" ", "").split(",")))


def _is_noted(key: str, value: Any) -> bool:
    """Whether it is still what was read from the environment, put there as a plain value since."""
    return key in _values and _values[key][0] == value


def _resolved(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key)


def _marked(config: DictConfig) -> Any:
    with _marking():
        return OmegaConf.to_container(config, resolve=True)


@contextmanager
def _marking() -> Iterator[None]:
    """Have OmegaConf put in the place of a variable where it came from."""

    def env(name: str, *default: Any) -> Any:
        known = name in os.environ and name not in KEPT_AS_VALUES
        return f"<oc.env:{name}>" if known else oc.env(name, *default)

    def decode(text: Any, _parent_: Any, _node_: Any) -> Any:
        is_marked = isinstance(text, str) and _ENV.search(text)
        return f"<oc.decode:{text}>" if is_marked else oc.decode(text, _parent_, _node_)

    resolvers: Mapping[str, tuple[Any, Any]] = {"oc.env": (env, oc.env), "oc.decode": (decode, oc.decode)}
    for name, (marking, _) in resolvers.items():
        OmegaConf.register_new_resolver(name, marking, replace=True)
    try:
        yield
    finally:
        for name, (_, original) in resolvers.items():
            OmegaConf.register_new_resolver(name, original, replace=True)
