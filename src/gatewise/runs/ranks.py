"""The processes of one training: rank 0 is this process, the others read the run's directory.

They are started here and not by Lightning, which would start the user's command again: in a sweep, the whole
sweep. To Lightning it looks as if torchrun had started them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import torch
from omegaconf import DictConfig

from gatewise.runs.run import Run

PATIENCE_SECONDS = 60


def number_of_processes(trainer: DictConfig) -> int:
    """Processes on this machine that a trainer config asks for.

    Raises ValueError for a GPU that is not there.
    """
    devices, accelerator = trainer.devices, trainer.accelerator
    if accelerator in ("gpu", "cuda"):
        visible = torch.cuda.device_count()
        wanted = visible if devices in (-1, "-1", "auto") else devices
        wanted = len(wanted) if not isinstance(wanted, (int, str)) else int(wanted)
        if visible == 0:
            raise ValueError(
                "trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu or ddp_cpu"
            )
        if wanted > visible:
            raise ValueError(f"trainer.devices={devices}: {visible} GPUs are visible here")
    else:
        wanted = devices if isinstance(devices, int) else 1
    return wanted if str(trainer.strategy).startswith(("ddp", "fsdp")) else 1


@contextlib.contextmanager
def all_ranks(run: Run, count: int) -> Iterator[None]:
    """Run the body as rank 0 of ``count`` processes; the others train the same run and end with it.

    Does nothing for one process, or where a launcher such as torchrun has started them already.
    """
    if count == 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    ours = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LOCAL_RANK": "0",
    }
    others: list[subprocess.Popen[bytes]] = []
    os.environ.update(ours)
    try:
        for rank in range(1, count):
            with (run.folder / f"log_rank{rank}.txt").open("ab") as log:
                command = [sys.executable, "-m", "gatewise.cli.rank", str(run.folder)]
                environment = {**os.environ, "LOCAL_RANK": str(rank), "GATEWISE_PARENT": str(os.getpid())}
                others.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        yield
        for rank, process in enumerate(others, start=1):
            if process.wait(PATIENCE_SECONDS) != 0:
                raise RuntimeError(f"rank {rank} failed; see {run.folder}/log_rank{rank}.txt")
    finally:
        for process in others:
            if process.poll() is None:
                process.kill()
                process.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in ours:
            os.environ.pop(name, None)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
