"""What the published recipes of language models ask for, each against a few lines of its own."""

import itertools
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from gatewise.cells import GRU, LSTM
from gatewise.data.text.lanes import Lanes, OneLane
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.tasks.language_modelling import LanguageModelling

FACTS = TextFacts(("<unk>", "<eos>", "a", "b", "c"), (0, 3, 6, 1, 2), "word", False)
N_TOKENS = len(FACTS.vocabulary)


def make_task(model=None, optimizer=None, lr=0.0, **settings):
    torch.manual_seed(0)
    return LanguageModelling(
        model=model or partial(Recurrent, hidden_size=6, cell=LSTM()),
        facts=FACTS,
        optimizer=optimizer or partial(torch.optim.SGD, lr=lr),
        **{"embedding_size": 6, "init_range": 0.8, **settings},
    )


def some_batch(rows=3, steps=7, seed=0):
    ids = torch.randint(0, N_TOKENS, (rows, steps + 1), generator=torch.Generator().manual_seed(seed))
    return TextBatch(ids[:, :-1], ids[:, 1:])


def seen_by(task, part):
    """What enters a part of the task, or with ``of_encoder`` its outputs."""
    seen = []
    getattr(task, part).register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    return seen


# ---- dropouts


def test_locked_dropout_of_the_embeddings_has_one_mask_for_all_steps():
    task = make_task(input_dropout=0.5).train()
    seen = seen_by(task, "encoder")
    tokens = torch.full((40, 9), 3)
    task(tokens)
    task(tokens)
    vector = task.embedding.weight[3].detach()
    first, second = seen
    masks = first[:, 0] / vector
    assert set(masks.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(first, (masks * vector)[:, None].expand_as(first))  # at every step the same
    assert len(masks.unique(dim=0)) > 10  # another one for each row
    assert abs(float((masks == 0).float().mean()) - 0.5) < 0.17  # 240 draws: five standard deviations
    assert not torch.equal(first, second)
    task.eval()
    task(tokens)
    assert torch.equal(seen[-1], vector.expand_as(first))


def test_locked_dropout_of_the_outputs_has_one_mask_for_all_steps():
    task = make_task(output_dropout=0.25).train()
    heads = seen_by(task, "head")
    batch = some_batch(rows=50)
    task(batch.tokens)
    with torch.no_grad():
        outputs, _ = task.encoder(task.embedding(batch.tokens))
    masks = heads[0] / outputs
    torch.testing.assert_close(masks, masks[:, :1].expand_as(masks), rtol=1e-5, atol=1e-6)
    values = masks[:, 0].round(decimals=4).unique().tolist()
    assert values == pytest.approx([0.0, 4 / 3], abs=1e-3)
    assert abs(float((masks[:, 0] == 0).float().mean()) - 0.25) < 0.125  # 300 draws


def test_the_two_locked_dropouts_have_probabilities_of_their_own():
    task = make_task(input_dropout=0.9, output_dropout=0.1).train()
    inputs, outputs = seen_by(task, "encoder"), seen_by(task, "head")
    task(some_batch(rows=200).tokens)
    for values, p in ((inputs[0], 0.9), (outputs[0], 0.1)):
        assert float((values == 0).float().mean()) == pytest.approx(p, abs=0.05)


def test_masks_per_step_differ_from_step_to_step():
    task = make_task(input_dropout=0.5, output_dropout=0.25, masks_per_step=True).train()
    inputs, outputs = seen_by(task, "encoder"), seen_by(task, "head")
    task(some_batch(rows=200).tokens)
    for values, p in ((inputs[0], 0.5), (outputs[0], 0.25)):
        dropped = values == 0
        assert float(dropped.float().mean()) == pytest.approx(p, abs=0.05)
        # Neighbouring steps are dropped together as often as by chance.
        both = float((dropped[:, 1:] & dropped[:, :-1]).float().mean())
        assert both == pytest.approx(p * p, abs=0.05)


def test_embedding_dropout_drops_a_word_wherever_it_stands():
    task = make_task(embedding_dropout=0.4).train()
    seen = seen_by(task, "encoder")
    tokens = torch.arange(N_TOKENS).repeat(6, 4)
    kept_of_each = []
    for _ in range(300):
        task(tokens)
        factors = seen[-1] / task.embedding.weight[tokens].detach()
        by_word = [factors[tokens == word] for word in range(N_TOKENS)]
        for factor in by_word:
            assert len(factor.round(decimals=4).unique()) == 1  # all features in all rows and steps
        kept_of_each.append([float(factor.flatten()[0]) for factor in by_word])
    kept = np.array(kept_of_each)
    assert np.unique(kept.round(4)).tolist() == pytest.approx([0, 1 / 0.6], abs=1e-3)
    assert (kept == 0).mean(0) == pytest.approx(np.full(N_TOKENS, 0.4), abs=5 * np.sqrt(0.24 / 300))
    assert len(np.unique(kept, axis=0)) > 20


# ---- penalties


def test_penalties_are_those_of_merity_and_in_no_metric(trainer, loader):
    task = make_task(activation_penalty=2.0, temporal_penalty=0.5)
    batch = some_batch()
    trained = []

    class Minimised(pl.Callback):
        def on_before_backward(self, _trainer, _module, loss):
            trained.append(float(loss.detach()))

    made = trainer(callbacks=[Minimised()])
    made.fit(task, loader([batch]), loader([batch]))
    with torch.no_grad():
        outputs, _ = task.encoder(task.embedding(batch.tokens))
        loss = F.cross_entropy(task.head(outputs).flatten(0, 1), batch.targets.flatten())
    h = outputs.double().numpy()
    penalty = 2.0 * (h**2).mean() + 0.5 * ((h[:, 1:] - h[:, :-1]) ** 2).mean()
    assert penalty > 0.01
    assert trained[0] == pytest.approx(float(loss) + penalty, rel=1e-5)
    for split in ("train", "val"):
        assert float(made.callback_metrics[f"{split}/loss"]) == pytest.approx(float(loss), rel=1e-5)


def test_the_activation_penalty_is_of_what_dropout_leaves_and_the_temporal_one_of_all():
    batch = some_batch(rows=8)

    def penalty(**settings):
        task = make_task(output_dropout=0.5, **settings).train()
        heads = seen_by(task, "head")
        torch.manual_seed(5)
        found = task.score(batch).penalty
        with torch.no_grad():
            outputs, _ = task.encoder(task.embedding(batch.tokens))
        return float(found.detach()), heads[0].double().numpy(), outputs.double().numpy()

    found, dropped, _ = penalty(activation_penalty=3.0)
    assert found == pytest.approx(3 * (dropped**2).mean(), rel=1e-5)
    found, _, whole = penalty(temporal_penalty=3.0)
    assert found == pytest.approx(3 * (np.diff(whole, axis=1) ** 2).mean(), rel=1e-5)


def test_no_penalty_without_its_setting_in_evaluation_or_of_one_step():
    assert make_task().train().score(some_batch()).penalty is None
    assert make_task(activation_penalty=1.0).eval().score(some_batch()).penalty is None
    assert make_task(temporal_penalty=1.0).train().score(some_batch(steps=1)).penalty is None


# ---- the rate of a window


def windows_of_lengths(lengths):
    ids = torch.randint(0, N_TOKENS, (2, sum(lengths) + 1), generator=torch.Generator().manual_seed(7))
    ends = np.cumsum([0, *lengths])
    return [TextBatch(ids[:, a:b], ids[:, a + 1 : b + 1]) for a, b in itertools.pairwise(ends)]


def weights(task):
    return {name: parameter.detach().clone() for name, parameter in task.named_parameters()}


def test_the_rate_is_scaled_by_the_length_of_the_window(trainer, loader):
    batches = windows_of_lengths([10, 4, 15])
    task = make_task(lr=0.5, rate_window=10)
    trainer(limit_val_batches=0).fit(task, loader(batches), loader(batches))
    # By hand: plain gradient descent, each step with its own rate.
    twin = make_task()
    state = None
    for batch, rate in zip(batches, [0.5, 0.2, 0.75], strict=True):
        outputs, state = twin.encoder(twin.embedding(batch.tokens), state)
        state = tuple(tensor.detach() for tensor in state)
        loss = F.cross_entropy(twin.head(outputs).flatten(0, 1), batch.targets.flatten())
        parameters = list(twin.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            with torch.no_grad():
                parameter -= rate * gradient
    for name, value in weights(twin).items():
        torch.testing.assert_close(weights(task)[name], value, rtol=1e-4, atol=1e-6, msg=name)
    # The optimizer itself keeps the rate that was set.
    assert task.optimizers().param_groups[0]["lr"] == 0.5


def test_the_rate_comes_back_after_a_step_that_fails(trainer, loader):
    task = make_task(lr=0.5, rate_window=10)

    class Failing(pl.Callback):
        def on_before_optimizer_step(self, _trainer, _module, optimizer):
            assert optimizer.param_groups[0]["lr"] == 0.2
            raise RuntimeError("on purpose")

    made = trainer(limit_val_batches=0, callbacks=[Failing()])
    with pytest.raises(RuntimeError, match="on purpose"):
        made.fit(task, loader(windows_of_lengths([4])), loader(windows_of_lengths([4])))
    assert made.optimizers[0].param_groups[0]["lr"] == 0.5


# ---- start, temperature, projection


def test_all_weights_start_in_the_range():
    task = make_task(init_range=0.1, model=partial(Recurrent, hidden_size=30, num_layers=2, cell=LSTM()))
    for name, parameter in task.named_parameters():
        parameter = parameter.detach()
        assert float(parameter.abs().max()) <= 0.1, name
        # Uniform: of mean 0 and deviation 0.1 / √3; the fewest values, 5, are no sample.
        if parameter.numel() > 100:
            assert float(parameter.mean()) == pytest.approx(0, abs=0.03), name
            assert float(parameter.std()) == pytest.approx(0.1 / np.sqrt(3), rel=0.1), name
    assert task.encoder.layers[0].gate("f")["bias"].abs().max() <= 0.1  # no forget bias on top of it


def test_learnt_initial_states_keep_their_own_start():
    task = make_task(model=partial(Recurrent, hidden_size=6, cell=LSTM(), learn_initial_state=True))
    initial = [p for name, p in task.named_parameters() if ".initial." in name]
    assert len(initial) == 2
    assert all(not parameter.any() for parameter in initial)


def test_the_evaluation_temperature_divides_scores_outside_of_training():
    batch = some_batch()
    warm, plain = make_task(evaluation_temperature=1.25), make_task()
    for task in (warm, plain):
        task.train()
    assert torch.equal(warm(batch.tokens)[0], plain(batch.tokens)[0])
    for task in (warm, plain):
        task.eval()
    with torch.no_grad():
        scores = plain(batch.tokens)[0].double().numpy() / 1.25
        log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        nll = -np.take_along_axis(log_p, batch.targets.numpy()[..., None], -1).mean()
        assert float(warm.score(batch).loss) == pytest.approx(nll, rel=1e-5)
        np.testing.assert_allclose(warm.next_probabilities(batch.tokens)[0], np.exp(log_p[:, -1]), rtol=1e-4)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf")])
def test_evaluation_temperatures_that_are_none(temperature):
    with pytest.raises(ValueError, match="evaluation_temperature"):
        make_task(evaluation_temperature=temperature)


def test_outputs_are_projected_to_the_tied_embedding():
    task = make_task(
        model=partial(Recurrent, hidden_size=9, cell=GRU()), tie_weights=True, project_outputs=True
    )
    projection, last = task.head
    assert last.weight is task.embedding.weight
    assert projection.weight.shape == (6, 9)
    batch = some_batch()
    with torch.no_grad():
        outputs, _ = task.encoder(task.embedding(batch.tokens))
        expected = outputs @ projection.weight.T @ task.embedding.weight.T + last.bias
        torch.testing.assert_close(task.eval()(batch.tokens)[0], expected)


# ---- layers of different sizes


def test_layers_of_different_sizes_tie_to_the_last_one(trainer, loader):
    model = partial(Stacked, hidden_size=[11, 8, 6], num_layers=3, cell=LSTM(), between_dropout=0.3)
    task = make_task(model=model, tie_weights=True, lr=0.1)
    batches = windows_of_lengths([6, 6, 3])
    made = trainer(max_epochs=12)
    made.fit(task, loader(batches), loader(batches))
    assert float(made.callback_metrics["val/loss"]) < 0.97 * np.log(N_TOKENS)
    # The state of a window is carried into the next: both together score as one.
    whole = TextBatch(*(torch.cat([batch[i] for batch in batches], 1) for i in (0, 1)))
    with torch.no_grad():
        task.eval()
        task._state = None
        expected = float(task.score(whole).loss)
    made = trainer()
    made.test(task, loader(batches), verbose=False)
    assert float(made.callback_metrics["test/loss"]) == pytest.approx(expected, rel=1e-5)


def test_a_last_layer_of_another_size_is_not_tied():
    model = partial(Stacked, hidden_size=[6, 8], num_layers=2, cell=LSTM())
    with pytest.raises(ValueError, match=r"embedding_size = model.hidden_size, got 6 and 8; task.project"):
        make_task(model=model, tie_weights=True)


# ---- exact scores


@pytest.mark.parametrize("processes", [1, 3])
@pytest.mark.parametrize("window", [1, 7, 400])
def test_scores_of_one_lane_are_exact(window, processes, trainer, loader):
    """However the text is cut and shared, the mean is that of one pass over all of it, from a zero state."""
    ids = torch.randint(0, N_TOKENS, (151,), generator=torch.Generator().manual_seed(2))
    task = make_task().eval()
    with torch.no_grad():
        scores = task(ids[None, :-1])[0][0].double().numpy()
    log_p = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, ids[1:, None].numpy(), -1).mean()
    total, count = 0.0, 0
    for rank in range(processes):
        made = trainer()
        made.test(task, loader(OneLane(ids, window, rank, processes)), verbose=False)
        total += task.scores.on_test.loss
        count += task.scores.on_test.count
        assert (task.scores.on_test.count > 0) == (rank < 150)
    assert count == 150
    assert total / count == pytest.approx(expected, rel=1e-6)


def test_lanes_that_warm_up_score_almost_alike(trainer, loader):
    ids = torch.randint(0, N_TOKENS, (401,), generator=torch.Generator().manual_seed(3))
    task = make_task()

    def loss(dataset):
        made = trainer()
        made.test(task, loader(dataset), verbose=False)
        return float(made.callback_metrics["test/loss"])

    exact = loss(OneLane(ids, 50))
    afresh = loss(Lanes(ids, 10, 8))
    warmed = loss(Lanes(ids, 10, 8, warmup=30))
    assert abs(afresh - exact) > 1e-3
    assert abs(warmed - exact) < 1e-5


# ---- states that are dropped


def test_a_carried_state_is_dropped_for_some_rows_in_training_alone():
    task = make_task(drop_state=0.3)
    seen = []
    task.encoder.register_forward_pre_hook(lambda _module, args: seen.append(args[1]))
    batch = some_batch(rows=4000, steps=1)
    for training in (True, False):
        task.train(training)
        task._state = None
        task.score(batch)
        carried = [tensor.clone() for tensor in task._state]
        task.score(batch)
        assert seen[-2] is None
        dropped = [(tensor == 0).all(-1)[0] for tensor in seen[-1]]
        assert torch.equal(dropped[0], dropped[1])  # all states of a row together
        share = float(dropped[0].float().mean())
        assert share == pytest.approx(0.3 if training else 0, abs=0.04)  # 4,000 draws
        for before, after in zip(carried, seen[-1], strict=True):
            assert torch.equal(after[0, ~dropped[0]], before[0, ~dropped[0]])
