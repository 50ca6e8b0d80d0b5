"""Forecasting with every forecaster and output: shapes, what is missing, answers, settings."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from gatewise.cells import GRU
from gatewise.kinds.kind import Input
from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.nn import Recurrent
from gatewise.tasks.forecast import Forecast
from gatewise.tasks.forecast_answer import answer_of, column_names
from gatewise.tasks.forecasting import Forecasting

COLUMNS = ("load", "wind")
FACTS = SeriesFacts("time", COLUMNS, COLUMNS, "D", 8, 4, 4, (10.0, -2.0), (2.0, 0.5))
MASKED = SeriesFacts("time", COLUMNS, COLUMNS, "D", 8, 4, 4, (10.0, -2.0), (2.0, 0.5), masked=COLUMNS)
FILLED = SeriesFacts("time", COLUMNS, COLUMNS, "D", 8, 4, 4, (10.0, -2.0), (2.0, 0.5), missing="forward")
FORECASTERS = ("direct", "decoder", "segments", "residual")
OUTPUTS = ("point", "quantiles", "gaussian", "student_t", "negative_binomial")


def make_task(facts=FACTS, **settings):
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=4, cell=GRU(), engine="function")
    small = {"segment_length": 3, "levels": (0.1, 0.5, 0.9), "dilations": (2,)} | settings
    return Forecasting(model=model, facts=facts, optimizer=partial(torch.optim.SGD, lr=0.0), **small)


def make_batch(facts=FACTS, size=3):
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(size, 8, len(facts.features), generator=generator)
    counts = torch.randint(0, 30, (size, 4, 2), generator=generator)
    targets = (counts - torch.tensor(facts.mean)) / torch.tensor(facts.std)
    return WindowBatch(inputs, targets)


@pytest.mark.parametrize("forecaster", [*FORECASTERS, "residual from learnt seasons"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_every_forecaster_with_every_output(forecaster, output):
    name, _, learnt = forecaster.partition(" ")
    task = make_task(forecaster=name, output=output, smoothing="series" if learnt else "window")
    batch = make_batch()._replace(phase=torch.zeros(3, dtype=torch.int64))
    score = task.score(batch)
    assert score.loss is not None
    score.loss.backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    task.eval()
    forecast = task.forecast(batch, *task.placed(batch))
    assert forecast.point.shape == (3, 4, 2)
    torch.testing.assert_close(task.predict_step(batch), forecast.point)
    torch.testing.assert_close(task(batch.inputs), forecast.point)
    if output == "point":
        assert forecast.quantiles is None
    else:
        assert forecast.quantiles.shape == (3, 4, 2, 3)
        assert forecast.levels == (0.1, 0.5, 0.9)


def test_the_weights_of_earlier_runs_have_the_same_names():
    names = set(make_task().state_dict())
    layer = "encoder.layers.0"
    assert names == {
        *(f"{layer}.{name}" for name in ("weight_ih", "weight_hh", "bias", "own.bias_n")),
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize(
    ("forecaster", "facts"), [*((name, MASKED) for name in FORECASTERS), ("direct", FILLED)]
)
def test_missing_targets_count_in_no_metric(forecaster, facts, trainer, loader):
    task = make_task(facts, forecaster=forecaster).eval()
    batches = []
    for size in (3, 1):
        batch = make_batch(facts, size)
        batch.inputs[..., 2:] = 1.0
        batch.targets[0, 1:, 0] = torch.nan
        batches.append(batch)
    with torch.no_grad():
        errors = np.concatenate([(task(b) - b.targets).numpy().ravel() for b in batches])
    errors = errors[~np.isnan(errors)].astype(np.float64)
    assert len(errors) == 4 * 4 * 2 - 6
    made = trainer()
    made.fit(task.train(), loader(batches), loader(batches))
    found = {name: float(made.callback_metrics[f"val/{name}"]) for name in ("mse", "mae", "loss")}
    assert found["mse"] == pytest.approx(np.square(errors).mean(), rel=1e-5)
    assert found["loss"] == pytest.approx(np.square(errors).mean(), rel=1e-5)
    assert found["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)


def test_teacher_forcing_falls_over_the_epochs(trainer, loader):
    seen = []

    class Watched(Forecasting):
        def score(self, batch):
            if self.training:
                seen.append(self.forecaster.forcing)
            return super().score(batch)

    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=3, cell=GRU(), engine="function")
    settings = {"facts": FACTS, "optimizer": partial(torch.optim.SGD, lr=0.1), "forecaster": "decoder"}
    for epochs, expected in ((None, [1, 0.5, 0, 0]), (4, [1, 0.75, 0.5, 0.25]), (0, [0, 0, 0, 0])):
        seen.clear()
        task = Watched(model=model, teacher_forcing_epochs=epochs, **settings)
        trainer(max_epochs=4).fit(task, loader([make_batch()]), loader([make_batch(size=1)]))
        assert seen == expected


@pytest.mark.parametrize("output", OUTPUTS[1:])
def test_quantiles_of_paths(output):
    """At the first step they are those of the output, and each time the same; later ones spread more."""
    levels, batch = (0.1, 0.25, 0.5, 0.75, 0.9), make_batch()
    drawn, plain = (
        make_task(forecaster="decoder", output=output, levels=levels, paths=count).eval()
        for count in (4000, 0)
    )
    before = torch.get_rng_state()
    first, again = (drawn.forecast(batch, *drawn.placed(batch)) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close(first.quantiles, again.quantiles, rtol=0, atol=0)
    own = plain.forecast(batch, *plain.placed(batch))
    torch.testing.assert_close(first.point, own.point)
    spread = own.quantiles[:, 0, :, -1] - own.quantiles[:, 0, :, 0]
    assert ((first.quantiles - own.quantiles)[:, 0].abs() < 0.1 * spread.unsqueeze(-1)).all()
    assert (first.quantiles.diff(dim=-1) >= 0).all()


def test_names_of_intervals():
    assert column_names(dict.fromkeys((0.025, 0.1, 0.5, 0.9, 0.975))) == {
        0.025: "lo95",
        0.1: "lo80",
        0.5: "q50",
        0.9: "hi80",
        0.975: "hi95",
    }
    assert column_names(dict.fromkeys((0.3, 0.5))) == {0.3: "q30", 0.5: "q50"}


def test_an_answer_has_a_row_for_each_step_and_series():
    point = torch.arange(8.0).view(2, 2, 2)  # two series, two steps, two targets
    spread = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])
    forecast = Forecast(point, point.unsqueeze(-1) + spread, (0.025, 0.1, 0.5, 0.9, 0.975))
    scales = torch.tensor([[[0.0, 0.0], [1.0, 1.0]], [[100.0, 0.0], [10.0, 1.0]]]).double()
    truth = torch.full((2, 2, 2), torch.nan)
    columns = {"shop": ["a", "a", "b", "b"], "time": ["1", "2", "1", "2"]}
    given = Input(WindowBatch(torch.zeros(2, 8, 2), truth, scales=scales), "shops.csv", columns)
    answer = answer_of(forecast, given, FACTS)
    assert answer.title == "the 2 steps after shops.csv"
    table = answer.table
    assert list(table) == [
        *("shop", "time"),
        *("load", "load_lo95", "load_lo80", "load_hi80", "load_hi95"),
        *("wind", "wind_lo95", "wind_lo80", "wind_hi80", "wind_hi95"),
    ]
    # load is scaled · 2 + 10, of the second series (scaled · 10 + 100) · 2 + 10; wind is scaled / 2 - 2.
    assert table["load"].tolist() == [10, 14, 290, 330]
    assert table["load_lo80"].tolist() == [8, 12, 270, 310]
    assert table["wind_hi95"].tolist() == [-0.5, 0.5, 1.5, 2.5]
    assert answer.file_only == ("load_lo95", "load_hi95", "wind_lo95", "wind_hi95")
    truth[0, 0] = torch.tensor([2.5, 1.0])
    table = answer_of(forecast, given, FACTS).table
    assert table["load_actual"].iloc[0] == 15
    assert table["load_anomaly"].tolist() == [True, False, False, False]
    assert table["wind_anomaly"].tolist() == [False] * 4


def test_answers_of_many_windows_are_made_in_parts(monkeypatch):
    task = make_task(forecaster="decoder", output="gaussian").eval()
    batch = make_batch(size=5)
    given = Input(batch._replace(targets=torch.full((5, 6, 2), torch.nan)), "x.csv", {"time": ["t"] * 30})
    whole = task.answer(given).table
    monkeypatch.setattr("gatewise.tasks.forecasting.AT_ONCE", 2)
    parts = task.answer(given).table
    assert len(whole) == 30
    np.testing.assert_allclose(parts.iloc[:, 1:], whole.iloc[:, 1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("output", ["point", "quantiles", "student_t"])
@pytest.mark.parametrize("center", [False, True])
def test_what_is_inspected_ends_with_the_forecast(output, center):
    task, batch = make_task(output=output, center=center).eval(), make_batch(size=1)
    inspected = task.inspected(Input(batch, "x.csv"))
    with torch.no_grad():
        last = inspected.scores(batch.inputs, torch.tensor([8]))
        torch.testing.assert_close(last, task(batch).flatten(1))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"forecaster": "segment"}, r"forecaster='segment' is unknown \(did you mean 'segments'\?\)"),
        ({"output": "gauss"}, r"output='gauss' is unknown \(did you mean 'gaussian'\?\)"),
        ({"output": "quantiles", "levels": [0.1, 0.9]}, "levels need 0.5 where output=quantiles"),
        ({"levels": [0.5, 0.1]}, "levels must be rising probabilities between 0 and 1"),
        ({"levels": [0, 0.5]}, "levels must be rising probabilities between 0 and 1"),
        ({"center": True, "instance_norm": True}, "choose one of them"),
        ({"forecaster": "residual", "center": True}, "center=true and forecaster=residual"),
        ({"forecaster": "segments", "segment_length": 9}, "segment_length=9 is longer than data.lookback=8"),
        ({"logarithm": True}, "logarithm=true is for forecaster=residual alone, and it is direct"),
        (
            {"logarithm": True, "forecaster": "residual", "output": "gaussian"},
            "logarithm=true needs output=point or quantiles, and it is gaussian",
        ),
        ({"paths": 9}, "paths=9 needs forecaster=decoder, and it is direct"),
        ({"paths": 9, "forecaster": "decoder"}, "paths=9 are drawn of a distribution"),
        ({"teacher_forcing_epochs": -1}, "teacher_forcing_epochs must be a whole number of at least 0"),
    ],
)
def test_settings_that_do_not_fit(settings, said):
    with pytest.raises(ValueError, match=said):
        make_task(**settings)


@pytest.mark.parametrize("settings", [{"forecaster": "segments"}, {"instance_norm": True}])
def test_what_cannot_be_inspected_says_so(settings):
    with pytest.raises(ValueError, match=r"only runs with .*direct and no .*instance_norm"):
        make_task(**settings).inspected(Input(make_batch(size=1), "x.csv"))
