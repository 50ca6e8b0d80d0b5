"""What a file of conf/ says: a comment for every setting, and every setting that the class has."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import yaml
from hydra.utils import get_object

from gatewise.config.compose import conf_folder

CONF = conf_folder()
FILES = sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.yaml"))
# Presets change settings that are explained in the group's own file.
PRESETS = ("experiment/", "debug/", "sweep/")
UNEXPLAINED = {"_target_", "defaults", "_partial_"}
# Explained together with the key above them.
WITH_THE_ONE_ABOVE = {
    ("monitor", "mode"),
    ("file", "time_column"),
    ("factor", "total_iters"),
    ("name", "version"),
}

KEY = re.compile(r"^(?P<indent> *)(?P<key>[A-Za-z_]\w*):(?P<rest>.*)$")


def uncommented(text: str) -> list[str]:
    """The keys without a comment: above them, on their line, above their block, or shared with the key above.

    The comment that opens the file is the file's. Keys of one comment share a word of their name
    (``validation_fraction``, ``test_fraction``) or are listed above.
    """
    lines = text.splitlines()
    header = 0
    while header < len(lines) and lines[header].startswith("#"):
        header += 1
    missing: list[str] = []
    # Per indent: the key last seen there, and whether it has a comment of its own.
    open_blocks: dict[int, tuple[str, bool]] = {}
    above = ""
    for number, line in enumerate(lines):
        if number < header or not line.strip():
            above = "" if not line.strip() else above
            continue
        if line.strip().startswith("#"):
            above = "comment"
            continue
        found = KEY.match(line)
        if found is None:  # an item of a list, a line of a text
            above = ""
            continue
        indent, key = len(found["indent"]), found["key"]
        parents = [open_blocks[i] for i in sorted(open_blocks) if i < indent]
        before = open_blocks.get(indent)
        open_blocks = {i: block for i, block in open_blocks.items() if i < indent}
        own = above == "comment" or "#" in found["rest"]
        if not own and before is not None and before[1] and above == "key":
            shared = set(key.split("_")) & set(before[0].split("_"))
            own = bool(shared) or (before[0], key) in WITH_THE_ONE_ABOVE
        open_blocks[indent] = (key, own)
        above = "key"
        inside_known = any(name in UNEXPLAINED | {"hydra"} for name, _ in parents)
        if not (own or key in UNEXPLAINED | {"hydra"} or inside_known or any(c for _, c in parents)):
            missing.append(key)
    return missing


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# The file.\na: 1", ["a"]),
        ("# The file.\n\n# One.\na: 1\nb: 2", ["b"]),
        ("# The file.\n_target_: x\na: 1  # One.\nb: 2", ["b"]),
        ("# The file.\n_target_: x\n# Shares.\na_share: 1\nb_share: 2\nmode: 3", ["mode"]),
        ("# The file.\n\n# Block.\na:\n  b: 1\n  c: 2\nd: 1", ["d"]),
        ("# The file.\n\na:\n  # One.\n  b: 1\n  c: 2", ["a", "c"]),
        ("# The file.\ndefaults:\n  - a: 1\nhydra:\n  run:\n    dir: .", []),
    ],
)
def test_the_rule_finds_what_lacks_a_comment(text: str, expected: list[str]) -> None:
    assert uncommented(text) == expected


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_what_it_is(file: str) -> None:
    lines = (CONF / file).read_text().splitlines()
    if lines[0].startswith("# @package"):
        lines = lines[1:]
    assert re.match(r"# \S.*[.?:;=\])\w]$", lines[0]), lines[0]


@pytest.mark.parametrize("file", [file for file in FILES if not file.startswith(PRESETS)])
def test_every_setting_has_a_comment(file: str) -> None:
    assert uncommented((CONF / file).read_text()) == []


# What Gatewise itself passes, or Hydra.
PASSED_BY_CODE = {
    "input_size", "batch_first", "model", "facts", "optimizer", "scheduler", "run",
    "_target_", "_partial_",
}  # fmt: skip

# Where a file departs from the default of the signature, and why.
ON_PURPOSE = {
    # The signature's is what a user gets who builds the layer in Python: the LSTM. The file names it.
    "model": {"cell"},
    # Which data it is, and what suits them; seed, folders and cache are the run's. Runs from before there
    # was evaluation_warmup are scored as they were. What a step of the model is, the task says.
    "data": {
        "files", "file", "train_file", "dataset", "corpus", "time_column", "test_file", "package",
        "lookback", "horizon", "season", "lowercase", "normalize", "min_count", "batch_size", "seed",
        "folders", "cache_dir", "evaluation_warmup", "augmentation", "stack",
    },
    # Where a file of the user's is looked for is the run's too. Runs from before there were paths are
    # scored as they were.
    "task": {"folders", "paths"},
    "logger": {"mode", "project", "group", "entity", "tags", "name", "job_type", "notes", "id", "artifact"},
}  # fmt: skip


def content(file: str) -> dict[str, Any]:
    """A group's file on top of the files of its group that its defaults list names."""
    own = yaml.safe_load((CONF / file).read_text()) or {}
    merged: dict[str, Any] = {}
    for base in own.pop("defaults", []):
        if isinstance(base, str):  # and no choice of another group's
            path = base.partition("@")[0]  # that from the root of conf/ begins with a slash
            path = path[1:] if path.startswith("/") else f"{file.split('/')[0]}/{path}"
            merged = on_top(merged, content(f"{path}.yaml"))
    return on_top(merged, own)


def on_top(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two nested dictionaries as Hydra merges them."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = on_top(below[key], value) if both else value
    return merged


def parts_of_ours() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every node with a class of Gatewise's, over all files: ``model/gru.yaml cell`` → (group, node)."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}

    def walk(node: Any, group: str, place: str) -> None:
        if not isinstance(node, dict):
            return
        if str(node.get("_target_", "")).startswith("gatewise."):
            found[place] = (group, node)
        for key, child in node.items():
            walk(child, group, f"{place} {key}")

    for file in FILES:
        if "/" in file and not file.startswith(PRESETS):
            walk(content(file), file.split("/")[0], file)
    return found


PARTS = parts_of_ours()


def test_the_parts_are_found() -> None:
    assert {group for group, _ in PARTS.values()} == {
        *("model", "task", "data", "callbacks", "logger", "scheduler")
    }
    assert {"model/lstm.yaml", "model/bilstm.yaml cell", "data/csv.yaml"} <= set(PARTS)


@pytest.mark.parametrize("place", PARTS)
def test_a_file_has_every_setting_of_its_class_and_no_other(place: str) -> None:
    _, node = PARTS[place]
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    assert set(node) - PASSED_BY_CODE == set(parameters) - PASSED_BY_CODE


@pytest.mark.parametrize("place", PARTS)
def test_a_default_of_a_file_is_that_of_the_signature(place: str) -> None:
    group, node = PARTS[place]
    # In a file on a base (bilstm on lstm) what it changes is its point.
    file = CONF / f"{place.partition('.')[0].replace('=', '/')}.yaml"
    point = (
        set(re.findall(r"^(\w+):", file.read_text(), re.M)) if "\ndefaults:" in file.read_text() else set()
    )
    for name, parameter in inspect.signature(get_object(node["_target_"])).parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if name in PASSED_BY_CODE | ON_PURPOSE.get(group, set()) | point or required:
            continue
        default = parameter.default
        value = node[name]
        assert (tuple(value) if isinstance(value, list) else value) == default, name


LIBRARY = ["optimizer", "scheduler", "trainer"]


@pytest.mark.parametrize("file", [file for file in FILES if file.split("/")[0] in LIBRARY])
def test_a_file_for_a_librarys_class_has_only_settings_that_it_knows(file: str) -> None:
    node = content(file)
    parameters = inspect.signature(get_object(node["_target_"])).parameters
    assert set(node) - PASSED_BY_CODE <= set(parameters)


def test_nothing_else_is_in_the_folder() -> None:
    other = [path for path in CONF.rglob("*") if path.is_file() and path.suffix != ".yaml"]
    assert other == []
