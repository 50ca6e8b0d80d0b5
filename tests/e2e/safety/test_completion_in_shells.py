"""Names that are commands to a shell: each real shell completes them so that they stay names."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

NAMES = [
    "zz$(touch PWNED)",
    "zz`touch PWNED`",
    "zz; touch PWNED;",
    "zz && touch PWNED",
    "zz|touch PWNED",
    "zz>PWNED",
    "zz\n touch PWNED",
    "zz two words ",
    "zz'single",
    'zz"double',
    "zz\\back\\",
    "zz*?[a-z]",
    "zz{a,b}",
    "zz!!!$",
    "zz#no comment",
    "zz=a:b=c",
    "zz~root",
    "zz\x1b[31mred",
    "zz\x07bell",
    "zz$HOME",
    "zz(a)",
    "zzé ü",
    "~root",
    "=ls",
    "-rf",
    "#x",
    "$(touch PWNED)",
    "'",
]
"""Each is offered alone, as a value and as a word of its own."""

STUB = """\
#!{python}
import sys
from pathlib import Path
from gatewise.cli import completion
offered = Path({folder!r}, "offered").read_bytes().decode().split("\\0")
completion.answers = lambda words, last, configs: [name for name in offered if name.startswith(last)]
code = completion.main(sys.argv[2:], {{"train": "train"}})
sys.stdout.flush()
Path({folder!r}, "ASKED").touch()
sys.exit(code)
"""
"""A ``gatewise`` that offers the names in a file."""

SHELLS = {
    "bash": (
        ["bash", "--noprofile", "--norc", "-i"],
        """set +o history; bind 'set enable-bracketed-paste off'; bind 'set bell-style none'; PS1=; PS2=
eval "$({stub} completion bash)"
gatewise() {{ printf '%s\\0' "$@" > arguments; mv arguments ARGUMENTS; }}
""",
    ),
    "zsh": (
        ["zsh", "-f", "-i"],
        """autoload -Uz compinit; compinit -u -D; unsetopt prompt_cr prompt_sp zle_bracketed_paste; PS1=; PS2=
eval "$({stub} completion zsh)"
gatewise() {{ printf '%s\\0' "$@" > arguments; mv arguments ARGUMENTS }}
""",
    ),
    "fish": (
        ["fish", "--no-config", "-i"],
        """function fish_prompt; end; function fish_greeting; end; set -g fish_autosuggestion_enabled 0
{stub} completion fish | source
function gatewise; printf '%s\\0' $argv > arguments; mv arguments ARGUMENTS; end
""",
    ),
}


IN_ITS_TERMINAL = """\
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """An interactive shell in a terminal of its own, in which ``gatewise`` writes down its arguments."""

    def __init__(self, shell: str, folder: Path) -> None:
        self.folder, self.seen = folder, b""
        stub = folder / "gatewise"
        stub.write_text(STUB.format(python=sys.executable, folder=str(folder)))
        stub.chmod(0o755)
        (folder / "offered").touch()
        command, setup = SHELLS[shell]
        (folder / "setup").write_text(setup.format(stub=stub) + "touch READY\n")
        self._master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "HOME": str(folder), "LC_ALL": "C.UTF-8"}
        words = [sys.executable, "-c", IN_ITS_TERMINAL, *command]
        self._process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=environment
        )
        os.close(slave)
        self._type(" . ./setup\n", folder / "READY")

    def completed(self, line: str, *offered: str) -> list[str]:
        """The arguments that ``line`` gives where the names are offered and a tab completes its end."""
        (self.folder / "offered").write_bytes("\0".join(offered).encode())
        asked, told = self.folder / "ASKED", self.folder / "ARGUMENTS"
        for path in (asked, told):
            path.unlink(missing_ok=True)
        # A shell takes what comes at once for something pasted.
        self._type(line, None)
        self._type("\t", asked)
        self._type("", None)
        self._type("\n", told)
        return told.read_bytes().decode().split("\0")[:-1]

    def _type(self, text: str, then: Path | None) -> None:
        """Type, and wait until the file is there, or until the shell is silent."""
        os.write(self._master, text.encode())
        end = time.monotonic() + 120
        while then is None or not then.exists():
            assert time.monotonic() < end, self.seen[-2000:].decode(errors="replace")
            if select.select([self._master], [], [], 0.1 if then is None else 0.01)[0]:
                self.seen += os.read(self._master, 65536)
            elif then is None:
                return

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._master)


@pytest.fixture(scope="module", params=SHELLS)
def terminal(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    if shutil.which(request.param) is None:
        pytest.skip(f"no {request.param} here")
    made = Terminal(request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.close()


@pytest.mark.parametrize(
    "name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES[1:])]
)
def test_a_name_stays_a_name(terminal: Terminal, name: str) -> None:
    first = name[0] if name[0] in "z" else ""
    assert terminal.completed(f"gatewise train model={first}", f"model={name}") == [
        "train",
        f"model={name}",
    ]
    if first:
        assert terminal.completed("gatewise train zz", name) == ["train", name]
    assert not list(terminal.folder.glob("**/*PWNED*"))
