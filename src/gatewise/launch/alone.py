"""A process that nothing has started as a part of a group, whatever its environment says."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping

_PLACES = (
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE"),
    *("ROLE_RANK", "ROLE_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "JSM_NAMESPACE_RANK"),
    *("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NTASKS", "SLURM_NPROCS"),
    *("SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_TASKS", "SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE"),
    *("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"),
    *("OMPI_COMM_WORLD_LOCAL_SIZE", "PMI_RANK", "PMI_SIZE", "MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
)
"""Variables by which libraries take a process for one of several; Lightning reads some as it is imported."""
_SIZES = {
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
}
"""The number of processes that a program starts at once, each with the same command."""
TORCHRUN = "TORCHELASTIC_RUN_ID"
_MOST_PROCESSES = 10**6
_OF_TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


def stand_alone(verb: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """Have this process do its work as a whole, unless torchrun has started it to train with others.

    What says otherwise (``srun``, ``mpirun``, or what another program has left) is taken out of the
    environment. Raises ValueError where torchrun seems to have started it and says only half of it.
    """
    if verb == "train" and TORCHRUN in environment:
        missing = [name for name in _OF_TORCHRUN if not environment.get(name)]
        if missing:
            raise ValueError(
                f"{TORCHRUN} is set, as torchrun sets it, but {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not: start the training with torchrun, or unset "
                f"{TORCHRUN}"
            )
        _check_torchruns(environment)
        return
    for name, program in _SIZES.items():
        count = environment.get(name, "1")
        if verb == "train" and count.isdecimal() and int(count) > 1:
            print(
                f"gatewise: {program} has started {count} processes ({name}), and each of them trains by "
                f"itself: start one, or use torchrun with trainer=torchrun",
                file=sys.stderr,
            )
            break
    for name in _PLACES:
        environment.pop(name, None)


def _check_torchruns(environment: Mapping[str, str]) -> None:
    """Raise ValueError for numbers that torchrun would not have set."""
    for name, least, most in (
        ("WORLD_SIZE", 1, _MOST_PROCESSES),
        ("RANK", 0, _MOST_PROCESSES),
        ("LOCAL_RANK", 0, _MOST_PROCESSES),
        ("LOCAL_WORLD_SIZE", 1, _MOST_PROCESSES),
        ("GROUP_WORLD_SIZE", 1, _MOST_PROCESSES),
        ("MASTER_PORT", 1, 65535),
    ):
        value = environment.get(name, str(least))
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and least <= int(value) <= most):
            raise ValueError(
                f"{name}={value}: torchrun sets a whole number from {least} to {most}; unset {TORCHRUN}"
            )
    if int(environment["RANK"]) >= int(environment["WORLD_SIZE"]):
        raise ValueError(
            f"RANK={environment['RANK']}: torchrun counts its WORLD_SIZE={environment['WORLD_SIZE']} "
            f"processes from 0; unset {TORCHRUN}"
        )
