"""Processes that Gatewise starts take no module, and no setting, from a run directory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strangers import Stranger

from gatewise.launch.own_code import OutsideOfRuns, leave_out_runs, python


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


MODULES = ("click", "wandb", "runpy", "json", "gatewise", "contextlib", "multiprocessing", "random", "site")


def test_a_child_finds_the_modules_of_its_parent(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no others, wherever it is started."""
    for name in MODULES:
        stranger.write(f"runs/r/{name}.py", stranger.evil)
        stranger.write(f"runs/r/{name}/__init__.py", stranger.evil)
    program = "import json, sys; print(json.dumps([sys.path, sys.argv]))"
    own = stranger.write("own of ‘mine’/program.py", program).parent
    monkeypatch.setattr(sys, "path", [*sys.path, str(own)])
    done = subprocess.run(
        python("program", "a b", "c"), cwd=stranger.run, capture_output=True, text=True, check=True
    )
    path, argv = json.loads(done.stdout)
    assert (path, argv[1:]) == (sys.path, ["a b", "c"])
    assert not stranger.pwned.exists()


def test_the_path_of_children_has_no_run(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stranger.run)
    monkeypatch.setattr(sys, "path", ["", "plots", str(stranger.work), *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([".", str(stranger.work), str(stranger.run), ""]))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = [str(stranger.work), *sys.path[3:]]
    leave_out_runs()
    assert sys.path == before
    assert os.environ["PYTHONPATH"] == str(stranger.work)
    assert os.environ.pop("PYTHONSAFEPATH") == "1"


@pytest.mark.parametrize("rest", [["/usr/bin", "/bin"], []])
def test_programs_of_a_run_are_not_found(
    stranger: Stranger, monkeypatch: pytest.MonkeyPatch, rest: list[str]
) -> None:
    for name in ("git", "cc", "nvidia-smi"):
        stranger.write(f"runs/r/{name}", "#!/bin/sh\n").chmod(0o755)
    monkeypatch.chdir(stranger.run)
    monkeypatch.setenv("PATH", os.pathsep.join([".", "", str(stranger.run), "plots", *rest]))
    monkeypatch.setattr(sys, "path", [*sys.path])
    leave_out_runs()
    assert os.environ["PATH"] == (os.pathsep.join(rest) or os.devnull)
    found = shutil.which("git")
    assert found is None or not found.startswith(str(stranger.run))
    monkeypatch.chdir(stranger.work)
    monkeypatch.setenv("PATH", ".")
    leave_out_runs()
    assert os.environ["PATH"] == "."
    os.environ.pop("PYTHONSAFEPATH", None)


def test_the_users_working_folder_is_kept(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stranger.work)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    before = [*sys.path]
    leave_out_runs(["run=runs/r"])
    assert sys.path == before
    assert "PYTHONSAFEPATH" not in os.environ


@pytest.mark.parametrize("at", ["runs/r", "."])
def test_the_server_is_the_users(stranger: Stranger, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """W&B takes it from ``wandb/settings`` of the working folder, be that the user's or a run."""
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(stranger.work / "no"))
    stranger.write(f"{at}/wandb/settings", "[default]\nbase_url = http://of.a.stranger:1\n")
    monkeypatch.chdir(stranger.work / at)

    def server() -> str:
        from wandb.sdk.wandb_setup import _WandbSetup

        return str(_WandbSetup(pid=0).settings.base_url)

    assert server() == "http://of.a.stranger:1"
    with OutsideOfRuns():
        assert (server() == "http://of.a.stranger:1") == (at == ".")
    assert Path.cwd() == stranger.work / at


def test_sync_follows_no_link_out_of_the_run(stranger: Stranger) -> None:
    folder = stranger.write("runs/r/wandb/offline-run-1/run-1.wandb", ":W&B").parent
    stranger.write("runs/r/.lock", "")
    stranger.write("secret", "")
    (folder / "files").mkdir()
    (folder / "files" / "config.yaml").symlink_to("../../../../../secret")
    answer = stranger("sync", "run=runs/r")
    assert (answer.code, answer.out) == (1, "")
    assert "files/config.yaml: is a link that leads out of" in answer.line()


@pytest.mark.slow
def test_sync_runs_wandb_and_sends_to_the_users_server(stranger: Stranger) -> None:
    """``cd runs/r && python -m gatewise sync run=.``, with modules and settings of W&B's lying there."""
    import socket
    import threading

    heard: list[int] = []
    with socket.socket() as server, socket.socket() as of_user:
        for one in (server, of_user):
            one.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]

        def listen() -> None:
            server.settimeout(60)
            try:
                while True:
                    server.accept()[0].close()
                    heard.append(1)
            except OSError:
                return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        for name in ("click.py", "wandb.py", "hydra_plugins/evil.py"):
            stranger.write(f"runs/r/{name}", stranger.evil)
        stranger.write("runs/r/.lock", "")
        stranger.write("runs/r/wandb/settings", f"[default]\nbase_url = http://127.0.0.1:{port}\n")
        stranger.write("runs/r/wandb/offline-run-20261126_120000-abc/run-abc.wandb", ":W&B")
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        mine = f"http://127.0.0.1:{of_user.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-m", "gatewise", "sync", "run=."],
            cwd=stranger.run,
            env={**clean, "WANDB_API_KEY": "0" * 40, "WANDB_BASE_URL": mine, "HOME": str(stranger.work)},
            capture_output=True,
            text=True,
        )
        assert mine in done.stderr, done.stderr
        without = {name: value for name, value in clean.items() if "proxy" not in name.lower()}
        unset = {**without, "WANDB_API_KEY": "0" * 40, "HOME": str(stranger.work)}
        subprocess.run(
            [sys.executable, "-m", "gatewise", "sync", "run=."],
            cwd=stranger.run, env=unset, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
    assert not heard
    assert not stranger.pwned.exists()
