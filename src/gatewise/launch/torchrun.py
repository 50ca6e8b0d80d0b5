"""Trainings whose processes torchrun starts, on one machine or several that share a folder.

Each process is given the same command. That of rank 0 makes the run and tells the others where it is, and
where they meet. After a process was lost, torchrun starts all of them again, without a word by which they
could tell this time from the one before: its agents count restarts apart, and its store still has what the
lost ones wrote. So each process draws a name for itself, and follows rank 0 only where it is called by it.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

PATIENCE_SECONDS = 600
"""How long processes wait for each other: rank 0 has data to read. A tenth of it for its folder to be seen
elsewhere, and for the others to hear that there is nothing to train."""

STORE_SECONDS = 5
"""How long torchrun's own store may take to answer."""


class Torchrun:
    """The place of this process among those that torchrun has started."""

    def __init__(self) -> None:
        self.rank, self._count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self._name = uuid4().hex
        self._has_told = False
        self._meeting: Any = None
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
            raise ValueError(
                "torchrun keeps no store for its processes: unset TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
            )
        _check_store(os.environ["MASTER_ADDR"], _port())
        # Imported here: a misspelt setting must not wait for torch.
        from torch.distributed import PrefixStore

        self._store: Any = PrefixStore("gatewise", _store(os.environ["MASTER_ADDR"], _port()))

    @classmethod
    @functools.cache
    def here(cls) -> Torchrun | None:
        """That of this process, or None where torchrun has not started it."""
        return cls() if "TORCHELASTIC_RUN_ID" in os.environ else None

    def tell(self, folder: Path | None) -> None:
        """As rank 0, tell the others the run directory, or that there is nothing to train; once.

        Returns when all have heard. Raises ValueError where one does not for too long.
        """
        if self._has_told:
            return
        self._has_told = True
        word: dict[str, Any] = {"folder": None if folder is None else str(folder)}
        if folder is not None:
            with socket.create_connection((os.environ["MASTER_ADDR"], _port())) as there:
                address = there.getsockname()[0]
            self._meeting = _store(address, 0, is_master=True)
            word.update(address=address, port=self._meeting.port)
        others = range(1, self._count)
        end = time.monotonic() + (PATIENCE_SECONDS if folder is not None else PATIENCE_SECONDS / 10)
        while [self._read(f"heard/{rank}") for rank in others] != [self._name] * len(others):
            names = {str(rank): self._read(f"name/{rank}") for rank in others}
            self._store.set("word", json.dumps({**word, "from": self._name, "to": names}))
            if time.monotonic() > end:
                if folder is None:
                    return  # torchrun ends them with this process
                raise ValueError(f"of the {self._count} processes of torchrun not all have come")
            time.sleep(0.1)
        self._meet(word)

    def told(self) -> Path | None:
        """What rank 0 tells; raises ValueError where it says nothing, or names a folder that is not here."""
        self._store.set(f"name/{self.rank}", self._name)
        end = time.monotonic() + PATIENCE_SECONDS
        while (word := json.loads(self._read("word") or "{}")).get("to", {}).get(
            str(self.rank)
        ) != self._name:
            if time.monotonic() > end:
                raise ValueError("rank 0 of torchrun's processes says nothing")
            time.sleep(0.1)
        self._store.set(f"heard/{self.rank}", word["from"])
        self._meet(word)
        if word["folder"] is None:
            return None
        folder = Path(word["folder"])
        end = time.monotonic() + PATIENCE_SECONDS / 10
        while not (folder / "config.yaml").is_file():
            if time.monotonic() > end:
                raise ValueError(
                    f"{folder}: not on this machine ({os.uname().nodename}): all that train one run share "
                    f"paths.runs_dir"
                )
            time.sleep(0.2)
        return folder

    def _read(self, key: str) -> str | None:
        return self._store.get(key).decode() if self._store.check([key]) else None

    def _meet(self, word: dict[str, Any]) -> None:
        """Have the processes find each other in a store of this time: that of torchrun leads to lost ones."""
        if word["folder"] is not None:
            os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = word["address"], str(word["port"])


def _port() -> int:
    return int(os.environ["MASTER_PORT"])


def _check_store(address: str, port: int) -> None:
    """Raise ValueError where nothing answers: torchrun's store is there before its processes are."""
    end = time.monotonic() + STORE_SECONDS
    while True:
        try:
            socket.create_connection((address, port), STORE_SECONDS).close()
            return
        except (OSError, ValueError) as error:  # ValueError for what is no host's name
            if time.monotonic() > end or not isinstance(error, ConnectionError):
                raise ValueError(
                    f"MASTER_ADDR={address}, MASTER_PORT={port}: the store of torchrun does not answer "
                    f"({error}); unset TORCHELASTIC_RUN_ID where torchrun has not started this process"
                ) from None
        time.sleep(0.2)


def _store(address: str, port: int, is_master: bool = False) -> Any:
    from torch.distributed import TCPStore

    patience = timedelta(seconds=PATIENCE_SECONDS)
    return TCPStore(address, port, is_master=is_master, timeout=patience, wait_for_workers=False)
