"""``gatewise evaluate``: score a trained run, from its directory alone."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.config.check_run import SCORES
from gatewise.config.outputs import find_output
from gatewise.config.places import look_here, take_own_cache
from gatewise.data.module import SequenceDataModule
from gatewise.kinds.kind import Facts
from gatewise.runs.files import json_text
from gatewise.runs.run import Run
from gatewise.runs.summary import split_metrics
from gatewise.tasks import Task
from gatewise.training.parts import load_task, make_data, stored_config
from gatewise.training.tested import tested
from gatewise.views import screen
from gatewise.views.places import short
from gatewise.views.plain import cell, plain_console
from gatewise.views.tables import print_beside_results, print_results


def main(config: DictConfig) -> dict[str, float]:
    """Score a run's checkpoint on a split of its data, or of other files; returns the metrics.

    Vocabulary, classes and scaler are those of the training.
    """
    output = find_output("output", config.output, SCORES)
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    trained = stored_config(run)
    with open_dict(trained):
        take_own_cache(trained, config)
        trained.task = OmegaConf.merge(trained.task, config.task)
        trained.data = OmegaConf.merge(trained.data, config.data)
        look_here(trained, config)
    screen.quiet()
    task = load_task(run, config.checkpoint, trained)
    with screen.warnings_on_screen():
        data = _data(trained, run.facts(), config.split == "test", task)
    loader = data.test_dataloader() if config.split == "test" else data.val_dataloader()
    metrics = tested(task, data, loader, config.accelerator)
    for name, value in metrics.items():
        if math.isnan(value):
            raise ValueError(
                f"{short(run.folder)}: {name} is {value}: nothing in the {config.split} split counts"
            )
    if output is None or not output.is_standard():  # else whoever reads it wants that alone
        plain_console(soft_wrap=True).print(cell(f"{short(run.folder)}  checkpoint {config.checkpoint}"))
        print_results(metrics, config.split, task.meanings())
        print_beside_results(task)
    if output is not None:
        scores, baselines = split_metrics(metrics)
        output.write(json_text({"run": str(run.folder), config.split: scores, "baselines": baselines}))
    return metrics


def _data(config: DictConfig, facts: Facts, only_test: bool, task: Task) -> SequenceDataModule:
    """The run's data; ``only_test`` where the other parts are not scored, and may be missing."""
    if not only_test or task.needs_parts:
        return make_data(config, facts)
    if task.wants_parts:
        with contextlib.suppress(ValueError):  # a file of the training is gone, or was never here
            return make_data(config, facts)
    return make_data(config, facts, "test")
