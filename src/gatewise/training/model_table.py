"""The table of a model before it is trained: its layers, their sizes and parameters."""

from __future__ import annotations

from collections.abc import Iterator

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from rich.table import Table
from torch import nn
from torchmetrics import Metric

from gatewise.nn import Recurrent, Stacked
from gatewise.nn.attention_decoder import AttentionDecoder
from gatewise.nn.forecasters.forecaster import Forecaster
from gatewise.nn.token_writer import TokenWriter
from gatewise.tasks.scores import SplitScores
from gatewise.views import screen
from gatewise.views.plain import cell


class ModelTable(pl.Callback):
    """Shows every layer of the task with its sizes and parameters, when training begins."""

    @rank_zero_only
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        screen.show(model_table(pl_module))


def model_table(task: nn.Module) -> Table:
    """The layers of a task; a weight that two of them share is counted once, with the first."""
    table = Table()
    for heading in ("part", "layer", "sizes"):
        table.add_column(heading)
    table.add_column("parameters", justify="right")
    counted: set[int] = set()
    for part, module in _parts(task):
        if isinstance(module, (SplitScores, Metric)) or (isinstance(module, nn.Dropout) and module.p == 0):
            continue
        for index, (kind, sizes, layers) in enumerate(_layers(module)):
            own = {id(p): p.numel() for layer in layers for p in layer.parameters()}
            new = sum(count for key, count in own.items() if key not in counted)
            shown = f"{new:,}" if new or not own else "shared"
            counted |= own.keys()
            table.add_row(cell(part if index == 0 else ""), cell(kind), cell(sizes), shown)
    parameters = list(task.parameters())
    table.add_section()
    frozen = sum(p.numel() for p in parameters if not p.requires_grad)
    total = sum(p.numel() for p in parameters)
    size = sum(p.numel() * p.element_size() for p in parameters)
    note = (f"{size / 1e6:.3g} MB" if size >= 1e6 else f"{size / 1e3:.3g} kB") + (
        f", {frozen:,} of them not trained" if frozen else ""
    )
    table.add_row("all", "", note, f"{total:,}")
    return table


def _parts(task: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each part; those of an encoder and a decoder that are one module each by itself."""
    for name, module in task.named_children():
        if isinstance(module, (TokenWriter, AttentionDecoder)):
            yield from _parts(module)
        elif isinstance(module, Forecaster):
            parts = list(_parts(module))
            yield from (each for each in parts if isinstance(each[1], nn.Dropout) or _has_weights(each[1]))
            if next(module.parameters(recurse=False), None) is not None:
                yield name, module  # what is its own, as those of its parts are counted
        else:
            yield name, module


def _has_weights(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _layers(module: nn.Module, place: str = "") -> Iterator[tuple[str, str, list[nn.Module]]]:
    """Kind, sizes and modules of each layer in a part, which may be one at some ``place`` of several."""
    if isinstance(module, Recurrent):
        directions = module.num_directions
        for layer in range(module.num_layers):
            inputs = module.input_size if layer == 0 else module.output_size
            number = f" {layer + 1} of {module.num_layers}" if module.num_layers > 1 else place
            both = ", both directions" if directions == 2 else ""
            ours = list(module.layers[layer * directions : (layer + 1) * directions])
            outputs = f"{directions} × " if directions == 2 else ""
            sizes = f"{inputs:,} → {outputs}{module.output_size // directions:,}"
            yield f"{module.cell_name}{number}{both}", sizes, ours
        return
    if isinstance(module, Stacked):
        for index, recurrent in enumerate(module.layers):
            yield from _layers(recurrent, f" {index + 1} of {len(module.layers)}")
        return
    yield type(module).__name__, _sizes(module), [module]


def _sizes(module: nn.Module) -> str:
    if isinstance(module, nn.Linear):
        return f"{module.in_features:,} → {module.out_features:,}"
    if isinstance(module, nn.Embedding):
        return f"{module.num_embeddings:,} × {module.embedding_dim:,}"
    if isinstance(module, nn.Dropout):
        return f"p = {module.p:g}"
    return ""
