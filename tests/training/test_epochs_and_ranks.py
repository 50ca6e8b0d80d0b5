"""What an epoch draws, and the processes that train together."""

import os
import random
import stat
import sys
import time

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from gatewise.launch.own_code import python
from gatewise.launch.ranks import all_ranks, number_of_processes
from gatewise.training import fit
from gatewise.training.epochs import ReproducibleEpochs


class Draws(pl.LightningModule):
    """Notes what every training step draws, and learns nothing."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.drawn = {}

    def training_step(self, batch, batch_idx):  # noqa: ARG002
        draw = (float(torch.rand(())), float(np.random.rand()), random.random())
        self.drawn.setdefault(self.current_epoch, []).append(draw)
        return self.weight.square()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def draws(tmp_path, seed, epochs, resume=None, before=0, shuffle=False):
    """Draws of each epoch; ``before`` are draws before training, such as those of larger weights."""
    torch.rand(before)
    np.random.rand(before)
    [random.random() for _ in range(before)]
    module = Draws()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[ReproducibleEpochs(seed)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(torch.zeros(6, 1), batch_size=2, shuffle=shuffle), ckpt_path=resume)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return module.drawn


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_an_epoch_draws_what_its_seed_and_number_say(tmp_path):
    first = draws(tmp_path, 1, 3)
    values = {value for epoch in first.values() for step in epoch for value in step}
    assert len(values) == 3 * 3 * 3  # epochs × steps × generators, no draw twice
    assert draws(tmp_path, 1, 3, before=7) == first
    # Another number of epochs before, another loader that draws its order itself: the same draws.
    assert draws(tmp_path, 1, 1) == {0: first[0]}
    assert draws(tmp_path, 1, 3, resume=tmp_path / "last.ckpt", before=3) == {1: first[1], 2: first[2]}
    assert draws(tmp_path, 1, 3, shuffle=True) == first
    other = draws(tmp_path, 2, 3)
    assert not values & {value for epoch in other.values() for step in epoch for value in step}


class Rank:
    current_epoch = 0

    def __init__(self, global_rank):
        self.global_rank = global_rank


def test_ranks_draw_apart():
    found = []
    for rank in (0, 1, 0):
        ReproducibleEpochs(5).on_train_batch_start(Rank(rank), pl.LightningModule(), None, 0)
        found.append(torch.rand(4).tolist())
    assert found[0] == found[2]
    assert not set(found[0]) & set(found[1])


# accelerator, devices, strategy, visible GPUs → processes
PROCESSES = [
    ("cpu", 1, "auto", 0, 1),
    ("cpu", 2, "ddp", 0, 2),
    # Lightning's auto strategy is ddp for more than one device.
    ("cpu", 2, "auto", 0, 2),
    ("cpu", "2", "ddp", 0, 2),
    ("cpu", "auto", "ddp", 0, 1),
    ("cpu", 3, "ddp_find_unused_parameters_true", 0, 3),
    ("cpu", 2, "single_device", 0, 1),
    ("gpu", 1, "auto", 1, 1),
    ("gpu", -1, "ddp", 4, 4),
    ("gpu", "-1", "ddp", 4, 4),
    ("gpu", "auto", "ddp", 3, 3),
    ("gpu", 2, "auto", 4, 2),
    ("cuda", 2, "ddp", 4, 2),
    ("gpu", [0, 3], "ddp", 4, 2),
    ("gpu", "0,3", "ddp", 4, 2),
    ("gpu", 2, "fsdp", 2, 2),
    ("auto", 1, "auto", 0, 1),
    ("auto", "auto", "ddp", 0, 1),
    ("auto", "auto", "auto", 2, 2),
]


def settings(accelerator, devices, strategy):
    return OmegaConf.create({"accelerator": accelerator, "devices": devices, "strategy": strategy})


@pytest.mark.parametrize(("accelerator", "devices", "strategy", "visible", "expected"), PROCESSES)
def test_number_of_processes(accelerator, devices, strategy, visible, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    assert number_of_processes(settings(accelerator, devices, strategy)) == expected


IMPOSSIBLE = [
    ("gpu", 1, 0, "trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu or ddp_cpu"),
    ("gpu", -1, 0, "no CUDA GPU is visible here"),
    ("gpu", 4, 2, "trainer.devices=4: 2 GPUs are visible here"),
    ("gpu", [0, 1, 2], 2, r"trainer.devices=\[0, 1, 2\]: 2 GPUs are visible here"),
    ("gpu", 0, 2, "trainer.devices=0: give a whole number of at least 1"),
    ("cpu", 0, 0, "trainer.devices=0: give a whole number of at least 1"),
    ("cpu", -1, 0, "trainer.devices=-1: give a whole number of at least 1"),
    ("auto", -1, 0, "trainer.devices=-1: give a whole number of at least 1"),
    ("cpu", 1.5, 0, "trainer.devices=1.5: give a whole number of at least 1"),
    ("cpu", "two", 0, "trainer.devices=two: give a whole number of at least 1"),
    ("cpu", None, 0, "trainer.devices=None: give a whole number of at least 1"),
    ("gpu", [], 2, "give a whole number of at least 1"),
]


@pytest.mark.parametrize(("accelerator", "devices", "visible", "message"), IMPOSSIBLE)
def test_devices_that_cannot_be(accelerator, devices, visible, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    with pytest.raises(ValueError, match=message):
        number_of_processes(settings(accelerator, devices, "ddp"))


def test_every_case_agrees_with_lightning():
    """Where Lightning takes the setting, it starts as many processes (no GPU is needed to know)."""
    from pytorch_lightning.strategies import DDPStrategy

    for accelerator, devices, strategy, visible, expected in PROCESSES:
        if accelerator == "cpu" and strategy != "single_device" and not visible:
            trainer = pl.Trainer(
                accelerator=accelerator, devices=devices, strategy=strategy, logger=False, barebones=False,
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            found = trainer.num_devices if isinstance(trainer.strategy, DDPStrategy) else 1
            assert found == expected, (accelerator, devices, strategy)


LAUNCHER = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK")


@pytest.fixture
def no_launcher(monkeypatch):
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def as_python(tmp_path, monkeypatch):
    """Puts a shell script in the place of the Python that further ranks would run in."""

    def put(body):
        script = tmp_path / "python"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(script))

    return put


def _children(folder):
    return [int(line) for path in folder.glob("pid*") for line in path.read_text().split()]


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("no_launcher")
def test_ranks_are_started_told_apart_and_waited_for(run, tmp_path, as_python):
    as_python(
        f'echo "$* of $WORLD_SIZE" > {tmp_path}/said$LOCAL_RANK; '
        f'echo "$MASTER_ADDR:$MASTER_PORT $GATEWISE_PARENT" >> {tmp_path}/said$LOCAL_RANK; echo hello'
    )
    with all_ranks(run, 3, "gatewise.training.rank"):
        inside = {name: os.environ[name] for name in LAUNCHER}
    assert not set(LAUNCHER) & set(os.environ)
    assert (inside["WORLD_SIZE"], inside["LOCAL_RANK"], inside["NODE_RANK"]) == ("3", "0", "0")
    for rank in (1, 2):
        expected = [
            f"{' '.join(python('gatewise.training.rank', str(run.folder))[1:])} of 3",
            f"127.0.0.1:{inside['MASTER_PORT']} {os.getpid()}",
        ]
        assert (tmp_path / f"said{rank}").read_text().splitlines() == expected
        assert (run.folder / f"log_rank{rank}.txt").read_text() == "hello\n"


@pytest.mark.usefixtures("no_launcher")
def test_a_rank_that_fails_fails_the_training(run, as_python):
    as_python("exit 3")
    message = rf"rank 1 failed: it ended with exit code 3 \(see {run.folder}/log_rank1.txt\)"
    with pytest.raises(ValueError, match=message), all_ranks(run, 2, "gatewise.training.rank"):
        pass
    assert not set(LAUNCHER) & set(os.environ)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.usefixtures("no_launcher")
def test_no_rank_outlives_the_first(error, run, tmp_path, as_python):
    as_python(f"echo $$ > {tmp_path}/pid$LOCAL_RANK; exec sleep 600")

    def fail_once_they_run():
        started = time.monotonic()
        while len(_children(tmp_path)) < 2:
            assert time.monotonic() - started < 300
            time.sleep(0.01)
        raise error

    with pytest.raises(error), all_ranks(run, 3, "gatewise.training.rank"):
        fail_once_they_run()
    assert not any(_runs(pid) for pid in _children(tmp_path))
    assert not set(LAUNCHER) & set(os.environ)


@pytest.mark.parametrize(("count", "launched"), [(1, False), (4, True)])
@pytest.mark.usefixtures("no_launcher")
def test_nothing_is_started_for_one_process_or_by_a_second_launcher(
    count, launched, run, as_python, monkeypatch
):
    as_python("exit 3")
    if launched:
        monkeypatch.setenv("LOCAL_RANK", "2")
    before = dict(os.environ)
    with all_ranks(run, count, "gatewise.training.rank"):
        assert dict(os.environ) == before
    assert dict(os.environ) == before
    assert not list(run.folder.glob("log_rank*"))


class TooFast(Draws):
    """Adam's first step is ten times the rate, which is no float32."""

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e38)


def test_a_step_that_overflows_is_the_users_to_mend(tmp_path):
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    with pytest.raises(
        ValueError, match=r"a step of epoch 1 is too large .* smaller optimizer.lr \(it was 1e\+38"
    ):
        fit.interruptible(trainer, lambda: trainer.fit(TooFast(), DataLoader(torch.zeros(4))))
