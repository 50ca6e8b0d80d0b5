"""Language modelling: the carried state, perplexity and the unigram, against one pass over whole lanes."""

import dataclasses
import math
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from gatewise.cells import GRU, LSTM, RNN
from gatewise.data.text.lanes import Lanes
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.language_modelling import LanguageModelling

FACTS = TextFacts(("<unk>", "<eos>", "a", "b", "c"), (0, 3, 6, 1, 2), "word", False)
N_TOKENS = len(FACTS.vocabulary)
CELLS = [LSTM(), GRU(), RNN()]


def make_task(cell=None, hidden_size=4, lr=0.0, model=None, num_layers=1, facts=FACTS, **settings):
    torch.manual_seed(0)
    model = model or partial(Recurrent, hidden_size=hidden_size, num_layers=num_layers, cell=cell)
    settings = {"embedding_size": 4, **settings}
    task = LanguageModelling(model=model, facts=facts, optimizer=partial(torch.optim.SGD, lr=lr), **settings)
    with torch.no_grad():  # its small start would hide what a state carries
        task.embedding.weight.normal_()
    return task


def make_lanes(n=29, lanes=2, window=4, seed=0):
    """28 pairs in 2 lanes of 14 steps: windows of 4, 4, 4 and 2 steps."""
    ids = torch.randint(0, N_TOKENS, (n,), generator=torch.Generator().manual_seed(seed))
    return Lanes(ids, lanes, window)


def windows_of(lanes):
    return [lanes[i] for i in range(len(lanes))]


class Recorder(pl.Callback):
    """Notes every forward pass: its stage, state before, logits; and every loss and its gradients."""

    def __init__(self, task):
        self.stages, self.states, self.logits, self.graphs, self.gradients = [], [], [], [], []
        self.task = task
        task.encoder.register_forward_pre_hook(self._before)
        task.head.register_forward_hook(self._after)

    def _before(self, _encoder, args):
        trainer = self.task.trainer
        if trainer.state.stage is not None:  # None: a pass of the test's own
            epoch = trainer.current_epoch if trainer.training else ""
            self.stages.append(f"{trainer.state.stage.value}{epoch}")
            self.states.append(args[1])

    def _after(self, _head, _outputs, logits):
        if self.task.trainer.state.stage is not None:
            self.logits.append(logits.detach())

    def on_before_backward(self, trainer, pl_module, loss):  # noqa: ARG002
        seen, todo = set(), [loss.grad_fn]
        while todo:
            node = todo.pop()
            if node is not None and node not in seen:
                seen.add(node)
                todo += [function for function, _ in node.next_functions]
        self.graphs.append(len(seen))

    def on_after_backward(self, trainer, pl_module):  # noqa: ARG002
        self.gradients.append({n: p.grad.clone() for n, p in pl_module.named_parameters()})


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_windows_give_the_scores_of_the_whole_lane(cell, num_layers, trainer, loader):
    task = make_task(cell, num_layers=num_layers)
    lanes = make_lanes()
    with torch.no_grad():
        whole, _ = task(lanes[0:14].tokens)
    recorder = Recorder(task)
    trainer(max_epochs=2, callbacks=[recorder]).fit(task, loader(lanes), loader(lanes))
    trainer().test(task, loader(lanes), verbose=False)
    # Training and validation twice, the test once.
    passes = [recorder.logits[i : i + 4] for i in range(0, len(recorder.logits), 4)]
    assert len(passes) == 5
    for found in passes:
        torch.testing.assert_close(torch.cat(found, 1), whole, rtol=0, atol=1e-6)
    # The state is what makes it so: a window read afresh scores otherwise.
    with torch.no_grad():
        afresh, _ = task(lanes[1].tokens)
    assert (afresh - whole[:, 4:8]).abs().max() > 1e-3


def test_a_row_goes_on_where_it_stood(trainer, loader):
    """Other rows of the batch never reach a row's state."""
    task = make_task()
    first, second = (make_lanes(seed=seed) for seed in (0, 1))
    mixed = [
        TextBatch(torch.stack([a.tokens[0], b.tokens[1]]), torch.stack([a.targets[0], b.targets[1]]))
        for a, b in zip(windows_of(first), windows_of(second), strict=True)
    ]
    recorder = Recorder(task)
    for batches in (windows_of(first), windows_of(second), mixed):
        trainer().test(task, loader(batches), verbose=False)
    one, two, both = (torch.cat(recorder.logits[i : i + 4], 1) for i in (0, 4, 8))
    torch.testing.assert_close(both[0], one[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(both[1], two[1], rtol=0, atol=1e-6)


def test_state_is_carried_within_an_epoch_and_never_between(trainer, loader):
    task = make_task(lr=0.1)
    lanes = make_lanes()
    recorder = Recorder(task)
    settings = {"max_epochs": 2, "num_sanity_val_steps": 1, "val_check_interval": 0.5}
    made = trainer(callbacks=[recorder], **settings)
    made.fit(task, loader(lanes), loader(lanes))
    made.test(task, loader(lanes), verbose=False)
    validation = [("validate", False)] + 3 * [("validate", True)]
    epochs = [
        # (stage, whether a state came in); the validation in the middle does not end the lane
        [(f"train{e}", False), (f"train{e}", True), *validation, *2 * [(f"train{e}", True)], *validation]
        for e in (0, 1)
    ]
    expected = [("sanity_check", False), *epochs[0], *epochs[1], ("test", False), *3 * [("test", True)]]
    assert [(s, state is not None) for s, state in zip(recorder.stages, recorder.states, strict=True)] == (
        expected
    )
    assert all(not t.requires_grad for state in recorder.states if state is not None for t in state)


def test_a_validation_in_the_middle_leaves_the_training_state(trainer, loader):
    def run(**settings):
        task = make_task(lr=0.1)
        recorder = Recorder(task)
        trainer(callbacks=[recorder], **settings).fit(task, loader(make_lanes()), loader(make_lanes(seed=9)))
        rows = zip(recorder.stages, recorder.logits, strict=True)
        return [logits for stage, logits in rows if stage.startswith("train")]

    assert all(map(torch.equal, run(val_check_interval=0.25), run(val_check_interval=1.0)))


@pytest.mark.parametrize("cell", CELLS, ids=repr)
def test_gradients_stop_at_the_window(cell, trainer, loader):
    task = make_task(cell)
    lanes = make_lanes(window=4, n=25)  # 24 pairs: 3 whole windows of 2 lanes
    recorder = Recorder(task)
    trainer(callbacks=[recorder], limit_val_batches=0).fit(task, loader(lanes), loader(lanes))

    def gradients(cut):
        """Of the last window's loss alone, whose state is a constant, or made by the windows before it."""
        _, state = task(lanes[0:8].tokens)
        state = tuple(s.detach() for s in state) if cut else state
        logits, _ = task(lanes[8:14].tokens, state)
        loss = F.cross_entropy(logits.flatten(0, 1), lanes[8:14].targets.flatten())
        names = [name for name, _ in task.named_parameters()]
        return dict(zip(names, torch.autograd.grad(loss, list(task.parameters())), strict=True))

    truncated, whole = gradients(cut=True), gradients(cut=False)
    for name, found in recorder.gradients[2].items():
        torch.testing.assert_close(found, truncated[name], rtol=1e-5, atol=1e-7, msg=name)
    assert not torch.allclose(
        recorder.gradients[2]["embedding.weight"], whole["embedding.weight"], rtol=1e-3, atol=1e-5
    )
    # One window's graph, and no more with every further one.
    assert recorder.graphs[1] == recorder.graphs[2]


def perplexity(task, batches):
    """exp of the mean over all known targets, lanes read as a whole, in float64."""
    tokens, targets = (torch.cat([batch[i] for batch in batches], 1) for i in (0, 1))
    with torch.no_grad():
        logits = task(tokens)[0].double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    known = targets.numpy() != IGNORED
    nll = -np.take_along_axis(log_p, np.where(known, targets, 0)[..., None], -1)[..., 0]
    return np.exp(nll[known].mean())


def ignoring(batches, positions):
    """The same windows with more targets IGNORED: whole windows or single (window, row, step) ones."""
    batches = [TextBatch(batch.tokens, batch.targets.clone()) for batch in batches]
    for window, *place in positions:
        batches[window].targets[tuple(place)] = IGNORED
    return batches


COUNTS = {
    "all known": [],
    "uneven": [(0, 0), (1, 1, 0), (2, slice(None), slice(1, 4))],
    "a window without any": [(1,), (3, 0)],
    "the last windows without any": [(2,), (3,)],
}


@pytest.mark.parametrize("positions", COUNTS.values(), ids=COUNTS)
def test_perplexity_is_over_all_known_tokens_of_the_epoch(positions, trainer, loader):
    task = make_task()
    batches = ignoring(windows_of(make_lanes()), positions)
    expected = perplexity(task, batches)
    made = trainer()
    made.fit(task, loader(batches), loader(batches))
    for split in ("train", "val"):
        found = made.callback_metrics
        assert float(found[f"{split}/perplexity"]) == pytest.approx(expected, rel=1e-5), split
        assert float(found[f"{split}/loss"]) == pytest.approx(np.log(expected), rel=1e-5), split
    made = trainer()
    for _ in range(2):  # a second test starts from nothing
        (found,) = made.test(task, loader(batches), verbose=False)
    assert found["test/perplexity"] == pytest.approx(expected, rel=1e-5)
    assert found["test/loss"] == pytest.approx(np.log(expected), rel=1e-5)

    # Add-one smoothing: (count + 1) / (all counts + vocabulary), 12 training tokens and 5 words.
    shares = np.array([1, 4, 7, 2, 3]) / (12 + 5)
    targets = torch.cat([batch.targets for batch in batches], 1).numpy()
    unigram = np.exp(-np.log(shares[targets[targets != IGNORED]]).mean())
    assert found["baseline/unigram/perplexity"] == pytest.approx(unigram, rel=1e-5)


def test_a_window_without_targets_teaches_nothing(trainer, loader):
    task = make_task(lr=0.5)
    before = [p.detach().clone() for p in task.parameters()]
    batches = loader(ignoring([make_lanes()[0]], [(0,)]))
    made = trainer(limit_val_batches=0)
    made.fit(task, batches, batches)
    assert all(map(torch.equal, task.parameters(), before))


def test_tied_weights_are_one_tensor():
    tied, free = make_task(tie_weights=True), make_task()
    assert tied.head.weight is tied.embedding.weight
    assert free.head.weight is not free.embedding.weight
    # 5 tokens × 4: one matrix fewer.
    sizes = [sum(p.numel() for p in task.parameters()) for task in (tied, free)]
    assert sizes[1] - sizes[0] == 20
    loss = tied(torch.tensor([[1, 2]]))[0].square().sum()
    loss.backward()
    with torch.no_grad():
        tied.embedding.weight -= 0.1 * tied.embedding.weight.grad
    assert torch.equal(tied.head.weight, tied.embedding.weight)


def test_tied_weights_of_unlike_sizes():
    message = r"tie_weights needs task.embedding_size = model.hidden_size, got 4 and 6"
    with pytest.raises(ValueError, match=message):
        make_task(hidden_size=6, tie_weights=True)


def test_a_bidirectional_encoder_is_refused_with_a_way_out():
    message = "sees the next token before predicting it: choose model=lstm, gru or rnn"
    with pytest.raises(ValueError, match=message):
        make_task(model=partial(Recurrent, hidden_size=3, bidirectional=True))


@pytest.mark.parametrize("size", [0, -3, True, 2.5, "8", None])
def test_embedding_size_must_be_a_whole_number(size):
    with pytest.raises(ValueError, match="embedding_size must be a whole number of at least 1, got"):
        make_task(embedding_size=size)


def test_next_token_probabilities():
    task = make_task().eval()
    tokens = torch.randint(0, N_TOKENS, (3, 7), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = task.predict_step(TextBatch(tokens, torch.full_like(tokens, IGNORED)))
        logits = task(tokens)[0][:, -1]
    assert found.shape == (3, N_TOKENS)
    torch.testing.assert_close(found.sum(1), torch.ones(3), rtol=0, atol=1e-6)
    assert torch.equal(found.argmax(1), logits.argmax(1))
    expected = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_state_stands_for_what_was_read_before():
    task = make_task().eval()
    tokens = torch.randint(0, N_TOKENS, (3, 9), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        whole, _ = task.next_probabilities(tokens)
        _, state = task.next_probabilities(tokens[:, :5])
        for step in range(5, 9):
            stepwise, state = task.next_probabilities(tokens[:, step : step + 1], state)
    torch.testing.assert_close(stepwise, whole, rtol=1e-5, atol=1e-7)


def test_prediction_knows_nothing_of_an_earlier_test(trainer, loader):
    task = make_task()
    batch = make_lanes()[0]
    with torch.no_grad():
        before = task.eval().predict_step(batch)
        trainer().test(task, loader(make_lanes()), verbose=False)
        assert torch.equal(task.eval().predict_step(batch), before)


def test_dropout_stands_on_embeddings_and_outputs():
    task = make_task(dropout=0.5)
    seen = {}
    task.encoder.register_forward_pre_hook(lambda _m, args: seen.update(embedded=args[0]))
    task.head.register_forward_pre_hook(lambda _m, args: seen.update(outputs=args[0]))
    tokens = torch.randint(0, N_TOKENS, (8, 16))
    for training in (True, False):
        task.train(training)
        task(tokens)
        # 8 × 16 × 4 and 8 × 16 × 6 draws at p = 0.5: 5 standard deviations are 0.11 and 0.09.
        for name, values in seen.items():
            share = float((values == 0).float().mean())
            assert abs(share - (0.5 if training else 0)) < 0.12, (name, training)


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf"), "warm", True])
def test_temperatures_that_are_none(temperature):
    with pytest.raises(ValueError, match="temperature"):
        make_task(temperature=temperature)


@pytest.mark.parametrize("tokenizer", ["char", "word"])
def test_bits_per_character_are_the_loss_over_ln_2(tokenizer, trainer, loader):
    task = make_task(facts=dataclasses.replace(FACTS, tokenizer=tokenizer))
    run = trainer()
    run.test(task, loader(make_lanes()), verbose=False)
    values = {name: float(value) for name, value in run.callback_metrics.items()}
    assert ("test/bits_per_character" in values) == (tokenizer == "char")
    if tokenizer == "char":
        assert values["test/bits_per_character"] == pytest.approx(
            math.log2(values["test/perplexity"]), rel=1e-5
        )
        assert "bits" in task.meanings()["bits_per_character"]
