"""The script for a borrowed GPU, with programs in the place of the real ones."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "engine" / "on_gpu.sh"


@pytest.mark.skipif(shutil.which("timeout") is None, reason="no timeout program")
def test_it_goes_on_where_a_part_fails(tmp_path: Path) -> None:
    programs = {
        "nvidia-smi": "echo one GPU",
        "pytest": "echo 1 failed; exit 1",
        "gatewise": 'echo "$@" >> "$OUT/words"; case "$*" in *tf32*) exit 124;; esac; echo wrote it',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    out = tmp_path / "out"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "BIN": str(tmp_path), "OUT": str(out)}
    done = subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    summary = (out / "summary.txt").read_text()
    assert done.stdout.endswith(summary)
    said = dict(re.findall(r"^(\w+) +\d+ s  (.*)$", summary, re.MULTILINE))
    assert said["machine"] == "done: one GPU"
    assert said["tests"] == "failed (1): 1 failed"
    assert said["bf16"] == said["models_bf16"] == "done: wrote it"
    assert said["tf32"].startswith("out of time (150 s)")
    words = (out / "words").read_text().splitlines()
    assert [f"file={out}/{name}.csv" in line for name, line in zip(said, ["", "", *words], strict=True)] == [
        *(False, False),
        *[True] * 4,
    ]
    limits = re.findall(r"^(?:part|bench) \w+ (\d+) ", SCRIPT.read_text(), re.MULTILINE)
    assert len(limits) == len(said)
    assert sum(map(int, limits)) <= 600
