"""What ``output=`` may name: files, links, FIFOs and devices, written whole or not at all."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gatewise.config import outputs
from gatewise.config.outputs import Output, find_output

CSV = (".csv",)


def the_output(path: Path | str) -> Output:
    found = find_output("output", str(path), CSV)
    assert found is not None
    return found


def test_none_is_none() -> None:
    assert find_output("output", None, CSV) is None


def test_a_new_file_and_one_that_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    the_output(path).write("a\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("a\n", 0o644)
    path.chmod(0o600)
    the_output(path).write("b\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("b\n", 0o600)
    assert [found.name for found in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away takes root")
def test_a_file_stays_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.touch()
    os.chown(path, 12345, 54321)
    the_output(path).write("a\n")
    assert (path.stat().st_uid, path.stat().st_gid, path.read_text()) == (12345, 54321, "a\n")


def test_a_link_stays_one_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "x.csv", tmp_path / "link.csv"
    target.parent.mkdir()
    link.symlink_to("there/x.csv")
    for content in ("a\n", "b\n"):  # the target is made, then replaced
        the_output(link).write(content)
        assert (link.is_symlink(), target.read_text()) == (True, content)


def test_another_name_of_a_file_keeps_the_old_content(tmp_path: Path) -> None:
    path, other = tmp_path / "x.csv", tmp_path / "other"
    path.write_text("old")
    os.link(path, other)
    the_output(path).write("new")
    assert (path.read_text(), other.read_text()) == ("new", "old")


def test_a_fifo_is_written_to_its_reader(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    the_output(path).write("a\n" * 100_000)  # more than it holds at once
    reader.join(60)
    assert read == ["a\n" * 100_000]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_fifo_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "PATIENCE_SECONDS", 0)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ValueError, match="fifo: nobody reads it: start its reader first"):
        the_output(tmp_path / "fifo").write("a\n")


@pytest.mark.parametrize(
    ("minor", "mode", "line"), [(3, 0o666, None), (7, 0o600, "No space left on device")], ids=["null", "full"]
)
def test_a_device_stays_one(minor: int, mode: int, line: str | None, tmp_path: Path) -> None:
    path = tmp_path / "device"
    try:
        os.mknod(path, stat.S_IFCHR | mode, os.makedev(1, minor))
        path.open("rb").close()
    except OSError:
        pytest.skip("devices cannot be made or opened here")
    if line is None:
        the_output(path).write("a\n")
    else:
        with pytest.raises(ValueError, match=line):
            the_output(path).write("a\n")
    assert stat.S_ISCHR(path.lstat().st_mode)
    assert path.lstat().st_rdev == os.makedev(1, minor)
    assert [found.name for found in tmp_path.iterdir()] == ["device"]


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("/dev/stdout", "| cat"),
        ("/proc/self/fd/1", "| cat"),
        ("-", "> file.txt; cat file.txt"),
        ("/dev/fd/1", ">> file.txt; cat file.txt"),
        ("file.txt", "> file.txt; cat file.txt"),
    ],
)
def test_the_standard_output(name: str, tail: str, tmp_path: Path) -> None:
    program = (
        f"from gatewise.config.outputs import find_output; print('before'); "
        f"find_output('output', {name!r}, ('.csv',)).write('1,2\\n'); print('after')"
    )
    command = f'"$0" -c "$1" {tail}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, program], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("before\n1,2\nafter\n", "")


def test_a_file_size_limit_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        with pytest.raises(ValueError, match=r"output=\S+x.csv: could not be written \(File too large\)"):
            the_output(path).write("x" * 2**17)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("x.csv", "old")]


def _loop(folder: Path) -> None:
    (folder / "loop").symlink_to("loop")


def _socket(folder: Path) -> None:
    before = Path.cwd()
    os.chdir(folder)  # the path of a socket may have 100 bytes
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    os.chdir(before)


def _run(folder: Path) -> None:
    for name in ("config.yaml", "overrides.yaml"):
        (folder / name).touch()
    for name in ("checkpoints", "wandb", "mine"):
        (folder / name).mkdir()


def _linked_run(folder: Path) -> None:
    _run(folder)
    (folder / "link").symlink_to("config.yaml")


def _sweep(folder: Path) -> None:
    for name in ("sweep.yaml", "study.journal"):
        (folder / name).touch()


REFUSED = {
    "folder": (lambda folder: (folder / "folder").mkdir(), "is a folder: name a file in it"),
    "new/": (None, "is a folder: name a file in it"),
    "": (None, "is a folder: name a file in it"),
    "missing/x.csv": (None, "there is no folder .*missing: make it first"),
    "file/x.csv": (lambda folder: (folder / "file").touch(), "there is no folder .*file: make it first"),
    "link": (lambda folder: (folder / "link").symlink_to("no/x"), "there is no folder .*no: make it first"),
    "loop": (_loop, r"cannot be written \(Too many levels of symbolic links\)"),
    "x" * 300: (None, r"^output=\S{60}\.\.\.\(\d+ characters\): cannot be written \(File name too long\)"),
    "nul\0byte": (None, r"cannot be written \(embedded null byte\)"),
    "socket": (_socket, "is a socket: name a file"),
    "x.json": (None, "is written as CSV: name it x.csv"),
    "X.PARQUET": (None, "is written as CSV: name it X.csv"),
    "x.csv.gz": (None, "is written as CSV: name it x.csv"),
    **{
        name: (make, "is a file of a run directory's own: name another")
        for name, make in {
            **{"metrics.csv": _run, "log.txt": _run, "example.csv": _run, ".lock": _run, "link": _linked_run},
            **{"checkpoints/x.csv": _run, "wandb/x": _run, "trials.csv": _sweep, "study.journal": _sweep},
        }.items()
    },
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    make, line = REFUSED[name]
    if make is not None:
        make(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=line) as caught:
        find_output("output", f"{tmp_path}/{name}", CSV)
    assert len(str(caught.value)) < 500
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["x.csv", "mine/x.csv", "mine/metrics.csv"])
def test_a_run_directory_may_hold_a_users_outputs(name: str, tmp_path: Path) -> None:
    _run(tmp_path)
    for content in ("a\n", "b\n"):
        the_output(tmp_path / name).write(content)
        assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("given", [True, ["a", "b"], {"a": "b"}, ["x"] * 1000])
def test_what_is_no_name_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="output must be the name of a file, got ") as caught:
        find_output("output", given, CSV)
    assert len(str(caught.value)) < 200


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_what_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.csv").touch(0o400)
    with pytest.raises(ValueError, match=r"x.csv: may not be written: name another file"):
        the_output(tmp_path / "x.csv")
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"y.csv: the folder .* may not be written: name another"):
        the_output(tmp_path / "y.csv")


def test_a_name_as_long_as_there_is(tmp_path: Path) -> None:
    path = tmp_path / ("ß" * 127)
    the_output(path).write("a\n")
    assert path.read_text() == "a\n"


@pytest.mark.parametrize("name", ["x", "x.txt", "x.dat", "x.csv", "scores.v2"])
def test_taken(name: str, tmp_path: Path) -> None:
    the_output(tmp_path / name).write("a\n")
    assert (tmp_path / name).read_text() == "a\n"
