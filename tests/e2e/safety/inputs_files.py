"""Files of a user and of a stranger that are not what they should be."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from harness import Input
from inputs_settings import FAST, SERIES, SPEECH, TEXT

PLAIN = [
    *(0, -1, 1.5, 10**9, 10**20, -(2**63), float("nan"), float("inf"), 1e308, True, None, "", "abc", []),
    *([1], [[1], ["a"]], {}, {"a": 1}, {"_target_": "os.getcwd"}, "\x1b[31mred", "a\nb", "\u202eabc"),
    *("../../../elsewhere/new", "../../../elsewhere/precious.txt", "/proc/nonexistent/x", "~nobody1/x"),
    *("/dev/null", "${oc.env:HOME}", "${no.such}", "y" * 300, "é", ["a", "a"], ["x"] * 100),
    *([float("nan")] * 3, [10**30]),
]
"""Values that stand in a file of a run in the place of others."""


def _spoilt(folder: Path, name: str, spoil: Callable[[Path], None]) -> None:
    spoil(folder / name)


def _replaced(content: bytes) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.write_bytes(content)

    return replace


def _edited(edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.write_bytes(edit(path.read_bytes()))

    return replace


def _flipped(content: bytes, share: float, bit: int = 3) -> bytes:
    place = min(int(len(content) * share), len(content) - 1)
    return content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def _removed(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _linked(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        _removed(path)
        path.symlink_to(target)

    return link


def _folder(path: Path) -> None:
    _removed(path)
    path.mkdir()


def _fifo(path: Path) -> None:
    _removed(path)
    os.mkfifo(path)


_ELSEWHERE = "../../../elsewhere"
DAMAGE: dict[str, Callable[[Path], None]] = {
    "emptied": _replaced(b""),
    "cut": _edited(lambda content: content[: len(content) // 2]),
    "a bit flipped": _edited(lambda content: _flipped(content, 0.5)),
    "a bit flipped early": _edited(lambda content: _flipped(content, 0.1)),
    "zeros": _edited(lambda content: bytes(len(content))),
    "no text": _replaced(bytes(range(256)) * 4),
    "twice": _edited(lambda content: content * 2),
    "a number": _replaced(b"5\n"),
    "a list": _replaced(b"[1, 2]\n"),
    "brackets": _replaced(b"[" * 100_000),
    "braces": _replaced(b'{"a":' * 100_000),
    "aliases that grow": _replaced(
        b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12))
    ),
    "an alias of itself": _replaced(b"a: &a [*a]\n"),
    "a tag": _replaced(b"!!python/object/apply:os.system ['touch ../../../elsewhere/pwned']\n"),
    "escape codes": _edited(lambda content: content.replace(b"a", b"\x1b[31m", 3)),
    "lines of Windows": _edited(lambda content: content.replace(b"\n", b"\r\n")),
    "UTF-16": _edited(lambda content: content.decode("utf-8", "replace").encode("utf-16")),
    "missing": _removed,
    "a folder": _folder,
    "a FIFO": _fifo,
    "a link to itself": lambda path: _linked(path.name)(path),
    "a link to nothing": _linked("no/such/file"),
    "a link to somebody's": _linked(f"{_ELSEWHERE}/precious.txt"),
    "a link to a new file": _linked(f"{_ELSEWHERE}/new"),
    "a link to a folder": _linked(_ELSEWHERE),
    "a link to no end": _linked("/dev/zero"),
    "a link to a device": _linked("/dev/null"),
}
"""What can become of a file, by its name."""
_STILL_RIGHT = ("twice", "escape codes", "lines of Windows")
"""After these a file of text may be read."""

VERBS = {
    "evaluate": ("evaluate", "run=runs/r"),
    "predict": ("predict", "run=runs/r", "input=mine.ts"),
    "resume": ("train", "resume=runs/r", "trainer.max_epochs=2"),
}
_READ_BY = {"evaluate": "best", "predict": "best", "resume": "last"}
RUN_FILES = (
    *("config.yaml", "overrides.yaml", "facts.json", "status.json", "summary.json", "metrics.csv", "log.txt"),
    *("checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints", "plots", ".lock", "test_report.json"),
)
_BY_EVERY_VERB = ("config.yaml", "facts.json", "checkpoints/best.ckpt", "checkpoints/last.ckpt")


def of_run_files() -> Iterator[Input]:
    """Each file of a run with each damage; those that every verb reads for each verb, others in turn."""
    turns = itertools.cycle(("resume", "evaluate", "resume", "predict"))
    for name in RUN_FILES:
        for damage, spoil in DAMAGE.items():
            if name in ("checkpoints", "plots") and not damage.startswith(
                ("missing", "a f", "a F", "a link")
            ):
                continue
            for verb in VERBS if name in _BY_EVERY_VERB else (next(turns),):
                argv = VERBS[verb]
                read = name == f"checkpoints/{_READ_BY[verb]}.ckpt"
                lost = read and not damage.startswith("a link to somebody's")
                yield Input(
                    f"{verb} {name}: {damage}",
                    argv,
                    prepare=partial(_spoilt, name=f"runs/r/{name}", spoil=spoil),
                    right="refused" if lost else "either",
                    codes=(1,),
                )


def _with_value(folder: Path, name: str, key: tuple[Any, ...], value: Any) -> None:
    path = folder / name
    content: Any = yaml.safe_load(path.read_text())
    at = content
    for part in key[:-1]:
        at = at[part]
    at[key[-1]] = value
    dump = json.dumps if path.suffix == ".json" else yaml.safe_dump
    path.write_text(dump(content))


def _keys(content: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(content, (dict, list)):
        for name, value in content.items() if isinstance(content, dict) else enumerate(content[:3]):
            yield (*key, name)
            yield from _keys(value, (*key, name))


def of_run_fields(template: Path, count: int, seed: int = 0) -> list[Input]:
    """``count`` of all combinations of a field of a run's files with a value that is not its own."""
    draw = random.Random(seed)
    inputs = []
    for run, given in (("r", "mine.ts"), ("s", "mine.csv"), ("t", "the king")):
        verbs = {
            "evaluate": ("evaluate", f"run=runs/{run}"),
            "predict": ("predict", f"run=runs/{run}", f"input={given}"),
            "resume": ("train", f"resume=runs/{run}", "trainer.max_epochs=2"),
        }
        files = ("config.yaml", "overrides.yaml", "facts.json", "status.json", "summary.json")
        for name in files:
            content = yaml.safe_load((template / "runs" / run / name).read_text())
            for key in _keys(content):
                for value in draw.sample(PLAIN, 4):
                    verb = draw.choice([*verbs])
                    place = partial(_with_value, name=f"runs/{run}/{name}", key=key, value=value)
                    shown = f"{verb} {run}/{name}: {'.'.join(map(str, key))}={str(value)[:40]!r}"
                    inputs.append(Input(shown, verbs[verb], prepare=place, codes=(1,)))
    draw.shuffle(inputs)
    # As many of each file, however many fields it has.
    by_file: dict[str, list[Input]] = {}
    for each in inputs:
        by_file.setdefault(each.name.split()[1], []).append(each)
    rounds = [queue.pop() for _ in range(count) for queue in by_file.values() if queue]
    return rounds[:count]


def _change_checkpoint(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "runs/r/checkpoints" / name
    content = torch.load(path, weights_only=False, map_location="cpu")
    changed = change(content)
    torch.save(content if changed is None else changed, path)
    # A stranger can write a checksum that fits; one of the old content says nothing of this.
    for beside in path.parent.iterdir():
        if re.match(rf"\.?{re.escape(name)}\..", beside.name):
            beside.unlink()


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.__setitem__(key, value)


def _without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content.pop(key, None) and None


def _weights(change: Callable[[torch.Tensor], Any]) -> Callable[[dict[str, Any]], None]:
    def replace(content: dict[str, Any]) -> None:
        name = next(iter(content["state_dict"]))
        content["state_dict"][name] = change(content["state_dict"][name])

    return replace


def _best(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def replace(content: dict[str, Any]) -> None:
        for state in content["callbacks"].values():
            if isinstance(state, dict) and key in state:
                state[key] = value

    return replace


_THEIRS = "../elsewhere/deep/model.ckpt"
CHECKPOINTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no mapping": lambda _: [1, 2],
    "a tensor": lambda _: torch.zeros(3),
    "nothing in it": lambda _: {},
    "weights transposed": _weights(lambda tensor: tensor.T.contiguous()),
    "weights cut": _weights(lambda tensor: tensor[:1]),
    "weights of text": _weights(lambda _: "abc"),
    "weights of None": _weights(lambda _: None),
    "weights that are sparse": _weights(lambda tensor: tensor.to_sparse()),
    "weights nowhere": _weights(lambda tensor: tensor.to("meta")),
    "weights of nan": _weights(lambda tensor: tensor * float("nan")),
    "weights of complex numbers": _weights(lambda tensor: tensor.to(torch.complex64)),
    "weights of bytes": _weights(lambda tensor: tensor.to(torch.uint8)),
    "one weight more": lambda content: content["state_dict"].update(extra=torch.zeros(2)),
    "no weight": lambda content: content["state_dict"].clear(),
    "an escape code as name": lambda content: content["state_dict"].update({"\x1b[31m": torch.zeros(2)}),
    **{
        f"{key} {what}": change
        for key in (
            *("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "loops", "epoch"),
            *("global_step", "pytorch-lightning_version"),
        )
        for what, change in {
            "missing": _without(key),
            "None": _set(key, None),
            "text": _set(key, "abc"),
            "a list": _set(key, [1]),
            "a mapping": _set(key, {"a": {"b": 1}}),
            "huge": _set(key, 10**30),
            "negative": _set(key, -5),
        }.items()
    },
    "best elsewhere": _best("best_model_path", _THEIRS),
    "best a number": _best("best_model_path", 5),
    "best ones elsewhere": _best("best_k_models", {_THEIRS: torch.tensor(0.5)}),
    "best ones a list": _best("best_k_models", [1]),
    "best score text": _best("best_model_score", "abc"),
    "folder elsewhere": _best("dirpath", "../elsewhere/deep"),
    "counter text": _best("wait_count", "abc"),
}
_NO_WEIGHTS = (
    *("no mapping", "a tensor", "nothing in it", "no weight", "one weight more"),
    *("an escape code as name", "weights transposed", "weights cut", "weights of text"),
    *("weights of None", "weights of nan"),
    *(
        f"state_dict {what}"
        for what in ("missing", "None", "text", "a list", "a mapping", "huge", "negative")
    ),
)


def of_checkpoints() -> Iterator[Input]:
    """Checkpoints that torch reads and that hold something else."""
    for what, change in CHECKPOINTS.items():
        for verb in ("evaluate", "resume"):
            name = f"{_READ_BY[verb]}.ckpt"
            yield Input(
                f"{verb} {name}: {what}",
                VERBS[verb],
                prepare=partial(_change_checkpoint, name=name, change=change),
                right="refused" if what in _NO_WEIGHTS else "either",
                codes=(1,),
            )


_DATA = {
    "ts": ("mine.ts", ("train", *FAST, *SPEECH, "test=false"), VERBS["predict"]),
    "npz": (
        "mine.npz",
        ("train", *FAST, "experiment=speech/features", "data.train_file=mine.npz", "test=false"),
        ("predict", "run=runs/r", "input=mine.npz"),
    ),
    "csv": ("mine.csv", ("train", *FAST, *SERIES, "test=false"), ("predict", "run=runs/s", "input=mine.csv")),
    "txt": ("mine.txt", ("train", *FAST, *TEXT, "test=false"), ("predict", "run=runs/t", "input=mine.txt")),
}
_LINES: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a word in the middle": lambda lines: _at(lines, lambda line: re.sub(rb"[\d.]+", b"abc", line, count=1)),
    "nan": lambda lines: _at(lines, lambda line: re.sub(rb"-?\d+\.\d+", b"nan", line, count=1)),
    "1e400": lambda lines: _at(lines, lambda line: re.sub(rb"-?\d+\.\d+", b"1e400", line, count=1)),
    "1e308": lambda lines: _at(lines, lambda line: re.sub(rb"-?\d+\.\d+", b"1e308", line, count=1)),
    "many digits": lambda lines: _at(lines, lambda line: re.sub(rb"-?\d+\.\d+", b"9" * 9999, line, count=1)),
    "a NUL": lambda lines: _at(lines, lambda line: line[:5] + b"\0" + line[5:]),
    "an escape code": lambda lines: _at(lines, lambda line: line + b"\x1b[31m"),
    "Latin-1": lambda lines: _at(lines, lambda line: line + b"\xe9"),
    "a quote that stays open": lambda lines: _at(lines, lambda line: b'"' + line),
    "more cells": lambda lines: _at(lines, lambda line: line + b",1,2:3"),
    "fewer cells": lambda lines: _at(lines, lambda line: line[: len(line) // 2]),
    "an empty line": lambda lines: _at(lines, lambda _: b""),
    "a line of a million": lambda lines: _at(lines, lambda line: line + b"x" * 1_000_000),
    "lines in reverse": lambda lines: lines[::-1],
    "no first line": lambda lines: lines[1:],
    "one line": lambda lines: lines[:1],
    "few lines": lambda lines: lines[:6],
    "each line twice": lambda lines: [line for line in lines for _ in range(2)],
    "the head twice": lambda lines: [*lines[:4], *lines],
    "an escape code in the head": lambda lines: [lines[0] + b"\x1b[31m", *lines[1:]],
    "a byte order mark": lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]],
}


def _at(lines: list[bytes], change: Callable[[bytes], bytes]) -> list[bytes]:
    middle = len(lines) // 2
    return [*lines[:middle], change(lines[middle]), *lines[middle + 1 :]]


def _of_lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], None]:
    return _edited(lambda content: b"\n".join(change(content.split(b"\n"))))


_GOOD = {
    "values": np.zeros((12, 3)),
    "lengths": np.full(6, 2),
    "labels": np.array(["a", "b"] * 3),
}
_ARRAYS: dict[str, dict[str, Any]] = {
    "values of text": {"values": np.array([["a"] * 3] * 12)},
    "values of objects": {"values": np.array([object()] * 12, dtype=object)},
    "values nan": {"values": np.full((12, 3), np.nan)},
    "values of one dimension": {"values": np.zeros(12)},
    "values of four": {"values": np.zeros((12, 3, 1, 1))},
    "no value": {"values": np.zeros((0, 3))},
    "no feature": {"values": np.zeros((12, 0))},
    "complex values": {"values": np.zeros((12, 3), complex)},
    "dates": {"values": np.zeros((12, 3), "datetime64[s]")},
    "huge values": {"values": np.full((12, 3), 1e308)},
    "lengths that are more": {"lengths": np.full(6, 20)},
    "negative lengths": {"lengths": np.array([-2, 4, 2, 2, 2, 4])},
    "lengths of 0": {"lengths": np.array([0, 2, 2, 2, 2, 4])},
    "lengths beyond 63 bits": {"lengths": np.array([2**63 + 2, 2, 2, 2, 2, 2], np.uint64)},
    "lengths that wrap": {"lengths": np.array([2**62, 2**62, 2**62, 2**62, 6, 6])},
    "lengths of text": {"lengths": np.array(["a"] * 6)},
    "lengths of nan": {"lengths": np.full(6, np.nan)},
    "labels of escape codes": {"labels": np.array(["\x1b[31m", "b"] * 3)},
    "labels of line breaks": {"labels": np.array(["a\nb", "b"] * 3)},
    "few labels": {"labels": np.array(["a"])},
    "one class": {"labels": np.array(["a"] * 6)},
    "labels of nan": {"labels": np.full(6, np.nan)},
    "labels of two dimensions": {"labels": np.zeros((6, 2))},
    "another array": {"\x1b[31m": np.zeros(3)},
}


def _write_arrays(path: Path, changed: dict[str, Any]) -> None:
    np.savez(path, **{**_GOOD, **changed})


def of_data_files() -> Iterator[Input]:
    """Files of data with every damage, to train on or to predict of in turn."""
    for kind, (name, *commands) in _DATA.items():
        spoils = dict(DAMAGE)
        if kind != "npz":
            spoils.update({what: _of_lines(change) for what, change in _LINES.items()})
        else:
            spoils.update({what: partial(_write_arrays, changed=each) for what, each in _ARRAYS.items()})
        for (what, spoil), argv in zip(spoils.items(), itertools.cycle(commands), strict=False):
            yield Input(
                f"{argv[0]} {name}: {what}",
                argv,
                prepare=partial(_spoilt, name=name, spoil=spoil),
                codes=(1,),
                may_begin=True,
            )
