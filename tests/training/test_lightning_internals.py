"""The names of Lightning's inside that are used: all in one file, and all in the installed Lightning."""

import ast
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

import gatewise
from gatewise.training import lightning_internals as internals

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
SOURCE = Path(gatewise.__file__).parent
COUNTS = ("ready", "started", "processed", "completed")
PRIVATE = {"_signal_connector", "_batches_that_stepped", "_data_fetcher"}

# Below the Trainer, in the hook that begins an epoch.
NAMES = {
    "_signal_connector.register_signal_handlers": "leave_signals_alone",
    "fit_loop.epoch_loop._batches_that_stepped": "logged_steps",
    "fit_loop.epoch_loop.restarting": "continue_epoch",
    "fit_loop.epoch_loop.update_restart_stage": "continue_epoch",
    "fit_loop.epoch_loop.batch_progress.is_last_batch": "before_batch",
    "fit_loop.epoch_loop.val_loop.batch_progress.reset": "forget_validation",
    "fit_loop._data_fetcher.done": "continue_epoch",
    "fit_loop._data_fetcher.fetched": "continue_epoch",
    **{f"fit_loop.epoch_loop.val_loop.batch_progress.total.{name}": "continue_epoch" for name in COUNTS},
}
# In a checkpoint, below loops.fit_loop.
KEYS = {
    **{
        f"epoch_progress/{which}/{name}": "begin_epoch_again"
        for which in ("total", "current")
        for name in COUNTS
    },
    **{
        f"epoch_loop.batch_progress/{which}/{name}": "begin_epoch_again"
        for which in ("total", "current")
        for name in COUNTS
    },
    "epoch_loop.batch_progress/is_last_batch": "begin_epoch_again",
}


class Small(pl.LightningModule):
    """Notes the batches of its steps, and of its validations how many there were before."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append((batch_idx, float(batch[0])))
        return self.layer(batch).mean()

    def validation_step(self, batch, batch_idx):  # noqa: ARG002
        self.seen.append(("validation", batch_idx))

    def on_train_epoch_start(self):
        self.seen.append("epoch")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(count):
    return DataLoader(torch.arange(float(count))[:, None], batch_size=1)


def fit(callback, checkpoint=None, epochs=1, **settings):
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=[callback], logger=False, num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip
    module = Small()
    trainer.fit(module, loader(4), loader(2), ckpt_path=checkpoint)
    return trainer, module


class Lookup(pl.Callback):
    """Looks for the names, in the hook in which they are used, and for the keys."""

    def __init__(self):
        self.missing = []

    def on_train_epoch_start(self, trainer, pl_module):  # noqa: ARG002
        for path, user in NAMES.items():
            here = trainer
            for name in path.split("."):
                if not hasattr(here, name):
                    self.missing.append(f"trainer.{path} ({user})")
                    break
                here = getattr(here, name)

    def look_into(self, checkpoint):
        for path, user in KEYS.items():
            here = checkpoint["loops"]["fit_loop"]
            for key in path.split("/"):
                if key not in here:
                    self.missing.append(f"checkpoint loops/fit_loop/{path} ({user})")
                    break
                here = here[key]


def missing(tmp_path):
    lookup = Lookup()
    trainer, _ = fit(lookup)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    lookup.look_into(torch.load(tmp_path / "last.ckpt", weights_only=True))
    return lookup.missing


def test_lightning_has_every_name(tmp_path):
    lacking = missing(tmp_path)
    if lacking:
        pytest.fail(f"pytorch-lightning {pl.__version__} lacks {', '.join(lacking)}", pytrace=False)


def test_a_name_that_is_gone_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(NAMES, "fit_loop.epoch_loop.gone.reset", "forget_validation")
    monkeypatch.setitem(KEYS, "epoch_progress/total/gone", "begin_epoch_again")
    assert missing(tmp_path) == [
        "trainer.fit_loop.epoch_loop.gone.reset (forget_validation)",
        "checkpoint loops/fit_loop/epoch_progress/total/gone (begin_epoch_again)",
    ]


THEIRS = {"trainer", "fit_loop", "loop", "progress", "fetcher", "strategy", "logger", "pl_module", "metric"}
LIBRARIES = {"pytorch_lightning", "lightning_fabric", "torchmetrics", "wandb"}


def private_names(path):
    """Private names that a file looks up on objects of Lightning's or W&B's, or imports from them."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            found |= {node.attr} if name in THEIRS or name.endswith("_loop") else set()
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in LIBRARIES:
            found |= {alias.name for alias in node.names if alias.name.startswith("_")}
    return found


def test_no_other_file_uses_private_names():
    rooms = [SOURCE / room for room in ("launch", "views", "training", "sweeps", "bench", "cli")]
    found = {path.name: private_names(path) for room in rooms for path in room.glob("**/*.py")}
    assert {name: names for name, names in found.items() if names} == {"lightning_internals.py": PRIVATE}


def test_the_table_names_what_the_file_uses():
    assert {name for path in NAMES for name in path.split(".") if name.startswith("_")} == PRIVATE


class Resume(pl.Callback):
    """Has an epoch go on after ``batches`` batches."""

    def __init__(self, batches, is_last_batch, validation_due):
        self.place = batches, is_last_batch, validation_due

    def on_load_checkpoint(self, trainer, pl_module, checkpoint):  # noqa: ARG002
        internals.begin_epoch_again(checkpoint, *self.place[:2])

    def on_train_epoch_start(self, trainer, pl_module):  # noqa: ARG002
        if trainer.current_epoch == 0:
            internals.continue_epoch(trainer, *self.place)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):  # noqa: ARG002
        internals.forget_validation(trainer)


class Save(pl.Callback):
    """Saves after the second batch, and leaves there."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):  # noqa: ARG002
        if batch_idx == 2:
            trainer.save_checkpoint(self.path)
            raise InterruptedError


VALIDATION = [("validation", 0), ("validation", 1)]
SECOND = ["epoch", *[(index, float(index)) for index in range(4)]]


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("limits", [{}, {"max_steps": 100}], ids=str)
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ((0, False, False), [*SECOND, *VALIDATION]),
        ((2, False, False), ["epoch", (2, 2.0), (3, 3.0), *VALIDATION]),
        # That none is due there Lightning knows by itself.
        ((2, False, None), ["epoch", (2, 2.0), (3, 3.0), *VALIDATION]),
        ((4, True, True), ["epoch", *VALIDATION]),
        ((4, True, None), ["epoch", *VALIDATION]),
        ((4, True, False), ["epoch"]),
    ],
    ids=str,
)
def test_an_epoch_goes_on_where_it_is_told(tmp_path, place, expected, limits):
    with pytest.raises(InterruptedError):
        fit(Save(tmp_path / "last.ckpt"), epochs=2, **limits)
    trainer, module = fit(Resume(*place), tmp_path / "last.ckpt", epochs=2, **limits)
    assert module.seen == [*expected, *SECOND, *VALIDATION]
    assert trainer.current_epoch == 2
    assert not trainer.fit_loop.epoch_loop.restarting
