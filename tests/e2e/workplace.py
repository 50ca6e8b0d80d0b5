"""A working folder in which commands run as a user's would, and the user's own files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.runs.run import Run
from made_strokes import write_shapes

PATIENCE = 300
"""Seconds to wait for what is sure to come, however busy the machine; only a failing test waits so long."""


@dataclass(frozen=True)
class Result:
    """What a command left on the screen."""

    code: int
    out: str
    err: str

    def line(self) -> str:
        """The one line on stderr."""
        assert self.err.count("\n") == 1, self.err
        return self.err.strip()


class Place:
    """A working folder; ``place("train", ...)`` runs ``gatewise train ...`` in it, in this process."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def __call__(self, *argv: str) -> Result:
        from gatewise.cli.main import main

        before = Path.cwd()
        os.chdir(self.folder)
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = main(list(argv))
        finally:
            os.chdir(before)
        return Result(code, out.getvalue(), err.getvalue())

    def ok(self, *argv: str) -> Result:
        """As calling it, for a command that has to succeed without a word on stderr."""
        result = self(*argv)
        assert (result.code, result.err) == (0, ""), f"{result.out}\n{result.err}"
        return result

    def train(self, *overrides: str) -> Run:
        """The run that these overrides train, without W&B."""
        self.ok("train", "wandb.mode=disabled", *overrides)
        return self.last()

    def last(self) -> Run:
        """The run that was begun last, one of ``debug=`` too."""
        return Run(max(self.runs(), key=lambda run: (run / "overrides.yaml").stat().st_mtime_ns).resolve())

    def runs(self) -> list[Path]:
        """Every run directory; W&B keeps a ``config.yaml`` in its own folders too."""
        found = (path.parent for path in (self.folder / "runs").glob("**/config.yaml"))
        return sorted(folder for folder in found if (folder / "overrides.yaml").is_file())

    def start(self, *argv: str, **environment: str) -> subprocess.Popen[str]:
        """A process of its own that runs ``gatewise ...`` here, with these variables in its environment."""
        # Else it would use the W&B service that this process has started.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        return subprocess.Popen(
            [sys.executable, "-m", "gatewise", *argv],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**clean, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **environment},
        )


def wait_for_line(process: subprocess.Popen[str], start: str) -> None:
    """Read a process's output until a line begins with ``start``."""
    seen = []
    assert process.stdout is not None
    for line in process.stdout:
        seen.append(line)
        if line.startswith(start):
            return
    raise AssertionError(f"ended with {process.wait()} before {start!r}:\n{''.join(seen)}")


def finish(process: subprocess.Popen[str]) -> str:
    """What a process prints until it ends."""
    try:
        out, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
        raise AssertionError(f"still ran after {PATIENCE} s:\n{out}") from None
    return out


def wait_until(
    condition: Callable[[], Any], seconds: float = PATIENCE, process: subprocess.Popen[str] | None = None
) -> None:
    """Wait for what ``process`` is to bring about, or for what comes by itself."""
    end = time.monotonic() + seconds
    while not condition():
        ended = process is not None and process.poll() is not None
        if ended and not condition():
            raise AssertionError(f"ended with {process.returncode} before its time:\n{finish(process)}")
        assert time.monotonic() < end, f"waited {seconds} s in vain"
        time.sleep(0.02)


def processes_naming(text: str) -> list[str]:
    """Command lines of living processes that hold ``text``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if text in command:
                found.append(command)
    return found


def test_metrics(run: Run) -> dict[str, Any]:
    """What a run scored on the test split, with the baselines."""
    summary = run.summary()
    return {"test": summary["test"], "baselines": summary["baselines"]}


test_metrics.__test__ = False  # type: ignore[attr-defined]


def write_sequences(folder: Path, seed: int = 0) -> None:
    """``mine.ts`` and ``mine.npz``: three classes of sequences [5 to 9 steps, 3 features]."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(5, 10, 60)
    labels = np.arange(60) % 3
    sequences = [draw.normal(label, 1.0, (n, 3)) for n, label in zip(lengths, labels, strict=True)]
    names = ["calm", "brisk", "storm"]
    lines = [
        ":".join(",".join(f"{value:.4f}" for value in feature) for feature in s.T) + f":{names[label]}"
        for s, label in zip(sequences, labels, strict=True)
    ]
    header = f"@problemName mine\n@dimensions 3\n@classLabel true {' '.join(names)}\n@data\n"
    (folder / "mine.ts").write_text(header + "\n".join(lines) + "\n")
    np.savez(
        folder / "mine.npz",
        values=np.concatenate(sequences),
        lengths=lengths,
        labels=np.array(names)[labels],
    )


def write_series(folder: Path) -> None:
    """``mine.csv``: 400 days of a wave and its delayed echo; ``mine.long.csv``: 40 days of five waves."""
    days = np.arange(400)
    draw = np.random.default_rng(0)
    dates = np.datetime64("2023-01-01") + days
    wave = np.sin(days / 5) + 0.1 * draw.normal(size=400)
    rows = [f"{d},{w:.4f},{10 * e + 50:.4f}" for d, w, e in zip(dates, wave, np.roll(wave, 3), strict=True)]
    (folder / "mine.csv").write_text("date,wave,echo\n" + "\n".join(rows) + "\n")
    below = [
        f"shop {i},{d},{w * (i + 1):.4f}" for i in range(5) for d, w in zip(dates[:40], wave, strict=False)
    ]
    (folder / "mine.long.csv").write_text("unique_id,ds,y\n" + "\n".join(below) + "\n")


def write_text(folder: Path) -> None:
    """``mine.txt``: 600 short sentences from a small grammar."""
    draw = random.Random(0)
    subjects, verbs = ["the king", "a prophet", "the people", "my son"], ["saw", "heard", "blessed", "left"]
    objects = ["the city", "the field", "his house", "the sea"]
    lines = [
        f"And {draw.choice(subjects)} {draw.choice(verbs)} {draw.choice(objects)}, and it was good."
        for _ in range(600)
    ]
    (folder / "mine.txt").write_text("\n".join(lines) + "\n")


def write_labelled_texts(folder: Path) -> None:
    """``mine.jsonl``: 90 texts with two labels; ``mine.calm``, ``.brisk``, ``.storm``: a class each."""
    draw = random.Random(1)
    own = {"calm": ["still", "quiet"], "brisk": ["fresh", "quick"], "storm": ["loud", "dark"]}
    rows = []
    for label, words in own.items():
        texts = [
            " ".join(draw.choice([*words, "the", "sea", "was"]) for _ in range(draw.randint(2, 9)))
            for _ in range(30)
        ]
        (folder / f"mine.{label}").write_text("\n".join(texts) + "\n")
        rows += [json.dumps({"text": text, "label": label, "sea": "sea" in text}) for text in texts]
    (folder / "mine.jsonl").write_text("\n".join(rows) + "\n")


def write_tagged_text(folder: Path) -> None:
    """``mine.conll``: 60 sentences with names of people and places; ``mine.iob1`` the same in that scheme."""
    people, places = [["Ann"], ["Bob", "Ray"], ["Eve"]], [["Rome"], ["New", "York"], ["Oslo"]]
    for name, first in (("mine.conll", "B"), ("mine.iob1", "I")):
        lines: list[str] = []
        for i in range(60):
            person, place = people[i % 3], places[i // 3 % 3]
            lines += [f"{word} {'I' if n else first}-per" for n, word in enumerate(person)]
            lines += [
                "left O",
                *(f"{word} {'I' if n else first}-loc" for n, word in enumerate(place)),
                ". O",
                "",
            ]
        (folder / name).write_text("\n".join(lines) + "\n")


def write_spoken(folder: Path) -> None:
    """``mine.tsv``: 24 recordings of noise with a label and a transcript, of three parts."""
    import soundfile

    (folder / "spoken").mkdir()
    draw = np.random.default_rng(0)
    rows = [("path", "label", "text", "speaker", "split")]
    for number in range(24):
        name, label = f"spoken/{number}.wav", number % 2
        soundfile.write(folder / name, 0.1 * draw.normal(size=int(draw.uniform(1600, 3200))), 8000)
        part = ("train", "train", "dev", "test")[number // 2 % 4]
        rows.append((name, str(label), ("no", "on no")[label], f"s{number // 8}", part))
    (folder / "mine.tsv").write_text("\n".join(map("\t".join, rows)))


def write_captioned_pictures(folder: Path) -> None:
    """``mine.json`` as COCO has it, and ``pictures``: 40 of one colour each, two captions each."""
    from PIL import Image

    colours = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220), "grey": (120, 120, 120)}
    (folder / "pictures").mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(40):
        name = list(colours)[number % 4]
        Image.new("RGB", (20 + number % 3, 16), colours[name]).save(folder / "pictures" / f"{number}.png")
        images.append({"id": 100 + number, "file_name": f"{number}.png"})
        for caption in (f"A {name} picture.", f"All of it is {name}."):
            annotations.append({"image_id": 100 + number, "id": len(annotations), "caption": caption})
    content = {"images": images, "annotations": annotations}
    (folder / "mine.json").write_text(json.dumps(content))


def write_user_files(folder: Path) -> None:
    write_captioned_pictures(folder)
    write_labelled_texts(folder)
    write_tagged_text(folder)
    write_sequences(folder)
    write_series(folder)
    write_spoken(folder)
    write_text(folder)
    write_shapes(folder / "mine.pen")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())
