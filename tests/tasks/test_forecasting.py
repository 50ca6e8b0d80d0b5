"""Forecasting: the naive forecasts, centring, errors and the report, against numpy."""

from functools import partial

import numpy as np
import pytest
import torch

from gatewise.kinds.series import SeriesFacts, WindowBatch
from gatewise.nn import Recurrent
from gatewise.tasks.forecast_answer import number_format
from gatewise.tasks.forecast_baselines import Baselines
from gatewise.tasks.forecasting import Forecasting

COLUMNS = ("load", "wind", "sun")
MEAN, STD = (10.0, -2.0, 300.0), (2.0, 0.5, 40.0)


def make_facts(targets=COLUMNS, lookback=8, horizon=4, season=4):
    return SeriesFacts("time", COLUMNS, targets, "D", lookback, horizon, season, MEAN, STD)


def make_task(facts, lr=0.0, **settings):
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=5)
    return Forecasting(model=model, facts=facts, optimizer=partial(torch.optim.SGD, lr=lr), **settings).eval()


def make_batches(facts, sizes=(4, 1, 3)):
    """Batches of uneven sizes; targets are not contiguous, as the DataModule's views are not."""
    generator = torch.Generator().manual_seed(4)
    chosen = [COLUMNS.index(name) for name in facts.targets]
    batches = []
    for size in sizes:
        windows = torch.randn(size, 3, facts.lookback + facts.horizon, generator=generator).transpose(1, 2)
        batches.append(WindowBatch(windows[:, : facts.lookback], windows[:, facts.lookback :, chosen]))
    return batches


def naive(facts, inputs, season):
    """[B, L, C] to the value one season before each step, read off a growing list; in numpy."""
    chosen = [COLUMNS.index(name) for name in facts.targets]
    forecasts = []
    for window in inputs.numpy():
        rows = list(window[:, chosen])
        for _ in range(facts.horizon):
            rows.append(rows[-season])
        forecasts.append(rows[facts.lookback :])
    return np.array(forecasts)


TARGETS = [COLUMNS, ("sun",), ("wind", "load")]


@pytest.mark.parametrize("targets", TARGETS, ids=" ".join)
@pytest.mark.parametrize("season", [2, 3, 4, 6, 8], ids="season {}".format)  # horizon 4, lookback 8
def test_naive_forecasts(season, targets):
    facts = make_facts(targets, season=season)
    trivial = Baselines(facts)
    (batch,) = make_batches(facts, (3,))
    forecasts = trivial(batch)
    np.testing.assert_array_equal(forecasts["last season"], naive(facts, batch.inputs, season))
    np.testing.assert_array_equal(forecasts["last value"], naive(facts, batch.inputs, 1))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("targets", TARGETS, ids=" ".join)
def test_forward_is_the_head_on_the_last_hidden_state(targets, center):
    facts = make_facts(targets)
    task = make_task(facts, center=center)
    (batch,) = make_batches(facts, (3,))
    chosen = [COLUMNS.index(name) for name in targets]
    weight, bias = (p.detach().numpy() for p in (task.head.weight, task.head.bias))
    expected = []
    for window in batch.inputs:
        level = window[-1] if center else torch.zeros(3)
        with torch.no_grad():
            hidden = task.encoder((window - level)[None])[0][0, -1].numpy()
        # The head's outputs: horizon × targets, time first.
        expected.append((weight @ hidden + bias).reshape(4, len(targets)) + level.numpy()[chosen])
    found = task(batch.inputs).detach().numpy()
    assert found.shape == (3, 4, len(targets))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_centred_forecasts_move_with_the_level():
    facts = make_facts(("sun", "load"))
    (batch,) = make_batches(facts, (3,))
    shift = torch.tensor([5.0, -3.0, 100.0])
    centred, plain = make_task(facts, center=True), make_task(facts)
    moved = centred(batch.inputs + shift) - centred(batch.inputs)
    # The last value carries the shift of its own column: sun 100, load 5. 1e-4: float32 beside 100.
    np.testing.assert_allclose(moved.detach(), np.broadcast_to([100.0, 5.0], moved.shape), rtol=0, atol=1e-4)
    moved = (plain(batch.inputs + shift) - plain(batch.inputs)).detach()
    assert (moved[..., 0] < 90).all()  # without centring a saturated cell cannot follow


SEASONS = {
    "season = horizon": (4, True),
    "season < horizon": (3, True),
    "season > horizon": (6, True),
    "season = lookback": (8, True),
    "season > lookback": (9, False),
    "no season": (1, False),  # it would be the last value once more
}


@pytest.mark.parametrize(("season", "there"), SEASONS.values(), ids=SEASONS)
@pytest.mark.parametrize("targets", TARGETS, ids=" ".join)
def test_errors_are_over_all_values_of_the_epoch(targets, season, there, trainer, loader):
    facts = make_facts(targets, season=season)
    task = make_task(facts)
    batches = make_batches(facts)
    truth = np.concatenate([batch.targets.numpy() for batch in batches]).astype(np.float64)

    def errors(forecast):
        return {"mse": np.square(forecast - truth).mean(), "mae": np.abs(forecast - truth).mean()}

    def expect(found, prefix, forecast):
        for name, value in errors(forecast).items():
            assert float(found[f"{prefix}/{name}"]) == pytest.approx(value, rel=1e-5), (prefix, name)

    with torch.no_grad():
        model = np.concatenate([task(batch.inputs).numpy() for batch in batches])
    (found,) = trainer().test(task, loader(batches), verbose=False)
    std = np.array([STD[COLUMNS.index(name)] for name in targets])
    for prefix, forecast in {
        "test": model,
        "baseline/last value": np.concatenate([naive(facts, b.inputs, 1) for b in batches]),
    }.items():
        # Each target's in its own units, by numpy in float64.
        error = (forecast.astype(np.float64) - truth) * std
        for place, target in enumerate(targets):
            mse = np.square(error[..., place]).mean()
            own = {"mse": mse, "rmse": np.sqrt(mse), "mae": np.abs(error[..., place]).mean()}
            reported = task.report()["forecasts"]["errors"][target]
            answer = "this run" if prefix == "test" else "last value"
            assert reported[answer] == pytest.approx(own, rel=1e-12)
            for metric, value in own.items():
                assert float(found[f"{prefix}/{target}/{metric}"]) == pytest.approx(value, rel=1e-12)
    expect(found, "test", model)
    expect(found, "baseline/last value", np.concatenate([naive(facts, b.inputs, 1) for b in batches]))
    assert ("baseline/last season/mse" in found) == there
    if there:
        seasonal = np.concatenate([naive(facts, b.inputs, season) for b in batches])
        expect(found, "baseline/last season", seasonal)


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_training_minimises_the_chosen_loss(loss, trainer, loader):
    facts = make_facts()
    task = make_task(facts, loss=loss)
    batches = make_batches(facts)
    errors = [(task(batch.inputs) - batch.targets).detach().numpy().ravel() for batch in batches]
    errors = np.concatenate(errors).astype(np.float64)
    expected = {"mse": np.square(errors).mean(), "mae": np.abs(errors).mean()}
    made = trainer()
    made.fit(task.train(), loader(batches), loader(batches))
    for split in ("train", "val"):
        for name, value in {**expected, "loss": expected[loss]}.items():
            found = float(made.callback_metrics[f"{split}/{name}"])
            assert found == pytest.approx(value, rel=1e-5), (split, name)


@pytest.mark.parametrize("sizes", [(1,), (3,), (3, 1, 4), (3,) * 9], ids=str)
def test_report_shows_the_worst_median_and_best_window_in_the_datas_own_units(sizes, trainer, loader):
    facts = make_facts(("sun", "load"))
    task = make_task(facts)
    batches = make_batches(facts, sizes)
    made = trainer()
    for _ in range(2):  # a second test starts from nothing
        made.test(task, loader(batches), verbose=False)
    report = task.report()["forecasts"]
    assert report["targets"] == ["sun", "load"]
    inputs, targets = (torch.cat([getattr(b, name) for b in batches]) for name in ("inputs", "targets"))
    forecasts = task(inputs).detach()
    errors = (forecasts.double() - targets).abs().mean((1, 2)).numpy()
    ranked = np.argsort(errors)
    assert [shown["name"] for shown in report["windows"]] == ["worst", "median", "best"][: len(errors)]
    std, mean = np.array([40.0, 2.0]), np.array([300.0, 10.0])
    for shown in report["windows"]:
        middle = np.argsort(abs(errors - np.median(errors)))[0]
        pick = {"worst": ranked[-1], "median": middle, "best": ranked[0]}[shown["name"]]
        expected = {
            "seen": inputs[pick][:, [2, 0]].numpy(),
            "truth": targets[pick].numpy(),
            "forecast": forecasts[pick].numpy(),
        }
        assert set(shown) == {"name", *expected}
        for name, scaled in expected.items():
            np.testing.assert_allclose(shown[name], scaled * std + mean, rtol=1e-5, err_msg=name)


def test_predict_step_is_the_forecast():
    facts = make_facts()
    task = make_task(facts, center=True)
    (batch,) = make_batches(facts, (2,))
    unknown = batch._replace(targets=torch.full_like(batch.targets, torch.nan))
    assert torch.equal(task.predict_step(unknown), task(batch.inputs))


def test_loss_that_does_not_exist():
    with pytest.raises(
        ValueError, match=r"^loss='rmse' is unknown \(did you mean 'mse'\?\); choose one of: mse, mae, huber$"
    ):
        make_task(make_facts(), loss="rmse")


def test_targets_to_picture_are_checked_before_training():
    with pytest.raises(ValueError, match=r"task.pictured: 'sum' is no target \(did you mean 'sun'\?\)"):
        make_task(make_facts(), pictured=["sum"])
    assert make_task(make_facts(), pictured=["sun", "load"]).pictured == ("sun", "load")
    assert make_task(make_facts()).pictured == ("load",)


@pytest.mark.parametrize(
    ("values", "spread", "shown"),
    [
        ([10_000_000.0091, 10_000_000.0206], 0.02, ["10000000.00910", "10000000.02060"]),
        ([87.4312, 3.0], 45.0, ["87.43", "3.00"]),
        ([22516.3, 0.0], 3000.0, ["22516", "0"]),
        ([1234567.0], 1e6, ["1234567"]),
        ([1.5e-15, -2e-16], 1e-15, ["1.5e-15", "-2e-16"]),
        ([3.25e20, 0.0], 1e20, ["3.25e+20", "0"]),
    ],
)
def test_numbers_are_shown_to_a_thousandth_of_their_spread(values, spread, shown):
    form = number_format(np.array(values), spread)
    assert [form.format(value) for value in values] == shown
