"""``gatewise predict``: apply a trained run to new input, from its directory alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.config.build import class_of
from gatewise.config.check import PREDICTIONS, input_file, takes_words
from gatewise.config.outputs import Output, find_output
from gatewise.data.module import SequenceDataModule
from gatewise.runs.files import json_text
from gatewise.runs.run import Run
from gatewise.training.parts import load_task, stored_config
from gatewise.views import screen
from gatewise.views.plain import cell, plain_console
from gatewise.views.tables import print_answer


def main(config: DictConfig) -> pd.DataFrame:
    """Show, and with ``output`` write as CSV or JSON, what a run predicts; returns the table."""
    output = find_output("output", config.output, PREDICTIONS)
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    trained = stored_config(run)
    with open_dict(trained):
        trained.task = OmegaConf.merge(trained.task, config.task)
    screen.quiet()
    task = load_task(run, config.checkpoint, trained)
    with torch.inference_mode(), screen.warnings_on_screen():
        given = input_file(str(config.input), takes_words(trained)) or str(config.input)
        data = class_of(trained.data, "data")
        assert issubclass(data, SequenceDataModule)
        answer = task.answer(data.read_input(given, run.facts()))
    answer.check_finite()
    if output is not None and output.is_standard():  # whoever reads it wants that alone
        _write(output, answer.table)
        return answer.table
    print_answer(answer)
    if output is not None:
        _write(output, answer.table)
        plain_console(soft_wrap=True).print(cell(f"written to {config.output}"))
    return answer.table


def _write(output: Output, table: pd.DataFrame) -> None:
    if output.suffix == ".json":
        rows = table.astype(object).to_dict("records")
        output.write(json_text([{str(name): _plain(value) for name, value in row.items()} for row in rows]))
    else:
        output.write(table.to_csv(index=False, lineterminator="\n"))


def _plain(value: Any) -> Any:
    """A cell as JSON has it: what is no number, text or truth value (a time) as CSV has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
