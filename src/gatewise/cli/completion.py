"""``gatewise completion SHELL``: a script that asks Gatewise itself what can follow on the command line."""

from __future__ import annotations

from collections.abc import Mapping

from gatewise.settings import UsageError, closest, suggestion

USAGE = """\
Usage: gatewise completion bash|zsh|fish

Prints a script for tab completion of verbs, groups, choices and settings. To have it in every shell:
  bash: echo 'eval "$(gatewise completion bash)"' >> ~/.bashrc
  zsh:  echo 'eval "$(gatewise completion zsh)"' >> ~/.zshrc        (after compinit)
  fish: gatewise completion fish > ~/.config/fish/completions/gatewise.fish"""

# A word that ends in = . or / is to be typed on; any other is whole, and a blank follows it.
_BASH = """\
_gatewise() {
    local line="${COMP_LINE:0:COMP_POINT}" answer
    local word="${line##*[[:space:]]}" skip=""
    # Readline replaces only what stands after the last of these.
    if [[ $COMP_WORDBREAKS == *=* && $word == *=* ]]; then skip="${word%=*}="; fi
    COMPREPLY=()
    while IFS= read -r answer; do
        if [[ -n $answer ]]; then COMPREPLY+=("${answer#"$skip"}"); fi
    done < <("${COMP_WORDS[0]}" completion query "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} != *[=./] ]]; then compopt +o nospace 2>/dev/null; fi
    return 0
}
complete -o nospace -o default -F _gatewise gatewise"""

_ZSH = """\
_gatewise() {
    local -a answers whole open
    local answer
    answers=("${(@f)$("${words[1]}" completion query "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    for answer in $answers; do
        if [[ $answer == *[=./] ]]; then open+=("$answer"); else whole+=("$answer"); fi
    done
    if (( $#open + $#whole == 0 )); then _files; return; fi
    compadd -Q -S '' -a open
    compadd -Q -a whole
}
compdef _gatewise gatewise"""

_FISH = """\
function __gatewise_answers
    set -l words (commandline -opc) (commandline -ct)
    $words[1] completion query (string join ' ' -- $words) 2>/dev/null
end
complete -c gatewise -f -a '(__gatewise_answers)'"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def main(argv: list[str], configs: Mapping[str, str | None]) -> int:
    """Print the script of the shell ``argv`` names, or with ``query LINE`` what may follow ``LINE``.

    ``configs``: the primary config of each verb, None for one that composes none.
    """
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if argv[0] == "query":
        print("\n".join(answers(" ".join(argv[1:]), configs)))
        return 0
    if argv[0] not in SCRIPTS or len(argv) > 1:
        near = suggestion(closest(argv[0], SCRIPTS)) if argv[0] not in SCRIPTS else ""
        raise UsageError(f"completion {' '.join(argv)}: say bash, zsh or fish{near}")
    print(SCRIPTS[argv[0]])
    return 0


def answers(line: str, configs: Mapping[str, str | None]) -> list[str]:
    """Every word that may stand in place of the last one of ``line`` (which begins with the program)."""
    words = line.split()
    last = words.pop() if words and not line[-1].isspace() else ""
    if len(words) < 2:
        return [word for word in (*configs, "--help", "--version") if word.startswith(last)]
    verb = words[1]
    if verb not in configs:
        return []
    config = configs[verb]
    if config is None:
        return [shell for shell in SCRIPTS if shell.startswith(last)] if verb == "completion" else []
    try:
        from gatewise.cli.candidates import candidates

        return candidates(config, words[2:], last)
    except Exception:
        # Whatever is wrong with the line so far, a shell in the middle of it is no place to say so.
        return []
