"""What is wrong in a config file of the user's, with the file and the line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf

from gatewise.config.written import Used, Written, place, read_written, used_files, users_folders
from gatewise.settings import SettingError, closest, suggestion

LOCAL = "local/default.yaml"
"""The file of the user's own defaults, below ``conf/`` of the working folder."""
_KEY = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


def check_local(loader: ConfigLoader) -> None:
    """Raise ValueError where a file of the user's own defaults is not read, or holds no settings.

    Hydra leaves out what it cannot find: a folder of that name, another suffix, a link to nothing.
    """
    for folder in users_folders(loader):
        path = folder / LOCAL
        for misplaced, problem in _meant_as_local(folder):
            shown = place(misplaced, 1).rpartition(":")[0]
            goal = place(path, 1).rpartition(":")[0]
            raise SettingError(f"{shown}: {problem}: the settings of every training go into {goal}")
        if not path.parent.is_dir():
            continue
        others = sorted(p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml"))
        shown = place(path, 1).rpartition(":")[0]
        if os.path.lexists(path):
            if not path.exists():
                raise SettingError(f"{shown}: is a link to a file that is not there")
            if not path.is_file():
                raise SettingError(f"{shown}: is no file; the settings of every training go there")
            with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):  # Hydra says what is wrong
                _check_mapping(read_written(path, folder))
        elif others:
            raise SettingError(
                f"{place(path.parent / others[0], 1).rpartition(':')[0]}: is not read: the settings of every "
                f"training go into {shown}"
            )


def _meant_as_local(folder: Path) -> Iterator[tuple[Path, str]]:
    """What stands where the folder of :data:`LOCAL` should, or beside it under a name like its own."""
    local = folder / Path(LOCAL).parent
    if os.path.lexists(local) and not local.is_dir():
        yield local, "is a link to a folder that is not there" if local.is_symlink() else "is no folder"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in (".yaml", ".yml") and path.stem == local.name:
            yield path, "is not read"
        like_it = path.is_dir() and path.name != local.name and closest(path.name.lower(), [local.name])
        if like_it and (path / "default.yaml").exists() and not local.exists():
            yield path, "is not read"


def _check_mapping(written: Written) -> None:
    if written.kind != "mapping":
        what = "a list" if written.kind == "sequence" else "a word"
        raise SettingError(
            f"{place(written.path, written.start)}: must hold settings (key: value), got {what}"
        )


def check_chosen(loader: ConfigLoader, overrides: Sequence[str]) -> None:
    """Raise SettingError, with file and line, where a user's file that is chosen cannot be composed at all.

    It is no mapping, no YAML, or leads back to itself by an alias or by its defaults list.
    """
    named = [text.lstrip("+").partition("=")[::2] for text in overrides]
    for folder in users_folders(loader):
        for path in (folder / LOCAL, *(folder / group / f"{choice}.yaml" for group, choice in named)):
            _check_whole(path, folder, ())


def _check_whole(path: Path, folder: Path, before: tuple[Path, ...]) -> None:
    if folder not in path.parents or ".." in path.parts:
        return
    try:
        if not path.is_file():
            return
        text = path.read_text(encoding="utf-8")
        _check_tree(path, yaml.compose(text, Loader=yaml.SafeLoader), (), set())
        written = read_written(path, folder)
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        raise SettingError(
            f"{place(path, line)}: the character #x{error.character:x} is none of YAML's"
        ) from None
    except SettingError:
        raise
    except (OSError, ValueError, yaml.YAMLError):
        return  # which is said by whoever reads it
    except RecursionError:
        raise SettingError(f"{place(path, 1)}: brackets or lists too deep in one another") from None
    _check_mapping(written)
    for chosen in written.choices:
        other = folder / chosen.group / f"{chosen.name}.yaml"
        if other in (path, *before):
            raise SettingError(
                f"{place(path, chosen.line)}: {chosen.name} leads back to this file: name another"
            )
        _check_whole(other, folder, (*before, path))


def _check_tree(path: Path, node: yaml.Node | None, around: tuple[yaml.Node, ...], seen: set[int]) -> None:
    if any(node is other for other in around):
        assert node is not None
        raise SettingError(
            f"{place(path, node.start_mark.line + 1)}: an alias (*) stands inside of what it is a name for"
        )
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    for item in node.value:
        for part in item if isinstance(item, tuple) else (item,):
            _check_tree(path, part, (*around, node), seen)


def check_written(
    loader: ConfigLoader, config_name: str | None, overrides: Sequence[str], config: DictConfig
) -> None:
    """Raise SettingError, with file and line, for a key of a user's file that is no setting.

    What is inside of a section with a ``_target_`` is for the class to know.
    """
    if not users_folders(loader):
        return
    used = used_files(loader, config_name, list(overrides))
    known = {file.key(key): file for file in used if not file.is_users for key in file.written.lines}
    known.update({file.package: file for file in used if not file.is_users and file.package})
    texts = [file.written.path.read_text(encoding="utf-8") for file in used if file.is_users]
    for file in used:
        if not file.is_users:
            continue
        at = file.written.path
        _check_mapping(file.written)
        for inside, line in file.written.lines.items():
            key = file.key(inside)
            if (problem := _problem(key, file.written.values[inside], known, config, texts)) is not None:
                raise SettingError(f"{place(at, line)}: {problem}")


def _problem(
    key: str, value: Any, known: dict[str, Used], config: DictConfig, texts: Sequence[str]
) -> str | None:
    """What is wrong with a key of a user's file and its value; None for nothing that is known here."""
    top = key.partition(".")[0]
    if top == "hydra" or _is_of_a_class(key, config):
        return None
    children = [name.rpartition(".")[2] for name in known if name.rpartition(".")[0] == key]
    if key in known:
        if children and not isinstance(value, dict) and value is not None:
            return f"{key} holds settings ({', '.join(children[:3])}, ...), got {value!r}"
        return None
    parent = key.rpartition(".")[0]
    if "." in key and not any(name.startswith(f"{parent}.") for name in known):
        return None  # inside of what may hold anything, or of what was named before
    if isinstance(value, dict) and "_target_" in (OmegaConf.select(config, key) or {}):
        return None  # a callback or logger more
    if not parent and any(f"${{{key}}}" in text or f"${{{key}." in text for text in texts):
        return None  # a value that others refer to
    near = suggestion(closest(key, known))
    return f"{key}: no such setting{near}"


def _is_of_a_class(key: str, config: DictConfig) -> bool:
    """Whether a section around a key is built from a class, which says what its settings are."""
    while key := key.rpartition(".")[0]:
        section = OmegaConf.select(config, key, throw_on_missing=False)
        if isinstance(section, DictConfig) and "_target_" in section:
            return True
    return False


@contextmanager
def located(loader: ConfigLoader, config_name: str | None, overrides: Sequence[str]) -> Iterator[None]:
    """Put file and line before the message of a ValueError about a setting that a user's file gives."""
    try:
        yield
    except ValueError as error:
        line = _located(str(error), loader, config_name, overrides) if _is_ours(error) else None
        if line is None:
            raise
        raise SettingError(line) from error


def _is_ours(error: ValueError) -> bool:
    return type(error) in (ValueError, SettingError)


def _located(
    message: str, loader: ConfigLoader, config_name: str | None, overrides: Sequence[str]
) -> str | None:
    key = match[0] if (match := _KEY.match(message)) else None
    given = [text.lstrip("+~").partition("=")[0] for text in overrides]
    if key is None or any(name == key or (key.startswith(f"{name}.") and "." in name) for name in given):
        return None
    if not users_folders(loader):
        return None
    try:
        used = used_files(loader, config_name, list(overrides))
    except Exception:  # the message is about what cannot be composed
        return None
    for file in reversed(used):
        lines = {file.key(inside): line for inside, line in file.written.lines.items()}
        if key in lines:
            return f"{place(file.written.path, lines[key])}: {message}" if file.is_users else None
    return None


def not_utf8(error: UnicodeDecodeError, loader: ConfigLoader) -> str | None:
    """The line about a user's file that Hydra could not decode; None where the error is about another."""
    for folder in users_folders(loader):
        for path in sorted(Path(folder).rglob("*.yaml")):
            content = path.read_bytes() if path.is_file() else b""
            if content and content.startswith(error.object[: error.start + 1]):
                line = content[: error.start].count(b"\n") + 1
                return f"{place(path, line)}: not UTF-8 (byte {error.object[error.start]:#x})"
    return None
