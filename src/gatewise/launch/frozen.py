"""Config files as they were when a multirun began: its later jobs compose from them, whatever is edited."""

from __future__ import annotations

import copy
import io
from pathlib import Path, PurePosixPath
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf


def freeze(loader: ConfigLoader) -> None:
    """Have ``loader`` read every config file now, and none later; it can be pickled for another machine."""
    assert isinstance(loader, ConfigLoaderImpl)
    loader.repository = _FrozenRepository(loader.config_search_path)


class _FrozenRepository(ConfigRepository):
    """As Hydra's, over folders as they are at this moment; each file is parsed once in a process."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        self._frozen: dict[str, _FrozenFolder] = {}
        super().__init__(config_search_path)

    def initialize_sources(self, config_search_path: ConfigSearchPath) -> None:
        """Called again where a config adds to ``hydra.searchpath``: folders seen before stay as they were."""
        self._parsed: dict[str, ConfigResult | None] = {}
        super().initialize_sources(config_search_path)
        self.sources = [
            self._frozen.setdefault(source.path, _FrozenFolder(source.provider, source.path))
            # Hydra finds its plugins by loading their files again: the class is not the one imported here.
            if source.scheme() == FileConfigSource.scheme()
            else source
            for source in self.sources
        ]

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
    """A folder of YAML files, read once."""

    def __init__(self, provider: str, path: str) -> None:
        # The source's path comes without its scheme; Hydra looks a scheme up for what has none.
        super().__init__(provider=provider, path=f"{self.scheme()}://{path}")
        top = Path(self.path)
        paths = sorted(top.rglob("*.y*ml")) if top.is_dir() else []
        self.texts = {path.relative_to(top).as_posix(): path.read_bytes() for path in paths if path.is_file()}
        self.folders = {str(folder) for name in self.texts for folder in PurePosixPath(name).parents}

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._normalize_file_name(config_path)
        if name not in self.texts:
            raise ConfigLoadError(f"Config not found : {self.path}/{name}")
        text = self.texts[name].decode()
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
