"""``gatewise predict``: apply a trained run to new input, from its directory alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewise.config.check import input_file, output_path
from gatewise.data import sequences, series, text
from gatewise.data.files import read_text
from gatewise.data.text.tokens import Vocabulary, make_tokenizer
from gatewise.kinds.kind import IGNORED
from gatewise.kinds.sequences import FeatureFacts
from gatewise.kinds.series import SeriesFacts
from gatewise.kinds.text import TextFacts
from gatewise.runs.files import write_text
from gatewise.runs.run import Run
from gatewise.tasks import Task
from gatewise.tasks.language_modelling import LanguageModelling
from gatewise.training.parts import load_task, stored_config
from gatewise.views import screen as console


def main(config: DictConfig) -> pd.DataFrame:
    """Show, and with ``output`` write as CSV, what a run predicts for the input; returns the table."""
    output = output_path(config.output)
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    facts = run.facts()
    console.quiet()
    task = load_task(run, config.checkpoint, stored_config(run))
    given = str(config.input)
    with torch.inference_mode(), console.warnings_on_screen():
        if isinstance(facts, TextFacts):
            table = _next_words(task, facts, given, config)
        elif isinstance(facts, SeriesFacts):
            table = _forecast(task, facts, Path(given).expanduser())
        else:
            assert isinstance(facts, FeatureFacts)
            table = _classes(task, facts, Path(given).expanduser())
    if output is not None:
        write_text(output, table.to_csv(index=False, lineterminator="\n"))
        Console(soft_wrap=True).print(f"written to {output}", markup=False)
    return table


def _next_words(task: Task, facts: TextFacts, given: str, config: DictConfig) -> pd.DataFrame:
    """Rank the tokens that may follow, and go on with the most probable one for a while."""
    path = input_file(given, may_be_words=True)
    batch = text.prediction_batch(given if path is None else read_text(path), facts)
    if not isinstance(task, LanguageModelling):
        raise ValueError(f"run={config.run}: {type(task).__name__} gives no probabilities of a next token")
    probabilities, state = task.next_probabilities(batch.tokens)
    best = probabilities[0].topk(min(config.top_k, len(facts.vocabulary)))
    table = pd.DataFrame(
        {"token": [facts.vocabulary[i] for i in best.indices], "probability": best.values.tolist()}
    )
    shown = table.assign(token=[_visible(token) for token in table["token"]])
    _print(shown, "next token, by the softmax over H_t", {"probability": "{:.4f}"})
    tokens = batch.tokens
    for _ in range(config.length):
        following = probabilities.argmax(-1, keepdim=True)
        tokens = torch.cat([tokens, following], dim=1)
        probabilities, state = task.next_probabilities(following, state)
    decoded = Vocabulary(facts.vocabulary, facts.counts).decode(tokens[0].tolist())
    written = make_tokenizer(facts.tokenizer, facts.lowercase).detokenize(decoded)
    if config.length:
        Console().print(
            "always the most probable:", written[-2000:], markup=False, highlight=False, emoji=False
        )
    return table


def _visible(token: str) -> str:
    """A token as it is, or quoted where it is white space or cannot be printed."""
    return token if token.isprintable() and not token.isspace() else repr(token)


def _forecast(task: Task, facts: SeriesFacts, path: Path) -> pd.DataFrame:
    """Forecast the horizon after a CSV's last row, in the file's own units."""
    batch, times = series.prediction_window(path, facts)
    forecast = series.unscale(task.predict_step(batch, 0)[0], facts)
    table = pd.DataFrame(forecast.numpy(), columns=list(facts.targets))
    table.insert(0, facts.time_column, times.astype(str))
    _print(table, f"the {facts.horizon} steps after {path.name}", dict.fromkeys(facts.targets, "{:.4g}"))
    return table


def _classes(task: Task, facts: FeatureFacts, path: Path) -> pd.DataFrame:
    """Name each sequence's class, with its probability and, where the file has labels, the true one."""
    batch = sequences.prediction_batch(path, facts)
    probabilities = task.predict_step(batch, 0)
    chosen = probabilities.max(-1)
    table = pd.DataFrame(
        {
            "sequence": range(1, len(probabilities) + 1),
            "class": [facts.classes[i] for i in chosen.indices],
            "probability": chosen.values.tolist(),
        }
    )
    if bool((batch.targets != IGNORED).any()):
        table["label"] = [facts.classes[t] if t != IGNORED else "" for t in batch.targets.tolist()]
    _print(table, f"sequences of {path.name}", {"probability": "{:.4f}"})
    for index, name in enumerate(facts.classes):
        table[f"p({name})"] = probabilities[:, index].tolist()
    return table


def _print(table: pd.DataFrame, title: str, formats: dict[str, str], most: int = 40) -> None:
    # As Text: what stands in brackets is the user's and no markup.
    shown = Table(title=Text(title), title_justify="left")
    for name in table.columns:
        shown.add_column(Text(str(name)))
    for _, row in table.head(most).iterrows():
        shown.add_row(*(Text(formats.get(str(name), "{}").format(value)) for name, value in row.items()))
    Console().print(shown)
    if len(table) > most:
        Console().print(f"… and {len(table) - most} more; output=FILE.csv writes them all")
