"""``gatewise completion SHELL``: a script that asks Gatewise itself what can follow on the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from gatewise.cli.shells import SHELLS, for_bash, for_others, plain, read_bash, script, split_plainly
from gatewise.settings import UsageError, closest, suggestion

USAGE = """\
Usage: gatewise completion bash|zsh|fish

Prints a script for tab completion of verbs, groups, choices and settings. To have it in every shell:
  bash: echo 'eval "$(gatewise completion bash)"' >> ~/.bashrc
  zsh:  echo 'eval "$(gatewise completion zsh)"' >> ~/.zshrc        (after compinit)
  fish: gatewise completion fish > ~/.config/fish/completions/gatewise.fish"""


def main(argv: list[str], configs: Mapping[str, str | None]) -> int:
    """Print the script of the shell ``argv`` names, or with ``query LINE`` what may follow ``LINE``.

    ``configs``: the primary config of each verb, None for one that composes none.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] == "query":
        _answer(argv[1:], configs)
        return 0
    if argv[0] not in SHELLS or len(argv) > 1:
        near = suggestion(closest(argv[0], SHELLS)) if argv[0] not in SHELLS else ""
        raise UsageError(f"completion {' '.join(argv)}: say bash, zsh or fish{near}")
    print(script(argv[0]))
    return 0


def _answer(query: list[str], configs: Mapping[str, str | None]) -> None:
    """Print what a shell's script asks for: its name and the line, read as that shell reads it."""
    shell, *line = query if query[:1] and query[0] in SHELLS else ("", " ".join(query))
    if shell == "bash":
        typed = read_bash(line[0], line[1]) if len(line) == 2 else None
        offered = [] if typed is None else for_bash(answers(typed.words, typed.last, configs), typed)
        print("\n".join(offered))
    elif shell:
        sys.stdout.flush()
        sys.stdout.buffer.write(for_others(shell, answers(line[:-1], line[-1] if line else "", configs)))
    else:
        typed = split_plainly(line[0])
        print("\n".join(plain(answers(typed.words, typed.last, configs))))


def answers(words: list[str], last: str, configs: Mapping[str, str | None]) -> list[str]:
    """Every word that may stand in place of ``last`` behind ``words``, the first of which is the program."""
    if len(words) < 2:
        return [word for word in (*configs, "--help", "--version") if word.startswith(last)]
    verb = words[1]
    if verb not in configs:
        return []
    config = configs[verb]
    if config is None:
        return [shell for shell in SHELLS if shell.startswith(last)] if verb == "completion" else []
    try:
        from gatewise.cli.candidates import candidates, data_words

        own = data_words(words[2:], last) if verb == "data" else []
        return [*own, *candidates(config, words[2:], last)]
    except Exception:
        # Whatever is wrong with the line so far, a shell in the middle of it is no place to say so.
        return []
