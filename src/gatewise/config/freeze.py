"""Config files as they were when a multirun began: its later jobs compose from them, whatever is edited.

A sweep keeps a copy of them in its folder, to go on with when it is resumed.
"""

from __future__ import annotations

import copy
import io
from pathlib import Path, PurePosixPath
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath, SearchPathElement
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from gatewise.runs.files import read_json_object, write_json
from gatewise.runs.moved import with_todays_targets

SOURCES = "sources.json"
"""Which folder each folder of a copy was, in the order in which they are searched."""


def freeze(loader: ConfigLoader) -> None:
    """Have ``loader`` read every config file now, and none later; it can be pickled for another machine."""
    assert isinstance(loader, ConfigLoaderImpl)
    if not isinstance(loader.repository, _FrozenRepository):
        loader.repository = _FrozenRepository(loader.config_search_path)


def save(loader: ConfigLoader, folder: Path) -> None:
    """Write the files that a frozen ``loader`` has read to ``folder``, which is made."""
    assert isinstance(loader, ConfigLoaderImpl)
    assert isinstance(loader.repository, _FrozenRepository)
    sources = list(loader.repository.frozen.values())
    for index, source in enumerate(sources):
        for name, text in source.texts.items():
            path = folder / str(index) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    folder.mkdir(exist_ok=True)
    listed = [{"provider": source.provider, "path": source.path} for source in sources]
    write_json(folder / SOURCES, {"folders": listed})


def restore(loader: ConfigLoader, folder: Path) -> list[Path]:
    """Have ``loader`` compose from the files that :func:`save` wrote, in place of those there are now.

    Packages are searched as they are for a new sweep: the copy names none. Returns the files that were
    edited, added or deleted since. Raises ValueError where the copy is damaged.
    """
    assert isinstance(loader, ConfigLoaderImpl)
    kept = _saved(folder)
    now = _FrozenRepository(loader.config_search_path).frozen
    for path in kept:
        now.setdefault(path, _FrozenFolder(kept[path].provider, path))
    search_path = ConfigSearchPathImpl()
    ours = [
        SearchPathElement(source.provider, f"file://{source.path}")
        for source in kept.values()
        if not source.provider.startswith("hydra.searchpath")  # Hydra adds those as it composes
    ]
    for element in loader.config_search_path.get_path():
        scheme = str(element.path).rpartition("://")[0] or "file"
        if scheme != "file":
            search_path.get_path().append(element)
        elif ours:  # all of them, in the place of the first
            search_path.get_path().extend(ours)
            ours = []
    loader.config_search_path = search_path
    loader.repository = _FrozenRepository(search_path, kept)
    differing = []
    for path, source in now.items():
        before = kept[path].texts if path in kept else {}
        names = {name for name, text in (*before.items(), *source.texts.items()) if before.get(name) != text}
        names |= before.keys() - source.texts.keys()
        differing += [Path(path) / name for name in sorted(names)]
    return differing


def _saved(folder: Path) -> dict[str, _FrozenFolder]:
    listed = read_json_object(folder / SOURCES).get("folders")
    found: dict[str, _FrozenFolder] = {}
    try:
        for index, entry in enumerate(listed or ()):
            path, provider = str(entry["path"]), str(entry["provider"])
            found[path] = _FrozenFolder(provider, path, folder / str(index))
    except (KeyError, TypeError):
        found = {}
    if not found:
        raise ValueError(f"{folder / SOURCES}: must list folders with provider and path; the file is damaged")
    return found


class _FrozenRepository(ConfigRepository):
    """As Hydra's, over folders as they are at this moment; each file is parsed once in a process."""

    def __init__(
        self, config_search_path: ConfigSearchPath, frozen: dict[str, _FrozenFolder] | None = None
    ) -> None:
        self.frozen: dict[str, _FrozenFolder] = dict(frozen or {})
        super().__init__(config_search_path)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Called again where a config adds to ``hydra.searchpath``: folders seen before stay as they were."""
        self._parsed: dict[str, ConfigResult | None] = {}
        super().initialize_sources(config_search_path)
        self.sources = [
            self._frozen_folder(source)
            # Hydra finds its plugins by loading their files again: the class is not the one imported here.
            if source.scheme() == FileConfigSource.scheme()
            else source
            for source in self.sources
        ]

    def _frozen_folder(self, source: ConfigSource) -> _FrozenFolder:
        if source.path not in self.frozen:
            self.frozen[source.path] = _FrozenFolder(source.provider, source.path)
        return self.frozen[source.path]

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self._parsed:
            self._parsed[config_path] = super().load_config(config_path)
        return copy.deepcopy(self._parsed[config_path])  # Hydra changes what it is given

    def __deepcopy__(self, memo: dict[int, Any]) -> _FrozenRepository:
        """Hydra copies a repository for each config that it composes, as it may add sources to it."""
        copied = object.__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> dict[str, Any]:
        # A schema's class need not be known where this is sent.
        return {**self.__dict__, "_parsed": {}}


class _FrozenFolder(FileConfigSource):
    """A folder of YAML files, read once; from ``copy`` where that is given."""

    def __init__(self, provider: str, path: str, copy: Path | None = None) -> None:
        # The source's path comes without its scheme; Hydra looks a scheme up for what has none.
        super().__init__(provider=provider, path=f"{self.scheme()}://{path}")
        top = copy or Path(self.path)
        paths = sorted(top.rglob("*.y*ml")) if top.is_dir() else []
        self.texts = {path.relative_to(top).as_posix(): path.read_bytes() for path in paths if path.is_file()}
        self.folders = {str(folder) for name in self.texts for folder in PurePosixPath(name).parents}

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._normalize_file_name(config_path)
        if name not in self.texts:
            raise ConfigLoadError(f"Config not found : {self.path}/{name}")
        text = with_todays_targets(self.texts[name].decode())
        stream = io.StringIO(text)
        stream.name = f"{self.path}/{name}"  # for the message about what is not YAML
        return ConfigResult(
            config=OmegaConf.load(stream),
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=ConfigSource._get_header_dict(text[:512]),
        )

    def is_group(self, config_path: str) -> bool:
        return str(PurePosixPath(config_path)) in self.folders

    def is_config(self, config_path: str) -> bool:
        return self._normalize_file_name(config_path) in self.texts

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        group = PurePosixPath(config_path)
        entries = {PurePosixPath(name) for name in (*self.texts, *self.folders)}
        found: list[str] = []
        for entry in entries:
            if entry.parent == group and entry != group:
                self._list_add_result(found, str(entry), entry.name, results_filter)
        return sorted(set(found))
