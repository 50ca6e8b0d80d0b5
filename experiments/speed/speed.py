"""Time the training of presets beside a plain PyTorch loop with nn.LSTM of the same model, in turns.

    python experiments/speed/speed.py                                 # all of them
    python experiments/speed/speed.py presets=mr,lm_awd rounds=5 seconds=4 threads=2
    python experiments/speed/speed.py presets=captions/scenes threads=1 clock=cpu

Every other word is an override of ``gatewise train``. Gatewise's side is a real training, with its loop,
metrics, callbacks and checkpoints; the plain side has the same batches ready in memory, the same optimizer
(in torch's default implementation), clipping, and moving average of the weights. Times are of the second
epoch of some batches, from its start to the end of its last step; ``clock=cpu`` gives processor time of
the process instead, for a machine that is busy with other things. Before that, both models are compared: with
the same weights they have the same loss. Presets of the Penn Treebank read a text made up with as many words.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from made_up import CONLL, write_files
from omegaconf import DictConfig, OmegaConf, open_dict
from plain_models import has_cell, left_out, plain_model
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gatewise.bench.loop_overhead import lightning_epoch, without_output
from gatewise.config.build import build
from gatewise.config.compose import compose
from gatewise.training.parts import make_data, make_task
from gatewise.views import screen

LANGUAGE_MODELS = "king_james,king_james_rnn,char_small,char_large,lm_zaremba_small,lm_zaremba_medium"
LANGUAGE_MODELS += ",lm_zaremba_large,lm_tied_512,lm_awd,lm_melis_24m"
OTHERS = "mr,verses,wnut17,conll,greek_tags,multi30k_quick,multi30k,kjv_bbe,cmudict"
OTHERS += ",speech/fsdd,speech/digits_ctc,speech/digits_ctc_streaming,strokes/pendigits,strokes/line_ctc"
OTHERS += ",captions/scenes"
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
FEWEST, MOST = 5, 200
"""Timed steps of an epoch."""
COLUMNS = ["preset", "plain PyTorch, ms a step", "Gatewise", "times as fast", "of single rounds", "steps"]
COLUMNS += ["nn.LSTM lacks"]


def config_of(preset: str, words: list[str], made_up: Path) -> DictConfig:
    """The preset's config, for two short epochs of training; files that nobody may hand on are made up."""
    files = [f"data.files=[{made_up / CONLL}]"] if preset == "text/conll" else []
    config = compose("train", [f"experiment={preset}", *files, *words])
    without_output(config)
    with open_dict(config):
        config.trainer.val_check_interval, config.trainer.limit_val_batches = 1.0, 1
        if "ptb.train.txt" in (OmegaConf.select(config, "data.train_files") or []):
            config.data.folders = [str(made_up)]
    return config


class PlainLoop:
    """A training as a plain script writes it."""

    def __init__(self, config: DictConfig, task: Any, batches: list[Any]) -> None:
        self.model = plain_model(task)
        self.batches, self.clip = batches, config.trainer.gradient_clip_val
        # As one writes it: without the choice of another implementation.
        settings = OmegaConf.masked_copy(config.optimizer, [k for k in config.optimizer if k != "fused"])
        self.optimizer = build(settings, "optimizer", params=self.model.parameters())
        decay = OmegaConf.select(config, "callbacks.averaging.decay")
        self.average = decay and AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def epoch(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Seconds of a pass over the batches."""
        self.model.train()
        self.model.start()
        started = clock()
        for batch in self.batches:
            self.optimizer.zero_grad()
            loss = self.model(batch)
            loss.backward()
            if self.clip:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.model)
        return clock() - started


def check_same(task: Any, model: Any, batch: Any) -> None:
    """Stop where the two models, with the same weights, do not give the same loss."""
    with torch.no_grad():
        ours, plain = float(task.eval().score(batch).loss), float(model.eval()(batch))
    if abs(ours - plain) > 1e-4 * abs(plain):
        raise SystemExit(f"the models differ: the losses of a batch are {ours:.6f} and {plain:.6f}")


def line(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def measure(
    preset: str, words: list[str], rounds: int, seconds: float, clock: Callable[[], float], made_up: Path
) -> str:
    """One line of the table."""
    config = config_of(preset, words, made_up)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    data = make_data(config)
    batches = []
    for batch in data.train_dataloader():
        batches.append(batch)
        if len(batches) == MOST:
            break

    def loop_of(count: int) -> tuple[Any, PlainLoop]:
        torch.manual_seed(config.seed)
        task = make_task(config, data.facts, {})
        return task, PlainLoop(config, task, batches[:count])

    task, loop = loop_of(FEWEST)
    recurrent = task.encoder if task.has_encoder else task.net.decoder.lower
    if has_cell(recurrent):
        check_same(task, loop.model, batches[0])
    loop.epoch()
    count = min(max(FEWEST, round(seconds * FEWEST / loop.epoch())), len(batches))
    with open_dict(config):
        config.trainer.limit_train_batches = count
    plain, ours = [], []
    for _ in range(rounds):
        task, loop = loop_of(count)
        loop.epoch()
        plain.append(1000 * loop.epoch(clock) / count)
        ours.append(1000 * lightning_epoch(config, data, task, clock) / count)
    ratios = [p / o for p, o in zip(plain, ours, strict=True)]
    milliseconds = [f"{statistics.median(times):.1f}" for times in (plain, ours)]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    cells = [f"`{preset}`", *milliseconds, f"{statistics.median(ratios):.2f}", spread, str(count)]
    return line([*cells, ", ".join(left_out(recurrent))])


def main(words: list[str]) -> None:
    """Print a table in Markdown, a line as soon as it is measured."""
    own = {"presets": f"{LANGUAGE_MODELS},{OTHERS}", "rounds": "5", "seconds": "4", "clock": "wall"}
    own |= dict(word.split("=", 1) for word in words if word.partition("=")[0] in own)
    words = [word for word in words if word.partition("=")[0] not in own]
    if own["clock"] not in CLOCKS:
        raise SystemExit(f"clock={own['clock']}: choose {' or '.join(CLOCKS)}")
    print(line(COLUMNS))
    print(line(["---"] * len(COLUMNS)))
    screen.quiet()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        for preset in own["presets"].split(","):
            name = preset if "/" in preset else f"text/{preset}"
            settings = int(own["rounds"]), float(own["seconds"]), CLOCKS[own["clock"]]
            print(measure(name, words, *settings, Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
