"""Trainings whose processes torchrun starts, on one machine or several that share a folder.

Each process is given the same command. That of rank 0 makes the run and tells the others where it is.
"""

from __future__ import annotations

import functools
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

PATIENCE_SECONDS = 600
"""How long the others wait for rank 0 to read its data; a tenth of it for its folder to be seen elsewhere."""
NOTHING = "nothing to train"


class Torchrun:
    """The place of this process among those that torchrun has started."""

    def __init__(self) -> None:
        self.rank = int(os.environ["RANK"])
        self._has_told = False
        self._attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise ValueError(
                "torchrun keeps no store for its processes: unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
            )
        # Imported here: a misspelt setting must not wait for torch.
        from torch.distributed import PrefixStore, TCPStore

        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        patience = timedelta(seconds=PATIENCE_SECONDS)
        store = TCPStore(address, port, is_master=False, timeout=patience, wait_for_workers=False)
        self._store: Any = PrefixStore("gatewise", store)

    @classmethod
    @functools.cache
    def here(cls) -> Torchrun | None:
        """That of this process, or None where torchrun has not started it."""
        return cls() if "TORCHELASTIC_RUN_ID" in os.environ else None

    def tell(self, folder: Path | None) -> None:
        """As rank 0, tell the others the run directory, or that there is nothing to train; once."""
        if not self._has_told:
            self._store.set(str(self._attempt), NOTHING if folder is None else str(folder))
        self._has_told = True

    def told(self) -> Path | None:
        """What rank 0 tells; raises ValueError where this machine does not see the run directory."""
        told = self._store.get(str(self._attempt)).decode()
        if told == NOTHING:
            return None
        folder = Path(told)
        end = time.monotonic() + PATIENCE_SECONDS / 10
        while not (folder / "config.yaml").is_file():
            if time.monotonic() > end:
                raise ValueError(
                    f"{folder}: not on this machine ({os.uname().nodename}): all that train one run share "
                    f"paths.runs_dir"
                )
            time.sleep(0.2)
        return folder
