"""What a class declares of its settings is read from its source as it is at run time, nothing imported."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from hydra.utils import get_object
from omegaconf import OmegaConf
from test_conf_settings import CONF, FILES, PARTS, content

from gatewise.cells.rnn import NONLINEARITIES
from gatewise.data.series.datasets import DATASETS, Dataset
from gatewise.data.text.corpora import CORPORA, LABELLED
from gatewise.data.text.labelled import Corpus as LabelledCorpus
from gatewise.data.text.module import Corpus
from gatewise.data.text.parallel import Corpus as ParallelCorpus
from gatewise.data.text.parallel_corpora import PARALLEL
from gatewise.engine import ENGINES
from gatewise.kinds.tokens import TOKENIZERS, TokenizerName
from gatewise.nn.forecast_outputs import LOSSES, LossName
from gatewise.settings.declared import check_settings, declared
from gatewise.settings.libraries import library_checks
from gatewise.settings.rules import Rule

TARGETS = sorted({node["_target_"] for _, node in PARTS.values()})

MINE = """
from __future__ import annotations

import typing as t
from dataclasses import dataclass
from typing import Annotated, Literal, Optional

import torch  # must never be imported to read this

from gatewise import settings
from gatewise.settings import AtLeast, DataFile, Names, Positive, Probability, rule, split_fractions

from .shapes import SHAPES, Shape as Form

Color = Literal["red", "green"]
LEAST = 2


@rule
def check_sum(first: float, second: float) -> None:
    split_fractions("left over", first=first, second=second)


@rule
def check_shape(form: str, color: str) -> None:
    if form not in SHAPES and color == "red":
        raise ValueError(f"form={form} is never red")


class Base:
    def __init__(self, size: Positive, note: str = "") -> None: ...


class Hinge:
    def __init__(self, *, play: Probability = 0.0) -> None: ...


class Lid:
    passes_on = Hinge

    def __init__(self, made_of: str, *, heavy: bool = False, **hinge: object) -> None: ...


class Thing(Base):
    \"\"\"Every way to say what a setting may be.\"\"\"

    passes_on = Lid
    kind = "a thing"
    swatches = ("a", "b")

    def __init__(
        self,
        color: Color = "red",
        form: "Form | None" = None,
        rate: Probability = 0.1,
        deep: Annotated[int, AtLeast(LEAST)] | None = None,
        deeper: Optional[settings.Count] = None,
        names: Names | None = None,
        file: DataFile | None = None,
        tensor: torch.Tensor | None = None,
        switch: t.Union[bool, None] = None,
        first: float = 0.1,
        second: float = 0.1,
        **base: object,
    ) -> None:
        super().__init__(**base)


@dataclass
class Plain:
    anything: int = 3
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .things import Plain, Thing\n")
    (folder / "things.py").write_text(MINE)
    (folder / "shapes.py").write_text(
        "from typing import Literal\nSHAPES = ('round', 'flat')\nShape = Literal['round', 'flat']\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "shelf"


BAD = [
    ({"size": 0}, "x.size must be a whole number of at least 1, got 0"),
    ({"note": 3}, "x.note must be text, got 3"),
    ({"color": "gren"}, "x.color='gren' is unknown (did you mean 'green'?); choose one of: red, green"),
    ({"form": "square"}, "x.form='square' is unknown; choose one of: round, flat"),
    ({"rate": 1.0}, "x.rate must be a probability of 0 or more and below 1, got 1.0"),
    ({"deep": 1}, "x.deep must be a whole number of at least 2 or null, got 1"),
    ({"deeper": -1}, "x.deeper must be a whole number of at least 0 or null, got -1"),
    ({"names": ["a", "a"]}, "x.names names 'a' twice: name it once"),
    ({"file": 3}, "x.file must name a file or null, got 3"),
    ({"switch": "yes"}, "x.switch must be true or false or null, got 'yes'"),
    ({"first": "much"}, "x.first must be a number, got 'much'"),
    ({"first": 0.6, "second": 0.5},
     "x: first=0.6 and second=0.5 leave nothing left over: make their sum less than 1"),
    ({"form": "flat", "color": "red"}, ""),
    ({"form": None, "color": "red"}, "x: form=None is never red"),
    ({"heavy": "very"}, "x.heavy must be true or false, got 'very'"),
    ({"play": 2}, "x.play must be a probability of 0 or more and below 1, got 2"),
    ({"made_of": "oak"},
     "x.made_of: no such setting of Thing; where a preset sets it, leave it out with ~x.made_of"),
    ({"colour": "red"}, "x.colour: no such setting of Thing; did you mean x.color?"),
    ({"_partial_": True, "tensor": "anything", "deep": 2, "size": 1, "switch": None, "file": "a.txt"}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), BAD)
def test_settings_of_a_users_own_class(package: str, values: dict[str, object], message: str) -> None:
    said = ""
    try:
        check_settings(f"{package}.Thing", values, "x")
    except ValueError as error:
        said = str(error)
    assert said == message.replace("x.color?", "color?")
    assert "shelf.things" not in sys.modules


def test_what_only_running_tells_is_left_alone(package: str) -> None:
    """A dataclass makes its constructor; a name that is not there may be anything."""
    check_settings(f"{package}.Plain", {"anything": "goes"}, "x")
    check_settings(f"{package}.Nothing", {"anything": "goes"}, "x")
    check_settings("no_such_package.Thing", {"anything": "goes"}, "x")
    assert declared("no_such_package.Thing") is None


def test_a_name_like_that_of_a_light_module_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typing_of_mine.py").write_text("raise SystemExit('imported')\nSize = int\n")
    (tmp_path / "box.py").write_text(
        "from typing_of_mine import Size\nclass Box:\n    def __init__(self, size: Size = 1): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match=r"x\.size must be a whole number, got 'big'"):
        check_settings("box.Box", {"size": "big"}, "x")
    assert "typing_of_mine" not in sys.modules


def test_class_attributes_and_files(package: str) -> None:
    thing = declared(f"{package}.Thing")
    assert thing is not None
    assert (thing.attribute("kind"), thing.attribute("swatches")) == ("a thing", ("a", "b"))
    assert thing.attribute("missing") is None
    assert thing.files == ("file",)
    assert {"size", "note", "color"} <= set(thing.parameters)


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_source_says_is_what_runs(target: str) -> None:
    declaration = declared(target)
    assert declaration is not None
    parameters = inspect.signature(get_object(target)).parameters
    assert set(declaration.parameters) == set(parameters)
    thing = get_object(target)
    module = sys.modules[thing.__module__]
    # A class has the rules of those it is made from too.
    bases = [sys.modules[base.__module__] for base in getattr(thing, "__mro__", ())]
    beside = {name for name, value in vars(module).items() if isinstance(value, Rule)}
    own = {item.name for item in declaration.rules}
    assert beside <= own, "a rule that needs more than plain Python"
    for item in declaration.rules:
        origin = next(place for place in (module, *bases) if hasattr(place, item.name))
        assert item.needs == getattr(origin, item.name).needs


@pytest.mark.parametrize(
    ("names", "implemented"),
    [
        (declared("gatewise.cells.RNN").checks["nonlinearity"].keywords["known"], NONLINEARITIES),  # type: ignore[union-attr]
        (get_args(Dataset), DATASETS),
        (get_args(Corpus), CORPORA),
        (get_args(LabelledCorpus), LABELLED),
        (get_args(ParallelCorpus), PARALLEL),
        (get_args(TokenizerName), TOKENIZERS),
        (get_args(LossName), LOSSES),
        (declared("gatewise.nn.Recurrent").checks["engine"].keywords["known"], dict.fromkeys(ENGINES)),  # type: ignore[union-attr]
    ],
)
def test_every_name_stands_for_something(names: tuple[str, ...], implemented: dict[str, object]) -> None:
    assert set(names) == set(implemented)


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.split("/")[0] in ("optimizer", "scheduler", "trainer")]
)
def test_a_file_of_conf_for_a_library_is_in_range(file: str) -> None:
    node = OmegaConf.create({"trainer": {"max_epochs": 3}, "task": {"mode": "min"}, "x": content(file)}).x
    target = node["_target_"]
    assert target.startswith("gatewise.") or set(node) & set(library_checks(target) or ())
    check_settings(target, dict(node), "x")


def test_reading_all_of_conf_imports_nothing_heavy() -> None:
    code = (
        "import json, sys\n"
        "from gatewise.settings.declared import declared\n"
        "known = [declared(target) is not None for target in json.loads(sys.argv[1])]\n"
        "print(json.dumps([all(known), sorted({'torch', 'pytorch_lightning', 'numpy'} & set(sys.modules))]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, json.dumps(TARGETS)],
        capture_output=True,
        text=True,
        check=True,
        cwd=CONF,
    )
    assert json.loads(ran.stdout) == [True, []]
