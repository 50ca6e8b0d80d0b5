"""What each setting may be: declared once, for the constructor that takes it and for the command line.

Nothing here needs torch, so that the command line finds a wrong setting before the seconds of importing it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gatewise.kinds.kind import Facts
from gatewise.kinds.sequences import FeatureFacts
from gatewise.kinds.series import SeriesFacts
from gatewise.kinds.text import TextFacts
from gatewise.settings import (
    below_one,
    choice,
    flag,
    fraction,
    names,
    not_negative,
    optional,
    optional_whole_number,
    share_or_number,
    split_fractions,
    whole_number,
)

ENGINES = ("auto", "native", "torch", "function", "loop")
RECURRENT_INITS = ("orthogonal", "uniform")
NONLINEARITIES = ("tanh", "relu")
POOLINGS = ("last", "mean", "max")
LOSSES = ("mse", "mae")
DATASETS = ("sunspots_monthly",)
CORPORA = ("king_james",)
TOKENIZERS = ("word", "char", "whitespace")
WANDB_MODES = ("offline", "online", "disabled")

Check = Callable[[str, Any], Any]
"""Takes a setting's name and value; returns the value, or raises ValueError."""


@dataclass(frozen=True)
class Ranges:
    """What the settings of one class may be; what is not declared may be anything."""

    each: Mapping[str, Check]
    together: tuple[Callable[..., object], ...] = ()
    """Checks of several settings at once; their parameters are named as the settings."""
    with_model: tuple[Callable[..., object], ...] = ()
    """As ``together``, over the settings of a task and of its model."""
    files: tuple[str, ...] = ()
    """Settings that name a file, or a list of files."""
    facts: type[Facts] = Facts
    """What a DataModule states, or a task needs to know, of the data."""

    def check(self, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """The declared settings among ``values``, each as its check gives it back.

        Raises ValueError, with ``prefix`` before the setting's name, for the first that is out of range.
        """
        stated = {name: check for name, check in self.each.items() if name in values}
        checked = {name: check(f"{prefix}{name}", values[name]) for name, check in stated.items()}
        check_together(self.together, values)
        return checked


def check_together(rules: tuple[Callable[..., object], ...], values: Mapping[str, Any]) -> None:
    """Apply each rule whose settings are all among ``values``; ValueError where they do not go together."""
    for rule in rules:
        needed = inspect.signature(rule).parameters
        if all(name in values for name in needed):
            rule(**{name: values[name] for name in needed})


def check_direction(bidirectional: bool) -> None:
    """Raise ValueError for a language model that reads the text from both ends."""
    if bidirectional:
        raise ValueError(
            "a bidirectional encoder reads the next token before it predicts it: "
            "choose model=lstm, gru or rnn"
        )


def check_tied(tie_weights: bool, embedding_size: int, hidden_size: int) -> None:
    """Raise ValueError where one matrix cannot be both the embedding and the output layer."""
    if tie_weights and hidden_size != embedding_size:
        raise ValueError(
            f"tie_weights needs task.embedding_size = model.hidden_size, "
            f"got {embedding_size} and {hidden_size}"
        )


def _held_out_of_training(
    validation_file: str | None, test_file: str | None, validation_fraction: float, test_fraction: float
) -> None:
    if not (test_file or validation_file):
        split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


def _one_series(file: str | None, dataset: str | None, time_column: str | None) -> None:
    if (file is None) == (dataset is None):
        raise ValueError(
            f"give one of data.file and data.dataset ({', '.join(DATASETS)}), got file={file!r}, "
            f"dataset={dataset!r}"
        )
    if file is not None and not time_column:
        raise ValueError(f"time_column must name the column of times in {file}, got {time_column!r}")


def _one_text(corpus: Any, files: Any, train_files: Any, validation_files: Any, test_files: Any) -> None:
    given = {name for name, value in locals().items() if value is not None}
    parts = {"train_files", "validation_files", "test_files"}
    if given != parts and given - {"test_files"} not in ({"corpus"}, {"files"}):
        got = ", ".join(sorted(given)) or "none of them"
        raise ValueError(
            f"give either corpus ({', '.join(CORPORA)}), or files, or all of train_files, "
            f"validation_files and test_files (the last may stand beside the others); got {got}"
        )


def _series_split(train_fraction: float, validation_fraction: float) -> None:
    split_fractions("to test on", train_fraction=train_fraction, validation_fraction=validation_fraction)


def _text_split(validation_fraction: float, test_fraction: float) -> None:
    split_fractions("to train on", validation_fraction=validation_fraction, test_fraction=test_fraction)


def _of_each_state(name: str, value: Any) -> Any:
    """A probability below 1, or a mapping of states to such."""
    if not isinstance(value, Mapping):
        return below_one(name, value)
    return {state: below_one(f"{name}.{state}", p) for state, p in value.items()}


RNN = Ranges({"nonlinearity": partial(choice, known=NONLINEARITIES)})

RECURRENT = Ranges(
    {
        "input_size": whole_number,
        "hidden_size": whole_number,
        "num_layers": whole_number,
        "bias": flag,
        "batch_first": flag,
        "dropout": below_one,
        "bidirectional": flag,
        "input_dropout": below_one,
        "state_dropout": below_one,
        "weight_dropout": below_one,
        "zoneout": _of_each_state,
        "recurrent_init": partial(choice, known=RECURRENT_INITS),
        "learn_initial_state": flag,
        "engine": partial(choice, known=ENGINES),
        "recompute": flag,
    }
)

TASK: dict[str, Check] = {"mode": partial(choice, known=("min", "max"))}

CLASSIFICATION = Ranges(
    {
        **TASK,
        "pooling": partial(choice, known=POOLINGS),
        "dropout": below_one,
        "label_smoothing": partial(below_one, what="share"),
    },
    facts=FeatureFacts,
)

FORECASTING = Ranges(
    {**TASK, "loss": partial(choice, known=LOSSES), "dropout": below_one, "center": flag}, facts=SeriesFacts
)

LANGUAGE_MODELLING = Ranges(
    {**TASK, "embedding_size": whole_number, "dropout": below_one, "tie_weights": flag},
    with_model=(check_direction, check_tied),
    facts=TextFacts,
)

DATA: dict[str, Check] = {"batch_size": whole_number, "seed": partial(whole_number, least=0)}

FEATURE_SEQUENCES = Ranges(
    {**DATA, "validation_fraction": fraction, "test_fraction": fraction, "scale": flag},
    together=(_held_out_of_training,),
    files=("train_file", "test_file", "validation_file"),
    facts=FeatureFacts,
)

SERIES_WINDOWS = Ranges(
    {
        **DATA,
        "dataset": optional(partial(choice, known=DATASETS)),
        "columns": optional(names),
        "targets": optional(names),
        "lookback": whole_number,
        "horizon": whole_number,
        "season": whole_number,
        "train_fraction": fraction,
        "validation_fraction": fraction,
        "stride": whole_number,
        "max_rows": optional_whole_number,
    },
    together=(_one_series, _series_split),
    files=("file", "test_file"),
    facts=SeriesFacts,
)

TEXT_FILES = ("files", "train_files", "validation_files", "test_files")

LANGUAGE_TEXT = Ranges(
    {
        **DATA,
        "corpus": optional(partial(choice, known=CORPORA)),
        **dict.fromkeys(TEXT_FILES, optional(names)),
        "validation_fraction": fraction,
        "test_fraction": fraction,
        "tokenizer": partial(choice, known=TOKENIZERS),
        "lowercase": flag,
        "min_count": whole_number,
        "max_vocabulary": partial(optional_whole_number, least=3),
        "max_tokens": partial(optional_whole_number, least=2),
        "window": whole_number,
        "evaluation_lanes": whole_number,
    },
    together=(_one_text, _text_split),
    files=TEXT_FILES,
    facts=TextFacts,
)

WANDB_LOGGER = Ranges({"mode": partial(choice, known=WANDB_MODES)})

OURS: dict[str, Ranges] = {
    "gatewise.cells.RNN": RNN,
    "gatewise.cells.ProjectedLSTM": Ranges({"projection_size": whole_number}),
    "gatewise.nn.Recurrent": RECURRENT,
    "gatewise.tasks.classification.SequenceClassification": CLASSIFICATION,
    "gatewise.tasks.forecasting.Forecasting": FORECASTING,
    "gatewise.tasks.language_modelling.LanguageModelling": LANGUAGE_MODELLING,
    "gatewise.data.sequences.FeatureSequences": FEATURE_SEQUENCES,
    "gatewise.data.series.SeriesWindows": SERIES_WINDOWS,
    "gatewise.data.text.LanguageText": LANGUAGE_TEXT,
    "gatewise.training.wandb.make_logger": WANDB_LOGGER,
    "gatewise.training.mid_epoch.TimedCheckpoint": Ranges({"every_minutes": not_negative}),
}
"""By the ``_target_`` of a config."""

LIBRARIES: dict[str, Ranges] = {
    "torch.optim.lr_scheduler.": Ranges(
        {
            "step_size": whole_number,
            "T_max": whole_number,
            "total_iters": partial(whole_number, least=0),
            "patience": partial(whole_number, least=0),
            "factor": not_negative,
            "gamma": not_negative,
            "mode": partial(choice, known=("min", "max")),
        }
    ),
    "torch.optim.": Ranges({"lr": not_negative, "momentum": not_negative, "weight_decay": not_negative}),
    "pytorch_lightning.": Ranges(
        {
            "accelerator": partial(choice, known=("cpu", "gpu", "cuda", "mps", "tpu", "auto")),
            "max_epochs": partial(optional_whole_number, least=-1),
            "max_steps": partial(whole_number, least=-1),
            "gradient_clip_val": not_negative,
            "accumulate_grad_batches": whole_number,
            "limit_train_batches": share_or_number,
            "limit_val_batches": share_or_number,
            "limit_test_batches": share_or_number,
            "overfit_batches": share_or_number,
            "val_check_interval": share_or_number,
            "check_val_every_n_epoch": whole_number,
            "num_sanity_val_steps": partial(whole_number, least=-1),
            "log_every_n_steps": partial(whole_number, least=0),
            "detect_anomaly": flag,
            "patience": partial(whole_number, least=0),
            "save_top_k": partial(whole_number, least=-1),
            "mode": partial(choice, known=("min", "max")),
        }
    ),
}
"""By how the ``_target_`` begins: what torch and Lightning refuse late, or take and stumble over."""


def ranges_of(target: str) -> Ranges | None:
    """What the settings of a ``_target_`` may be, or None for a class that is not known here."""
    if target in OURS:
        return OURS[target]
    return next((ranges for start, ranges in LIBRARIES.items() if target.startswith(start)), None)


def check_settings(target: str, values: Mapping[str, Any], key: str) -> None:
    """Raise ValueError, naming the setting, for a value that the class of a ``_target_`` cannot take.

    ``key`` is where its settings stand in the config. null is a library's own affair.
    """
    ranges = ranges_of(target)
    if ranges is None:
        return
    if target not in OURS:
        values = {name: value for name, value in values.items() if value is not None}
    try:
        ranges.check(values, f"{key}.")
    except ValueError as error:
        raise ValueError(located(str(error), key)) from None


def located(message: str, key: str) -> str:
    """A message about the settings at ``key``, which it names where it does not yet."""
    return message if message.startswith((f"{key}.", f"{key}:", f"{key}=")) else f"{key}: {message}"
