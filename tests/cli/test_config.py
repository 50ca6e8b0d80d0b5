"""Where configs are found, how a verb runs on them, and how nodes become objects."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

import gatewise
from gatewise.cli.verb import run_verb
from gatewise.config.build import build
from gatewise.config.compose import compose, conf_folder

Out = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("conf")


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n")


def no_task(config: DictConfig) -> None:
    raise AssertionError(f"the task ran on {config}")


def test_conf_folder_is_packaged_or_beside_src(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert conf_folder() == Path(gatewise.__file__).parents[2] / "conf"
    package = tmp_path / "gatewise"
    (package / "conf").mkdir(parents=True)
    monkeypatch.setitem(conf_folder.__globals__, "__file__", str(package / "cli" / "config.py"))
    assert conf_folder() == package / "conf"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ([], {"model.hidden_size": 3, "seed": 1}),
        (["model=gru", "trainer.max_epochs=9"], {"model.hidden_size": 4, "trainer.max_epochs": 9}),
        (["experiment=text/sentiment"], {"seed": 7}),
        (["experiment=text/sentiment", "seed=8"], {"seed": 8}),
        (["+new=[1,2]", "~optimizer"], {"new": [1, 2], "optimizer": None}),
    ],
)
def test_run_and_compose_see_the_same_config(argv: list[str], expected: dict[str, Any]) -> None:
    seen: list[DictConfig] = []
    before = sys.argv[:]
    assert run_verb("train", argv, seen.append) == 0
    assert sys.argv == before
    composed = compose("train", argv)
    assert seen == [composed]
    assert "hydra" not in composed
    assert {key: OmegaConf.select(composed, key) for key in expected} == expected
    assert composed.where == str(Path.cwd())
    assert not GlobalHydra.instance().is_initialized()
    assert HydraConfig.instance().cfg is None
    assert "HYDRA_FULL_ERROR" not in os.environ


def test_options_stand_before_and_after_settings() -> None:
    seen: list[int] = []
    for argv in (["model=gru", "-m", "seed=1,2"], ["seed=1,2", "--multirun"]):
        assert run_verb("train", argv, lambda config: seen.append(config.seed)) == 0
    assert seen == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (["seed=4", "--cfg", "job", "-p", "trainer"], ["# @package trainer", "max_epochs: 3"]),
        (["--cfg", "job"], ["where: ${gatewise.cwd:}"]),
        (["--cfg", "job", "--resolve"], ["seed: 1", "  hidden_size: 3"]),
        (["--help"], ["data: broken, dangling, file, grammar, parent, twice, vowels", "seed: 1"]),
        (["--hydra-help"], ["hydra/launcher: basic"]),
        (["--info", "searchpath"], ["| hydra    | pkg://hydra.conf"]),
        (["--info", "defaults-tree"], ["  train:", "    model: lstm"]),
    ],
)
def test_what_hydra_shows(argv: list[str], lines: list[str], capsys: Out) -> None:
    assert run_verb("train", argv, no_task) == 0
    shown = capsys.readouterr().out
    assert all(any(line.startswith(start) for line in shown.splitlines()) for start in lines), shown


def test_the_users_folder_adds_choices(conf: Path, capsys: Out) -> None:
    write("conf/model/mine.yaml", "hidden_size: 99")
    write("conf/model/lstm.yaml", "hidden_size: -1")
    write("conf/train.yaml", "seed: hijacked")
    write("conf/local/default.yaml", "# @package _global_\noptimizer: {lr: 0.5}")
    write("extra/model/more.yaml", "hidden_size: 100")
    write("extra/model/mine.yaml", "hidden_size: 101")
    assert compose("train", ["model=mine"]).model.hidden_size == 99
    config = compose("train", [])
    assert (config.model.hidden_size, config.seed, config.optimizer.lr) == (3, 1, 0.5)

    seen: list[int] = []
    for choice in ("more", "mine", "gru"):
        argv = ["--config-dir", "extra", f"model={choice}"]
        assert run_verb("train", argv, lambda config: seen.append(config.model.hidden_size)) == 0
    assert seen == [100, 101, 4]

    assert run_verb("train", ["-cd", "extra", "--info", "searchpath"], no_task) == 0
    table = [line.split("|") for line in capsys.readouterr().out.splitlines() if "://" in line]
    assert [(row[1].strip(), row[2].strip()) for row in table] == [
        ("hydra", "pkg://hydra.conf"),
        ("main", f"file://{conf}"),
        ("command-line", f"file://{Path.cwd()}/extra"),
        ("working-folder", f"file://{Path.cwd()}/conf"),
        ("schema", "structured://"),
    ]


def test_our_own_folder_is_not_searched_twice(conf: Path, capsys: Out) -> None:
    Path("conf").symlink_to(conf)
    assert run_verb("train", ["--info", "searchpath"], no_task) == 0
    assert "working-folder" not in capsys.readouterr().out


def test_a_stored_config_runs_again() -> None:
    # How a launcher starts a second process on a job's own config.
    write("run/config.yaml", "seed: 12")
    seen: list[DictConfig] = []
    argv = [
        "-cp",
        "run",
        "-cn",
        "config.yaml",
        "hydra.mode=RUN",
        "hydra.run.dir=run",
        "hydra.output_subdir=null",
    ]
    argv += ["hydra/job_logging=none", "hydra/hydra_logging=none"]
    assert run_verb("train", argv, seen.append) == 0
    assert seen == [{"seed": 12}]


def test_a_job_may_compose_another_config() -> None:
    def task(_: DictConfig) -> None:
        assert compose("train", ["seed=5"]).seed == 5
        assert GlobalHydra.instance().is_initialized()
        assert HydraConfig.get().overrides.task == ["seed=2"]

    assert run_verb("train", ["seed=2"], task) == 0


def test_compose_raises_the_line_that_the_command_prints() -> None:
    with pytest.raises(ValueError, match=r"^modle: no such group or setting; did you mean model\?$"):
        compose("train", ["modle=gru"])
    assert not GlobalHydra.instance().is_initialized()


class Cell:
    def __init__(self, size: int = 1, gain: float = 1.0) -> None:
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}\nand a second line")
        if size == 13:
            raise KeyError("unlucky")
        self.size, self.gain = size, gain


class Layer:
    def __init__(self, hidden_size: int, cell: Any = None, sizes: Any = (), facts: Any = None) -> None:
        if hidden_size == 0:
            raise ValueError("hidden_size must not be 0")
        if hidden_size == 1:
            Cell(hiden=3)  # type: ignore[call-arg]  # A bug, whatever the settings.
        if hidden_size == 2:
            raise FileNotFoundError("weights.pt")
        self.hidden_size, self.cell, self.sizes, self.facts = hidden_size, cell, sizes, facts


class Owner:
    def __init__(self, layer: dict[str, Any]) -> None:
        self.layer = build(OmegaConf.create(layer), "model.layer")


def node(**settings: Any) -> DictConfig:
    """The node ``model`` of a config, with a Layer in it unless told otherwise."""
    root = OmegaConf.create({"width": 8, "model": {"_target_": f"{__name__}.Layer", **settings}})
    return root.model


CELL = {"_target_": f"{__name__}.Cell"}


def test_build_makes_nested_objects_and_passes_live_ones_by() -> None:
    facts: dict[str, Callable[[], None]] = {"function": lambda: None}
    layer = build(
        node(hidden_size="${width}", cell={**CELL, "size": 4}, sizes=[1, {"a": 2}]), "model", facts=facts
    )
    assert isinstance(layer, Layer)
    assert layer.hidden_size == 8
    assert layer.cell.size == 4
    assert layer.sizes == [1, {"a": 2}]
    assert [type(layer.sizes), type(layer.sizes[1])] == [list, dict]
    assert layer.facts is facts


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"hidden_size": 0}, "model: hidden_size must not be 0"),
        ({"hidden_size": 8, "cell": {**CELL, "size": 0}}, "model.cell: size must be at least 1, got 0"),
        ({"hidden_size": 8, "sizes": [CELL, {**CELL, "size": 0}]}, "model.sizes[1]: size must be at least 1"),
        ({"hiden_size": 8}, "model.hiden_size: no such setting of Layer; did you mean hidden_size?"),
        ({"hidden_size": 8, "xyz": 8}, "model.xyz: no such setting of Layer"),
        (
            {"hidden_size": 8, "cell": {**CELL, "siez": 8}},
            "model.cell.siez: no such setting of Cell; did you mean size?",
        ),
        ({}, "model.hidden_size: Layer needs a value, e.g. model.hidden_size=..."),
        ({"hidden_size": "???"}, "model.hidden_size: a value is required, e.g. model.hidden_size=..."),
        ({"hidden_size": 8, "cell": {**CELL, "size": "???"}}, "model.cell.size: a value is required"),
        (
            {"_target_": f"{__name__}.Lyer"},
            f"model._target_={__name__}.Lyer: {__name__} has no Lyer; did you mean {__name__}.Layer?",
        ),
        ({"_target_": "nosuch.Layer"}, "model._target_=nosuch.Layer: No module named 'nosuch'"),
        (
            {"_target_": "json.nosuch.Layer"},
            "model._target_=json.nosuch.Layer: No module named 'json.nosuch'",
        ),
        (
            {"hidden_size": 8, "cell": {"_target_": "nosuch.Cell"}},
            "model.cell._target_=nosuch.Cell: No module named 'nosuch'",
        ),
        ({"_target_": None}, "model._target_ must name a class"),
        (
            {"_target_": f"{__name__}.Owner", "layer": {"hidden_size": 8}},
            "model.layer: nothing to build",
        ),
        (
            {"hidden_size": 8, "cell": {**CELL, "size": "text"}},
            "model.cell.size must be a whole number, got 'text'",
        ),
    ],
)
def test_build_names_the_setting_that_is_wrong(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        build(node(**settings), "model")
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"hidden_size": 1}, TypeError),
        ({"hidden_size": 2}, FileNotFoundError),
        ({"hidden_size": 8, "cell": {**CELL, "size": 13}}, KeyError),
    ],
)
def test_build_leaves_other_errors_alone(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        build(node(**settings), "model")
    assert caught.type is error
    # The constructor's own frames are there to be read.
    assert caught.traceback[-1].name == "__init__"


def test_build_says_the_key_of_a_node_outside_a_config() -> None:
    detached = OmegaConf.create(
        {"_target_": f"{__name__}.Layer", "hidden_size": 8, "cell": {**CELL, "size": 0}}
    )
    with pytest.raises(ValueError, match=r"^task\.model\.cell: size must be"):
        build(detached, "task.model")
    with pytest.raises(ValueError, match=r"^task\.model: nothing to build"):
        build(OmegaConf.create({"hidden_size": 8}), "task.model")
    with pytest.raises(ValueError, match=r"^task\.model: nothing to build"):
        build(None, "task.model")  # type: ignore[arg-type]


def test_a_missing_value_that_is_an_object_is_not_missing() -> None:
    assert build(node(hidden_size=8, facts="???"), "model", facts=3).facts == 3
    with pytest.raises(MissingMandatoryValue):
        _ = node(hidden_size="???").hidden_size
