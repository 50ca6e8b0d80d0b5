"""``gatewise draw``: a page to write on, which shows what a trained run makes of it."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from gatewise import __version__
from gatewise.cli.threads import one_thread
from gatewise.config.build import class_of
from gatewise.data.module import SequenceDataModule
from gatewise.inspection.live import live_gates
from gatewise.kinds.transcripts import TranscriptFacts
from gatewise.nn import Recurrent, Stacked
from gatewise.nn.uncompiled import without_compiling
from gatewise.runs.run import Run
from gatewise.settings import one_line
from gatewise.tasks import Task
from gatewise.training.parts import load_task, stored_config
from gatewise.views import screen
from gatewise.views.draw.page import page
from gatewise.views.offline.local import Shown, serve
from gatewise.views.places import short

STEPS = 1_000
"""About as many as a sheet full of writing has."""
CHOICES = 12
"""Classes whose probabilities are shown."""
_OF_A_CLASS = "p({})"


@dataclass
class Pen:
    """A trained run that answers what is written; one at a time."""

    task: Task
    facts: Any
    data: type[SequenceDataModule]

    def __post_init__(self) -> None:
        self._turn = threading.Lock()

    def answer(self, content: bytes) -> str:
        """The answer, and the gates at each step, as JSON; ValueError for what is no ``{"strokes": ...}``."""
        try:
            sent = json.loads(content)
        except (ValueError, RecursionError):
            raise ValueError("this is no JSON") from None
        if not isinstance(sent, dict) or set(sent) != {"strokes"}:
            raise ValueError('send {"strokes": [[[x, y], ...], ...]}')
        with self._turn, torch.inference_mode(), one_thread():
            return json.dumps(self._answered(sent["strokes"]), allow_nan=False)

    def _answered(self, strokes: Any) -> dict[str, Any]:
        given = self.data.read_strokes(strokes, self.facts)
        answer = self.task.answer(given)
        answer.check_finite()
        row = answer.table.iloc[0]
        classes = getattr(self.facts, "classes", ())
        choices = [(name, float(row[_OF_A_CLASS.format(name)])) for name in classes]
        inspected = self.task.inspected(given)
        assert given.picture is not None
        return {
            "answer": str(row["class" if classes else "transcript"]),
            "choices": sorted(choices, key=lambda each: -each[1])[:CHOICES],
            "layers": live_gates(inspected.encoder, inspected.inputs, inspected.lengths),
            "places": given.picture[1]["steps"][:: getattr(self.task, "stack", 1)],
        }


def main(config: DictConfig) -> None:
    """Serve the page of a run on this machine alone, until Ctrl-C."""
    screen.quiet()
    run = Run.open(str(config.run), Path(config.paths.runs_dir))
    trained = stored_config(run)
    task, facts = load_task(run, config.checkpoint, trained).requires_grad_(False), run.facts()
    encoder = getattr(task, "encoder", None)
    if not isinstance(encoder, (Recurrent, Stacked)):
        kind = type(encoder).__name__
        raise ValueError(
            f"{short(run.folder)}: its model is {kind}, and only a Recurrent or a Stacked has gates"
        )
    without_compiling(encoder, STEPS)
    data = class_of(trained.data, "data")
    assert issubclass(data, SequenceDataModule)
    pen = Pen(task, facts, data)
    values = {
        "title": one_line(run.title),
        "version": __version__,
        "lines": isinstance(facts, TranscriptFacts),
    }
    content = page(values)
    serve({"": Shown("text/html", lambda: content)}, int(config.port), {"answer": pen.answer})
