"""Config files as they are written: the line and comment of every key, and the choices they make."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import join, normpath
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode

_KINDS = {type(None): "mapping", yaml.MappingNode: "mapping", yaml.SequenceNode: "sequence"}


@dataclass(frozen=True)
class Choice:
    """An entry of a file's list of defaults."""

    group: str
    name: str
    line: int


@dataclass
class Written:
    """What one YAML file says, and where."""

    path: Path
    kind: str = "mapping"
    """``mapping``, or what stands in its place: ``sequence`` or ``scalar``."""
    start: int = 1
    """The line on which it begins, behind its comments."""
    values: dict[str, Any] = field(default_factory=dict)
    """By dotted key every value, as text; None for null and a mapping's own dictionary."""
    lines: dict[str, int] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    choices: list[Choice] = field(default_factory=list)


def read_written(path: Path, folder: Path) -> Written:
    """What the file says, which is one of a ``folder`` of configs.

    Raises OSError, UnicodeDecodeError or yaml.YAMLError where it cannot be read.
    """
    return _read(path, folder, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=512)
def _read(path: Path, folder: Path, changed: int) -> Written:  # noqa: ARG001
    text = path.read_text(encoding="utf-8")
    root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    written = Written(path, _KINDS.get(type(root), "scalar"), _line(root))
    if isinstance(root, yaml.MappingNode):
        _enter(root, "", text.splitlines(), written)
        group = path.relative_to(folder).parent.as_posix()
        written.choices = list(_choices(root, "" if group == "." else group))
    return written


def _line(root: yaml.Node | None) -> int:
    return 1 if root is None else root.start_mark.line + 1


def _enter(node: yaml.MappingNode, prefix: str, lines: list[str], written: Written) -> None:
    for key_node, value in node.value:
        key = f"{prefix}{key_node.value}"
        if key == "defaults" and isinstance(value, yaml.SequenceNode):
            continue
        line = key_node.start_mark.line
        written.lines[key] = line + 1
        comment = " ".join(filter(None, (*_above(lines, line), _beside(lines, value))))
        if comment:
            written.comments[key] = comment
        if isinstance(value, yaml.MappingNode):
            written.values[key] = {}
            _enter(value, f"{key}.", lines, written)
        elif isinstance(value, yaml.SequenceNode):
            written.values[key] = []
        else:
            written.values[key] = None if value.tag.endswith(":null") else value.value


def _above(lines: list[str], line: int) -> list[str]:
    """The comment lines directly above a line, without their signs."""
    found: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().lstrip("#").strip())
    return [text for text in found if not text.startswith("@package")]


def _beside(lines: list[str], value: yaml.Node) -> str:
    mark = value.end_mark
    rest = lines[mark.line][mark.column :].strip() if mark.line < len(lines) else ""
    return (
        rest.lstrip("#").strip() if rest.startswith("#") and not isinstance(value, yaml.MappingNode) else ""
    )


def _choices(root: yaml.MappingNode, own_group: str) -> Iterator[Choice]:
    for key_node, listed in root.value:
        if key_node.value != "defaults" or not isinstance(listed, yaml.SequenceNode):
            continue
        for item in listed.value:
            pairs = item.value if isinstance(item, yaml.MappingNode) else [(None, item)]
            for group_node, name_node in pairs:
                words = "" if group_node is None else str(group_node.value).split()[-1]
                group, name = words.partition("@")[0], name_node.value
                if group_node is None and isinstance(name, str):
                    group, _, name = name.partition("@")[0].rpartition("/")
                    group = f"/{group[1:]}" if group.startswith("/") else group
                for one in name if isinstance(name, list) else [name]:
                    text = one if isinstance(one, str) else str(getattr(one, "value", one))
                    whole = group.lstrip("/") if group.startswith("/") else normpath(join(own_group, group))
                    yield Choice(whole.removeprefix("./").strip("."), text, name_node.start_mark.line + 1)


@dataclass(frozen=True)
class Used:
    """A file that a config was composed from."""

    written: Written
    package: str
    """Where in the config its settings are; empty for the top."""
    is_users: bool

    def key(self, inside: str) -> str:
        """The key in the config of one in the file."""
        return f"{self.package}.{inside}" if self.package else inside


def users_folders(loader: ConfigLoader) -> list[Path]:
    """The folders of config files that are searched beside Gatewise's own."""
    sources = [source for source in loader.get_sources() if source.scheme() == "file"]
    return [Path(source.path) for source in sources if source.provider not in ("main", "hydra")]


def users_files(loader: ConfigLoader) -> Iterator[Written]:
    """Every file of the user's that can be read, used or not."""
    for folder in users_folders(loader):
        for path in sorted(folder.rglob("*.yaml")):
            try:
                yield read_written(path, folder)
            except (OSError, ValueError, yaml.YAMLError):
                continue


def used_files(loader: ConfigLoader, config_name: str | None, overrides: list[str]) -> list[Used]:
    """The files that these overrides compose a config from, in the order in which they are merged."""
    theirs = set(users_folders(loader))
    sources = [source for source in loader.get_sources() if source.scheme() == "file"]
    found = []
    listed = loader.compute_defaults_list(config_name, overrides, RunMode.MULTIRUN).defaults
    for entry in listed:
        for source in sources:
            if entry.config_path is not None and source.is_config(entry.config_path):
                folder = Path(source.path)
                path = folder / f"{entry.config_path.removesuffix('.yaml')}.yaml"
                if path.is_file():
                    package = "" if entry.package in (None, "_global_") else entry.package
                    found.append(Used(read_written(path, folder), package, folder in theirs))
                break
    return found


def place(path: Path, line: int) -> str:
    """``file:line``, as the user would write it."""
    relative = os.path.relpath(path)
    return f"{path if relative.startswith('..') else relative}:{line}"


def comments(used: list[Used]) -> dict[str, str]:
    """The comment of every setting, by its key.

    Where several files give one, the last says it of what it chose; but a preset that changes a setting of
    another section says why, and not what it is.
    """
    found: dict[str, str] = {}
    for file in used:
        for inside, text in file.written.comments.items():
            if file.package:
                found[file.key(inside)] = text
            else:
                found.setdefault(inside, text)
    return found


def with_comments(text: str, found: dict[str, str]) -> str:
    """YAML with the comment of each key beside its value."""
    lines = text.splitlines()
    written = Written(Path())
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if isinstance(root, yaml.MappingNode):
        _enter(root, "", [""] * len(lines), written)
    for key, number in written.lines.items():
        if key in found:
            lines[number - 1] += f"  # {found[key]}"
    return "\n".join(lines) + "\n"
