"""All that Gatewise uses of Lightning beyond its documentation: each name once, with the reason.

No other file does. Underscores mark what is private; the loops below ``trainer.fit_loop`` have public names
and no promise. ``tests/training/test_lightning_internals.py`` fails under a Lightning that lacks one of them,
and pyproject.toml allows the minor versions on which it has passed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops import progress

_COUNTS = ("ready", "started", "processed", "completed")


def leave_signals_alone(trainer: pl.Trainer) -> None:
    """Keep Lightning from handling signals.

    ``_signal_connector``: its handler of SIGTERM broadcasts from within itself, to processes that were not
    sent the signal and wait for something else. No setting turns it off.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]


def logged_steps(trainer: pl.Trainer) -> int:
    """The step under which Lightning gives loggers what is logged next; see :func:`set_logged_steps`."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def set_logged_steps(trainer: pl.Trainer, steps: int) -> None:
    """Set that step.

    ``_batches_that_stepped``: in a resumed epoch Lightning guesses it from its counts, one too far where a
    validation comes first: that would be logged a step later than in a run that was not stopped.
    """
    trainer.fit_loop.epoch_loop._batches_that_stepped = steps


def begin_epoch_again(checkpoint: dict[str, Any], batches: int, is_last_batch: bool) -> None:
    """Change a checkpoint so that Lightning begins the epoch it is from, or the next one if that had ended.

    ``batches`` of it are counted.

    ``epoch_progress``, ``epoch_loop.batch_progress``: where these counts, which every checkpoint holds, say
    that an epoch has begun, Lightning skips the hooks that begin it, on which tasks and callbacks rely. Where
    ``max_steps`` is set, it would end an epoch a second time that had ended.
    """
    loops = checkpoint["loops"]["fit_loop"]
    for count in (loops["epoch_progress"]["total"], loops["epoch_progress"]["current"]):
        count.update(dict.fromkeys(_COUNTS, count["processed"]))
    progress = loops["epoch_loop.batch_progress"]
    progress["total"].update(dict.fromkeys(_COUNTS, progress["total"]["processed"]))
    progress["current"].update(dict.fromkeys(_COUNTS, batches))
    progress["is_last_batch"] = is_last_batch


def continue_epoch(
    trainer: pl.Trainer, batches: int, is_last_batch: bool, validation_due: bool | None
) -> None:
    """In ``on_train_epoch_start``, after :func:`begin_epoch_again`: have the epoch go on after its batches.

    ``validation_due`` is None where Lightning, which knows its intervals, is to tell.

    ``epoch_loop.restarting``, ``update_restart_stage``, ``val_loop.batch_progress``: by these Lightning goes
    on from the counts it has loaded, and repeats a validation that had begun. ``_data_fetcher``: it holds the
    iterator over the batches, which is made before any hook.
    """
    loop = trainer.fit_loop.epoch_loop
    loop.restarting = batches > 0
    forget_validation(trainer)
    if validation_due is not False:
        validation = loop.val_loop.batch_progress.total
        validation.ready = validation.started = 1  # type: ignore[attr-defined]
    loop.update_restart_stage()
    if batches == 0:
        return
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    loader: Any = trainer.train_dataloader
    sampler: Any = getattr(loader, "sampler", None)
    # Worker processes have been told of their first batches already.
    is_ahead = getattr(loader, "num_workers", 0) > 0
    if is_last_batch:
        fetcher.done = True
    elif hasattr(sampler, "start") and not is_ahead:
        sampler.start = batches
    else:
        for _ in range(batches):
            next(fetcher)
        fetcher.fetched -= batches  # Lightning adds them


def forget_validation(trainer: pl.Trainer) -> None:
    """Count no batches of a validation that was left; for ``val_loop`` see :func:`continue_epoch`."""
    trainer.fit_loop.epoch_loop.val_loop.batch_progress.reset()


@contextlib.contextmanager
def before_batch(trainer: pl.Trainer) -> Iterator[None]:
    """Have ``trainer.is_last_batch`` be false within the body: the batch is still to come.

    ``epoch_loop.batch_progress``: in ``on_train_batch_start`` it is true of a coming last batch, and a
    task takes that as the end of its epoch's batches.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    coming, progress.is_last_batch = progress.is_last_batch, False
    try:
        yield
    finally:
        progress.is_last_batch = coming


@functools.cache
def _methods_of_progress() -> frozenset[str]:
    kinds = [kind for kind in vars(progress).values() if isinstance(kind, type)]
    return frozenset(name for kind in kinds for name in dir(kind) if callable(getattr(kind, name)))


def is_method_of_progress(name: object) -> bool:
    """Whether a name in the state of a loop would take the place of a method.

    ``loops.progress``: its classes put all that a checkpoint has under their name into their ``__dict__``.
    """
    return name in _methods_of_progress()


def state_of_earlier_versions(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What Gatewise kept in the state of ``epoch_loop`` when that was a class of its own."""
    loops = checkpoint.get("loops", {}).get("fit_loop", {})
    state: dict[str, Any] = loops.get("epoch_loop.state_dict", {})
    return state
