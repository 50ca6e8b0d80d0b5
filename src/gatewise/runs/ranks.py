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
import threading
from collections.abc import Iterator

from omegaconf import DictConfig, ListConfig

from gatewise.runs.run import Run

PATIENCE_SECONDS = 60


def number_of_processes(trainer: DictConfig) -> int:
    """Processes on this machine that a trainer config asks for.

    Raises ValueError for a GPU that is not there, or devices that are no number.
    """
    devices, accelerator = trainer.devices, trainer.accelerator
    visible = 0 if accelerator == "cpu" else _visible_gpus()
    on_gpu = accelerator in ("gpu", "cuda") or (accelerator == "auto" and visible > 0)
    if on_gpu and visible == 0:
        raise ValueError("trainer.accelerator=gpu: no CUDA GPU is visible here; use trainer=cpu or ddp_cpu")
    if devices == "auto" or (on_gpu and devices in (-1, "-1")):
        wanted = visible if on_gpu else 1
    elif isinstance(devices, str) and "," in devices:
        wanted = len(devices.split(","))
    elif str(devices).isdecimal():
        wanted = int(devices)
    else:
        wanted = len(devices) if isinstance(devices, ListConfig) else 0
    if wanted < 1:
        raise ValueError(f"trainer.devices={devices}: give a whole number of at least 1")
    if on_gpu and wanted > visible:
        raise ValueError(f"trainer.devices={devices}: {visible} GPUs are visible here")
    # For several devices Lightning's `auto` is ddp.
    return wanted if str(trainer.strategy).startswith(("auto", "ddp", "fsdp")) else 1


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()


@contextlib.contextmanager
def all_ranks(run: Run, count: int) -> Iterator[None]:
    """Run the body as rank 0 of ``count`` processes; the others train the same run and end with it.

    Does nothing for one process, or where a launcher such as torchrun has started them already.
    """
    if count == 1 or "LOCAL_RANK" in os.environ:
        yield
        return
    import torch

    ours = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "NODE_RANK": "0",
        "LOCAL_RANK": "0",
    }
    others: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()
    os.environ.update(ours)
    try:
        for rank in range(1, count):
            with (run.folder / f"log_rank{rank}.txt").open("ab") as log:
                command = [sys.executable, "-m", "gatewise.cli.rank", str(run.folder)]
                environment = {**os.environ, "LOCAL_RANK": str(rank), "GATEWISE_PARENT": str(os.getpid())}
                others.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        threading.Thread(target=_watch, args=(run, others, ended), daemon=True).start()
        yield
        for rank, process in enumerate(others, start=1):
            if process.wait(PATIENCE_SECONDS) != 0:
                raise RuntimeError(f"rank {rank} failed; see {run.folder}/log_rank{rank}.txt")
    finally:
        ended.set()
        for process in others:
            if process.poll() is None:
                process.kill()
                process.wait()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name in ours:
            os.environ.pop(name, None)


def _watch(run: Run, others: list[subprocess.Popen[bytes]], ended: threading.Event) -> None:
    """End everything when a rank fails: the others would wait for it for ever, deaf to Ctrl-C."""
    while not ended.wait(0.5):
        for rank, process in enumerate(others, start=1):
            if process.poll() not in (None, 0):
                # Rank 0 may be failing by itself, for the same reason; it says it better.
                if ended.wait(10):
                    return
                log = run.folder / f"log_rank{rank}.txt"
                lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
                said = [line for line in lines if line.strip()]
                reason = said[-1] if said else f"it ended with exit code {process.returncode}"
                run.set_status("failed", f"rank {rank}: {reason}")
                line = f"gatewise: error: rank {rank} failed: {reason} (see {log})"
                print(line, file=sys.stderr, flush=True)
                for other in others:
                    other.kill()
                os._exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
