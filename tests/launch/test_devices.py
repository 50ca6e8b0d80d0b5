"""Jobs side by side: each its own GPU and its share of the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gatewise.launch.devices import _installed_gpus, assigned, share, usable_cores, visible_gpus

SHARES = [
    # slots, GPUs, cores, the GPUs of each place, the threads of each place
    (1, ["0"], 8, ["0"], [8]),
    (2, ["0", "1"], 16, ["0", "1"], [8, 8]),
    # GPUs that another launcher gave to this one, by number and by name
    (2, ["3", "5"], 4, ["3", "5"], [2, 2]),
    (2, ["GPU-a1", "MIG-b2"], 4, ["GPU-a1", "MIG-b2"], [2, 2]),
    # more GPUs than places
    (2, ["0", "1", "2", "3"], 8, ["0,1", "2,3"], [4, 4]),
    (3, ["0", "1", "2", "3"], 8, ["0", "1", "2,3"], [2, 3, 3]),
    # fewer GPUs than places
    (4, ["0", "1"], 8, ["0", "1", "0", "1"], [2, 2, 2, 2]),
    (3, ["7"], 2, ["7", "7", "7"], [1, 1, 1]),
]


@pytest.mark.parametrize(("slots", "gpus", "cores", "devices", "threads"), SHARES)
def test_a_share_of_the_machine(slots, gpus, cores, devices, threads):
    shares = [assigned(slot, slots, gpus, cores) for slot in range(slots)]
    assert [found["CUDA_VISIBLE_DEVICES"] for found in shares] == devices
    assert [int(found["OMP_NUM_THREADS"]) for found in shares] == threads
    assert [found["OPENBLAS_NUM_THREADS"] for found in shares] == [str(number) for number in threads]


@pytest.mark.parametrize("slots", range(1, 9))
@pytest.mark.parametrize("gpus", range(1, 9))
def test_no_gpu_is_idle_and_none_is_shared_before_all_are_taken(slots, gpus):
    names = [str(index) for index in range(gpus)]
    taken = [assigned(slot, slots, names, 8)["CUDA_VISIBLE_DEVICES"].split(",") for slot in range(slots)]
    uses = [sum(name in share for share in taken) for name in names]
    assert min(uses) >= 1
    assert max(uses) - min(uses) <= 1
    assert max(uses) == -(-slots // gpus) or slots < gpus
    # And no core is given twice, where they go round.
    threads = [int(assigned(slot, slots, names, 8)["OMP_NUM_THREADS"]) for slot in range(slots)]
    assert sum(threads) == 8


def test_without_gpus_nothing_is_said_of_them():
    assert assigned(1, 2, [], 4) == {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}


@pytest.mark.parametrize(("slot", "slots"), [(2, 2), (-1, 2), (0, 0)])
def test_a_place_that_is_not_there(slot, slots):
    with pytest.raises(ValueError, match=f"place {slot} of {slots} jobs"):
        assigned(slot, slots, [], 4)


VISIBLE = [
    # As the CUDA programming guide says: what follows the first invalid index is not visible.
    ("0,1", ("0", "1")),
    ("2, 0", ("2", "0")),
    ("", ()),
    ("-1", ()),
    ("0,-1,1", ("0",)),
    ("NoDevFiles", ()),
    ("GPU-8932f937-d72c,MIG-GPU-8932f937/1/2", ("GPU-8932f937-d72c", "MIG-GPU-8932f937/1/2")),
]


@pytest.mark.parametrize(("value", "expected"), VISIBLE)
def test_gpus_that_cuda_would_find(value, expected):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == expected


LISTED = """\
GPU 0: NVIDIA H100 (UUID: GPU-1)
  MIG 1g.10gb Device 0: (UUID: MIG-2)
GPU 1: NVIDIA H100 (UUID: GPU-3)"""


@pytest.mark.parametrize(
    ("script", "expected"),
    [(f"cat <<'END'\n{LISTED}\nEND", ("0", "1")), ("echo 'No devices were found'; exit 6", ()), (None, ())],
)
def test_gpus_are_counted_by_the_driver(script, expected, tmp_path, monkeypatch):
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    elif any(os.access(f"{folder}/nvidia-smi", os.X_OK) for folder in os.environ["PATH"].split(":")):
        pytest.skip("this machine has nvidia-smi")
    _installed_gpus.cache_clear()
    try:
        assert visible_gpus({}) == expected
    finally:
        _installed_gpus.cache_clear()


def test_a_process_given_a_share_sees_it(monkeypatch):
    """Set before the process starts; and found without importing torch, which takes seconds."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    given = share(1, 2)
    assert given["CUDA_VISIBLE_DEVICES"] == "6"
    assert given["OMP_NUM_THREADS"] == str(max(1, usable_cores() - usable_cores() // 2))
    code = (
        "import sys; from gatewise.launch.devices import share; print(share(0, 1)['CUDA_VISIBLE_DEVICES']);"
        "print('torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == ["6", "False"]
