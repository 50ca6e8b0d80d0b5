"""Tables on the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewise.runs.summary import split_metrics

MEANINGS = {
    "accuracy": "share of sequences named right; higher is better",
    "f1": "mean over classes of the harmonic mean of precision and recall; higher is better",
    "perplexity": "among how many equally likely tokens it hesitates; lower is better",
    "mse": "mean squared error in units of the training variance; lower is better",
    "mae": "mean absolute error in training standard deviations; lower is better",
    "loss": "what training minimises, on this split",
}


def print_results(metrics: Mapping[str, Any], split: str) -> None:
    """Print a split's metrics beside the baselines', with what each metric means."""
    test, baselines = split_metrics(metrics)
    table = Table(title=f"{split} results", title_justify="left")
    table.add_column("metric")
    table.add_column("this run", justify="right", style="bold")
    for baseline in baselines:
        table.add_column(Text(baseline), justify="right")
    table.add_column("meaning", style="dim")
    for name, value in sorted(test.items(), key=lambda item: item[0] == "loss"):  # what is minimised last
        others = [f"{scores[name]:.4f}" if name in scores else "" for scores in baselines.values()]
        table.add_row(Text(name), f"{value:.4f}", *others, MEANINGS.get(name, ""))
    Console().print(table)
