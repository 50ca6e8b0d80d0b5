"""``python -m gatewise.training.rank RUN [pruned]``: a further process of a training."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from gatewise.launch.matplotlib_settings import import_matplotlib
from gatewise.launch.parent import end_with
from gatewise.launch.signals import SIGNALS


def main() -> None:
    """Train the run of the given directory as the rank that the environment names."""
    # A signal to all processes (Ctrl-C, a scheduler's) is for rank 0 to answer, which ends this one.
    for number in (signal.SIGINT, *SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    end_with(int(os.environ["GATEWISE_PARENT"]))
    import_matplotlib()
    from gatewise.runs.run import Run
    from gatewise.training.epochs import StopTogether
    from gatewise.training.fit import fit_and_test
    from gatewise.training.parts import stored_config
    from gatewise.training.prepare import prepare

    run = Run(Path(sys.argv[1]))
    pruning = StopTogether() if "pruned" in sys.argv[2:] else None
    # Rank 0, which was asked to stop, says so.
    with contextlib.suppress(KeyboardInterrupt):
        fit_and_test(run, *prepare(stored_config(run), run.choices()), pruning=pruning)


if __name__ == "__main__":
    main()
