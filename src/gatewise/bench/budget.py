"""The seconds that a benchmark may take, shared out among what is still to be measured."""

from __future__ import annotations

import time


class Budget:
    """Seconds from now on for so many parts; without ``seconds`` every part takes as long as it takes."""

    def __init__(self, seconds: float | None = None, parts: int = 1) -> None:
        self.seconds, self.parts = seconds, parts
        self._started = time.perf_counter()
        self._until: float | None = None

    def begin(self) -> None:
        """Begin the next part, which may take an even share of the time that is left."""
        if self.seconds is not None:
            now = time.perf_counter()
            self._until = now + max(0.0, self._end - now) / max(1, self.parts)
        self.parts -= 1

    @property
    def _end(self) -> float:
        assert self.seconds is not None
        return self._started + self.seconds

    @property
    def part_is_over(self) -> bool:
        """Whether this part has had its share."""
        return self._until is not None and time.perf_counter() >= self._until

    @property
    def is_over(self) -> bool:
        """Whether all the time is used up."""
        return self.seconds is not None and time.perf_counter() >= self._end
