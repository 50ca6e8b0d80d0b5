"""Every file of conf/ composes, resolves and names things that exist; a wrong key is named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.types import RunMode
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.config.compose import compose, conf_folder, hydra_session

CONF = conf_folder()
PRIMARY = {
    "train": [],
    "evaluate": [],
    "predict": [],
    "inspect": ["input=mine.csv"],
    "compare": [],
    "sync": [],
    "data": [],
    "draw": [],
    "backtest": [],
}


def group_files() -> list[tuple[str, str]]:
    """Every (group, choice) there is a file for: ("experiment", "text/files"), ("model", "gru"), …"""
    paths = (path.relative_to(CONF) for path in sorted(CONF.rglob("*.yaml")))
    return [
        (path.parts[0], "/".join(path.with_suffix("").parts[1:]))
        for path in paths
        if len(path.parts) > 1 and path.parts[0] != "hydra"
    ]


def required_in(group: str, choice: str) -> set[str]:
    """The settings that the file of this choice leaves to the user, as ``group.setting``."""
    file = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}
    return {f"{group}.{key}" for key, value in file.items() if value == "???"}


def nodes(value: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict of a plain config, with its dotted key."""
    if isinstance(value, dict):
        yield key, value
        for name, child in value.items():
            yield from nodes(child, f"{key}.{name}".lstrip("."))


def composed(argv: list[str]) -> tuple[DictConfig, dict[str, str]]:
    """A train config, and its choices (``model: gru`` …) by experiment, default and override."""
    with hydra_session("train") as loader:
        config = loader.load_configuration("train", argv, RunMode.RUN, from_shell=False)
        choices = dict(config.hydra.runtime.choices)
        with open_dict(config):
            del config["hydra"]
        return config, choices


def assert_complete(config: DictConfig, may_lack: set[str]) -> None:
    """Nothing is unresolved but what the user has to give, and every target can be imported."""
    assert OmegaConf.missing_keys(config) == may_lack
    plain = OmegaConf.to_container(config, resolve=True)
    targets = {key: node["_target_"] for key, node in nodes(plain) if "_target_" in node}
    for key, target in targets.items():
        assert callable(get_object(target)), key


def test_every_primary_config_is_in_the_table() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} == set(PRIMARY)


@pytest.mark.parametrize("verb", PRIMARY)
def test_a_primary_config_composes(verb: str) -> None:
    assert_complete(compose(verb, PRIMARY[verb]), set())
    without = compose(verb, [])
    assert OmegaConf.missing_keys(without) == {word.partition("=")[0] for word in PRIMARY[verb]}


@pytest.mark.parametrize(("group", "choice"), group_files())
def test_a_choice_composes_into_train(group: str, choice: str) -> None:
    config, chosen = composed([f"{group}={choice}"])
    assert chosen[group] == choice
    if group == "experiment":
        assert config.name == choice
    may_lack = set().union(
        *(required_in(g, c) for g, c in chosen.items() if c and (CONF / g / f"{c}.yaml").is_file())
    )
    own = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) if group == "experiment" else {}
    may_lack -= {f"{section}.{key}" for section in ("data", "model") for key in own.get(section) or ()}
    assert_complete(config, may_lack)


def test_the_walk_sees_every_group_of_the_defaults() -> None:
    defaults = yaml.safe_load((CONF / "train.yaml").read_text())["defaults"]
    named = {next(iter(entry)).split()[-1] for entry in defaults if isinstance(entry, dict)}
    named = {name.partition("@")[0] for name in named if not name.startswith("hydra/")}
    # local is the user's own.
    assert {group for group, _ in group_files()} == named - {"local"}


EXPERIMENTS = [choice for group, choice in group_files() if group == "experiment"]


def first_quick(values: Sequence[Any]) -> list[Any]:
    """Parameters of a test, of which all but the first are variations."""
    return [values[0], *(pytest.param(value, marks=pytest.mark.slow) for value in values[1:])]


@pytest.mark.parametrize("experiment", first_quick(EXPERIMENTS))
def test_the_command_line_wins_over_the_experiment(experiment: str) -> None:
    argv = [f"experiment={experiment}", "model=rnn", "trainer.max_epochs=77", "seed=5", "optimizer=sgd"]
    config = compose("train", argv)
    assert (config.model.cell["_target_"], config.trainer.max_epochs) == ("gatewise.cells.RNN", 77)
    assert (config.optimizer["_target_"], config.data.seed) == ("torch.optim.SGD", 5)


def test_a_debug_preset_wins_over_the_experiment() -> None:
    for experiment in EXPERIMENTS:
        config = compose("train", [f"experiment={experiment}", "debug=one_batch"])
        assert (config.trainer.max_epochs, config.wandb.mode) == (1, "disabled")


def test_inspecting_adds_to_the_callbacks() -> None:
    default, inspecting = compose("train", []), compose("train", ["callbacks=inspect"])
    assert {**default.callbacks, "inspect": inspecting.callbacks.inspect} == inspecting.callbacks


SECTIONS = [
    "task",
    "data",
    "model",
    "model.cell",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "callbacks.timer",
    "logger",
    "wandb",
    "paths",
    "sweep",
]


def test_the_sections_are_those_of_the_config() -> None:
    config = OmegaConf.to_container(compose("train", ["logger=all"]))
    tops = {key.split(".")[0] for key, _ in nodes(config) if key}
    assert tops == {section.split(".")[0] for section in SECTIONS}


@pytest.mark.parametrize("section", first_quick(SECTIONS))
def test_a_wrong_key_is_named(section: str) -> None:
    with pytest.raises(ValueError, match=rf"^{section}\.nosuch_setting: no such setting"):
        compose("train", [f"{section}.nosuch_setting=1"])


@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_a_wrong_key_at_the_top_is_named(verb: str) -> None:
    with pytest.raises(ValueError, match=r"^nosuch_setting: no such group or setting"):
        compose(verb, ["nosuch_setting=1"])


@pytest.mark.parametrize("group", first_quick(sorted({group for group, _ in group_files()})))
def test_a_wrong_choice_is_named_with_those_there_are(group: str) -> None:
    known = ", ".join(sorted(choice for g, choice in group_files() if g == group))
    with pytest.raises(ValueError, match=rf"^{group}=nosuch_choice: no such choice\. Choices: {known}$"):
        compose("train", [f"{group}=nosuch_choice"])


MISSPELT = [
    ("task.poling", "task.pooling"),
    ("data.batchsize", "data.batch_size"),
    ("model.hiden_size", "model.hidden_size"),
    ("optimizer.lrr", "optimizer.lr"),
    ("trainer.max_epoch", "trainer.max_epochs"),
    ("callbacks.early_stopping.patiense", "callbacks.early_stopping.patience"),
    ("wandb.mod", "wandb.mode"),
    ("paths.run_dir", "paths.runs_dir"),
]


@pytest.mark.parametrize("names", first_quick(MISSPELT))
def test_a_misspelt_setting_finds_the_right_one(names: tuple[str, str]) -> None:
    misspelt, meant = names
    with pytest.raises(ValueError, match=rf"^{misspelt}: no such setting; did you mean {meant}\?"):
        compose("train", [f"{misspelt}=1"])


def test_every_path_follows_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("GATEWISE_DATA", "GATEWISE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    config = compose("train", [])
    assert config.paths == {
        "work_dir": str(tmp_path),
        "runs_dir": f"{tmp_path}/runs",
        "sweeps_dir": f"{tmp_path}/sweeps",
        "data_dir": f"{tmp_path}/data",
        "cache_dir": "~/.cache/gatewise",
    }
    assert config.data.folders == [str(tmp_path), f"{tmp_path}/data"]
    monkeypatch.setenv("GATEWISE_DATA", "/elsewhere")
    assert compose("train", []).data.folders == [str(tmp_path), "/elsewhere"]
    assert compose("evaluate", []).paths.data_dir == "/elsewhere"
    monkeypatch.setenv("XDG_CACHE_HOME", "/own")
    assert compose("train", []).paths.cache_dir == "/own/gatewise"
    monkeypatch.setenv("GATEWISE_CACHE", "/faster")
    assert compose("train", ["data=text_files", "data.files=[a.txt]"]).data.cache_dir == "/faster"
