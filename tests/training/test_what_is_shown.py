"""The bar, the table of the model, and the lines on how a training went."""

import io
import re
import threading
from functools import partial

import pytest
import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping
from rich.console import Console
from test_display import make_classification
from torch import nn
from torch.utils.data import DataLoader

from gatewise.cells import GRU
from gatewise.nn import Recurrent
from gatewise.training import progress
from gatewise.training.display import how_it_ended, where_it_goes_on
from gatewise.training.model_table import model_table
from gatewise.training.progress import EpochBar

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


def trained(*callbacks, epochs=2):
    task, batches = make_classification()
    loader = DataLoader(batches * 3, batch_size=None)
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, enable_checkpointing=False, log_every_n_steps=1,
        enable_model_summary=False, callbacks=list(callbacks), num_sanity_val_steps=0,
        enable_progress_bar=any(isinstance(callback, EpochBar) for callback in callbacks),
    )  # fmt: skip
    trainer.fit(task, loader, loader)
    return trainer, task, loader


def left_on_screen(written):
    """What a terminal shows in the end, of the few codes that a bar uses."""
    lines, row = [""], 0
    for code, char in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|(.)", written, re.DOTALL):
        if code == "2K":
            lines[row] = ""
        elif code == "1A":
            row -= 1
        elif char == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif char and char != "\r":
            lines[row] += char
    return [line for line in lines if line.strip()]


def test_the_bar_counts_epochs_from_one_and_leaves_nothing(monkeypatch):
    written = io.StringIO()
    terminal = Console(file=written, force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Progress", partial(progress.Progress, console=terminal))
    trainer, task, loader = trained(EpochBar())
    trainer.test(task, loader, verbose=False)
    text = written.getvalue()
    for shown in ("epoch 1/2", "epoch 2/2", "validation", "test", "3/3", "loss 0."):
        assert shown in text
    assert "epoch 0" not in text
    assert left_on_screen(text) == []


def test_the_bar_is_drawn_by_the_training_alone(monkeypatch):
    """A thread that draws while a line is logged leaves a part of the bar between the lines."""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "Progress", partial(progress.Progress, console=terminal))
    threads = []

    class Count(pl.Callback):
        def on_train_batch_end(self, *args):  # noqa: ARG002
            threads.extend(type(thread).__module__ for thread in threading.enumerate())

    trained(EpochBar(), Count())
    assert threads
    assert not [name for name in threads if name.startswith("rich")]


def test_a_bar_that_is_disabled_writes_nothing(capsys):
    bar = EpochBar()
    bar.disable()
    trained(bar)
    assert capsys.readouterr().out == ""


class Two(nn.Module):
    """Two layers of a cell in both directions, and a head whose weights the embedding shares."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(1000, 12)
        self.encoder = Recurrent(12, 5, 2, cell=GRU(), bidirectional=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(12, 1000, bias=False)
        self.head.weight = self.embedding.weight
        self.embedding.weight.requires_grad_(False)


def test_the_table_has_cell_sizes_and_layers():
    written = io.StringIO()
    Console(file=written, width=120).print(model_table(Two()))
    rows = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in written.getvalue().splitlines()
    ]
    rows = [row for row in rows if len(row) == 4]
    # Three products with 12 or 10 inputs and 5 states, three biases and that of the candidate's state, twice.
    gru = [2 * (15 * (inputs + 5) + 20) for inputs in (12, 10)]
    assert rows[1:] == [
        ["embedding", "Embedding", "1,000 × 12", "12,000"],
        ["encoder", "GRU 1 of 2, both directions", "12 → 2 × 5", f"{gru[0]:,}"],
        ["", "GRU 2 of 2, both directions", "10 → 2 × 5", f"{gru[1]:,}"],
        ["dropout", "Dropout", "p = 0.2", "0"],
        ["head", "Linear", "12 → 1,000", "shared"],
        [
            "all",
            "",
            f"{4 * (12000 + sum(gru)) / 1e3:.3g} kB, 12,000 of them not trained",
            f"{12000 + sum(gru):,}",
        ],
    ]


def test_an_early_stop_is_said_with_its_reason():
    stopping = EarlyStopping("val/loss", patience=2, mode="max", check_on_train_epoch_end=True)
    trainer, _, _ = trained(stopping, epochs=9)  # the loss falls
    best = float(trainer.early_stopping_callback.best_score)
    assert how_it_ended(trainer, 75.4, "best weights: epoch 1 of 3") == [
        f"Stopped early, after epoch 3: val/loss has not improved on {best:.4g}, 2 times in a row",
        "Trained 3 epochs, 9 steps in 1 min 15 s; what is tested and kept are the best weights: epoch 1 of 3",
    ]


def test_a_training_that_was_not_stopped_says_nothing_of_it():
    trainer, _, _ = trained(EarlyStopping("val/loss", patience=2), epochs=1)
    assert how_it_ended(trainer, None, "last weights") == [
        "Trained 1 epoch, 3 steps; what is tested and kept are the last weights"
    ]


@pytest.mark.parametrize(
    ("checkpoint", "most", "line"),
    [
        ({"epoch": 4}, 10, "Resuming in epoch 6 of 10"),
        ({"epoch": 4, "mid_epoch": {"batches": 7}}, 10, "Resuming in epoch 5 of 10, after 7 of its batches"),
        ({"epoch": 0, "mid_epoch": {"batches": 1}}, -1, "Resuming in epoch 1, after 1 of its batches"),
    ],
)
def test_where_a_resumed_training_goes_on(checkpoint, most, line):
    assert where_it_goes_on(checkpoint, most) == line
