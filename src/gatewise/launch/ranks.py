"""The processes of one training: rank 0 is this process, the others read the run's directory.

They are started here and not by Lightning, which would start the user's command again: in a sweep, the whole
sweep. To Lightning it looks as if torchrun had started them.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from omegaconf import DictConfig, ListConfig

from gatewise.launch.devices import most_processes, usable_cores
from gatewise.launch.own_code import python
from gatewise.runs.inside import open_in_place
from gatewise.runs.references import for_children
from gatewise.runs.run import Run
from gatewise.settings import one_line

PATIENCE_SECONDS = 60
_INTERFACES = "GLOO_SOCKET_IFNAME"
PLACE_IN_GROUP = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK")
"""Environment variables by which the processes of a training find each other."""


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
    started_by_us = not {"LOCAL_RANK", "TORCHELASTIC_RUN_ID"} & {*os.environ}
    if not on_gpu and started_by_us and wanted > most_processes():
        raise ValueError(
            f"trainer.devices={_short(devices)}: {usable_cores()} cores are usable here; give at most "
            f"{most_processes()} processes, or start more with torchrun and trainer=torchrun"
        )
    # For several devices Lightning's `auto` is ddp.
    count = wanted if str(trainer.strategy).startswith(("auto", "ddp", "fsdp")) else 1
    if count > 1 or not started_by_us:
        _check_network(os.environ.get(_INTERFACES, ""))
    machines = trainer.get("num_nodes", 1)
    started = tuple(int(os.environ.get(name, 1)) for name in ("LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"))
    if (count, machines) != started and (machines != 1 or "TORCHELASTIC_RUN_ID" in os.environ):
        raise ValueError(
            f"trainer.devices={devices} on trainer.num_nodes={machines} machines: torchrun has started "
            f"{started[0]} processes on {started[1]} here; use trainer=torchrun"
        )
    return count


def _check_network(interfaces: str) -> None:
    """Raise ValueError for network interfaces that processes are to meet by, and that are not there."""
    present = [name for _, name in socket.if_nameindex()]
    for name in filter(None, interfaces.split(",")):
        if name not in present:
            raise ValueError(
                f"{_INTERFACES}={interfaces}: there is no network interface {name} here "
                f"({', '.join(present)}): name one of these, or unset it"
            )


def _short(devices: object) -> str:
    text = str(devices)
    return text if len(text) <= 40 else f"{text[:20]}... ({len(text)} characters)"


def _visible_gpus() -> int:
    import torch

    return torch.cuda.device_count()


@contextlib.contextmanager
def all_ranks(run: Run, count: int, module: str, pruned: bool = False) -> Iterator[None]:
    """Run the body as rank 0 of ``count`` processes; the others train the same run and end with it.

    ``module`` is what each of them runs, with the run's directory as its argument.

    ``pruned``: whether rank 0 may stop it early, which the others then listen for.

    Does nothing for one process, or where a launcher such as torchrun has started them already.
    """
    if "LOCAL_RANK" in os.environ:
        yield
        return
    if count == 1:
        try:
            yield
        finally:
            _leave_group()  # ddp on one device makes one too
        return
    place = dict(zip(PLACE_IN_GROUP, ("127.0.0.1", str(_free_port()), str(count), "0", "0"), strict=True))
    others: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()
    os.environ.update(place)
    try:
        for rank in range(1, count):
            log_file = open_in_place(run.folder / f"log_rank{rank}.txt", os.O_WRONLY | os.O_APPEND)
            with os.fdopen(log_file, "ab") as log:
                command = python(module, str(run.folder), *(["pruned"] if pruned else []))
                own = {"LOCAL_RANK": str(rank), "GATEWISE_PARENT": str(os.getpid())}
                environment = {**os.environ, **for_children(), **own}
                others.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        threading.Thread(target=_watch, args=(run, others, ended), daemon=True).start()
        try:
            yield
        except RuntimeError as error:
            # What is exchanged with a process that is gone fails in this one.
            gone = _gone(others, run)
            if gone is None:
                raise
            raise ValueError(gone) from error
        for rank, process in enumerate(others, start=1):
            if process.wait(PATIENCE_SECONDS) != 0:
                raise ValueError(_failure(rank, process, run))
    finally:
        ended.set()
        for process in others:
            if process.poll() is None:
                process.kill()
                process.wait()
        _leave_group()


def _leave_group() -> None:
    """Leave the next training of this process nothing to join: neither a group nor the place in it."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    for name in PLACE_IN_GROUP:
        os.environ.pop(name, None)


def _gone(others: list[subprocess.Popen[bytes]], run: Run) -> str | None:
    """Which rank has failed and why, where one has; a connection may end before the process has."""
    end = time.monotonic() + 2
    while time.monotonic() < end:
        for rank, process in enumerate(others, start=1):
            if process.poll() not in (None, 0):
                return _failure(rank, process, run)
        time.sleep(0.05)
    return None


def _failure(rank: int, process: subprocess.Popen[bytes], run: Run) -> str:
    log = run.folder / f"log_rank{rank}.txt"
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        again = shlex.quote(f"resume={run.folder}")
        by = "by someone, or by the system as memory ran out" if name == "SIGKILL" else f"see {log}"
        return f"rank {rank} was killed ({name}: {by}); go on with {again}"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    reason = said[-1] if said else f"it ended with exit code {process.returncode}"
    return f"rank {rank} failed: {reason} (see {log})"


def _watch(run: Run, others: list[subprocess.Popen[bytes]], ended: threading.Event) -> None:
    """End everything when a rank fails: the others would wait for it for ever, deaf to Ctrl-C."""
    while not ended.wait(0.5):
        for rank, process in enumerate(others, start=1):
            if process.poll() not in (None, 0):
                # Rank 0 may be failing by itself, for the same reason; it says it better.
                if ended.wait(10):
                    return
                failure = _failure(rank, process, run)
                run.set_status("failed", failure)
                print(f"gatewise: error: {one_line(failure)}", file=sys.stderr, flush=True)
                for other in others:
                    other.kill()
                os._exit(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
