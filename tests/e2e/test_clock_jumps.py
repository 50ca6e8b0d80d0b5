"""A clock that jumps by weeks, forth and back, in every process of a training."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workplace import Place, finish

from gatewise.runs.run import Run

# Two calls in a hundred see another month; the others' answers are where the last jump has led.
JUMPS = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long calls;

static long jump(void) { return ((calls++ / 50) % 3 - 1) * 30L * 86400L; }

int clock_gettime(clockid_t clock, struct timespec *now) {
  int failed = syscall(SYS_clock_gettime, clock, now);
  if (!failed && clock == CLOCK_REALTIME) now->tv_sec += jump();
  return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (out) *out = exact.tv_sec;
  return exact.tv_sec;
}
"""
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="takes Linux and a C compiler"
)


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("clock")
    (folder / "jumps.c").write_text(JUMPS)
    library = folder / "jumps.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, folder / "jumps.c"], check=True)
    return {"LD_PRELOAD": str(library)}


def test_the_clock_jumps(jumping: dict[str, str]) -> None:
    code = "import time, datetime; print(*{datetime.datetime.now().month for _ in range(500)})"
    out = subprocess.run(
        [sys.executable, "-c", code], env=jumping, capture_output=True, text=True, check=True
    )
    assert len(out.stdout.split()) >= 2


@pytest.mark.slow
def test_a_training_does_what_it_did_before(place: Place, jumping: dict[str, str]) -> None:
    """The same numbers and true durations; the last run is the one started last, whatever its name says."""
    straight = place.train("trainer.max_epochs=3")
    started = time.monotonic()
    runs = []
    for trainer in ("cpu", "ddp_cpu"):
        process = place.start(
            "train", f"trainer={trainer}", "trainer.max_epochs=2", "wandb.mode=offline", **jumping
        )
        out = finish(process)
        assert process.returncode == 0, out
        runs.append(place.last())
        process = place.start("train", "resume=last", "trainer.max_epochs=3", **jumping)
        out = finish(process)
        assert process.returncode == 0, out
        assert place.last().folder == runs[-1].folder
    passed = time.monotonic() - started
    assert [len(place.runs()), len({run.folder for run in runs})] == [3, 2]
    assert _bytes(runs[0]) == _bytes(straight)
    for run in runs:
        assert run.state() == "done"
        assert 0 < run.summary()["training_seconds"] < passed
        assert 0 < run.summary()["wall_seconds"] < passed


def _bytes(run: Run) -> bytes:
    return Path(run.metrics_file).read_bytes()
