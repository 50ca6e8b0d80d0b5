"""Tab completion: what is offered, and that the shells' scripts offer it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from gatewise.cli.completion import SCRIPTS, answers
from gatewise.cli.main import VERBS, main

pytestmark = pytest.mark.usefixtures("conf")

OFFERED = [
    ("gatewise ", [*VERBS, "--help", "--version"]),
    ("gatewise tr", ["train"]),
    ("gatewise xyz", []),
    ("gatewise completion ", ["bash", "zsh", "fish"]),
    ("gatewise xyz model=", []),
    ("gatewise train mod", ["model.", "model="]),
    ("gatewise train model=", ["model=gru", "model=lstm", "model=mine"]),
    ("gatewise train model=g", ["model=gru"]),
    ("gatewise train experiment=t", ["experiment=text/sentiment"]),
    ("gatewise train seed=3 -m model=gru model.", ["model.hidden_size="]),
    ("gatewise train -m seed=1,2 trainer.max_epochs=", ["trainer.max_epochs=3"]),
    ("gatewise train +model=l", ["+model=lstm"]),
    ("gatewise train ~mod", ["~model"]),
    ("gatewise train --mult", ["--multirun"]),
    ("gatewise train --cfg job see", ["seed="]),
    # The user's own choices as well.
    ("gatewise train model=m", ["model=mine"]),
    # No answer, rather than an error message, where what stands before is wrong.
    ("gatewise train data=broken see", []),
    ("gatewise train modle=3 see", []),
]


@pytest.fixture
def mine(conf: Path) -> None:  # noqa: ARG001
    Path("conf/model").mkdir(parents=True)
    Path("conf/model/mine.yaml").write_text("hidden_size: 9\n")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize(("line", "expected"), OFFERED, ids=[line for line, _ in OFFERED])
def test_answers(line: str, expected: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "query", line]) == 0
    out, err = capsys.readouterr()
    assert (out.split(), err) == (expected, "")


def test_an_empty_word_offers_groups_and_settings() -> None:
    found = answers("gatewise train ", {"train": "train"})
    assert {"model=", "model.", "data=", "experiment/", "seed=", "trainer."} <= set(found)


def test_the_help_names_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 0
    text = capsys.readouterr().out
    assert all(f"gatewise completion {shell}" in text for shell in SCRIPTS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gatewise tr", "train"),
        ("gatewise train mod", "model. model="),
        # Bash breaks words at =, and replaces what stands after it.
        ("gatewise train model=", "gru lstm"),
        ("gatewise train model=gru trainer.max_epochs=", "3"),
        ("gatewise train experiment=text/", "text/sentiment"),
        ("gatewise train xyz", ""),
    ],
)
def test_bash(command, line: str, expected: str) -> None:
    result = command(
        'eval "$(gatewise completion bash)"; complete -p gatewise\n'
        f'COMP_LINE="{line}"; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE)\n'
        '_gatewise; echo "${COMPREPLY[@]}"'
    )
    registered, offered = result.stdout.splitlines()
    assert "-F _gatewise gatewise" in registered
    assert (offered, result.stderr) == (expected, "")


def test_bash_without_the_break_at_the_equals_sign(command) -> None:
    result = command(
        'eval "$(gatewise completion bash)"; COMP_WORDBREAKS=" "\n'
        'COMP_LINE="gatewise train model=g seed=3"; COMP_POINT=22; COMP_WORDS=($COMP_LINE)\n'
        '_gatewise; echo "${COMPREPLY[@]}"'
    )
    assert result.stdout == "model=gru\n"


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_the_script_is_valid(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    assert "completion query" in script.read_text()
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish(command) -> None:
    result = command("fish -c 'gatewise completion fish | source; complete -C \"gatewise train model=g\"'")
    assert result.stdout == "model=gru\n"
