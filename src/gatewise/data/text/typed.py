"""Words as a user types them into a terminal."""

from __future__ import annotations


def check_typed(text: str, name: str = "input", most: int | None = None) -> None:
    """Raise ValueError for what is no text, as a terminal of another encoding gives it.

    The line shows at most so many of its characters, under this name.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{name}={text[:most]!a} has bytes that are not UTF-8: set the terminal to UTF-8")


def first_words(text: str, most: int) -> list[str]:
    """The first words of a text, without punctuation, which a shell would need quoted."""
    return "".join(c if c.isalnum() else " " for c in text).split()[:most]


def typed(words: list[str]) -> str:
    """Words as they are typed after ``input=``."""
    return '"' + " ".join(words) + '"'
