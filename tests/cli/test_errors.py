"""What a person sees when something is wrong, and the exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from gatewise.cli import errors
from gatewise.cli.errors import guarded, report, user_line
from gatewise.cli.verb import run_verb
from gatewise.config.build import build, class_of
from gatewise.config.sections import CELL, check_kind
from gatewise.kinds.reading import facts_from_dict
from gatewise.settings import closest

Out = pytest.CaptureFixture[str]
pytestmark = pytest.mark.usefixtures("conf")

COMPOSITION = [
    (["model=lstmm"], "model=lstmm: no such choice; did you mean lstm? Choices: gru, lstm"),
    (
        ["experiment=text/sentimnt"],
        "experiment=text/sentimnt: no such choice; did you mean text/sentiment? Choices",
    ),
    (["data=parent"], "In 'data/parent': Could not load 'data/nosuch'"),
    (
        ["trainer.max_epoch=3"],
        "trainer.max_epoch: no such setting; did you mean trainer.max_epochs? "
        "(+trainer.max_epoch=3 would add it)",
    ),
    (["trainr.max_epochs=3"], "trainr.max_epochs: no such setting; did you mean trainer.max_epochs? (+"),
    (
        ["model=gru", "model.hiden_size=3"],
        "model.hiden_size: no such setting; did you mean model.hidden_size? (+",
    ),
    (
        ["trainer.xyz=3"],
        "trainer.xyz: no such setting; trainer has max_epochs, devices (+trainer.xyz=3 would",
    ),
    (["lr=3"], "lr: no such group or setting; did you mean optimizer.lr?"),
    (["modle=gru"], "modle: no such group or setting; did you mean model?"),
    (["qqq=gru"], "qqq: no such group or setting; there are model, data, seed, where, trainer, optimizer"),
    (["hydra.run.dri=x"], "hydra.run.dri: no such setting; did you mean hydra.run.dir?"),
    (["seed=3", "sed=4", "trainer.max_epochs=3"], "sed: no such group or setting; did you mean seed?"),
    (["model.hidden_size=[1,2"], "model.hidden_size=[1,2: every [ needs its ]"),
    (["seed=it's"], "seed=it's: not understood (a value with special characters needs quotes"),
    (["foo"], "foo: settings are written key=value"),
    (["gru"], "gru: settings are written key=value; did you mean model=gru?"),
    (["modle"], "modle: settings are written key=value; did you mean model=...?"),
    (["seed=1,2"], "seed=1,2: a list is written seed=[1,2]; add -m to sweep over the values"),
    (["model=lstmm", "seed=1,2"], "model=lstmm: no such choice; did you mean lstm? Choices: gru, lstm"),
    (["seed=range(3)"], "seed=range(3): add -m to sweep over the values"),
    (["~modle"], "~modle: there is nothing to remove; did you mean model?"),
    (["~model=gru"], "~model=gru: there is nothing to remove"),
    (["+seed=3"], "+seed: the setting is there already; write seed=... without the +"),
    (["hydra.job.chdir=maybe"], "hydra.job.chdir=maybe: Value 'maybe' is not a valid bool"),
    (["=3"], "Config group override must be a string"),
    (["data=broken"], "{conf}/data/broken.yaml:3: expected the node content"),
    (["data=twice"], "{conf}/data/twice.yaml:2: found duplicate key a"),
    (["data=grammar"], "file: no viable alternative at input '${'"),
    (["-cn", "choose"], "model: a choice is required, e.g. model=gru. Choices: gru, lstm"),
    (["-cn", "nosuch"], "Cannot find primary config 'nosuch'"),
]


def fail(config: DictConfig) -> None:
    raise AssertionError(f"the task ran on {config}")


# Some of them in a sweep as well.
CASES = [*COMPOSITION, *(([*argv, "-m"], line) for argv, line in COMPOSITION[:20:7])]


@pytest.mark.parametrize(("argv", "line"), CASES, ids=[" ".join(argv) for argv, _ in CASES])
def test_a_wrong_setting_is_one_line(conf: Path, argv: list[str], line: str, capsys: Out) -> None:
    assert run_verb("train", argv, fail) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gatewise: error: {line.replace('{conf}', str(conf))}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["model=gru,lstmm"], "model=lstmm: no such choice; did you mean lstm? Choices: gru, lstm"),
        (["trainer.max_epoch=1,2"], "trainer.max_epoch: no such setting; did you mean trainer.max_epochs?"),
        (["model=choice(gru,xyz)", "seed=1,2"], "model=xyz: no such choice. Choices: gru, lstm"),
        (["seed=interval(0,1)"], "BasicSweeper does not support sweep type"),
    ],
)
def test_a_wrong_value_of_a_sweep_is_found_before_the_first_job(
    argv: list[str], line: str, capsys: Out
) -> None:
    assert run_verb("train", ["-m", *argv], fail) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"gatewise: error: {line}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--nonsense"], "--nonsense: no such option (gatewise train --hydra-help lists the options)"),
        (["seed=1", "--mutirun"], "--mutirun: no such option; did you mean --multirun?"),
        (["--cfg", "jobs"], "argument --cfg/-c: invalid choice: 'jobs'"),
        (["--cfg"], "argument --cfg/-c: expected one argument"),
        (["-m", "--cfg", "job"], "only one of --run, --multirun, --cfg"),
        (["--resolve"], "--resolve needs --cfg or --help"),
        (["--config-dir", "nosuch"], "--config-dir nosuch: no such folder"),
        (["--experimental-rerun", "x"], "--experimental-rerun is not supported"),
    ],
)
def test_a_wrong_option_is_exit_2(argv: list[str], line: str, capsys: Out) -> None:
    assert run_verb("train", argv, fail) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"gatewise: error: {line}")
    assert err.count("\n") == 1


def raiser(error: BaseException, *modules: str) -> Callable[..., Any]:
    """A function that raises ``error`` through frames that look like those of ``modules``, innermost last."""

    def call(*_: Any) -> Any:
        raise error

    places = {
        "gatewise": errors.__file__,
        "library": f"{sys.prefix}/lib/python3/site-packages/library.py",
        "mine": "/home/me/mine.py",
    }
    function: Callable[..., Any] = call
    for index, module in enumerate(reversed(modules)):
        body = "raise error" if index == 0 else "inner()"
        names: dict[str, Any] = {"__name__": module, "error": error, "inner": function}
        exec(compile(f"def call(*_): {body}", places[module], "exec"), names)
        function = names["call"]
    return function


def out_of_memory() -> Exception:
    return type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory.\nand much more")


@pytest.mark.parametrize(
    ("error", "frames", "code", "last", "traceback"),
    [
        (ValueError("rate is 0"), ["gatewise"], 1, "gatewise: error: rate is 0", False),
        (ValueError("shapes"), ["gatewise", "library"], 70, "gatewise: this is a bug in Gatewise", True),
        (
            ValueError("shapes"),
            ["mine", "library"],
            1,
            "gatewise: error: ValueError: shapes (raised by /home",
            True,
        ),
        (KeyError("x"), ["gatewise"], 70, "gatewise: this is a bug in Gatewise", True),
        (
            KeyError("x"),
            ["gatewise", "mine"],
            1,
            "gatewise: error: KeyError: 'x' (raised by /home/me/mine.py:1)",
            True,
        ),
        (AssertionError(), ["gatewise"], 70, "gatewise: this is a bug in Gatewise", True),
        (
            FileNotFoundError(2, "No such file", "a.csv"),
            ["library"],
            1,
            "gatewise: error: a.csv: No such file",
            False,
        ),
        (
            PermissionError(13, "Permission denied", "a"),
            ["library"],
            1,
            "gatewise: error: a: Permission den",
            False,
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            ["library"],
            1,
            "gatewise: error: No space left",
            False,
        ),
        (
            OSError(errno.EINVAL, "Invalid argument"),
            ["gatewise", "library"],
            70,
            "gatewise: this is a bug",
            True,
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            ["library"],
            1,
            "gatewise: error: Too many open",
            False,
        ),
        (
            ImportError("libtorch_cpu.so: failed to map segment from shared object"),
            ["library"],
            1,
            "gatewise: error: libtorch_cpu.so: failed to map segment from shared object: more memory",
            False,
        ),
        (RuntimeError("can't start new thread"), ["library"], 1, "gatewise: error: can't start new", False),
        (ImportError("cannot import name 'x'"), ["gatewise"], 70, "gatewise: this is a bug", True),
        (BrokenPipeError(32, "Broken pipe"), ["gatewise"], 70, "gatewise: this is a bug", True),
        (
            ModuleNotFoundError("No module named 'x'", name="x"),
            ["gatewise"],
            1,
            "gatewise: error: No module",
            False,
        ),
        (ModuleNotFoundError("m", name="gatewise.x"), ["gatewise"], 70, "gatewise: this is a bug", True),
        (out_of_memory(), ["library"], 1, "gatewise: error: CUDA out of memory.", False),
        (KeyboardInterrupt(), ["library"], 130, "gatewise: interrupted", False),
    ],
    ids=lambda case: type(case).__name__ if isinstance(case, BaseException) else None,
)
def test_the_line_the_code_and_the_traceback(
    error: BaseException,
    frames: list[str],
    code: int,
    last: str,
    traceback: bool,
    capsys: Out,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert guarded(raiser(error, *frames)) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(last)
    assert (lines[0].startswith("Traceback")) is traceback
    assert traceback or len(lines) == 1

    monkeypatch.setenv("GATEWISE_TRACEBACK", "1")
    error.__traceback__ = None
    assert guarded(raiser(error, *frames)) == code
    err = capsys.readouterr().err
    assert err.count("Traceback (most recent call last)") == 1
    assert err.splitlines()[-1] == lines[-1]


def test_real_errors_of_a_job(capsys: Out) -> None:
    for argv, task, line in [
        ([], lambda _: facts_from_dict({"kind": "x"}), "facts of unknown kind 'x'"),
        (
            ["data=file"],
            lambda config: config.data.file,
            "data.file: a value is required, e.g. data.file=...",
        ),
        (
            ["data=dangling"],
            lambda config: config.data.file,
            "data.file: Interpolation key 'nosuch.key' not found",
        ),
        ([], lambda config: build(config.model, "model"), "model: nothing to build"),
        ([], lambda _: Path("nosuch.csv").read_text(), "nosuch.csv: No such file or directory"),
    ]:
        assert run_verb("train", argv, task) == 1
        err = capsys.readouterr().err
        assert err.startswith(f"gatewise: error: {line}")
        assert err.count("\n") == 1


def test_a_key_that_code_misspelt_is_a_bug(capsys: Out) -> None:
    def task(config: DictConfig) -> None:
        print(config.trainr)

    assert run_verb("train", [], task) == 1  # Of this file's author, not Gatewise's.
    assert "trainr" in capsys.readouterr().err.splitlines()[-1]


def test_every_failing_job_of_a_sweep_is_reported(capsys: Out) -> None:
    ran = []

    def task(config: DictConfig) -> None:
        ran.append(config.seed)
        if config.seed > 1:
            facts_from_dict({"kind": f"of {config.seed}"})

    assert run_verb("train", ["-m", "model=gru", "seed=1,2,3"], task) == 1
    assert ran == [1, 2, 3]
    err = capsys.readouterr().err
    lines = [line.partition(";")[0] for line in err.splitlines()]
    assert lines == [
        f"gatewise: error: job model=gru, seed={seed}: facts of unknown kind 'of {seed}'" for seed in (2, 3)
    ]
    assert "Traceback" not in err


def test_an_interrupt_ends_a_sweep(capsys: Out) -> None:
    ran = []

    def task(config: DictConfig) -> None:
        ran.append(config.seed)
        raise KeyboardInterrupt

    assert run_verb("train", ["-m", "seed=1,2,3"], task) == 130
    assert ran == [1]
    assert capsys.readouterr().err == "gatewise: interrupted\n"


def test_an_error_that_lost_its_frames_is_the_users() -> None:
    # As a launcher brings it back from another process.
    assert user_line(ValueError("rate is 0")) == "rate is 0"


def test_exit_codes_of_sys_exit() -> None:
    for argument, code in [(None, 0), (3, 3), ("text", 1), (0, 0)]:
        assert guarded(partial(sys.exit, argument)) == code


@pytest.mark.parametrize(
    ("word", "candidates", "expected"),
    [
        ("lstmm", ["gru", "lstm", "bilstm"], "lstm"),
        ("lr", ["trainer.log", "optimizer.lr"], "optimizer.lr"),
        ("trainer.x", ["trainer.devices", "trainer.max_epochs"], None),
        ("anything", [], None),
        ("a.b", ["b.b", "a.c", "a.b_"], "a.b_"),
    ],
)
def test_closest(word: str, candidates: list[str], expected: str | None) -> None:
    assert closest(word, candidates) == expected


def test_report_flushes_to_stderr_of_the_process() -> None:
    code = (
        "import sys; from gatewise.cli.errors import *; sys.exit(report(SettingError('rate: 0'), 'job 1: '))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "gatewise: error: job 1: rate: 0\n"
    assert report.__module__ == "gatewise.cli.errors"
    assert "GATEWISE_TRACEBACK" not in os.environ


@pytest.mark.parametrize(
    ("leave", "said"), [("sys.exit(0)", ""), ("exit()", ""), ("raise SystemExit('bye\\nnow')", " (bye)")]
)
def test_a_users_code_that_ends_the_program(
    leave: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "leaving.py").write_text(f"import sys\n{leave}\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert guarded(partial(build, DictConfig({"_target_": "leaving.Cell"}), "model.cell")) == 1
    place = tmp_path / "leaving.py"
    assert f"gatewise: error: {place}:2: ends the program{said}: leave" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import looping\nclass Cell(looping.X): pass\n", "partially initialized module"),
        ("x = " + "+".join("1" * 20_000) + "\nclass Cell: pass\n", "RecursionError"),
    ],
)
def test_a_users_module_that_fails_as_it_is_imported(
    source: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "looping.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    node = DictConfig({"_target_": "looping.Cell"})
    check_kind("model.cell", CELL, "looping.Cell")  # whose source alone does not tell
    assert guarded(lambda: class_of(node, "model.cell")) == 1
    err = capsys.readouterr().err
    assert err.startswith("gatewise: error: model.cell._target_=looping.Cell: ")
    assert said in err
    assert err.count("\n") == 1


def test_a_section_of_a_prediction_takes_settings(capsys: Out) -> None:
    from gatewise.cli.main import main

    assert main(["predict", "input=x", "task=5"]) == 1
    assert "task=5: give its settings, as in task.NAME=VALUE" in capsys.readouterr().err
