"""Whether the engine that was asked for can compile here, before anything is trained."""

from __future__ import annotations

from gatewise.engine.native.library import check_compiler
from gatewise.engine.request import Unsupported


def check_engine(engine: str | None) -> None:
    """Raise ValueError where the native engine is asked for and nothing can be compiled.

    Whoever evaluates a run elsewhere has another engine do it.
    """
    if engine != "native":
        return
    try:
        check_compiler()
    except Unsupported as reason:
        raise ValueError(
            f"model.engine=native: {reason}: install a C compiler or name one with CC, or choose "
            f"model.engine=auto"
        ) from None
