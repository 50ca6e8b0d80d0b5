"""A limit of CPU seconds ends a command with a word, shortly before the system would kill it."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import resource, sys
from gatewise.cli.errors import guarded
from gatewise.launch.signals import end_before_limit, stoppable

resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]), 3))

def work():
    end_before_limit()
    if sys.argv[2] == "training":
        with stoppable():
            while True:
                pass
    while True:
        pass

sys.exit(guarded(work))
"""


def limited(soft: int, what: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", CODE, str(soft), what]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_command_ends_with_a_line() -> None:
    result = limited(1, "evaluation")
    assert (result.returncode, result.stderr) == (152, "gatewise: interrupted by SIGXCPU\n")


def test_a_limit_that_kills_is_forestalled() -> None:
    result = limited(3, "training")
    assert (result.returncode, result.stderr) == (130, "gatewise: interrupted\n")
