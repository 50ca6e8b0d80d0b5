"""From a config node to an object: the one place that calls Hydra's ``instantiate``."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Container, Iterator
from contextlib import suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gatewise.config.explain import required
from gatewise.settings import SettingError, closest, first_line, flag, suggestion
from gatewise.settings.declared import check_settings, located

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")


def build(node: DictConfig, key: str, **objects: Any) -> Any:
    """The object that ``node`` (found at ``key`` in the config) describes, called with ``objects`` as well.

    The objects never pass through OmegaConf; nodes inside ``node`` that have a ``_target_`` are built first.
    Raises ValueError with the key of the setting that is wrong: a value that a constructor refuses, a name
    that it does not know, a value that is missing, a ``_target_`` that cannot be imported. Any other error of
    a constructor comes as it was raised.
    """
    check_node(node, key, objects)
    _check_words(node, key)
    try:
        return instantiate(node, _partial_=True, _convert_="all")(**objects)
    except Exception as error:
        failure = error
    place, cause = _unwrapped(failure, node, key)
    line = _line(cause, place, node, key, objects)
    if line is not None:
        raise SettingError(line) from failure
    # Outside of the handler, so that the error keeps the causes that it has.
    raise cause


def locate(target: str) -> Any:
    """What a dotted name stands for; importing it may raise anything. Hydra's own finders also log errors."""
    first, *rest = target.split(".")
    found: Any = import_module(first)
    for name in rest:
        if isinstance(found, ModuleType) and not hasattr(found, name):
            import_module(f"{found.__name__}.{name}")
        found = getattr(found, name)
    return found


def class_of(node: DictConfig, key: str) -> type:
    """The class that the ``_target_`` of a node, found at ``key``, names; SettingError if there is none."""
    part = object_of(node, key)
    if not isinstance(part, type):
        raise SettingError(f"{key}._target_={target_of(node)}: not a class")
    return part


def object_of(node: DictConfig, key: str) -> Any:
    """What the ``_target_`` of a node, found at ``key``, names; SettingError if it cannot be imported."""
    target = target_of(node)
    try:
        return locate(target)
    except Exception as error:
        raise SettingError(_cannot_import(error, target, key)) from error


def check_node(node: DictConfig | None, key: str, objects: Container[str] = ()) -> None:
    """Raise SettingError for what is known to be wrong with the node found at ``key`` without importing it.

    That is: nothing to build, a setting without a value that is not among ``objects``, a value out of range.
    """
    if not isinstance(node, DictConfig) or "_target_" not in node:
        raise SettingError(f"{key}: nothing to build; give it a _target_, or choose one with {key}=...")
    for name in sorted(_missing(_as_written(node))):
        if name not in objects:
            raise SettingError(required(f"{key}.{name}"))
    _check_settings(node, key)


def _check_settings(node: DictConfig, key: str) -> None:
    values = given(node)
    target = node["_target_"]
    if not isinstance(target, str) or not target:
        raise SettingError(f"{key}._target_ must name a class, as in module.Class, got {target!r}")
    for name in ("_partial_", "_recursive_"):  # Hydra takes anything for true
        if name in values:
            flag(f"{key}.{name}", values[name])
    for name, value in values.items():
        if isinstance(value, DictConfig) and "_target_" in value:
            _check_settings(value, f"{key}.{name}")
    try:
        check_settings(target_of(node), values, key)
    except ValueError as error:
        raise SettingError(_by_its_own_name(str(error), node, key)) from None


def _by_its_own_name(message: str, node: DictConfig, key: str) -> str:
    """The message about a setting that refers to another (``mode: ${wandb.mode}``), naming that one."""
    for name, written in _as_written(node).items():
        other = _REFERENCE.fullmatch(written) if isinstance(written, str) else None
        if other is not None and re.match(rf"{re.escape(key)}\.{re.escape(name)}(?![\w.])", message):
            return other[1] + message[len(f"{key}.{name}") :]
    return message


def given(node: DictConfig) -> dict[str, Any]:
    """The settings of a node that have a value, null too."""
    return {str(name): node[name] for name in node if not OmegaConf.is_missing(node, name)}


def target_of(node: DictConfig) -> str:
    """The ``_target_`` as it is written."""
    return str(_as_written(node)["_target_"])


def _as_written(node: DictConfig) -> dict[str, Any]:
    """The node's plain values, those that refer to others as they are written."""
    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _missing(values: Any, name: str = "") -> Iterator[str]:
    """Dotted name of every ``???`` below."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _missing(value, f"{name}.{key}" if name else str(key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _missing(value, f"{name}[{index}]")
    elif values == "???":
        yield name


def _check_words(node: DictConfig, key: str) -> None:
    """Raise SettingError for text in place of a number, which torch and Lightning stumble over later."""
    target = target_of(node)
    for name, value in given(node).items():
        if isinstance(value, DictConfig) and "_target_" in value:
            _check_words(value, f"{key}.{name}")
        elif not target.startswith(("torch.", "pytorch_lightning.")):
            continue
        elif isinstance(value, str) and type(_default(target, name)) in (int, float):
            raise SettingError(f"{key}.{name} must be a number, got {value!r}")


def _default(target: str, name: str) -> Any:
    """The default of a setting of ``target``, or None where that is not known."""
    try:
        return inspect.signature(get_object(target)).parameters[name].default
    except Exception:
        return None


def _below(key: str, full_key: str) -> str:
    """The part of ``full_key`` behind ``key``; Hydra counts from the root of the config."""
    inside = full_key == key or full_key.startswith((f"{key}.", f"{key}["))
    return full_key[len(key) :].lstrip(".") if inside else full_key


def _unwrapped(error: BaseException, node: DictConfig, key: str) -> tuple[str, BaseException]:
    """Key of the node that failed, and the error behind what Hydra made of it."""
    place = key
    while isinstance(error, InstantiationException):
        if found := re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE):
            inside = _below(key, found[1])
            if inside and OmegaConf.select(node, inside) is None:
                # Of an element of a list OmegaConf says layers1.
                inside = re.sub(r"(\d+)(?=\.|$)", r"[\1]", inside)
            place = f"{key}.{inside}" if inside else key
        if error.__cause__ is None or _unlocated(error):
            break
        error = error.__cause__
    return place, error


def _unlocated(error: BaseException) -> str | None:
    found = re.match(r"Error locating target '(.*?)'", str(error))
    return None if found is None else found[1]


def _line(
    cause: BaseException, place: str, node: DictConfig, key: str, objects: dict[str, Any]
) -> str | None:
    if isinstance(cause, SettingError):
        return str(cause)
    if isinstance(cause, InstantiationException):
        target = _unlocated(cause)
        return f"{place}: {first_line(cause)}" if target is None else _cannot_import(cause, target, place)
    if isinstance(cause, ValueError) and not isinstance(cause, OmegaConfBaseException):
        return located(first_line(cause) or type(cause).__name__, place)
    if isinstance(cause, TypeError):
        inside = place[len(key) :].lstrip(".")
        line = _wrong_settings(cause, place, OmegaConf.select(node, inside) if inside else node, objects)
        return f"{place}: {first_line(cause)}" if line is None and _raised_by_library(cause) else line
    return None


def _raised_by_library(error: BaseException) -> bool:
    """Whether what Hydra called, and all that this called, is of installed libraries."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    names = [str(frame.f_globals.get("__name__")).partition(".")[0] for frame in frames]
    called = len(names) - names[::-1].index("hydra") if "hydra" in names else 0
    files = [frame.f_code.co_filename for frame in frames[called:]]
    return bool(files) and all("-packages" in file for file in files)


def _cannot_import(error: BaseException, target: str, place: str) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    reason, near = first_line(error), None
    module, _, name = target.rpartition(".")
    if isinstance(error, AttributeError) or (isinstance(error, ModuleNotFoundError) and error.name == target):
        # The module is there, and the name is not in it; or it fails itself.
        with suppress(Exception):
            found = closest(name, dir(locate(module)))
            reason, near = f"{module} has no {name}", None if found is None else f"{module}.{found}"
    if not isinstance(error, (AttributeError, ImportError)):
        reason = f"{type(error).__name__}: {reason}"
    return f"{place}._target_={target}: {reason}{suggestion(near)}"


def _wrong_settings(error: TypeError, place: str, node: Any, objects: dict[str, Any]) -> str | None:
    """The line about a setting that the target does not know or lacks; None for another TypeError."""
    if not isinstance(node, DictConfig):
        return None
    target = get_object(node["_target_"])
    name = getattr(target, "__name__", node["_target_"])
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # A builtin that states no signature.
        parameters = {}  # type: ignore[assignment]
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unexpected is not None and unexpected[1] in node and unexpected[1] not in objects:
        near = closest(unexpected[1], [known for known in parameters if known not in objects])
        hint = suggestion(near) or f"; where a preset sets it, leave it out with ~{place}.{unexpected[1]}"
        return f"{place}.{unexpected[1]}: no such setting of {name}{hint}"
    lacking = re.search(r"missing \d+ required .*?arguments?: '(\w+)'", str(error))
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if (
        lacking is not None
        and (lacking[1] in parameters or passes_on)
        and lacking[1] not in {*node, *objects}
    ):
        return f"{place}.{lacking[1]}: {name} needs a value, e.g. {place}.{lacking[1]}=..."
    return None
