"""Whether a model's weights fit into this machine's memory, known from its settings before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig

from gatewise.config.sections import KINDS
from gatewise.settings import SettingError
from gatewise.settings.declared import declared
from gatewise.settings.memory import in_words, memory
from gatewise.settings.syntax import find

_BYTES = {"64": 8, "64-true": 8, "16-true": 2, "bf16-true": 2}
"""Bytes of a weight by ``trainer.precision``, where these are not 4."""
_SUMS = {"Adam": 2, "AdamW": 2, "NAdam": 2, "RAdam": 2, "Adamax": 2, "SparseAdam": 2, "Adagrad": 1}
"""Numbers that an optimizer keeps for each weight."""


def check_sizes(config: DictConfig) -> None:
    """Raise SettingError where the recurrent weights alone, to be trained, take more memory than there is."""
    definition = find(str(config.model.get("_target_")))
    if definition is None or KINDS["model"].has(definition) is not True:
        return
    count = least_weights(config.model, config.task)
    size = _BYTES.get(str(config.trainer.get("precision")), 4)
    optimizer = str(config.optimizer.get("_target_")).rpartition(".")[2]
    on_cpu = config.trainer.get("accelerator") == "cpu"
    # A GPU has the gradients and the sums; the weights are made here.
    copies = 2 + _SUMS.get(optimizer, 0) if on_cpu else 1
    if count * size * copies > memory():
        what = f"{in_words(count * size)} of weights"
        what += f", {in_words(count * size * copies)} with what training keeps of each" if on_cpu else ""
        raise SettingError(
            f"model.hidden_size={config.model.get('hidden_size')} in "
            f"model.num_layers={config.model.get('num_layers', 1)} takes {what}: there are "
            f"{in_words(memory())} of memory here; make it smaller"
        )


def least_weights(model: Mapping[str, Any], task: Mapping[str, Any]) -> int:
    """Weights that a Recurrent has at least, however few inputs there are; 0 where that is not known."""
    hidden, layers = (model.get(name, 1) for name in ("hidden_size", "num_layers"))
    cell = model.get("cell") or {}
    kind = declared(str(cell.get("_target_"))) if "_target_" in cell else None
    gates = () if kind is None else kind.attribute("gates") or ()
    recurrent = gates if kind is None else kind.attribute("recurrent")
    recurrent = gates if recurrent is None else recurrent
    if not (isinstance(hidden, int) and isinstance(layers, int) and isinstance(gates, tuple)):
        return 0
    directions = 2 if model.get("bidirectional") is True else 1
    shown = cell.get("projection_size", hidden)
    shown = shown if isinstance(shown, int) else 1
    inputs = task.get("embedding_size", 1)
    inputs = inputs if isinstance(inputs, int) else 1
    of_inputs = inputs + (layers - 1) * directions * shown
    return directions * hidden * (len(gates) * of_inputs + len(recurrent) * layers * shown)
