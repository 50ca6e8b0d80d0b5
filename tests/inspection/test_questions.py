"""Contributions, clamps, gradients and predictions, against separate runs and a few lines of numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_nets import frames, language

from gatewise.cells import GRU
from gatewise.inspection import contributions, predictions
from gatewise.inspection.clamps import clamp, most_important, settable
from gatewise.inspection.clamps import contributions as contributions_of_units
from gatewise.inspection.contributions import contribute, without
from gatewise.inspection.decay import decay, lengths_of_losses
from gatewise.inspection.passes import state_gradients
from gatewise.inspection.predictions import predict, spread


def answered(inspected):
    """(outputs of the whole sequence, scores after its last step, the answer)."""
    outputs = inspected.outputs(inspected.inputs, inspected.lengths)
    scores = inspected.read(outputs, inspected.inputs, inspected.lengths)
    return outputs, scores, inspected.answer(scores[0])


def traced(inspected):
    return inspected.encoder.trace(inspected.inputs, lengths=inspected.lengths)


def decayed(inspected, answer):
    """(gradient norms by distance, number of losses)."""
    lengths = lengths_of_losses(inspected)
    gradients = state_gradients(inspected, answer, lengths).losses
    return decay(gradients, lengths, inspected.encoder.num_directions), len(lengths)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(task, inputs, held):
    """Outputs [T, H] of one layer by hand; ``held`` maps a gate to what becomes of its values at a step."""
    state = {name: value.double().numpy() for name, value in task.encoder.layers[0].state_dict().items()}
    h = c = np.zeros(task.encoder.hidden_size)
    outputs = []
    for x in inputs.double().numpy():
        blocks = state["weight_ih"] @ x + state["bias"] + state["weight_hh"] @ h
        i, f, n, o = np.split(blocks, 4)
        gates = {"i": sigmoid(i), "f": sigmoid(f), "n": np.tanh(n), "o": sigmoid(o)}
        for name, change in held.items():
            gates[name] = change(gates[name])
        c = gates["f"] * c + gates["i"] * gates["n"]
        h = gates["o"] * np.tanh(c)
        outputs.append(h)
    return np.array(outputs)


def log_probabilities(task, outputs):
    logits = outputs @ task.head.weight.double().numpy().T + task.head.bias.double().numpy()
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# ---- contributions


def test_leaving_out_is_a_prediction_without_the_step():
    task, inspected = language()
    _, scores, answer = answered(inspected)
    whole = float(torch.log_softmax(scores, -1)[0, answer])
    found = contribute(inspected, answer)
    ids = [TEXT_IDS[name] for name in inspected.names[0]]
    for step in range(len(ids)):
        shorter = torch.tensor([ids[:step] + ids[step + 1 :]])
        probability = task.next_probabilities(shorter)[0][0, answer]
        assert found.left_out[step] == pytest.approx(whole - math.log(probability), abs=1e-5)
    assert found.agreement == pytest.approx(np.corrcoef(found.gradient, found.left_out)[0, 1])


TEXT_IDS = {"the": 2, "cat": 3, "sat": 4, ".": 5, "dog": 6, "ran": 7}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_gradient_times_input_is_the_slope_as_a_step_grows(bidirectional):
    _, inspected = frames(bidirectional=bidirectional, num_layers=2)
    _, _, answer = answered(inspected)
    found = contribute(inspected, answer)
    double = inspected.encoder.double()
    rows = inspected.inputs.double()
    weight = 1e-5

    def score(rows):
        outputs, _ = double(rows, lengths=inspected.lengths)
        return float(inspected.score(inspected.read(outputs.float(), rows, inspected.lengths), answer))

    for step in (0, 3, 6):
        changed = [rows.clone(), rows.clone()]
        changed[0][0, step] *= 1 + weight * 1e3
        changed[1][0, step] *= 1 - weight * 1e3
        slope = (score(changed[0]) - score(changed[1])) / (2e3 * weight)
        assert found.gradient[step] == pytest.approx(slope, rel=0.02, abs=1e-4)


def test_only_so_many_steps_are_left_out_of_a_long_sequence(monkeypatch):
    _, inspected = frames(steps=30)
    _, _, answer = answered(inspected)
    monkeypatch.setattr(contributions, "MOST_LEFT_OUT", 8)
    found = contribute(inspected, answer)
    tried = np.isfinite(found.left_out)
    assert 4 <= tried.sum() <= 8
    assert tried[np.abs(found.gradient).argmax()]


def test_one_step_cannot_be_left_out():
    _, inspected = frames(steps=1)
    found = contribute(inspected, 0)
    assert np.isnan(found.left_out).all()
    assert math.isnan(found.agreement)


@given(st.integers(2, 12), st.data())
def test_without_a_step(size, data):
    steps = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))
    rows = without(torch.arange(size)[:, None], torch.tensor(steps))
    for step, row in zip(steps, rows[..., 0].tolist(), strict=True):
        assert row == [i for i in range(size) if i != step]


# ---- clamps


def test_a_clamp_is_an_lstm_with_that_gate():
    task, inspected = language()
    _, _, answer = answered(inspected)
    trace = traced(inspected)
    gates = {name: trace.arrays[name] for name in "ifo"}
    rows, count = clamp(inspected, gates, answer, [(0, 0, 3)])
    assert (len(rows), count) == (18, 1)
    targets = inspected.truth.numpy()
    for row in rows:
        mean = gates[row.name][0, 0, 0].double().numpy().mean(0)
        value = mean if row.value == "mean" else np.full(5, float(row.value))
        units = np.arange(5) == row.unit if row.unit is not None else np.ones(5, bool)
        outputs = lstm(task, inspected.inputs[0], {row.name: lambda g, u=units, v=value: np.where(u, v, g)})
        log = log_probabilities(task, outputs)
        known = targets >= 0
        assert row.loss == pytest.approx(-log[known, targets[known]].mean(), abs=1e-5)
        assert row.answer == inspected.choices[log[-1].argmax()]
        assert row.probability == pytest.approx(np.exp(log[-1, answer]), abs=1e-5)


def test_clamps_in_both_directions_and_layers_stay_where_they_are():
    _, inspected = frames(bidirectional=True, num_layers=2)
    outputs, _, answer = answered(inspected)
    trace = traced(inspected)
    rows, _ = clamp(inspected, {"f": trace.arrays["f"]}, answer, [])
    assert [(row.layer, row.direction) for row in rows[::3]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    loss = float(inspected.whole_loss(outputs, inspected.inputs, inspected.lengths, answer))
    assert all(row.loss != pytest.approx(loss, abs=1e-7) for row in rows)


def test_a_gate_that_cannot_be_set_is_told():
    _, inspected = frames()
    trace = traced(inspected)
    found, problems = settable(inspected, {"f": trace.arrays["f"], "x": trace.arrays["f"]})
    assert list(found) == ["f"]
    assert problems[0].startswith("x was not held at a value: intervene: LSTM")


def test_of_many_units_there_is_room_for_some(monkeypatch):
    _, inspected = frames()
    _, _, answer = answered(inspected)
    trace = traced(inspected)
    monkeypatch.setattr("gatewise.inspection.clamps.MOST_ROWS", 3 + 6)
    rows, count = clamp(inspected, {"f": trace.arrays["f"]}, answer, [(0, 0, u) for u in range(5)])
    assert (len(rows), count) == (9, 2)


def test_a_units_contribution_is_gradient_times_state():
    task, inspected = language()
    _, scores, answer = answered(inspected)
    trace = traced(inspected)
    gradients = state_gradients(inspected, answer).score
    found = contributions_of_units(gradients, {"h": list(trace.arrays["h"])})["h"]
    # After the last step, by the derivative of the log-softmax.
    p = torch.softmax(scores[0], -1)
    slope = task.head.weight[answer] - p @ task.head.weight
    np.testing.assert_allclose(found[0][0, -1], (slope * trace.arrays["h"][0, 0, 0, -1]).numpy(), atol=1e-6)
    layer, direction, unit = most_important(found)[0]
    assert unit == np.abs(found[layer][direction]).sum(0).argmax()
    assert sorted(most_important(found)) == [(0, 0, unit) for unit in range(5)]


# ---- gradients


def test_the_gradient_at_the_step_of_the_loss():
    task, inspected = language()
    outputs, _, answer = answered(inspected)
    found, losses = decayed(inspected, answer)
    known = int((inspected.truth >= 0).sum())
    assert losses == known
    (of_h,) = [each for each in found if each.state == "h"]
    p = torch.softmax(task.head(outputs[0, :known]), -1)
    p[torch.arange(known), inspected.truth[:known]] -= 1
    norms = (p @ task.head.weight).norm(dim=-1).numpy()
    low, median, high = np.quantile(norms, (0.25, 0.5, 0.75))
    assert of_h.distance == list(range(known))
    assert (of_h.low[0], of_h.median[0], of_h.high[0]) == pytest.approx((low, median, high), rel=1e-4)


def test_the_reverse_direction_counts_from_the_first_step():
    task, inspected = frames(bidirectional=True)
    _, scores, answer = answered(inspected)
    found, losses = decayed(inspected, answer)
    assert losses == 7
    places = {(each.state, each.layer, each.direction) for each in found}
    assert places == {(state, 0, d) for state in "hc" for d in (0, 1)}
    (reverse,) = [each for each in found if (each.state, each.direction) == ("h", 1)]
    # The longest distance is that of the whole sequence alone, whose last step is read first.
    p = torch.softmax(scores[0], -1)
    p[1] -= 1
    inputs = inspected.inputs.clone()
    states = inspected.encoder.state_gradients(
        inputs,
        lambda outputs, _: inspected.loss(
            inspected.read(outputs, inputs, inspected.lengths), inspected.lengths, answer
        ).sum(),
        lengths=inspected.lengths,
    )
    assert reverse.median[6] == pytest.approx(float(states["h"][0, 1, 0, 6].norm()), rel=1e-4)
    first = (p @ task.head.weight)[5:]
    assert float(states["h"][0, 1, 0, 0].norm()) == pytest.approx(float(first.norm()), rel=1e-4)


def test_without_any_truth_the_answer_has_the_loss():
    _, inspected = language("cat")
    _, _, answer = answered(inspected)
    found, losses = decayed(inspected, answer)
    assert losses == 1
    assert all(each.distance == [0] for each in found)


# ---- predictions


@pytest.mark.parametrize("cell", [None, GRU()])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_step_is_answered_as_if_the_sequence_ended_there(bidirectional, cell):
    task, inspected = frames(bidirectional=bidirectional, cell=cell)
    outputs, _, _ = answered(inspected)
    found = predict(inspected, outputs)
    for step in range(7):
        alone = torch.softmax(task(inspected.inputs[:, : step + 1], torch.tensor([step + 1]))[0], -1)
        named = dict(found.named[step])
        assert named == pytest.approx({"a": float(alone[0]), "b": float(alone[1])}, abs=1e-5)
        assert found.surprise[step] == pytest.approx(-math.log(alone[1]), abs=1e-5)
    assert ("run of its own" in found.note) == bidirectional


def test_a_long_text_is_answered_in_parts(monkeypatch):
    _, inspected = language(" ".join(["the cat sat ."] * 8))
    outputs, _, _ = answered(inspected)
    whole = predict(inspected, outputs)
    monkeypatch.setattr(predictions, "SCORES_AT_ONCE", 50)
    monkeypatch.setattr(predictions, "MOST_STEPS_WITH_ALL", 10)
    parts = predict(inspected, outputs)
    assert [row[0][0] for row in parts.named] == [row[0][0] for row in whole.named]
    assert {len(row) for row in parts.named} == {1}
    assert parts.surprise[:-1] == pytest.approx(whole.surprise[:-1], rel=1e-5)
    assert parts.surprise[-1] is whole.surprise[-1] is None
    mean = float(inspected.whole_loss(outputs, inspected.inputs, inspected.lengths, 0))
    assert np.mean(whole.surprise[:-1]) == pytest.approx(mean, rel=1e-5)


def test_some_prefixes_of_a_long_sequence(monkeypatch):
    _, inspected = frames(steps=20, bidirectional=True)
    outputs, _, _ = answered(inspected)
    monkeypatch.setattr(predictions, "MOST_ROWS", 4)
    found = predict(inspected, outputs)
    assert [bool(row) for row in found.named].count(True) == 4
    assert found.named[-1]
    assert "4 steps are answered" in found.note


@given(st.integers(1, 300), st.integers(1, 50))
def test_spread_over_all(count, most):
    found = spread(count, most)
    assert found == sorted(set(found))
    assert len(found) == min(count, most)
    assert found[-1] == count - 1
    assert found[0] >= 0
