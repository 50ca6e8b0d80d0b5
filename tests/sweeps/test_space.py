"""What a command line sweeps over, in Hydra's grammar."""

from __future__ import annotations

import math

import pytest

from gatewise.sweeps.space import Range, Space, read_space


def space(*arguments: str, searched: bool = True, seeds: list[int] | None = None, **params: str) -> Space:
    return read_space(params, arguments, seeds, searched)


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("model=lstm,gru", ["lstm", "gru"]),
        ("model=choice(lstm, gru)", ["lstm", "gru"]),
        ("model.hidden_size=32,64", ["32", "64"]),
        ("callbacks=null,default", ["null", "default"]),
        ("data.files=[a.txt],[b.txt,c.txt]", ["[a.txt]", "[b.txt,c.txt]"]),
        ("name='a b','c'", ["'a b'", "'c'"]),
        # Hydra's range leaves its end out.
        ("model.num_layers=range(1,4)", Range(1, 3, 1)),
        ("x=range(0.5,2,0.5)", Range(0.5, 1.5, 0.5)),
        ("model.hidden_size=tag(log,range(8,257))", Range(8, 256, 1, True)),
        ("optimizer.lr=interval(0.001,0.1)", Range(0.001, 0.1)),
        ("optimizer.lr=tag(log, interval(1e-4, 1e-1))", Range(1e-4, 0.1, None, True)),
        ("optimizer.lr=interval(1,2)", Range(1.0, 2.0)),
        ("model.hidden_size=int(interval(16,256))", Range(16, 256, 1)),
    ],
)
def test_values_of_a_search(written: str, values: object) -> None:
    found = space("trainer=cpu", written)
    assert found.fixed == ["trainer=cpu"]
    (swept,) = found.swept.values()
    assert swept == values
    if isinstance(values, Range):
        assert isinstance(swept, Range)
        assert type(swept.low) is type(values.low)
    assert Space.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    ("argument", "fixed"),
    [
        ("~callbacks.early_stopping", "~callbacks.early_stopping"),
        ("+trainer.x=1", "+trainer.x=1"),
        ("++trainer.x=[1,2]", "++trainer.x=[1,2]"),
        ("name='a,b'", "name='a,b'"),
        ("sweep=tpe", "sweep=tpe"),
    ],
)
def test_what_is_not_swept_is_kept_as_written(argument: str, fixed: str) -> None:
    assert space(argument, "model=lstm,gru").fixed == [fixed]


def test_the_command_line_wins_over_the_preset() -> None:
    preset = {"optimizer.lr": "interval(0.1,1)", "model": "lstm,gru"}
    assert read_space(preset, ["optimizer.lr=3"], None, True) == Space(
        ["optimizer.lr=3"], {"model": ["lstm", "gru"]}, None
    )
    assert read_space(preset, ["model=rnn,gru"], None, True).swept["model"] == ["rnn", "gru"]


PRESET = {"optimizer.lr": "interval(0.1,1)", "model": "lstm,gru"}


@pytest.mark.parametrize(
    ("arguments", "searched", "swept", "lines"),
    [
        # Ranges take the place of the preset's, single values of one setting only.
        (["x=1,2"], True, ["x"], 1),
        (["x=1,2", "optimizer.lr=interval(1,2)"], True, ["x", "optimizer.lr"], 1),
        (["x=1,2", "optimizer.lr=3", "model=rnn"], True, ["x"], 0),
        (["optimizer.lr=3"], True, ["model"], 0),
        (["y=1"], True, ["optimizer.lr", "model"], 0),
        # What was given as sweep.params was asked for too.
        (["x=1,2", "+sweep.params.model='lstm,gru'"], True, ["optimizer.lr", "model", "x"], 0),
        (["sweep.params={}"], True, [], 0),
        (["sweep.params={}", "x=1,2"], True, ["x"], 0),
        (["++sweep.params={model: 'lstm,gru'}"], True, ["model"], 0),
        (["sweep.params={}", "+sweep.params.model='lstm,gru'"], True, ["model"], 0),
        # Presets of grids are combined.
        (["x=1,2", "optimizer.lr=1,2"], False, ["optimizer.lr", "model", "x"], 0),
        (["sweep.params={}", "x=1,2"], False, ["x"], 0),
    ],
)
def test_what_is_searched_beside_a_preset(
    arguments: list[str], searched: bool, swept: list[str], lines: int
) -> None:
    said: list[str] = []
    assert list(read_space(PRESET, arguments, None, searched, say=said.append).swept) == swept
    assert len(said) == lines


def test_ranges_that_are_left_out_are_named() -> None:
    said: list[str] = []
    read_space(PRESET, ["x=1,2", "model=gru"], None, True, say=said.append)
    assert said == [
        "Searched: x, as given; the ranges of the preset (optimizer.lr) are left out: to search those too, "
        "give them as well"
    ]


@pytest.mark.parametrize(
    ("written", "values", "count"),
    [
        ("x=0.01,1e-2,0.010,+0.01", ["0.01"], 1),
        ("x=lstm,'lstm',gru", ["lstm", "gru"], 2),
        ("x=[1,2],[1, 2],[2,1]", ["[1,2]", "[2,1]"], 2),
        ("x={a:1,b:2},{a:1,b:2}", ["{a:1,b:2}"], 1),
        ("x=true,True,1", ["True", "1"], 2),
        ("x=null,none,NULL", ["null", "none"], 2),
        # A whole number and a share may mean something else, as in trainer.limit_train_batches.
        ("x=1,1.0", ["1", "1.0"], 2),
        ("x=range(1,4)", Range(1, 3, 1), 3),
        ("x=range(0.0,1.1,0.1)", Range(0.0, 1.0, 0.1), 11),
        ("x=int(interval(4,8))", Range(4, 8, 1), 5),
        ("x=interval(0,1)", Range(0.0, 1.0), math.inf),
    ],
)
def test_values_that_mean_the_same_are_one(written: str, values: object, count: float) -> None:
    found = space(written)
    assert found.swept["x"] == values
    assert found.count() == count


def test_a_range_of_a_grid_has_no_stop_either() -> None:
    assert space("x=range(0.0,0.7,0.1)", searched=False).swept["x"] == [
        *("0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"),
    ]


def test_points_that_are_the_same() -> None:
    steps = Space([], {"x": Range(0.0, 1.0, 0.1), "y": ["0.01", "1"], "z": Range(0.0, 1.0)}, None)
    assert steps.point({"x": 0.1 + 0.2, "y": "1e-2", "z": 0.5}) == steps.point(
        {"x": 0.3, "y": "0.01", "z": 0.5}
    )
    assert steps.point({"x": 0.3, "y": "1", "z": 0.5}) != steps.point({"x": 0.3, "y": "1", "z": 0.50001})


def test_the_settings_of_the_sweep_are_not_those_of_its_trainings() -> None:
    assert space("sweep.jobs=2", "sweep.resume=null", "model=lstm,gru").fixed == []


def test_a_grid_is_every_combination_the_last_setting_first() -> None:
    found = space("model=lstm,gru", "model.num_layers=range(1,3)", searched=False)
    assert found.grid() == [{"model": m, "model.num_layers": n} for m in ("lstm", "gru") for n in ("1", "2")]
    assert space(searched=False).grid() == [{}]


@pytest.mark.parametrize("written", ["seed=1,2,3", "seed=range(1,4)", "seed=choice(1,2,3)"])
def test_seeds_of_a_grid_are_those_of_each_configuration(written: str) -> None:
    found = space(written, "model=lstm,gru", searched=False)
    assert found.seeds == [1, 2, 3]
    assert list(found.swept) == ["model"]
    assert space("model=lstm,gru", searched=False, seeds=[1, 2, 3]) == found


@pytest.mark.parametrize(
    ("arguments", "seeds", "searched", "line"),
    [
        (["optimizer.lr=interval(0.1,1)"], None, False, "optimizer.lr: a grid tries every value"),
        (
            ["optimizer.lr=interval(1,0.1)"],
            None,
            True,
            r"optimizer.lr=interval\(1.0, 0.1\): the first number",
        ),
        (["x=tag(log,interval(0,1))"], None, True, "x: with tag log the numbers must be above 0, got 0"),
        (["x=tag(lgo,interval(1,2))"], None, True, "x: tag 'lgo' is unknown; there is log"),
        (["x=tag(log,range(1,9,2))"], None, True, "x: a range with tag log counts in ones: drop the step 2"),
        (["x=range(3,3)"], None, True, r"x=range\(3, 3\): there is no number in it"),
        (["seed=1,2"], None, True, r"seed: a search trains .* give sweep.seeds=\[1,2,3\]"),
        (["seed=1,2"], [3], False, "seed is swept and sweep.seeds is given as well"),
        (["seed=a,b"], None, False, "seed: a seed is a whole number of at least 0, got 'a'"),
        ([], [1, -1], True, "sweep.seeds: a seed is a whole number of at least 0, got -1"),
        ([], [1, 1], True, r"sweep.seeds: list one or more seeds, each once, got \[1, 1\]"),
        ([], [], True, r"sweep.seeds: list one or more seeds, each once, got \[\]"),
        (["sweep.jobs=1,2"], None, False, "sweep.jobs=1,2: sweep.jobs is one setting of the whole sweep"),
        (["resume=a,b"], None, False, "resume=a,b: resume is one setting of the whole sweep"),
    ],
)
def test_what_cannot_be_swept(
    arguments: list[str], seeds: list[int] | None, searched: bool, line: str
) -> None:
    with pytest.raises(ValueError, match=f"^{line}"):
        read_space({}, arguments, seeds, searched).grid()
