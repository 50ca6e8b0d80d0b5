"""A ``matplotlibrc`` is used, or not, with a line; never does it end a command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os
from gatewise.launch.matplotlib_settings import import_matplotlib
here = os.getcwd()
import_matplotlib()
assert os.getcwd() == here
import matplotlib as mpl
print(mpl.rcParams["lines.linewidth"], mpl.rcParams["text.usetex"], mpl.rcParams["backend"])
"""


def imported(folder: Path, code: str = CODE, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MPL", "MATPLOTLIB", "XDG"))}
    variables = {**clean, "MPLBACKEND": "agg", "HOME": str(folder / "home"), **environment}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )


CASES = {
    "used": (b"lines.linewidth: 7\n", "7.0", ""),
    "partly": (b"lines.linewidth: 7\nlines.marker 5\nno.such: 1\n", "7.0", "not all of it is used"),
    "values": (b"lines.linewidth: abc\n", "1.5", "not all of it is used"),
    "bytes": (b"lines.linewidth: 7\n\xff\xfe", "1.5", "is not used ('utf-8' codec"),
    "programs": (b"lines.linewidth: 7\ntext.usetex: True\nbackend: tkagg\n", "7.0", ""),
    "nothing": (b"", "1.5", ""),
    "large": (b"#" * 2_000_000, "1.5", "is not used (it has 2000000 bytes)"),
}


QUICK = ("partly", "bytes", "programs")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_file_in_the_working_folder(name: str, tmp_path: Path) -> None:
    content, width, said = CASES[name]
    (tmp_path / "matplotlibrc").write_bytes(content)
    result = imported(tmp_path)
    assert result.stdout == f"{width} False agg\n", result.stderr
    assert result.stderr.count("\n") == (said != "")
    assert said in result.stderr


@pytest.mark.slow
def test_files_elsewhere(tmp_path: Path) -> None:
    for place, variables in (
        ("rc", {"MATPLOTLIBRC": "rc"}),
        ("home/.config/matplotlib/matplotlibrc", {}),
    ):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff")
        result = imported(tmp_path, **variables)
        assert result.stdout == "1.5 False agg\n", result.stderr
        assert (place in result.stderr, result.stderr.count("\n")) == (True, 1)
        path.unlink()


def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "matplotlibrc")
    result = imported(tmp_path)
    assert (result.stdout, result.stderr) == (
        "1.5 False agg\n",
        "gatewise: matplotlibrc: is not used (it is no file)\n",
    )


def test_a_runs_is_not_the_users(tmp_path: Path) -> None:
    for name in ("config.yaml", "overrides.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 7\n")
    result = imported(tmp_path)
    assert (result.stdout, result.stderr) == ("1.5 False agg\n", "")


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = "import os; os.rmdir('../gone')\n" + CODE.replace("os.getcwd()", "os.stat('.').st_ino")
    (tmp_path / "gone" / "home").mkdir()
    result = imported(
        tmp_path / "gone", code.replace("rmdir('../gone')", "rmdir('home'); os.rmdir('../gone')")
    )
    assert (result.stdout, result.stderr) == ("1.5 False agg\n", "")
