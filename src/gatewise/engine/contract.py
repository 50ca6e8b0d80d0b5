"""What ``step`` has to return, and one line for whoever wrote one that returns something else or fails."""

from __future__ import annotations

import inspect
import sys
import sysconfig
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from torch import Tensor

from gatewise.cells import Cell

_LIBRARIES = (sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"], sys.prefix, "<")


def is_shipped(cell: Cell) -> bool:
    """Whether its equations are one of Gatewise's own cells, which the tests run on every engine."""
    return type(cell.innermost).__module__.startswith("gatewise.cells.")


def step_of(cell: Cell, line: int | None = None) -> str:
    """``Mine.step (mine.py:12)``: the method, its file and the line of its ``def``, or the given line."""
    cell = cell.innermost
    name = f"{type(cell).__name__}.step"
    code = getattr(inspect.unwrap(type(cell).step), "__code__", None)
    return name if code is None else f"{name} ({_place(code.co_filename, line or code.co_firstlineno)})"


def _place(file: str, line: int) -> str:
    path = Path(file)
    folder = Path.cwd()
    return f"{path.relative_to(folder) if path.is_relative_to(folder) else path}:{line}"


def raise_again(cell: Cell, error: Exception) -> NoReturn:
    """Raise an error that came out of ``step`` as one line with the cell, the place and the message.

    To be called where it is handled. Errors that are not Python's own (memory that a device lacks, torch's
    signals to itself) and those of Gatewise's cells go on as they are.
    """
    if type(error).__module__ != "builtins" or isinstance(error, MemoryError) or is_shipped(cell):
        raise
    frames = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if "-packages" not in frame.f_code.co_filename and not frame.f_code.co_filename.startswith(_LIBRARIES)
    ]
    own = str(Path(__file__).resolve().parents[1])
    outside = [(file, number) for file, number in frames if not file.startswith(own)]
    name = f"{type(cell.innermost).__name__}.step"
    where = f"{name} ({_place(*outside[-1])})" if outside else step_of(cell)
    message = _unknown_name(cell, error) or " ".join(str(error).split())
    raise ValueError(f"{where} failed: {type(error).__name__}: {message}".rstrip(": ")) from error


def _unknown_name(cell: Cell, error: Exception) -> str | None:
    """What ``a``, ``r``, ``s`` or ``p`` has instead of the name that was asked of it."""
    if not isinstance(error, AttributeError):
        return None
    arguments = {cell.Gates: "a", cell.Recurrent: "r", cell.State: "s", SimpleNamespace: "p"}
    asked: Any = error.obj
    argument = arguments.get(type(asked))
    if argument is None:
        return None
    names = tuple(vars(asked)) if argument == "p" else asked._fields
    return f"{argument} has no {error.name}" + (f"; it has {', '.join(names)}" if names else "; it is empty")


def check_result(cell: Cell, result: Any, hidden_size: int, a: Tensor, same_dtype: bool = True) -> None:
    """Raise ValueError unless ``step``, given ``a`` [B, …], returned its new states and a dict of gates."""
    states = cell.states
    many = f"({', '.join(states)}{',' if len(states) == 1 else ''})"
    right = f"return {many}, {{{', '.join(f'{gate!r}: {gate}' for gate in cell.innermost.gates)}}}"
    pair = isinstance(result, (tuple, list)) and len(result) == 2 and not isinstance(result, cell.State)
    if not pair or not (isinstance(result[0], (tuple, list)) or isinstance(result[1], Mapping)):
        _wrong(cell, f"must return two things, a tuple of new states and a dict of gates: `{right}`", result)
    after, gates = result
    if not isinstance(after, (tuple, list)):
        _wrong(cell, f"must return the new states as a tuple, even if there is one: `{right}`", result)
    if not isinstance(gates, Mapping):
        _wrong(cell, f"must return a dict of gates after the new states, or an empty one: `{right}`", result)
    if len(after) != len(states):
        _wrong(cell, f"must return {len(states)} new state{'s' * (len(states) > 1)}, `{right}`", result)
    sizes = cell.state_sizes(hidden_size)
    if cell.projection_size is not None:
        sizes = (hidden_size, *sizes[1:])
    for name, new, size in zip(states, after, sizes, strict=True):
        shape = (len(a), size)
        if not isinstance(new, Tensor):
            _wrong(cell, f"must return tensors as new states; {name} is {_kind(new)}", None)
        if tuple(new.shape) != shape:
            _wrong(
                cell,
                f"must return [B, H] for each new state, here {list(shape)}; {name} is {list(new.shape)}",
                None,
            )
        if same_dtype and new.dtype != a.dtype:
            _wrong(
                cell, f"must return states of the dtype it is given, {a.dtype}; {name} is {new.dtype}", None
            )
        if new.device != a.device:
            _wrong(
                cell, f"must return states on {a.device}, where its input is; {name} is on {new.device}", None
            )
    for gate, value in gates.items():
        if not isinstance(value, Tensor) or not isinstance(gate, str):
            _wrong(cell, f"must return a dict from gate names to tensors; {gate!r} is {_kind(value)}", None)
        if not value.dim() or len(value) != len(a):
            _wrong(cell, f"must return [B, H] for each gate; {gate} is {list(value.shape)}", None)


def _wrong(cell: Cell, rule: str, result: Any) -> NoReturn:
    got = "" if result is None else f"; got {_kind(result)}"
    raise ValueError(f"{step_of(cell)} {rule}{got}")


def _kind(value: Any) -> str:
    """What a value is, in a few words: ``a tuple of a tensor and a dict``."""
    if isinstance(value, Tensor):
        return f"a tensor of {list(value.shape)}"
    if isinstance(value, (tuple, list)) and len(value) <= 4:
        parts = ", ".join(_kind(item) for item in value)
        return f"{type(value).__name__} ({parts})"
    return "None" if value is None else type(value).__name__
