"""What is imported to stay is not looked through for garbage."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, sys
from gatewise.launch.imports import import_to_stay
collected = []
gc.callbacks.append(lambda phase, info: collected.append(phase))
before = gc.get_freeze_count()
import_to_stay("asyncio")
print(len(collected), gc.get_freeze_count() > before + 1000, gc.isenabled())
frozen = gc.get_freeze_count()
assert import_to_stay("asyncio") is sys.modules["asyncio"]
kept = [[] for _ in range(50)]
assert import_to_stay("asyncio") is sys.modules["asyncio"]
print(gc.get_freeze_count() == frozen)
try:
    import_to_stay("no_such_module")
except ModuleNotFoundError:
    print(gc.isenabled())
"""


def test_an_import_that_stays() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=300)
    assert run.stdout.splitlines() == ["0 True True", "True", "True"], run.stderr
