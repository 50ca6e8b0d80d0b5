"""The installed wheel, in a folder that is not the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
from workplace import Place

from gatewise.config.compose import conf_folder

REPOSITORY = Path(__file__).resolve().parents[2]
MINE = """
# A model of one's own.
defaults:
  - gru

hidden_size: 5
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), "."]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (found,) = folder.glob("gatewise-*.whl")
    return found


def test_every_config_and_module_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    conf = {f"gatewise/conf/{path.relative_to(conf_folder())}" for path in conf_folder().rglob("*.yaml")}
    source = REPOSITORY / "src"
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    assert conf | modules <= names
    assert [name for name in names if name.startswith(("tests", "experiments", "runs"))] == []


@pytest.mark.slow
def test_it_trains_with_the_users_own_model(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/python*/site-packages")
    # The other packages are those of this environment. Its editable Gatewise is a .pth file as well, and a
    # .pth file that another one leads to is not read.
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    installed = subprocess.run([*install, str(wheel)], capture_output=True, text=True, check=False)
    assert installed.returncode == 0, installed.stderr

    place = Place(tmp_path / "work")
    (place.folder / "conf" / "model").mkdir(parents=True)
    (place.folder / "conf" / "model" / "mine.yaml").write_text(MINE)

    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WANDB"))}

    def run(*command: str) -> str:
        done = subprocess.run(
            command, cwd=place.folder, env=clean, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(str(python), "-c", "import gatewise; print(gatewise.__file__)")
    assert Path(where.strip()).is_relative_to(environment)
    shown = run(str(environment / "bin" / "gatewise"), "train", "--info", "searchpath")
    assert f"file://{site}/gatewise/conf" in shown
    assert f"file://{place.folder}/conf" in shown

    trained = run(str(environment / "bin" / "gatewise"), "train", "model=mine", "debug=one_batch")
    assert "model=mine" in trained
    config = place.last().config().model
    assert (config.hidden_size, config.cell["_target_"]) == (5, "gatewise.cells.GRU")
    assert {path.name for path in place.folder.iterdir()} == {"conf", "runs"}
