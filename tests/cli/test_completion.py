"""Tab completion: what is offered, and that the shells' scripts offer it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.cli.completion import answers
from gatewise.cli.main import VERBS, main
from gatewise.cli.shells import SHELLS, for_bash, read_bash

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
    found = answers(["gatewise", "train"], "", {"train": "train"})
    assert {"model=", "model.", "data=", "experiment/", "seed=", "trainer."} <= set(found)


def test_the_help_names_the_shells(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion"]) == 0
    text = capsys.readouterr().out
    assert all(f"gatewise completion {shell}" in text for shell in SHELLS)


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


@pytest.mark.parametrize("shell", sorted(SHELLS))
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


BREAKS = " \t\n\"'><=;|&(:"
TYPED = [
    # line, the words before, the last one, what of it readline keeps, the open quotation mark
    ("gatewise train model=g", ["gatewise", "train"], "model=g", "model=", ""),
    ("gatewise train a:b=c:d", ["gatewise", "train"], "a:b=c:d", "a:b=c:", ""),
    ("gatewise 'a b' ", ["gatewise", "a b"], "", "", ""),
    ("gatewise 'model=g", ["gatewise"], "model=g", "", "'"),
    ('gatewise model="g $', None, None, None, None),
    ("gatewise model=\\$\\(x\\ y", ["gatewise"], "model=$(x y", "model=", ""),
    ("gatewise model=a\\", ["gatewise"], "model=a", "model=", ""),
    ("gatewise model=$(touch", None, None, None, None),
    ("gatewise model=`touch", None, None, None, None),
    ("gatewise $HOME/x model=", ["gatewise", "$HOME/x"], "model=", "model=", ""),
    ("gatewise 'a'b", None, None, None, None),
    ("", [], "", "", ""),
]


@pytest.mark.parametrize(("line", "words", "last", "kept", "quote"), TYPED)
def test_a_line_is_read_as_bash_reads_it(line: str, words: object, last: str, kept: str, quote: str) -> None:
    typed = read_bash(line, BREAKS)
    assert typed == (None if words is None else (words, last, kept, quote))


NASTY = list("az09_./,:@%+=~-$`\"'\\!#^&*(){}[]|;<>? \t\n\x1b\x7fé\u202e\u3000")


@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(st.sampled_from(NASTY), min_size=1, max_size=12), min_size=20, max_size=60))
def test_bash_takes_a_quoted_name_for_the_name(names: list[str]) -> None:
    typed = read_bash("gatewise train model=", BREAKS)
    assert typed is not None
    words = for_bash([f"model={name}" for name in names], typed)
    assert all(word.isprintable() for word in words)
    line = " ".join(f"model={word}" for word in words)
    for shell in ("bash", "zsh"):
        if shutil.which(shell) is not None:
            command = [shell, "-c", f"printf '%s\\0' {line}"]
            done = subprocess.run(command, capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
            assert done.stdout.decode().split("\0")[:-1] == [f"model={name}" for name in names]


@settings(max_examples=30)
@given(st.lists(st.text(st.sampled_from(NASTY), min_size=1, max_size=6), max_size=6), st.sampled_from("'\""))
def test_inside_a_quotation_only_what_is_literal_there(names: list[str], quote: str) -> None:
    typed = read_bash(f"gatewise {quote}model=", BREAKS)
    assert typed is not None
    for word in for_bash([f"model={name}" for name in names], typed):
        again = read_bash(f"gatewise {quote}{word}", BREAKS)
        assert again is not None
        assert (again.last, again.quote) == (word, quote)
        assert word.isprintable()


@pytest.mark.usefixtures("mine")
def test_scripts_of_earlier_versions_get_no_name_that_needs_quotes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("conf/model/m$(touch x).yaml").write_text("hidden_size: 9\n")
    assert main(["completion", "query", "gatewise train model=m"]) == 0
    assert capsys.readouterr().out == "model=mine\n"
    assert main(["completion", "query", "bash", "gatewise train model=m", BREAKS]) == 0
    assert capsys.readouterr().out.split("\n") == ["m\\$\\(touch\\ x\\)", "mine", ""]


def test_files_are_quoted_too(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ARG001
    Path("a b;c.csv").touch()
    assert main(["completion", "query", "bash", "gatewise train data.file=./a", BREAKS]) == 0
    assert capsys.readouterr().out == "./a\\ b\\;c.csv\n"
