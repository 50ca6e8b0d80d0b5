"""The workspace of W&B that shows what the comparison page shows, as it would be sent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from gatewise.runs.record import Record
from gatewise.training.wandb_workspace import check_name, save, workspace

NAME = "Mine"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name.lower()))
    pytest.importorskip("wandb_workspaces", reason="pip install 'gatewise[workspaces]'")


def record(model: str, lr: float, seed: int, monitor: str = "val/loss", mode: str = "min") -> Record:
    settings = {"optimizer.lr": lr, "seed": seed, "data.seed": seed, "wandb.project": "mine"}
    return Record(
        Path(f"/runs/{model}{lr}"),
        "text/mine",
        "done",
        settings=settings,
        choices={"model": model},
        monitor=monitor,
        mode=mode,
    )


def sent(records: list[Record]) -> dict[str, list[dict[str, Any]]]:
    """The panels of each section, as W&B gets them."""
    view = workspace("me", "mine", NAME, records)._to_model()
    values = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    sections = values["section"]["panelBankConfig"]["sections"]
    assert (view.entity, view.project, view.display_name) == ("me", "mine", NAME)
    return {section["name"]: section["panels"] for section in sections}


@pytest.mark.usefixtures("installed")
def test_the_panels_are_those_of_the_page() -> None:
    panels = sent([record("gru", 0.1, 1), record("lstm", 0.01, 2), record("gru", 0.01, 3)])
    curves = [panel["config"]["metrics"] for panel in panels["Curves"]]
    assert curves == [["train/loss", "val/loss"], ["val/loss"], ["train/loss"]]
    assert {panel["config"]["xAxis"] for panel in panels["Curves"]} == {"trainer/global_step"}
    # The best value, as W&B sums a metric up that is told with `define_metric`.
    (bars,) = panels["Best values"]
    assert bars["config"]["metrics"] == ["summary_metrics.val/loss.min"]
    parallel, importance, *scatters = panels["Settings"]
    axes = [column["accessor"] for column in parallel["config"]["columns"]]
    # Each setting that differs, once: not the seed of the data, which follows the seed.
    settings = ["config:choices.value.model", "config:optimizer.value.lr", "config:seed.value"]
    assert axes == [*settings, "summary:val/loss.min"]
    assert importance["config"]["targetKey"] == "val/loss.min"
    assert [panel["config"]["xAxis"] for panel in scatters] == settings
    assert panels["Runs side by side"][0]["config"]["diffOnly"] is True


@pytest.mark.usefixtures("installed")
def test_runs_of_two_tasks_have_the_best_of_both() -> None:
    panels = sent([record("gru", 0.1, 1), record("gru", 0.1, 1, "val/accuracy", "max")])
    best = [panel["config"]["metrics"][0] for panel in panels["Best values"]]
    assert best == ["summary_metrics.val/loss.min", "summary_metrics.val/accuracy.max"]


@pytest.mark.usefixtures("installed")
def test_many_settings_are_cut_and_none_is_no_fault() -> None:
    many = [record("gru", 0.1, 1), record("gru", 0.1, 1)]
    for index in range(40):
        many[0].settings[f"model.s{index}"], many[1].settings[f"model.s{index}"] = index, index + 1
        many.append(record("gru", 0.1, 1))
        many[-1].settings[f"model.s{index}"] = 7
    assert len(sent(many)["Settings"][0]["config"]["columns"]) <= 11
    assert sent([])["Settings"] == []


def test_without_the_package_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ValueError, match=r"^workspace=Mine: needs wandb-workspaces .*install 'gatewise"):
        check_name(NAME)


@pytest.mark.usefixtures("installed")
def test_a_name_that_is_not_taken() -> None:
    check_name(NAME)
    with pytest.raises(ValueError, match=r"^workspace=\S+: W&B does not take it \(.*Emojis.*\)$"):
        check_name("\N{ROCKET}")


@pytest.mark.usefixtures("installed")
def test_what_the_server_says_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb
    from wandb_workspaces.workspaces import Workspace

    def refuse(_: Workspace) -> None:
        raise wandb.errors.CommError("permission denied\nmore")

    made = workspace("me", "mine", NAME, [])
    monkeypatch.setattr(Workspace, "save_as_new_view", refuse)
    with pytest.raises(ValueError, match=r"^workspace=Mine: W&B did not take it \(permission denied\)$"):
        save(made)
