"""Streams that lead nowhere, as they are or become, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

LINES = "for number in range(3000): print('line', number)"
BEGIN = """
import errno, sys
from gatewise.launch.streams import open_standard_streams, outlast_readers, say, stdout_error
open_standard_streams()
"""
END = """
lost = stdout_error()
sys.exit(0 if lost is None else lost.errno)
"""


def bash(code: str, streams: str) -> subprocess.CompletedProcess[str]:
    """Run Python code with its streams led elsewhere by words of bash."""
    line = f'set -o pipefail; "$0" -c "$1" {streams}'
    words = ["bash", "-c", line, sys.executable, BEGIN + code]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("streams", "code"),
    [("> /dev/full", 28), ("| head -1 > /dev/null", 32), (">&-", 0), ("<&- >&- 2>&-", 0), ("", 0)],
)
def test_work_goes_on_and_knows_what_was_lost(streams: str, code: int) -> None:
    # Python itself would end with 120 where it cannot write what is left.
    result = bash(f"outlast_readers()\n{LINES}\nsay('all done')\n{END}", streams)
    assert result.returncode == code
    assert result.stderr == ("" if "2>&-" in streams else "all done\n")
    assert result.stdout.count("\n") == (3000 if streams == "" else 0)


def test_without_that_the_first_error_ends_it() -> None:
    code = f"""
try:
    {LINES}
except OSError as error:
    {END.strip().replace(chr(10), chr(10) + "    ")}
"""
    assert bash(code, "> /dev/full").returncode == 28


@pytest.mark.parametrize("streams", ["2> /dev/full", "2>&-", "2> /dev/full > /dev/full"])
def test_a_line_that_cannot_be_said_ends_nothing(streams: str) -> None:
    assert bash("say('x' * 100_000)\nsay('y')", streams).returncode == 0


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_what_an_encoding_lacks_is_shown_by_its_number(errors: str) -> None:
    setting = f"PYTHONIOENCODING=ascii:{errors} "
    words = ["bash", "-c", f'{setting} "$0" -c "$1"', sys.executable, BEGIN + r"print('calm\xe9 \udcff')"]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "calm\\xe9 \\udcff\n")


@pytest.mark.parametrize("encoding", ["idna", "utf-16", "ascii"])
def test_an_encoding_that_cannot_write_everything_is_another(encoding: str) -> None:
    words = ["bash", "-c", f'PYTHONIOENCODING={encoding} "$0" -c "$1"', sys.executable]
    result = subprocess.run(
        [*words, BEGIN + "print('x' * 80, '.', '\\udcff')"], capture_output=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"udcff" in result.stdout.replace(b"\0", b"")
