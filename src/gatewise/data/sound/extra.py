"""The libraries that read sound and compute its features, which are an extra."""

from __future__ import annotations

from typing import Any


def libraries() -> tuple[Any, Any]:
    """(soundfile, kaldi_native_fbank); ValueError, with the line to install them, where one is missing."""
    try:
        import kaldi_native_fbank
        import soundfile
    except ImportError as error:
        missing = error.name or "a library"
        raise ValueError(f"sound needs {missing}: pip install 'gatewise[sound]'") from None
    except OSError as error:  # the C library that soundfile loads
        raise ValueError(f"sound needs soundfile's C library: {error}: install libsndfile") from None
    return soundfile, kaldi_native_fbank
