"""Nor does the directory of a stranger's sweep bring code, which ``sweep.resume=`` goes on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from strangers import Stranger

from gatewise.config.compose import conf_folder

PLAN = {
    "name": "s",
    "config": "train",
    "overrides": ["seed=1,2"],
    "space": {"fixed": [], "swept": {"seed": ["1", "2"]}, "seeds": None},
    "seed": 1,
    "trials": 2,
    "lag": 1,
    "sampler": None,
    "pruner": None,
    "objectives": None,
    "directions": ["minimize"],
    "version": "0.1.0",
}


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    stranger = Stranger(tmp_path)
    write_plan(stranger, [])
    sources = [{"provider": "main", "path": str(conf_folder())}]
    stranger.write("sweeps/s/configs/sources.json", json.dumps({"folders": sources}))
    for path in conf_folder().rglob("*.yaml"):
        stranger.write(f"sweeps/s/configs/0/{path.relative_to(conf_folder())}", path.read_text())
    return stranger


def write_plan(stranger: Stranger, overrides: list[str]) -> None:
    plan = {**PLAN, "overrides": [*PLAN["overrides"], *overrides]}  # type: ignore[misc]
    stranger.write("sweeps/s/sweep.yaml", OmegaConf.to_yaml(OmegaConf.create(plan)))


QUICK = ("a callback", "a cell")
OVERRIDES = {
    "a callback": "+hydra.callbacks.x={{_target_:os.mkdir,path:{pwned}}}",
    "a logger": "+hydra.job_logging.handlers={{x:{{class:os.mkdir,path:{pwned}}}}}",
    "a logger of Hydra's own": "+hydra.hydra_logging.handlers={{x:{{class:os.mkdir,path:{pwned}}}}}",
    "a variable": "+hydra.job.env_set={{LD_PRELOAD:{pwned}}}",
    "a launcher": "hydra.launcher._target_=os.mkdir",
    "a sweeper": "hydra.sweeper._target_=os.mkdir",
    "a package": "hydra.searchpath=[pkg://this]",
    "a package of the sweep": "hydra.searchpath=[pkg://sweeps.s.evil]",
    "a cell": "model.cell._target_=os.mkdir",
    "a cell of the sweep": "model.cell._target_=sweeps.s.evil.Evil",
    "a sampler": "+sweep.sampler={{_target_:os.mkdir,path:{pwned}}}",
}


@pytest.mark.parametrize(
    "way",
    [pytest.param(way, marks=[] if way in QUICK else pytest.mark.slow) for way in OVERRIDES],
)
def test_overrides_of_a_sweep(stranger: Stranger, way: str) -> None:
    stranger.write("sweeps/s/evil.py", stranger.evil)
    write_plan(stranger, [OVERRIDES[way].format(pwned=stranger.pwned)])
    answer = stranger("train", "sweep.resume=sweeps/s", path=[""])
    assert not stranger.pwned.exists()
    assert answer.code == 1
    assert str(stranger.work / "sweeps" / "s") in answer.line()
    assert "this" not in answer.imported


@pytest.mark.slow
def test_config_files_of_a_sweep(stranger: Stranger) -> None:
    text = f"defaults: [base]\ncell:\n  _target_: os.mkdir\n  path: {stranger.pwned}\n"
    stranger.write("sweeps/s/configs/0/model/gru.yaml", text)
    write_plan(stranger, ["model=gru"])
    answer = stranger("train", "sweep.resume=sweeps/s")
    assert not stranger.pwned.exists()
    assert "model.cell._target_=os.mkdir: " in answer.err
