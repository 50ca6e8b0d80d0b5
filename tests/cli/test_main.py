"""The gatewise command without a verb's work."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import gatewise
from gatewise import __version__
from gatewise.cli.main import VERBS, _code_of_lost_lines, help_text, main


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_names_every_verb_on_one_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, verb in VERBS.items():
        assert sum(line.startswith(f"  {name} ") and line.endswith(verb.help) for line in lines) == 1
    assert sum(line.startswith("  gatewise ") for line in lines) == 3
    assert max(map(len, lines)) < 110


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"gatewise {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["trian"], "trian: no such verb; did you mean train?"),
        (["prdict", "run=3"], "prdict: no such verb; did you mean predict?"),
        (["xyzzy"], "xyzzy: no such verb (gatewise --help"),
        (["-v"], "-v: no such verb (gatewise --help"),
        (["completion", "fsh"], "completion fsh: say bash, zsh or fish; did you mean fish?"),
    ],
)
def test_a_wrong_verb_is_one_line_and_exit_2(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gatewise: error: {line}")
    assert err.count("\n") == 1


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from gatewise.cli.main import main; assert main(['--help']) == 0;"
        "print(sorted({'hydra', 'omegaconf', 'torch', 'pytorch_lightning', 'numpy'} & set(sys.modules)))"
    )
    before = _processor_seconds_of_children()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"
    # 0.05 s measured; the promise is half a second. Other tests run beside this one, so not by the clock.
    assert _processor_seconds_of_children() - before < 0.5


def _processor_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_python_m_gatewise_is_the_same_program() -> None:
    result = subprocess.run([sys.executable, "-m", "gatewise"], capture_output=True, text=True, check=True)
    assert result.stdout == help_text() + "\n"


def test_a_verb_is_imported_only_to_work(command) -> None:
    # torch stays out of what only composes: --cfg, and a misspelt setting.
    assert command("gatewise train seed=4 --cfg job -p seed").stdout == "4\n"
    result = command("gatewise evaluate sed=4")
    assert (result.returncode, result.stdout) == (1, "")
    assert "Cannot find primary config 'evaluate'" in result.stderr
    assert "'seed': 5" in command("gatewise train seed=5").stdout


def test_a_closed_pipe_is_no_error(command) -> None:
    result = command("gatewise train --cfg all | true; echo ${PIPESTATUS[0]}")
    assert result.stderr == ""
    assert result.stdout.strip() in ("0", "141")


@pytest.mark.parametrize(
    ("number", "keeps", "code", "said"),
    [
        (errno.EPIPE, False, 141, ""),
        (errno.EPIPE, True, 0, ""),
        (errno.ENOSPC, False, 1, "gatewise: error: stdout: No space left on device: not everything"),
        (errno.ENOSPC, True, 0, "gatewise: stdout: No space left on device: all was done, but"),
    ],
)
def test_lines_that_went_nowhere(
    number: int, keeps: bool, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _code_of_lost_lines(OSError(number, os.strerror(number)), keeps) == code
    assert capsys.readouterr().err.startswith(said)


@pytest.mark.parametrize("words", ["--help", "train --help", "completion bash", "train --cfg all"])
def test_a_full_disk_behind_stdout_is_one_line(command, words: str) -> None:
    result = command(f"gatewise {words} > /dev/full")
    assert (result.returncode, result.stdout) == (1, "")
    line = "gatewise: error: stdout: No space left on device: not everything could be printed\n"
    assert result.stderr == line


@pytest.mark.parametrize("word", ["run=/", f"run={Path(gatewise.__file__).parents[2]}"])
def test_a_folder_above_gatewise_is_no_run_and_takes_nothing_from_it(word: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "gatewise", "evaluate", word]
    result = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(f"gatewise: error: {word}: not a run directory (holds no config.yaml)")
    assert result.stderr.count("\n") == 1
