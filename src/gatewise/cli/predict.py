"""``gatewise predict``: apply a trained run to new input, from its directory alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from gatewise.config.build import class_of
from gatewise.config.check import input_file, output_path, takes_words
from gatewise.data.module import SequenceDataModule
from gatewise.runs.files import write_text
from gatewise.runs.run import Run
from gatewise.training.parts import load_task, stored_config
from gatewise.views import screen
from gatewise.views.plain import cell, plain_console
from gatewise.views.tables import print_answer


def main(config: DictConfig) -> pd.DataFrame:
    """Show, and with ``output`` write as CSV, what a run predicts for the input; returns the table."""
    output = output_path(config.output)
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
    print_answer(answer)
    if output is not None:
        write_text(output, answer.table.to_csv(index=False, lineterminator="\n"))
        plain_console(soft_wrap=True).print(cell(f"written to {output}"))
    return answer.table
