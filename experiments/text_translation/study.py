"""Train presets of translation with some seeds, and print each test beside its baselines.

    python experiments/text_translation/study.py
    python experiments/text_translation/study.py presets=multi30k seeds=1,2,3 threads=2

Other words are overrides of ``gatewise train``. The runs are kept in ``runs/`` as usual. If a run is scored
by BLEU, the translations of the test are made once more by ``gatewise predict`` and scored by sacreBLEU.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

from gatewise.cli.main import main
from gatewise.runs.run import Run

METRICS = ("bleu", "bleu_lower", "chrf", "word_error_rate", "symbol_error_rate", "perplexity")


def shown(scores: dict[str, float]) -> str:
    return "  ".join(f"{name} {scores[name]:.2f}" for name in METRICS if name in scores)


def checked(run: Run, sources: list[str], references: list[str]) -> str:
    """What sacreBLEU says of what ``gatewise predict`` writes for the test's sources."""
    from sacrebleu.metrics import BLEU, CHRF

    given, answer = run.folder / "sources.txt", run.folder / "translations.csv"
    given.write_text("".join(f"{line}\n" for line in sources), encoding="utf-8")
    if main(["predict", f"run={run.folder}", f"input={given}", f"output={answer}"]):
        raise SystemExit(f"{run.folder} did not predict")
    with answer.open(newline="", encoding="utf-8") as file:
        texts = [row["translation"] for row in csv.DictReader(file)]
    cased, lower = BLEU(), BLEU(lowercase=True)
    scores = [metric.corpus_score(texts, [references]) for metric in (cased, lower, CHRF())]
    return f"{len(texts)} lines for {len(sources)}; {'; '.join(map(str, scores))}; {cased.get_signature()}"


def texts_of_test(run: Run) -> tuple[list[str], list[str]]:
    """The sources and the references of the test part."""
    from gatewise.config.build import build

    data = build(run.config().data, "data")
    data.facts = run.facts()
    data.setup("test")
    pairs = data.test_data.pairs
    return pairs.sources, [right[0] for right in pairs.references]


def train(preset: str, seed: str, words: list[str]) -> None:
    began = time.monotonic()
    if main(["train", "wandb.mode=disabled", f"experiment=text/{preset}", f"seed={seed}", *words]):
        raise SystemExit(f"{preset} with seed {seed} did not end")
    run = Run(Path("runs/last").resolve())
    summary = run.summary()
    print(f"\n{preset}  seed {seed}  {time.monotonic() - began:.0f} s  {run.folder}")
    print(
        f"  validation (best epoch)  {shown({k.removeprefix('val/'): v for k, v in summary['best'].items()})}"
    )
    print(f"  test  {shown(summary['test'])}")
    for name, scores in summary["baselines"].items():
        print(f"  {name}  {shown(scores)}")
    if "bleu" in summary["test"]:
        print(f"  sacreBLEU  {checked(run, *texts_of_test(run))}", flush=True)


if __name__ == "__main__":
    own = dict(word.split("=", 1) for word in sys.argv[1:] if word.startswith(("presets=", "seeds=")))
    others = [word for word in sys.argv[1:] if not word.startswith(("presets=", "seeds="))]
    for preset in own.get("presets", "multi30k_quick,kjv_bbe,cmudict").split(","):
        for seed in own.get("seeds", "1").split(","):
            train(preset, seed, others)
