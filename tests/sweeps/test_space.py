"""What a command line sweeps over, in Hydra's grammar."""

from __future__ import annotations

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
