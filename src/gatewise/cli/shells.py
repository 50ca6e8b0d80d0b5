"""Tab completion in bash, zsh and fish: their scripts, and names as each of them has to be given them.

A name may be that of anybody's file. A shell evaluates the line that completion has written, so each name
arrives there quoted, and what the line holds so far is only read, never evaluated.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from gatewise.views.places import quoted

# Each script calls the program that printed it: the first word of the line may be any file of that name.
# A word that ends in = . or / is to be typed on; any other is whole, and a blank follows it.
_BASH = """\
_gatewise() {
    local program=PROGRAM answer
    [[ -x $program ]] || program=gatewise
    COMPREPLY=()
    while IFS= read -r answer; do
        if [[ -n $answer ]]; then COMPREPLY+=("$answer"); fi
    done < <("$program" completion query bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} != *[=./] ]]; then compopt +o nospace 2>/dev/null; fi
    return 0
}
complete -o nospace -o default -F _gatewise gatewise"""

# compadd quotes what it inserts, as the place needs it.
_ZSH = """\
_gatewise() {
    local program=PROGRAM answer
    local -a typed answers whole open
    [[ -x $program ]] || program=gatewise
    typed=("${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}")
    answers=("${(@0)$("$program" completion query zsh "${typed[@]}" 2>/dev/null)}")
    for answer in "${answers[@]}"; do
        if [[ $answer == *[=./] ]]; then open+=("$answer"); elif [[ -n $answer ]]; then whole+=("$answer"); fi
    done
    if (( $#open + $#whole == 0 )); then _files; return; fi
    compadd -S '' -a open
    compadd -a whole
}
compdef _gatewise gatewise"""

# fish quotes what it inserts.
_FISH = """\
function __gatewise_answers
    set -l program PROGRAM
    test -x $program; or set program gatewise
    set -l last (commandline -ct)
    set -l plain (string unescape -- $last); and set last $plain
    $program completion query fish (commandline -opc) "$last" 2>/dev/null | string split0
end
complete -c gatewise -f -a '(__gatewise_answers)'"""

SHELLS = ("bash", "zsh", "fish")
_PLAIN = re.compile(r"[\w./,:@%+=~-]*")
"""What no shell changes, as far as it does not begin with ``~`` or ``=``."""


def script(shell: str) -> str:
    """The script that has a shell complete the words of ``gatewise``."""
    text = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell]
    program = _program()
    return text.replace("PROGRAM", _fish_quoted(program) if shell == "fish" else quoted(program))


def _program() -> str:
    called = Path(sys.argv[0])
    return str(Path.cwd() / called) if called.name == "gatewise" and called.is_file() else "gatewise"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Line(NamedTuple):
    """A command line up to the cursor."""

    words: list[str]
    """Its whole words, as the program would get them."""
    last: str
    """The one the cursor is in; empty behind a blank."""
    kept: str = ""
    """How ``last`` begins, as far as it stays where bash replaces the rest."""
    quote: str = ""
    """The quotation mark that is open in it."""


def read_bash(line: str, breaks: str) -> Line | None:
    """Read a line as bash and readline do; None where the last word is more than text (``$HOME``, ``"a"b``).

    Readline replaces what stands after the last unquoted character of ``breaks``, or after an open quotation
    mark.
    """
    words: list[str] = []
    word, kept, quote, begun, odd, index = "", "", "", False, False, 0
    while index < len(line):
        c = line[index]
        index += 1
        if quote == "'" or (quote and c not in '\\$`"'):
            if c == quote:
                quote, odd = "", True
            else:
                word += c
        elif c == "\\":
            escaped = line[index : index + 1]
            index += 1
            word += escaped if not quote or escaped in '\\$`"' else c + escaped
            begun = True
        elif c in "$`":
            word, odd, begun = word + c, True, True
        elif quote:
            quote, odd = "", True
        elif c in "'\"":
            quote, kept, begun = c, word, True
        elif c.isspace():
            if begun:
                words.append(word)
            word, kept, begun, odd = "", "", False, False
        else:
            word, begun = word + c, True
            if c in breaks:
                kept = word
    return None if odd else Line(words, word, kept, quote)


def for_bash(answers: list[str], line: Line) -> list[str]:
    """What readline is to put in the place of the last word's rest: the answers that can be written there."""
    rests = [answer[len(line.kept) :] for answer in answers if answer.startswith(line.kept)]
    if not line.quote:
        return [_in_bash(rest) for rest in rests]
    special = "'" if line.quote == "'" else '\\$`"!'
    return [rest for rest in rests if rest.isprintable() and not set(special) & set(rest)]


def _in_bash(text: str) -> str:
    if not text.isprintable():
        return quoted(text)
    return re.sub(r"[^\w./,:@%+=-]", lambda match: f"\\{match[0]}", text)


def for_others(shell: str, answers: list[str]) -> bytes:
    """The answers as the scripts of zsh and fish read them, who quote themselves."""
    if shell == "fish":  # which takes what follows a tab for a description
        answers = [answer for answer in answers if "\t" not in answer]
    return b"".join(os.fsencode(answer) + b"\0" for answer in answers)


def plain(answers: list[str]) -> list[str]:
    """The answers that need no quotes anywhere, for scripts that earlier versions printed."""
    return [answer for answer in answers if _PLAIN.fullmatch(answer) and answer.isprintable()]


def split_plainly(line: str) -> Line:
    """A line's words as earlier scripts have sent them."""
    words = line.split()
    return Line(words, words.pop() if words and not line[-1].isspace() else "")
