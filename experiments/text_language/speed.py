"""Time the training of text presets beside a plain PyTorch loop with nn.LSTM of the same model, in turns.

    python experiments/text_language/speed.py                                 # the presets of PRESETS
    python experiments/text_language/speed.py presets=text/mr,text/lm_awd rounds=5 seconds=4 threads=2

Every other word is an override of ``gatewise train``. Gatewise's side is a real training, with its loop,
metrics, callbacks and checkpoints; the plain side has the same batches ready in memory, the same optimizer
(in torch's default implementation), clipping, and moving average of the weights. Times are of the second
epoch of some batches, from its start to the end of its last step. Before that, both models are compared: with
the same weights they have the same loss. Presets of the Penn Treebank read a text made up with as many words.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf, open_dict
from plain_models import PLAIN, left_out
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gatewise.bench.loop_overhead import lightning_epoch, without_output
from gatewise.config.build import build
from gatewise.config.compose import compose
from gatewise.training.parts import make_data, make_task
from gatewise.views import screen

PRESETS = "text/king_james,text/char_small,text/char_large,text/lm_zaremba_small,text/mr"
WORDS = 10_000
"""Size of the made-up vocabulary, with <eos>."""
TOKENS = 60_000
FEWEST, MOST = 5, 200
"""Timed steps of an epoch."""
COLUMNS = ["preset", "plain PyTorch, ms a step", "Gatewise", "times as fast", "of single rounds", "steps"]
COLUMNS += ["nn.LSTM lacks"]


def write_treebank(folder: Path) -> None:
    """Made-up files in place of the Penn Treebank's, every word in each of them."""
    draw = np.random.default_rng(0)
    for part, size in (("train", TOKENS * 10), ("valid", TOKENS // 5), ("test", TOKENS // 5)):
        ids = np.concatenate([np.arange(WORDS - 1), draw.integers(0, WORDS - 1, size)])
        rows = np.array_split(np.char.add("w", ids.astype(str)), len(ids) // 20)
        (folder / f"ptb.{part}.txt").write_text("".join(" ".join(row) + "\n" for row in rows))


def config_of(preset: str, words: list[str], treebank: Path) -> DictConfig:
    """The preset's config, for two short epochs of training."""
    config = compose("train", [f"experiment={preset}", *words])
    without_output(config)
    with open_dict(config):
        config.trainer.val_check_interval, config.trainer.limit_val_batches = 1.0, 1
        if "ptb.train.txt" in (OmegaConf.select(config, "data.train_files") or []):
            config.data.folders = [str(treebank)]
    return config


class PlainLoop:
    """A training as a plain script writes it."""

    def __init__(self, config: DictConfig, task: Any, batches: list[Any]) -> None:
        self.model = next(plain for kind, plain in PLAIN.items() if isinstance(task, kind))(task)
        self.batches, self.clip = batches, config.trainer.gradient_clip_val
        # As one writes it: without the choice of another implementation.
        settings = OmegaConf.masked_copy(config.optimizer, [k for k in config.optimizer if k != "fused"])
        self.optimizer = build(settings, "optimizer", params=self.model.parameters())
        decay = OmegaConf.select(config, "callbacks.averaging.decay")
        self.average = decay and AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def epoch(self) -> float:
        """Seconds of a pass over the batches."""
        self.model.train()
        self.model.start()
        started = time.perf_counter()
        for batch in self.batches:
            self.optimizer.zero_grad()
            loss = self.model(batch)
            loss.backward()
            if self.clip:
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
            self.optimizer.step()
            if self.average:
                self.average.update_parameters(self.model)
        return time.perf_counter() - started


def check_same(task: Any, model: Any, batch: Any) -> None:
    """Stop where the two models, with the same weights, do not give the same loss."""
    with torch.no_grad():
        ours, plain = float(task.eval().score(batch).loss), float(model.eval()(batch))
    if abs(ours - plain) > 1e-4 * abs(plain):
        raise SystemExit(f"the models differ: the losses of a batch are {ours:.6f} and {plain:.6f}")


def line(cells: list[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def measure(preset: str, words: list[str], rounds: int, seconds: float, treebank: Path) -> str:
    """One line of the table."""
    config = config_of(preset, words, treebank)
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
    missing = left_out(task)
    if not missing:
        check_same(task, loop.model, batches[0])
    loop.epoch()
    count = min(max(FEWEST, round(seconds * FEWEST / loop.epoch())), len(batches))
    with open_dict(config):
        config.trainer.limit_train_batches = count
    plain, ours = [], []
    for _ in range(rounds):
        task, loop = loop_of(count)
        loop.epoch()
        plain.append(1000 * loop.epoch() / count)
        ours.append(1000 * lightning_epoch(config, data, task) / count)
    ratios = [p / o for p, o in zip(plain, ours, strict=True)]
    milliseconds = [f"{statistics.median(times):.1f}" for times in (plain, ours)]
    spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
    cells = [f"`{preset}`", *milliseconds, f"{statistics.median(ratios):.2f}", spread, str(count)]
    return line([*cells, ", ".join(missing)])


def main(words: list[str]) -> None:
    """Print a table in Markdown, a line as soon as it is measured."""
    own = {"presets": PRESETS, "rounds": "5", "seconds": "4"}
    own |= dict(word.split("=", 1) for word in words if word.partition("=")[0] in own)
    words = [word for word in words if word.partition("=")[0] not in own]
    print(line(COLUMNS))
    print(line(["---"] * len(COLUMNS)))
    screen.quiet()
    with tempfile.TemporaryDirectory() as folder:
        write_treebank(Path(folder))
        for preset in own["presets"].split(","):
            print(measure(preset, words, int(own["rounds"]), float(own["seconds"]), Path(folder)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
