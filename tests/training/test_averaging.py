"""Averages of the weights: their numbers, where they are used, and that a resumed training has the same."""

from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from gatewise.cells import LSTM
from gatewise.kinds.text import TextBatch, TextFacts
from gatewise.nn import Recurrent
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.training.averaging import ExponentialAverage, TriggeredAverage

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*already completed.*"
)
FACTS = TextFacts(("<unk>", "<eos>", "a", "b", "c"), (0, 3, 6, 1, 2), "word", False)


def make_task(lr=0.5):
    torch.manual_seed(0)
    model = partial(Recurrent, hidden_size=4, cell=LSTM())
    optimizer = partial(torch.optim.SGD, lr=lr, momentum=0.9)
    return LanguageModelling(model, FACTS, optimizer, embedding_size=4, tie_weights=True)


def windows(seed, count=3):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 5, (2, 5 * count + 1), generator=generator)
    batches = [TextBatch(ids[:, i : i + 5], ids[:, i + 1 : i + 6]) for i in range(0, 5 * count, 5)]
    return DataLoader(batches, batch_size=None)


def weights(task):
    return {name: value.detach().clone().double().numpy() for name, value in task.named_parameters()}


class Recorder(pl.Callback):
    """The trained weights after every step, and the weights that every validation scores."""

    def __init__(self):
        self.trained, self.scored = [], []

    def on_train_batch_end(self, _trainer, module, *_):
        self.trained.append(weights(module))

    def on_validation_batch_start(self, _trainer, module, *_):
        self.scored.append(weights(module))


def make_trainer(*callbacks, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}
    return pl.Trainer(callbacks=list(callbacks), **{**quiet, **settings})


def close(found, expected, rtol=1e-5):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=rtol, atol=1e-6, err_msg=name)


def exponential(steps, decay):
    average = steps[0]
    for n, now in enumerate(steps[1:], start=1):
        kept = min(decay, (1 + n) / (10 + n))
        average = {name: kept * average[name] + (1 - kept) * now[name] for name in now}
    return average


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_exponential_average_is_what_validation_scores(decay):
    task, recorder = make_task(), Recorder()
    made = make_trainer(ExponentialAverage(decay), recorder, max_epochs=4)
    made.fit(task, windows(1), windows(2, count=1))
    assert len(recorder.trained) == 12
    for epoch, scored in enumerate(recorder.scored, start=1):
        close(scored, exponential(recorder.trained[: 3 * epoch], decay))
    close(weights(task), recorder.scored[-1])  # and what a test is of
    gap = np.abs(recorder.trained[-1]["embedding.weight"] - recorder.scored[-1]["embedding.weight"])
    assert gap.max() > 1e-3


def test_training_itself_does_not_see_the_average():
    runs = []
    for callbacks in ([], [ExponentialAverage(0.9)]):
        recorder = Recorder()
        made = make_trainer(*callbacks, recorder, max_epochs=3, val_check_interval=1)
        made.fit(make_task(), windows(1), windows(2, count=1))
        runs.append(recorder.trained)
    for plain, averaged in zip(*runs, strict=True):
        close(averaged, plain, rtol=0)


def test_steps_of_several_batches_count_once():
    recorder = Recorder()
    made = make_trainer(ExponentialAverage(0.5), recorder, max_epochs=1, accumulate_grad_batches=2)
    made.fit(make_task(), windows(1, count=4), windows(2, count=1))
    close(recorder.scored[-1], exponential([recorder.trained[1], recorder.trained[3]], 0.5))


class Scripted(pl.Callback):
    """Sets the monitored value, epoch by epoch, before the average looks at it."""

    def __init__(self, scores):
        self.scores = list(scores)

    def on_validation_end(self, trainer, _module):
        trainer.callback_metrics["val/scripted"] = torch.tensor(self.scores.pop(0))


def begins_after(scores, patience, mode):
    """Epochs before the one in which averaging begins: Merity's rule, in his own form."""
    best = []
    for epoch, score in enumerate(scores, start=1):
        loss = score if mode == "min" else -score
        if len(best) > patience and loss > min(best[:-patience]):
            return epoch
        best.append(loss)
    return None


SCORES = {
    "falls": [9.0, 8, 7, 6, 5, 4],
    "stagnates": [9.0, 8, 7, 7.5, 7.6, 8.5],
    "one bad epoch": [9.0, 5, 9.5, 4, 4.5, 3],
    "late": [9.0, 8, 7, 6, 7, 6.5],
}


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_the_mean_begins_where_validation_stops_improving(scores, patience, mode):
    scores = scores if mode == "min" else [-score for score in scores]
    task, recorder = make_task(), Recorder()
    average = TriggeredAverage("val/scripted", mode, patience)
    made = make_trainer(Scripted(scores), average, recorder, max_epochs=len(scores))
    made.fit(task, windows(1), windows(2, count=1))
    begins = begins_after(scores, patience, mode)
    for epoch, scored in enumerate(recorder.scored, start=1):
        trained = recorder.trained[: 3 * epoch]
        if begins is None or epoch <= begins:
            close(scored, trained[-1])
            continue
        averaged = trained[3 * begins :]
        close(scored, {name: np.mean([step[name] for step in averaged], 0) for name in scored})


def averages():
    return {
        "exponential": lambda: ExponentialAverage(0.8),
        "triggered": lambda: TriggeredAverage("val/scripted", mode="min", patience=1),
    }


SCRIPT = [5.0, 4, 4.5, 3, 3.5, 3]


@pytest.mark.parametrize("kind", averages())
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_resumed_training_has_the_same_weights_and_the_same_average(kind, stop, tmp_path):
    def run(epochs, scores, path=None):
        task, recorder = make_task(), Recorder()
        made = make_trainer(Scripted(scores), averages()[kind](), recorder, max_epochs=epochs)
        made.fit(task, windows(1), windows(2, count=1), ckpt_path=path, weights_only=True)
        return task, made, recorder

    whole_task, _, whole = run(6, SCRIPT)
    _, made, _ = run(stop, SCRIPT)
    made.save_checkpoint(tmp_path / "a.ckpt")
    task, _, rest = run(6, SCRIPT[stop:], tmp_path / "a.ckpt")
    for found, expected in zip(rest.trained, whole.trained[3 * stop :], strict=True):
        close(found, expected, rtol=0)
    for found, expected in zip(rest.scored, whole.scored[stop:], strict=True):
        close(found, expected, rtol=0)
    close(weights(task), weights(whole_task), rtol=0)
    # Whoever reads the checkpoint alone gets the average, as plain values and tensors.
    state = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]
    fresh = make_task()
    fresh.load_state_dict(state)
    close(weights(fresh), whole.scored[stop - 1], rtol=0)
    assert torch.equal(state["head.weight"], state["embedding.weight"])  # a shared one has two names


def test_a_checkpoint_within_a_validation_has_both(tmp_path):
    class Saving(pl.Callback):
        def on_validation_batch_start(self, trainer, *_):
            trainer.save_checkpoint(tmp_path / "a.ckpt")

    recorder = Recorder()
    made = make_trainer(ExponentialAverage(0.8), recorder, Saving(), max_epochs=2)
    made.fit(make_task(), windows(1), windows(2, count=1))
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)
    trained = {name: value.double().numpy() for name, value in checkpoint["averaging"].items()}
    close(trained, recorder.trained[-1], rtol=0)
    for name, value in recorder.scored[-1].items():
        np.testing.assert_array_equal(checkpoint["state_dict"][name], value.astype(np.float32))


def test_a_validation_that_fails_leaves_the_trained_weights():
    class Failing(pl.Callback):
        def on_validation_batch_start(self, *_):
            raise RuntimeError("on purpose")

    task, recorder = make_task(), Recorder()
    made = make_trainer(ExponentialAverage(0.8), recorder, Failing(), max_epochs=1)
    with pytest.raises(RuntimeError, match="on purpose"):
        made.fit(task, windows(1), windows(2, count=1))
    close(weights(task), recorder.trained[-1], rtol=0)


def test_weights_in_parts_are_refused():
    made = make_trainer(ExponentialAverage(), max_epochs=1)
    made.strategy.__class__ = type("FSDPStrategy", (type(made.strategy),), {})
    with pytest.raises(ValueError, match="needs all of them in every process"):
        made.fit(make_task(), windows(1), windows(2, count=1))


@pytest.mark.parametrize("decay", [0, 1, 1.5, "much"])
def test_decays_that_are_none(decay):
    with pytest.raises(ValueError, match="decay must be a number between 0 and 1"):
        ExponentialAverage(decay)
