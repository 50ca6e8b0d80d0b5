"""The files of a sweep's directory that were edited, or are a stranger's: named, and nothing stumbles."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from plans import ended, make_plan

from gatewise.sweeps.folder import Sweep
from gatewise.sweeps.lost import journal_fault

PLAN = make_plan({"size": ["1", "2"]}, trials=2)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    sweep = Sweep(tmp_path_factory.mktemp("sweep"))
    study = sweep.study(PLAN, sweep.storage())
    for number, size in enumerate(("1", "2")):
        study.add_trial(ended(PLAN, number, {"size": size}, [0.5]))
    return sweep


def places(node: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in children for place in ((*keys, key), *places(child, (*keys, key)))]


def put(node: Any, place: tuple[Any, ...], value: Any) -> Any:
    node = copy.deepcopy(node)
    inside = node
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = value
    return node


ODD = [None, True, -1, 5, 10**30, 0.5, float("nan"), "x", "\x1b[31m", "../x", [], [5], {}, {"x": 5}]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_edit_of_a_journal_is_a_fault_or_no_matter(sweep: Sweep, data: st.DataObject) -> None:
    lines = [json.loads(line) for line in sweep.journal.read_text().splitlines()]
    place = data.draw(st.sampled_from([place for place in places(lines) if len(place) > 1]))
    edited = put(lines, place, data.draw(st.sampled_from(ODD)))
    other = Sweep(sweep.folder / "edited" / sweep.id)
    other.folder.mkdir(parents=True, exist_ok=True)
    other.journal.write_text("".join(f"{json.dumps(line)}\n" for line in edited))
    fault = journal_fault(other, PLAN)
    assert fault is None or "\n" not in fault
    if fault is None:
        for trial in other.trials():
            assert PLAN.space.point(trial.params)
            assert all(isinstance(run, str) for run in trial.user_attrs["runs"])


FAULTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "runs": lambda attrs: attrs.update(runs=[5]),
    "more runs": lambda attrs: attrs.update(runs=["a", "b"]),
    "no runs": lambda attrs: attrs.pop("runs"),
    "itself": lambda attrs: attrs.update(same_as=1),
    "a later one": lambda attrs: attrs.update(same_as=10**9),
    "no outcomes": lambda attrs: attrs.update(outcomes=[]),
    "outcomes of text": lambda attrs: attrs.update(outcomes="x"),
    "values of text": lambda attrs: attrs["outcomes"][0].update(values=["x"]),
    "a state": lambda attrs: attrs["outcomes"][0].update(state="x"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_trial_that_is_none_of_the_plan(kind: str, sweep: Sweep, tmp_path: Path) -> None:
    assert journal_fault(sweep, PLAN) is None
    lines = [json.loads(line) for line in sweep.journal.read_text().splitlines()]
    FAULTS[kind](lines[-1]["user_attrs"])
    other = Sweep(tmp_path / sweep.id)
    other.folder.mkdir()
    other.journal.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert "is damaged (trial 1: " in str(journal_fault(other, PLAN))


def test_a_plan_that_was_edited_is_refused(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.save_plan(PLAN)
    assert sweep.plan() == PLAN
    stored: Any = OmegaConf.to_container(OmegaConf.load(tmp_path / "sweep.yaml"))
    lines = []
    for place in places(stored):
        for value in (None, -1, 10**30, "x", [5], {"x": 5}):
            OmegaConf.save(OmegaConf.create(put(stored, place, value)), tmp_path / "sweep.yaml")
            try:
                sweep.plan().space.grid()
            except ValueError as error:
                lines.append(str(error))
    assert len(lines) > 80
    assert all(line.startswith(f"{tmp_path}/sweep.yaml: ") for line in lines)
