"""Files of a run that are no files, that are too large, or whose YAML grows."""

import os
import socket
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewise.kinds.sequences import FeatureFacts
from gatewise.runs.checkpoints import read_checkpoint
from gatewise.runs.config_files import read_composition, read_yaml
from gatewise.runs.files import read_json
from gatewise.runs.lock import is_held
from gatewise.runs.metrics import read_metrics, read_validations
from gatewise.runs.opened import check_agreement, check_history_of, check_settings_of
from gatewise.runs.reading import LARGEST, LARGEST_SETTINGS, opened
from gatewise.runs.run import Run
from gatewise.runs.yaml_size import MOST_NODES
from gatewise.training.checkpoints import WholeCheckpoints

WHOLE = "task: {}\ndata: {}\nmodel: {}\ntrainer: {}\n"
CHOICES = "overrides: []\nchoices: {task: a, data: b, model: c, optimizer: d, trainer: e}\n"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.yaml").write_text(WHOLE)
    (tmp_path / "overrides.yaml").write_text(CHOICES)
    (tmp_path / "status.json").write_text('{"state": "done"}')
    (tmp_path / "checkpoints").mkdir()
    return Run(tmp_path)


READS = {
    "config.yaml": Run.config,
    "overrides.yaml": Run.choices,
    "facts.json": Run.facts,
    "status.json": Run.state,
    "summary.json": Run.summary,
    "metrics.csv": lambda run: read_metrics(run.metrics_file),
    "validations.csv": lambda run: read_validations(run.validations_file),
    "code.diff": Run.commit,
    "checkpoints/last.ckpt": lambda run: read_checkpoint(run.folder / "checkpoints/last.ckpt"),
    "checkpoints/best.ckpt": lambda run: read_checkpoint(run.folder / "checkpoints/best.ckpt", "meta"),
}


def a_socket(path):
    os.chdir(path.parent)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


PUT = {
    "FIFO": os.mkfifo,
    "socket": a_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", PUT)
@pytest.mark.parametrize("name", READS)
def test_what_is_no_file_is_named_at_once(name, kind, run, monkeypatch):
    monkeypatch.chdir(run.folder)
    path = run.folder / name
    path.unlink(missing_ok=True)
    PUT[kind](path)
    began = time.monotonic()
    with pytest.raises(ValueError, match=rf"{name}: is a {kind} and no file") as caught:
        READS[name](run)
    assert time.monotonic() - began < 1
    assert "\n" not in str(caught.value)


def test_a_lock_that_is_a_fifo(run):
    os.mkfifo(run.folder / ".lock")
    assert not is_held(run.folder / ".lock")
    with pytest.raises(ValueError, match=r"\.lock: is a FIFO and no file: remove it"), run.lock():
        pytest.fail("held")


@pytest.mark.parametrize("text", ["[" * 1024, "[" * 100_000, "{", "5", '{"pid": 1}', "\0" * 2000])
def test_a_lock_of_brackets_is_nobodys(text, run):
    (run.folder / ".lock").write_text(text)
    assert not is_held(run.folder / ".lock")
    with run.lock():
        pass


@pytest.mark.parametrize("name", [name for name in READS if "ckpt" not in name])
def test_a_file_of_ten_gigabytes_is_not_read(name, run):
    with (run.folder / name).open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ValueError, match=rf"{name}: has 9,537 MiB, more than the (4|512) MiB that are read"):
        READS[name](run)


def test_a_checkpoint_of_ten_gigabytes_of_nothing(run):
    path = run.folder / "checkpoints/last.ckpt"
    with path.open("wb") as file:
        file.truncate(10**10)
    with pytest.raises(ValueError, match=r"last\.ckpt: damaged"):
        read_checkpoint(path)


def test_a_link_to_a_file_is_followed(run, tmp_path):
    (tmp_path / "elsewhere").write_text('{"a": 1}')
    (run.folder / "summary.json").symlink_to(tmp_path / "elsewhere")
    assert run.summary() == {"a": 1}
    with opened(run.folder / "summary.json", LARGEST) as file:
        assert file.read() == b'{"a": 1}'
    assert LARGEST_SETTINGS < LARGEST


def bomb(width, depth):
    lines = [f"a0: &a0 [{', '.join('x' * width)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(lines)


GROWING = {
    "aliases": bomb(10, 9),
    "merges": "a: &a {x: 1}\n" + "\n".join(f"b{n}: {{<<: [*a, *a]}}" for n in range(20000)),
    "holds itself": "a: &a [*a]",
    "holds itself below": "a: &a {b: [1, {c: *a}]}",
    "deep": "[" * 100_000,
    "deep mappings": "{a: " * 3000,
    "deep and closed": "a: " + "[" * 500 + "]" * 500,
    "a number": "5",
    "a flag": "true",
    "a number's binary": "!!binary 5",
    "many": "a: [" + "x, " * (MOST_NODES + 1) + "]",
}


@pytest.mark.parametrize("text", GROWING.values(), ids=GROWING)
def test_yaml_that_grows_is_refused_at_once(text, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"config\.yaml(:\d+)?: ") as caught:
        read_yaml(path)
    assert time.monotonic() - began < 5
    assert "\n" not in str(caught.value)


def test_aliases_that_stay_small_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: [*a, *a]}\n")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": [{"x": 1}, {"x": 1}]}}


TEXT = st.text(st.sampled_from("ab01:-[]{},&*!?|>'\"#%@\n \t~=<."), max_size=60)


@given(st.one_of(TEXT, st.binary(max_size=40)))
def test_any_file_is_read_or_named(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    for read in (read_yaml, read_composition, read_json, read_metrics):
        try:
            read(path)
        except ValueError as error:
            if not str(error).startswith(str(path)) or "\n" in str(error):
                raise AssertionError(str(error)) from error


COMPOSITIONS = {
    "a number": ("5", "must hold settings"),
    "no choices": ("overrides: []", "must hold overrides"),
    "choices, a list": ("overrides: []\nchoices: []", "must hold overrides"),
    "no choice": ("overrides: []\nchoices: {}", "choices lack task, data, model, optimizer, trainer"),
    "no task": (CHOICES.replace("task: a, ", ""), "choices lack task; the file is damaged: write"),
    "null": (CHOICES.replace("task: a", "task: null"), "choices lack task;"),
    "a choice of 5": (CHOICES.replace("task: a", "task: 5"), "choices.task=5: must be the name"),
    "a mapping": (CHOICES.replace("task: a", "task: {a: b}"), "choices.task={'a': 'b'}: must be"),
    "overrides of 1": (CHOICES.replace("overrides: []", "overrides: [1]"), "must hold overrides .* got 1"),
    "interpolations": ("overrides: ${oc.env:HOME}\nchoices: {task: '${oc.env:HOME}'}", "must hold overrides"),
}


@pytest.mark.parametrize(("text", "message"), COMPOSITIONS.values(), ids=COMPOSITIONS)
def test_what_a_run_was_composed_from(text, message, run):
    (run.folder / "overrides.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"overrides\.yaml(:\d+)?: .*{message}") as caught:
        check_settings_of(run)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("section", ["optimizer", "callbacks", "logger", "paths"])
@pytest.mark.parametrize("value", ["5", "[1]", "x"])
def test_a_section_that_is_no_mapping(section, value, run):
    (run.folder / "config.yaml").write_text(f"{WHOLE}{section}: {value}\n")
    with pytest.raises(ValueError, match=rf"config\.yaml: {section}=.*: must hold settings"):
        check_settings_of(run)
    (run.folder / "config.yaml").write_text(f"{WHOLE}{section}: null\n")
    check_settings_of(run)


@pytest.mark.parametrize("name", ['"' + "x" * 300 + '"', "../x", r'"a\e[31m"', "5", "/x", "null"])
def test_a_name_that_no_run_has(name, run):
    (run.folder / "config.yaml").write_text(f"{WHOLE}name: a/b\n")
    check_settings_of(run)
    (run.folder / "config.yaml").write_text(f"{WHOLE}name: {name}\n")
    with pytest.raises(ValueError, match=r"config\.yaml: name"):
        check_settings_of(run)


@pytest.mark.parametrize("row", ["1e300,2", "-5,2", "1,-2", "inf,2", "nan,2"])
def test_rows_of_epochs_that_cannot_be(row, run):
    run.metrics_file.write_text(f"epoch,step\n{row}\n")
    with pytest.raises(ValueError, match=r"metrics\.csv"):
        check_history_of(run)
    run.metrics_file.write_text("epoch,step,val/loss\n1,2,nan\n")
    check_history_of(run)


def test_facts_and_config_that_ask_for_other_data(run):
    config = run.config()
    facts = FeatureFacts(1, ("a",), (1,), (0.0,), (1.0,))
    check_agreement(run, config, facts)


@pytest.mark.parametrize(
    "states", [None, [], 5, {5: {}}, {"ModelCheckpoint{}": 5}, {"ModelCheckpoint{}": {}}]
)
def test_the_best_checkpoint_where_callbacks_are_odd(states, run):
    checkpoint = {"state_dict": {}, "epoch": 1, "callbacks": states, "pytorch-lightning_version": "2.6.0"}
    torch.save(checkpoint, run.folder / "checkpoints/last.ckpt")
    (run.folder / "checkpoints/best.ckpt").touch()
    assert run.best_checkpoint() is None
    assert run.checkpoint("best").name == "best.ckpt"
    assert WholeCheckpoints().load_checkpoint(run.folder / "checkpoints/last.ckpt")["epoch"] == 1


@pytest.mark.parametrize("text", [r'{"classes": ["\ud800", "a"]}', r'{"\uDFFF": 1}'])
def test_half_of_a_character_is_no_text(tmp_path, text):
    (tmp_path / "facts.json").write_text(text)
    with pytest.raises(ValueError, match=r"facts\.json: not JSON .*surrogates not allowed"):
        read_json(tmp_path / "facts.json")
    (tmp_path / "facts.json").write_text(r'{"classes": ["\ud83d\ude00"]}')
    assert read_json(tmp_path / "facts.json") == {"classes": ["\U0001f600"]}
