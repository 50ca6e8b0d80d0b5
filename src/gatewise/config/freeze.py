"""The config files of a sweep: copied into its folder when it begins, and composed from there ever after.

So its later trainings, on any machine and after an interruption, are those that were asked for, whatever is
edited meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, ListConfig, OmegaConf

from gatewise.config.compose import PACKAGE, Folders
from gatewise.runs.files import read_json_object, replacing, write_json
from gatewise.runs.moved import with_todays_targets
from gatewise.runs.reading import LARGEST, LARGEST_SETTINGS, read_bytes
from gatewise.runs.yaml_size import check_size

SOURCES = "sources.json"
"""Which folder each folder of a copy was, in the order in which they are searched."""
SEARCH_PATH = "hydra.searchpath"


def copy_configs(config: DictConfig, copy: Path) -> None:
    """Copy every folder that ``config``, with its section ``hydra``, was composed from to ``copy``."""
    folders = [source for source in config.hydra.runtime.config_sources if source.schema == "file"]
    for index, source in enumerate(folders):
        _write(copy / str(index), _yaml_files(Path(source.path)))
    listed = [{"provider": source.provider, "path": source.path} for source in folders]
    write_json(copy / SOURCES, {"folders": listed})


@dataclass(frozen=True)
class _Copied:
    provider: str
    """Who brought the folder, as Hydra calls it: ``main``, ``working-folder``, ..."""
    original: str
    copy: Path


class ConfigCopy:
    """What :func:`copy_configs` wrote to ``copy``; raises ValueError where it is damaged.

    A copy that an earlier version made names classes as they were called then. It stays as it is, and what is
    composed from is a second one beside it with today's names.
    """

    def __init__(self, copy: Path) -> None:
        self._folders = _read_sources(copy)
        self._texts = {f.original: _yaml_files(f.copy, LARGEST_SETTINGS) for f in self._folders}
        for f in self._folders:
            for name, text in self._texts[f.original].items():
                _check_text(f.copy / name, text)
        today = {path: _with_todays_targets(texts) for path, texts in self._texts.items()}
        if today != self._texts:
            renamed = copy.with_name(f"{copy.name}_with_todays_names")
            self._folders = [_Copied(f.provider, f.original, renamed / f.copy.name) for f in self._folders]
            self._texts = today
            for f in self._folders:
                _write(f.copy, today[f.original])

    def folders(self, now: Folders) -> Folders:
        """Where to compose from. A package among ``now`` is searched as it is: a copy names none."""
        copies = [(f.provider, str(f.copy)) for f in self._folders if not _is_added(f) and f.copy.is_dir()]
        mains = [copy for provider, copy in copies if provider == "main"]
        if now.main.startswith(PACKAGE):
            mains.append(now.main)
        main = [*mains, *(copy for _, copy in copies), now.main][0]
        others = tuple((provider, copy) for provider, copy in copies if copy != main)
        return Folders(main, others, are_copies=True)

    def overrides(self, overrides: list[str], config_name: str) -> list[str]:
        """The same, with a ``hydra.searchpath`` that leads to the copies.

        That is the one of the overrides, else that of the primary config ``config_name``.
        """
        parsed = OverridesParser.create().parse_overrides(overrides)
        given = [override.value() for override in parsed if override.get_key_element() == SEARCH_PATH]
        places = given[0] if given else self._search_path_of(config_name)
        kept = [override.input_line or "" for override in parsed if override.get_key_element() != SEARCH_PATH]
        if not isinstance(places, list) or not places:
            return kept
        quoted = [QuotedString(place, Quote.single).with_quotes() for place in map(self._copy_of, places)]
        return [*kept, f"{SEARCH_PATH}=[{','.join(quoted)}]"]

    def _copy_of(self, place: object) -> str:
        """An entry of a search path, with the copy in place of a folder that there is one of."""
        original = str(place).removeprefix("file://")
        return next((f"file://{f.copy}" for f in self._folders if f.original == original), str(place))

    def _search_path_of(self, config_name: str) -> list[str]:
        for texts in self._texts.values():
            if (text := texts.get(f"{config_name}.yaml")) is not None:
                config = OmegaConf.create(text.decode())
                places = OmegaConf.select(config, SEARCH_PATH) if isinstance(config, DictConfig) else None
                return [str(place) for place in places] if isinstance(places, ListConfig) else []
        return []

    def differing(self, now: ConfigLoader) -> list[Path]:
        """The files that were edited, added or deleted since, by what ``now`` would compose from."""
        searched = {source.path: source.provider for source in now.get_sources() if source.scheme() == "file"}
        by_provider = {provider: path for path, provider in searched.items()}
        before: dict[str, dict[str, bytes]] = {path: {} for path in searched}
        for f in self._folders:
            # Gatewise may have been installed elsewhere since.
            path = f.original if f.original in searched else by_provider.get(f.provider, f.original)
            before[path] = self._texts[f.original]
        paths: list[Path] = []
        for folder, texts in before.items():
            # One that is searched no more may be any folder, as a copy may have come from anywhere: it is not
            # walked, but the files that were copied are looked for there.
            today = _yaml_files(Path(folder), only=None if folder in searched else texts)
            names = sorted(texts.keys() | today.keys())
            paths += [Path(folder, name) for name in names if texts.get(name) != today.get(name)]
        return paths


def _is_added(folder: _Copied) -> bool:
    """Whether it is of ``hydra.searchpath``, which Hydra adds as it composes."""
    return folder.provider.startswith(SEARCH_PATH)


def _read_sources(copy: Path) -> list[_Copied]:
    listed = read_json_object(copy / SOURCES).get("folders")
    try:
        folders = [
            _Copied(str(entry["provider"]), str(entry["path"]), copy / str(index))
            for index, entry in enumerate(listed or ())
        ]
    except (KeyError, TypeError):
        folders = []
    if not folders:
        raise ValueError(f"{copy / SOURCES}: must list folders with provider and path; the file is damaged")
    return folders


def _yaml_files(folder: Path, most: int = LARGEST, only: Iterable[str] | None = None) -> dict[str, bytes]:
    """Content of every YAML file by its path in ``folder``, or of these ``only``.

    Of no file where there is no such folder. Raises ValueError for one of more than ``most`` bytes.
    """
    if only is not None:
        paths = [folder / name for name in only]
    else:
        paths = sorted(folder.rglob("*.y*ml")) if folder.is_dir() else []
    return {path.relative_to(folder).as_posix(): read_bytes(path, most) for path in paths if path.is_file()}


def _check_text(path: Path, text: bytes) -> None:
    """Raise ValueError for a file whose few lines are a billion values; what is no YAML says so when used."""
    try:
        check_size(text.decode(errors="replace"))
    except yaml.YAMLError:
        return
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _write(folder: Path, texts: Mapping[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text)


def _with_todays_targets(texts: Mapping[str, bytes]) -> dict[str, bytes]:
    # What is not UTF-8 cannot be composed from either; whoever chooses it is told so.
    return {
        name: with_todays_targets(text.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        for name, text in texts.items()
    }
