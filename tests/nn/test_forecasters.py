"""Forecasters against a few lines of plain torch with the same weights, and in parts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from gatewise.cells import GRU, LSTM
from gatewise.kinds.series import WindowBatch
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.forecast_outputs import make_output
from gatewise.nn.forecasters.decoder import carried_forward
from gatewise.nn.forecasters.dilated import DilatedLayers, dilated
from gatewise.nn.forecasters.made import make_forecaster
from gatewise.nn.forecasters.shape import Shape
from gatewise.nn.forecasters.smoothing import SeriesSmoothing, WindowSmoothing

PLAIN = Shape(
    features=3,
    columns=3,
    targets=(0, 1, 2),
    known=(),
    masks=(None, None, None),
    known_features=0,
    lookback=12,
    horizon=6,
    season=4,
    categories=(),
    known_categories=(),
    static=0,
    static_categories=(),
    series=0,
    mean=(0.0, 1.0, 2.0),
    std=(1.0, 2.0, 3.0),
)


def made(name, shape=PLAIN, cell=None, level="none", output="point", model=Recurrent, **settings):
    torch.manual_seed(1)
    own = {
        "embedding_size": 2,
        "segment_length": 4,
        "projection_size": None,
        "dilations": (2, 3),
        "logarithm": False,
        "smoothing": "window",
    } | settings
    forecaster = make_forecaster(name, shape, make_output(output, "mse", (0.1, 0.5, 0.9)), level, 0.0, **own)
    encoder = forecaster.make_encoder(partial(model, hidden_size=6, cell=cell or GRU(), engine="function"))
    return forecaster.eval(), encoder, forecaster.make_head(encoder)


def windows(batch=3, steps=6, **more):
    generator = torch.Generator().manual_seed(2)
    return WindowBatch(
        torch.randn(batch, 12, 3, generator=generator),
        torch.randn(batch, steps, 3, generator=generator),
        **more,
    )


@pytest.mark.parametrize(("cell", "torchs"), [(GRU(), nn.GRU), (LSTM(), nn.LSTM)])
@pytest.mark.parametrize("level", ["last", "instance"])
def test_segments_against_plain_torch(cell, torchs, level):
    forecaster, encoder, head = made("segments", cell=cell, level=level)
    theirs = torchs(6, 6, batch_first=True)
    encoder.load_torch(theirs)
    x = windows().inputs
    # Written after the paper: B windows of C channels, n = 3 segments of 4 steps, m = 2 to come (of 8 steps).
    mean = x[:, -1:] if level == "last" else x.mean(1, keepdim=True)
    std = torch.ones(()) if level == "last" else (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    channels = ((x - mean) / std).permute(0, 2, 1).reshape(9, 3, 4)
    _, state = theirs(torch.relu(forecaster.project(channels)))
    rows = []
    for batch in range(3):
        for channel in range(3):
            row = []
            for place in range(2):
                vector = torch.cat([forecaster.position[place], forecaster.channel[channel]])
                number = batch * 3 + channel
                own = tuple(s[:, number : number + 1] for s in state) if cell.states != ("h",) else None
                h, _ = theirs(vector.view(1, 1, 6), own if own else state[:, number : number + 1])
                row.append(head(h[0, 0]))
            rows.append(torch.cat(row)[:6])
    expected = torch.stack(rows).view(3, 3, 6).transpose(1, 2) * std + mean
    placed, _ = forecaster(encoder, head, windows())
    torch.testing.assert_close(placed[..., 0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model", [Recurrent, Stacked])
def test_segments_with_several_layers_and_directions(model):
    deep = partial(model, num_layers=2, bidirectional=True)
    forecaster, encoder, head = made("segments", model=deep, segment_length=5)
    placed, _ = forecaster(encoder, head, windows())
    assert placed.shape == (3, 6, 3, 1)
    longer = windows()._replace(inputs=windows().inputs.clone())
    longer.inputs[:, :2] += 100  # two segments of five: the two oldest steps are left out
    assert torch.equal(forecaster(encoder, head, longer)[0], placed)


@pytest.mark.parametrize("cell", [GRU(), LSTM()])
@pytest.mark.parametrize("output", ["point", "quantiles", "student_t"])
@pytest.mark.parametrize("level", ["none", "instance"])
def test_a_decoder_step_by_step_is_the_whole(cell, output, level):
    forecaster, encoder, head = made("decoder", cell=cell, output=output, level=level)
    free, found_level = forecaster(encoder, head, windows())
    # What it expected itself as the truth: then every step reads the same.
    point = forecaster.output.point(free, found_level)
    forced, _ = forecaster.train()(encoder, head, windows()._replace(targets=point))
    torch.testing.assert_close(forced, free, rtol=1e-5, atol=1e-5)
    forecaster.forcing = 0.5
    mixed, _ = forecaster(encoder, head, windows()._replace(targets=point))
    torch.testing.assert_close(mixed, free, rtol=1e-5, atol=1e-5)
    other = windows()  # true values far away are read where they are forced, and only there
    forecaster.forcing = 1.0
    assert (forecaster(encoder, head, other)[0][:, 1:] - free[:, 1:]).abs().max() > 1e-3
    forecaster.forcing = 0.0
    torch.testing.assert_close(forecaster(encoder, head, other)[0], free)


def test_a_decoder_goes_on_as_long_as_it_is_asked_to():
    forecaster, encoder, head = made("decoder", level="last")
    long, _ = forecaster(encoder, head, windows(steps=20))
    short, _ = forecaster(encoder, head, windows(steps=5))
    assert long.shape == (3, 20, 3, 1)
    torch.testing.assert_close(long[:, :5], short)


@pytest.mark.parametrize("output", ["quantiles", "student_t", "negative_binomial"])
@pytest.mark.parametrize("cell", [GRU(), LSTM()])
def test_paths_of_a_window_are_those_of_its_copies(cell, output):
    decoder, encoder, head = made("decoder", cell=cell, output=output, level="instance")
    batch = windows(steps=9)
    copies = WindowBatch(*(None if part is None else part.repeat_interleave(4, 0) for part in batch))
    found = []
    for each, count in ((batch, 4), (copies, 1)):
        torch.manual_seed(3)
        found.append(decoder.paths(encoder, head, each, count).reshape(12, 9, 3))
    torch.testing.assert_close(*found)
    # A path goes on from its own values: with the same noise, a step after another first one is another.
    assert (found[0][:4, 1:].std(0) > 0).all()


@pytest.mark.parametrize("name", ["direct", "segments", "residual"])
def test_the_others_say_how_far_they_go(name):
    forecaster, encoder, head = made(name)
    whole, _ = forecaster(encoder, head, windows())
    short, _ = forecaster(encoder, head, windows(steps=2))
    torch.testing.assert_close(whole[:, :2], short)
    with pytest.raises(ValueError, match=r"a horizon of 7 steps, but this run forecasts the 6 that"):
        forecaster(encoder, head, windows(steps=7))


COVARIATES = Shape(
    features=5,
    columns=3,  # and a mask of the first target, and one number of the calendar
    targets=(0, 2),
    known=(1,),
    masks=(3, None, None),
    known_features=2,
    lookback=12,
    horizon=6,
    season=4,
    categories=(4, 3),
    known_categories=(1,),
    static=1,
    static_categories=(3,),
    series=2,
    mean=(0.0, 1.0),
    std=(1.0, 2.0),
)


def with_covariates():
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(3, 12, 5, generator=generator)
    inputs[..., 3] = (torch.rand(3, 12, generator=generator) < 0.7).float()
    inputs[..., 0] *= inputs[..., 3]
    return WindowBatch(
        inputs,
        torch.randn(3, 6, 2, generator=generator),
        future=torch.randn(3, 6, 2, generator=generator),
        categories=torch.randint(1, 3, (3, 18, 2), generator=generator),
        static=torch.randn(3, 1, generator=generator),
        static_categories=torch.tensor([[1], [2], [0]]),
        series=torch.tensor([0, 1, 2]),
    )


CHANGES = {
    "future": lambda w: w._replace(future=w.future + 1),
    "categories seen": lambda w: w._replace(
        categories=torch.cat([3 - w.categories[:, :12], w.categories[:, 12:]], 1)
    ),
    "categories to come": lambda w: w._replace(
        categories=torch.cat([w.categories[:, :12], 3 - w.categories[:, 12:]], 1)
    ),
    "static": lambda w: w._replace(static=w.static + 1),
    "static categories": lambda w: w._replace(static_categories=torch.tensor([[2], [1], [1]])),
}


@pytest.mark.parametrize("name", ["direct", "decoder", "residual"])
def test_covariates_are_read(name):
    level = "none" if name == "residual" else "last"
    forecaster, encoder, head = made(name, COVARIATES, level=level)
    window = with_covariates()
    before, _ = forecaster(encoder, head, window)
    assert before.shape == (3, 6, 2, 1)
    for what, change in CHANGES.items():
        after, _ = forecaster(encoder, head, change(window))
        assert (after - before).abs().amax((1, 2, 3)).min() > 1e-5, what


def test_segments_refuse_covariates_in_one_line():
    with pytest.raises(ValueError, match=r"^task.forecaster=segments .* no features known for the horizon"):
        made("segments", COVARIATES)


@pytest.mark.parametrize("level", ["last", "instance"])
def test_levels_leave_out_what_is_missing_or_known(level):
    forecaster, *_ = made("direct", COVARIATES, level=level)
    window = with_covariates()
    inputs, found = forecaster.find_level(window)
    values, there = window.inputs[..., 0].numpy(), window.inputs[..., 3].numpy() > 0
    rows = [own[real] for own, real in zip(values, there, strict=True)]
    expected = [row[-1] if level == "last" else row.mean() for row in rows]
    np.testing.assert_allclose(found.shift[:, 0, 0], expected, rtol=1e-5, atol=1e-6)
    if level == "instance":
        deviations = [np.sqrt(row.var() + 1e-5) for row in rows]
        np.testing.assert_allclose(found.scale[:, 0, 0], deviations, rtol=1e-5)
    assert (inputs[..., 0][~torch.from_numpy(there)] == 0).all()
    assert torch.equal(inputs[..., [1, 3, 4]], window.inputs[..., [1, 3, 4]])


@pytest.mark.parametrize("dilation", [1, 3, 5, 20])
def test_dilated_layers_skip_steps(dilation):
    layer = Recurrent(2, 4, cell=GRU(), batch_first=True, engine="function")
    x = torch.randn(2, 12, 2)
    found = dilated(layer, x, dilation)
    for step in (0, 4, 11):
        own = x[:, step % dilation : step + 1 : dilation]
        # Zeros come before the first step of those that are not whole.
        own = torch.cat(
            [own.new_zeros(2, -(-12 // dilation) - 1 - (11 - step) // dilation - own.shape[1] + 1, 2), own], 1
        )
        torch.testing.assert_close(found[:, step], layer(own)[0][:, -1], rtol=1e-5, atol=1e-6)


def test_residual_connections_go_around_pairs():
    layers = [Recurrent(4, 4, cell=GRU(), batch_first=True, engine="function") for _ in range(3)]
    x = torch.randn(2, 6, 4)
    first = dilated(layers[0], x, 2)
    second = dilated(layers[1], first, 4)
    third = dilated(layers[2], second, 8) + first
    torch.testing.assert_close(DilatedLayers(layers, (2, 4, 8))(x), third)


def test_smoothing_of_windows_against_a_loop():
    shape = Shape(**{**vars(PLAIN), "series": 2, "lookback": 11})
    smoothing = WindowSmoothing(shape)
    with torch.no_grad():
        smoothing.weight.normal_(generator=torch.Generator().manual_seed(1))
    values = torch.randn(3, 11, 3)
    level, _, season = smoothing(values, None, windows()._replace(series=torch.tensor([1, 0, 2])))
    weight = smoothing.weight.detach().double().numpy()
    for window, own in enumerate([weight[1], weight[0], weight.mean(0)]):
        a, g = 1 / (1 + np.exp(-own))
        x = values[window].double().numpy()
        apart = [x[start : start + 4] - x[start : start + 4].mean(0) for start in (3, 7)]
        seasonal = ((1 - g) * apart[0] + apart[1]) / (2 - g)
        np.testing.assert_allclose(season[window].detach(), seasonal, rtol=1e-4, atol=1e-5)
        rest = x - seasonal[(np.arange(-11, 0)) % 4]
        weights = (1 - a) ** np.arange(10, -1, -1)[:, None]
        expected = (weights * rest).sum(0) / weights.sum(0)
        np.testing.assert_allclose(level[window, 0].detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("season", "steps"), [(4, 11), (4, 3), (1, 11), (5, 20)])
@pytest.mark.parametrize("misses", [False, True])
def test_smoothing_of_series_against_a_loop(season, steps, misses):
    """Holt and Winters, step by step, from the first seasons of each series on, at the window's place."""
    rng = np.random.default_rng(steps)
    smoothing = SeriesSmoothing(Shape(**{**vars(PLAIN), "series": 2, "season": season}))
    with torch.no_grad():
        for weights in smoothing.parameters():
            weights.copy_(torch.from_numpy(rng.normal(size=weights.shape)))
    values, there = rng.normal(size=(3, steps, 3)), np.ones((3, steps, 3))
    if misses:
        there[0, :2, 0] = there[1, 2, 1] = there[2, -1] = there[2, :, 2] = 0
    window = windows()._replace(series=torch.tensor([1, 0, 2]), phase=torch.tensor([0, 3, 7]))
    given = torch.from_numpy(there).float() if misses else None
    found = smoothing(torch.from_numpy(values).float(), given, window)
    weight = smoothing.weight.detach().double().numpy()
    first = np.zeros((2, 1, 3)) if season == 1 else smoothing.first.detach().double().numpy()
    for number, owner in enumerate([1, 0, None]):  # the last is new: the mean of the others
        own, start = (each.mean(0) if owner is None else each[owner] for each in (weight, first))
        a, g = 1 / (1 + np.exp(-own))
        for target in range(3):
            index = {t: start[(window.phase[number].item() + t) % season, target] for t in range(season)}
            level = None
            for t in range(steps):
                now = index[t]
                if there[number, t, target]:
                    rest = values[number, t, target] - now
                    level = rest if level is None else a[target] * rest + (1 - a[target]) * level
                    rest = values[number, t, target] - level
                    now = g[target] * rest + (1 - g[target]) * now if season > 1 else now
                np.testing.assert_allclose(found.seen[number, t, target].detach(), index[t], atol=1e-5)
                index[t + season] = now
            np.testing.assert_allclose(found.level[number, 0, target].detach(), level or 0, atol=1e-5)
            ahead = [index[t] for t in range(steps, steps + season)]
            np.testing.assert_allclose(found.ahead[number, :, target].detach(), ahead, atol=1e-5)


def test_first_seasons_are_learnt_of_every_series_at_its_own_time():
    """Two seasons' places are seen: what is forecast of the others can only have been learnt."""
    shape = Shape(**{**vars(PLAIN), "series": 2, "lookback": 2, "horizon": 4})
    forecaster, encoder, head = made("residual", shape, smoothing="series")
    for weights in (head.weight, head.bias):
        nn.init.zeros_(weights)
    season = torch.tensor([[1.0, -2.0, 4.0, -3.0], [5.0, 0.0, 0.0, -5.0]])
    rng = np.random.default_rng(3)

    def window(count):
        owner, phase = (torch.from_numpy(rng.integers(0, n, count)) for n in (2, 4))
        places = (phase[:, None] + torch.arange(6)) % 4
        values = season[owner[:, None], places][..., None] + torch.randn(count, 1, 3)
        return WindowBatch(values[:, :2], values[:, 2:], series=owner, phase=phase)

    optimizer = torch.optim.Adam(forecaster.smoothing.parameters(), 0.1)
    for _ in range(300):
        batch = window(32)
        loss = (forecaster(encoder, head, batch)[0][..., 0] - batch.targets).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 1e-3
    learnt = forecaster.smoothing.first.detach()[..., 0]
    learnt, season = (each - each.mean(1, keepdim=True) for each in (learnt, season))
    torch.testing.assert_close(learnt, season, atol=0.1, rtol=0)
    with pytest.raises(ValueError, match=r"task.smoothing=series learns a season of 4 steps, and the times"):
        forecaster(encoder, head, window(1)._replace(phase=None))


def test_a_season_and_a_level_go_on():
    shape = Shape(**{**vars(PLAIN), "horizon": 6})
    forecaster, encoder, head = made("residual", shape)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    pattern = torch.tensor([1.0, -2.0, 4.0, -3.0]).repeat(5)[:18].view(1, 18, 1) + torch.tensor(
        [5.0, 0.0, -9.0]
    )
    window = windows(1)._replace(inputs=pattern[:, :12], targets=pattern[:, 12:])
    found, _ = forecaster(encoder, head, window)
    torch.testing.assert_close(found[..., 0], pattern[:, 12:], rtol=1e-4, atol=1e-4)


def test_with_logarithms_a_season_and_a_level_multiply():
    forecaster, encoder, head = made("residual", logarithm=True)
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    factors = torch.tensor([1.0, 2.0, 4.0, 0.5]).repeat(5)[:18].view(1, 18, 1) * torch.tensor(
        [5.0, 1.0, 90.0]
    )
    scaled = (factors - torch.tensor(PLAIN.mean)) / torch.tensor(PLAIN.std)
    window = windows(1)._replace(inputs=scaled[:, :12], targets=scaled[:, 12:])
    found, _ = forecaster(encoder, head, window)
    torch.testing.assert_close(found[..., 0], scaled[:, 12:], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"task.logarithm=true needs values above 0, and a target has -19.5"):
        forecaster(encoder, head, window._replace(inputs=window.inputs - 10))


def test_missing_values_are_carried_forward():
    values = torch.tensor([[[1.0, 2.0], [torch.nan, 3.0], [torch.nan, torch.nan], [4.0, torch.nan]]])
    expected = torch.tensor([[[1.0, 2.0], [1.0, 3.0], [1.0, 3.0], [4.0, 3.0]]])
    assert torch.equal(carried_forward(values), expected)


@pytest.mark.parametrize("name", ["decoder", "residual"])
def test_what_goes_on_refuses_two_directions(name):
    with pytest.raises(ValueError, match="bidirectional=false"):
        made(name, model=partial(Recurrent, bidirectional=True))
