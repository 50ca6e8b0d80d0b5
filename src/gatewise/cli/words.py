"""Words of a command line that are no settings, as Hydra's grammar has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

WITH_VALUE = (
    "--cfg",
    "-c",
    "--package",
    "-p",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--config-dir",
    "-cd",
)
"""Options that take the word after them."""
FLAGS = ("--watch",)
"""Options that are settings as well."""
ACTIONS = ("list", "get", "show")
"""What ``gatewise data`` does."""
OF_SETS = ("get", "show")
"""Those of them that take names of sets."""
_SETTING = re.compile(r"[+~]*[A-Za-z_][\w./@-]*=|~")


def gathered(words: Sequence[str], key: str) -> list[str]:
    """The words of a command line with those that are no setting and no option as one setting, a list."""
    kept: list[str] = []
    named: list[str] = []
    takes_next = False
    for word in words:
        if takes_next or word.startswith("-"):
            takes_next = not takes_next and word in WITH_VALUE
            kept.append(f"{word[2:]}=true" if word in FLAGS else word)
        elif _SETTING.match(word) and not _exists(word):
            kept.append(word)
        else:
            named.append(in_quotes(word))
    return [*kept, f"{key}=[{','.join(named)}]"] if named else kept


def _exists(word: str) -> bool:
    """Whether a file or folder is called so; a word that is too long for a name is none."""
    try:
        return Path(word).exists()
    except OSError:
        return False


def in_quotes(value: str) -> str:
    """A text as Hydra's grammar takes it as one string, whatever is in it."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${")
    return f"'{escaped}'"
