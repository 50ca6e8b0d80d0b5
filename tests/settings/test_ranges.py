"""The declared ranges of settings are those of the classes that take them."""

from __future__ import annotations

import inspect

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from test_conf_settings import FILES, PARTS, content

from gatewise.cells.rnn import NONLINEARITIES
from gatewise.data.series.module import DATASETS
from gatewise.data.text.corpora import CORPORA
from gatewise.data.text.tokens import TOKENIZERS
from gatewise.settings import ranges
from gatewise.tasks.forecasting import LOSSES

# Their one setting may be any number; the classes with a run are not chosen by number or name.
NOTHING_TO_DECLARE = {"LSTM", "GRU", "PeepholeLSTM", "CoupledLSTM", "LayerNormLSTM", "LSTM1997"}
NOTHING_TO_DECLARE |= {"MinLSTM", "MinGRU"}
VIEWS = {"EpochLines", "LearningCurves", "ResultTable"}


def test_every_part_of_conf_is_declared() -> None:
    targets = {node["_target_"] for _, node in PARTS.values()}
    undeclared = {target.rpartition(".")[2] for target in targets - set(ranges.OURS)}
    assert undeclared <= NOTHING_TO_DECLARE | VIEWS
    assert set(ranges.OURS) <= targets


@pytest.mark.parametrize("target", ranges.OURS)
def test_what_is_declared_is_a_setting_of_the_class(target: str) -> None:
    declared = ranges.OURS[target]
    parameters = inspect.signature(get_object(target)).parameters
    together = [name for rule in declared.together for name in inspect.signature(rule).parameters]
    assert {*declared.each, *declared.files, *together} <= set(parameters)


@pytest.mark.parametrize(
    ("declared", "implemented"),
    [
        (ranges.NONLINEARITIES, NONLINEARITIES),
        (ranges.DATASETS, DATASETS),
        (ranges.CORPORA, CORPORA),
        (ranges.TOKENIZERS, TOKENIZERS),
        (ranges.LOSSES, LOSSES),
    ],
)
def test_every_name_stands_for_something(declared: tuple[str, ...], implemented: dict[str, object]) -> None:
    assert set(declared) == set(implemented)


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.split("/")[0] in ("optimizer", "scheduler", "trainer")]
)
def test_a_file_of_conf_for_a_library_is_in_range(file: str) -> None:
    node = OmegaConf.create({"trainer": {"max_epochs": 3}, "task": {"mode": "min"}, "x": content(file)}).x
    target = node["_target_"]
    assert set(node) & set(ranges.ranges_of(target).each)
    ranges.check_settings(target, dict(node), "x")
