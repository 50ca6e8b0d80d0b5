"""The run directory: made, found, locked, and its state told, also after a kill."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError

from gatewise.kinds.reading import facts_from_dict
from gatewise.kinds.sequences import FeatureFacts
from gatewise.kinds.series import SeriesFacts
from gatewise.kinds.text import TextFacts
from gatewise.runs import config_files, folders
from gatewise.runs import run as run_module
from gatewise.runs.run import Run

NAN = float("nan")


def test_a_new_run_holds_its_resolved_config_and_how_it_was_asked_for(create, tmp_path):
    run = create()
    assert run.folder.parent == tmp_path / "runs" / "text" / "mine"
    stamp, unique = run.id.rsplit("_", 1)
    assert abs((datetime.now() - datetime.strptime(stamp, "%Y-%m-%d_%H-%M-%S")).total_seconds()) < 60
    assert int(unique, 16) < 2**24
    assert run.title == f"text/mine · {run.id}"
    config = run.config()
    assert OmegaConf.to_container(config, resolve=False)["title"] == "text/mine"
    with pytest.raises(ConfigAttributeError):  # a misspelt key is no silent None
        config.hidden_sise  # noqa: B018
    assert run.choices() == {"model": "gru"}
    stored = OmegaConf.load(run.folder / "overrides.yaml")
    assert list(stored.overrides) == ["model=gru", "seed=3"]
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "checkpoints", "config.yaml", "overrides.yaml", "plots", "status.json",
    ]  # fmt: skip
    assert run.summary() == {}


def test_thirty_runs_of_one_second_have_directories_of_their_own(create, tmp_path, monkeypatch):
    class Frozen(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2024, 5, 6, 7, 8, 9, tzinfo=tz)

    monkeypatch.setattr(folders, "datetime", Frozen)
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: create(), range(30)))
    assert len({run.folder for run in runs}) == 30
    assert all(run.id.startswith("2024-05-06_07-08-09_") for run in runs)
    last = Run.open("last", tmp_path / "runs")
    assert last.folder in {run.folder for run in runs}
    assert [p.name for p in (tmp_path / "runs").iterdir() if p.name.startswith(".")] == []


def test_last_is_the_run_started_last_wherever_the_directory_goes(create, tmp_path):
    create("a")
    second = create("b/c")
    pointer = tmp_path / "runs" / "last"
    assert not pointer.readlink().is_absolute()  # relative, so that all runs can move together
    assert Run.open("last", tmp_path / "runs").folder == second.folder
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert Run.open("last", tmp_path / "moved").folder == tmp_path / "moved" / "b" / "c" / second.id


def test_last_points_somewhere_at_every_moment(create, tmp_path, monkeypatch):
    """The old pointer is replaced, never removed first."""
    first = create()
    monkeypatch.setattr(Path, "replace", _no_space)
    monkeypatch.setattr(config_files, "write_text", lambda path, text: path.write_text(text))
    monkeypatch.setattr(run_module, "write_json", lambda path, values: path.write_text(json.dumps(values)))
    with pytest.raises(OSError, match="No space left"):
        create()
    assert Run.open("last", tmp_path / "runs").folder == first.folder


def _no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_crash_while_a_run_is_made_leaves_no_half_run(written, create, tmp_path, monkeypatch):
    """What can be opened is whole: after any number of its three files the disk is full."""
    count = 0
    whole_text, whole_json = config_files.write_text, run_module.write_json

    def limited(write):
        def writer(path, content):
            nonlocal count
            if count == written:
                _no_space()
            count += 1
            write(path, content)

        return writer

    monkeypatch.setattr(config_files, "write_text", limited(whole_text))
    monkeypatch.setattr(run_module, "write_json", limited(whole_json))
    with pytest.raises(OSError, match="No space left"):
        create()
    (folder,) = (tmp_path / "runs" / "text" / "mine").iterdir()
    assert len([p for p in folder.iterdir() if p.is_file()]) == written
    with pytest.raises(ValueError, match="holds no config"):
        Run.open(folder, tmp_path / "runs")
    with pytest.raises(ValueError, match="no run has been started"):
        Run.open("last", tmp_path / "runs")


OPENED = {
    "by its path": lambda run: run.folder,
    "as text": lambda run: str(run.folder),
    "with a slash": lambda run: f"{run.folder}/",
    "through a link": lambda run: run.folder.parents[2] / "last",
}


@pytest.mark.parametrize("reference", OPENED.values(), ids=OPENED)
def test_open(reference, run, tmp_path):
    opened = Run.open(reference(run), tmp_path / "elsewhere")
    assert opened.folder == run.folder
    assert opened.id == run.id


def test_open_from_the_working_and_the_home_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Run.open(f"runs/text/mine/{run.id}", tmp_path).folder == run.folder
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Run.open(f"~/runs/text/mine/{run.id}", tmp_path).folder == run.folder


def test_a_reference_to_no_run_says_what_is_near(run, tmp_path):
    misspelt = run.folder.with_name(run.id[:-1])
    with pytest.raises(ValueError, match=f"there is no such folder.; did you mean {run.folder}"):
        Run.open(misspelt, tmp_path)
    message = r"holds no config.yaml\); give a run directory or last"
    with pytest.raises(ValueError, match=message):
        Run.open(run.folder.parent, tmp_path)
    with pytest.raises(
        ValueError, match=r"run=/no/such/place: not a run directory \(there is no such folder\)"
    ):
        Run.open("/no/such/place", tmp_path)
    with pytest.raises(ValueError, match=f"run=last: no run has been started in {tmp_path}; train one first"):
        Run.open("last", tmp_path)
    # The last run has been deleted.
    shutil.rmtree(run.folder)
    with pytest.raises(ValueError, match="run=last: no run has been started in"):
        Run.open("last", tmp_path / "runs")


@pytest.mark.parametrize("name", ["", "..", "../up", "a/../../b", "/absolute"])
def test_a_name_that_leads_elsewhere(name, create, tmp_path):
    with pytest.raises(ValueError, match="name must be a folder such as text/mine, got"):
        create(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["done", "failed", "interrupted"])
def test_an_ended_run_keeps_its_state_and_reason(state, run):
    run.set_status(state, "why – ¿qué?")
    assert Run(run.folder).state() == state
    status = json.loads((run.folder / "status.json").read_text(encoding="utf-8"))
    assert status["reason"] == "why – ¿qué?"
    assert status["pid"] == os.getpid()
    age = datetime.now().astimezone() - datetime.fromisoformat(status["changed"])
    assert 0 <= age.total_seconds() < 60


@pytest.mark.parametrize("state", ["created", "running"])
def test_a_run_goes_on_as_long_as_its_lock_is_held(state, run):
    run.set_status(state)
    with run.lock():
        assert run.state() == state
        assert Run(run.folder).state() == state
    assert run.state() == "interrupted"


def test_a_second_training_of_a_run_is_refused(run):
    with run.lock():
        message = f"is being trained by process {os.getpid()} on .* since .*: wait or stop it"
        with pytest.raises(ValueError, match=message), Run(run.folder).lock():
            pytest.fail("two at once")
        assert run.state() == "created"  # the refusal did not let go of the first one's lock
    with run.lock():
        pass


def test_an_error_lets_go_of_the_lock(run):
    with pytest.raises(RuntimeError, match="boom"), run.lock():
        raise RuntimeError("boom")
    with run.lock():
        pass


TRAINS = """
import sys
from pathlib import Path
from gatewise.runs.run import Run
run = Run(Path(sys.argv[1]))
with run.lock():
    run.set_status("running")
    print("running", flush=True)
    sys.stdin.read()
"""


def test_a_killed_training_is_an_interrupted_one(run):
    command = [sys.executable, "-c", TRAINS, str(run.folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            assert process.stdout.readline() == "running\n"
            assert run.state() == "running"
            with pytest.raises(ValueError, match=f"is being trained by process {process.pid} on"), run.lock():
                pytest.fail("two at once")
        finally:
            process.kill()
        assert process.wait() == -signal.SIGKILL
    assert json.loads((run.folder / "status.json").read_text())["state"] == "running"
    assert run.state() == "interrupted"
    with run.lock():  # nothing is left to clean up
        run.set_status("running")
        assert run.state() == "running"


def test_a_directory_that_cannot_be_written_is_not_being_trained(run, monkeypatch):
    run.set_status("running")

    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("gatewise.runs.lock._looked_at", refused)
    assert run.state() == "interrupted"


FACTS = {
    "features": FeatureFacts(2, ("eins", "zwei ½"), (3, 4), (0.1, 1 / 3), (1.0, 1e-30)),
    "text": TextFacts(("<unk>", "\n", '"', "ß"), (0, 1, 2, 3), "char", True),
    "series": SeriesFacts("t", ("x", "y"), ("y",), None, 5, 2, 1, (0.0, -2e17), (1.0, 3.0)),
}


@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_facts_are_read_as_written(facts, run):
    run.save_facts(facts)
    assert Run(run.folder).facts() == facts


def test_facts_that_are_missing_or_wrong(run):
    with pytest.raises(ValueError, match=r"the run ended before its data was read \(no facts.json\)"):
        run.facts()
    (run.folder / "facts.json").write_text('{"kind": "text",\n "vocabulary": [}')
    with pytest.raises(ValueError, match=r"facts.json:2: not JSON"):
        run.facts()
    with pytest.raises(
        ValueError, match=r"facts of unknown kind 'image'; known: captions, features, .*series, .*text,"
    ):
        facts_from_dict({"kind": "image"})
    stored = FACTS["series"].to_dict()
    del stored["season"], stored["std"]
    with pytest.raises(ValueError, match="series facts lack season, std"):
        facts_from_dict(stored)


def test_checkpoints_by_kind(run):
    with pytest.raises(ValueError, match=r"has no checkpoint 'best' \(found: none\)"):
        run.checkpoint("best")
    (run.checkpoints / "last.ckpt").touch()
    assert run.checkpoint("last") == run.checkpoints / "last.ckpt"
    with pytest.raises(ValueError, match=r"has no checkpoint 'best' \(found: last\)"):
        run.checkpoint("best")
    # Trained to its end without a callback that keeps the best: the last weights are what was tested.
    run.save_summary({"best_checkpoint": None})
    with pytest.raises(ValueError, match="has no checkpoint 'best'"):
        run.checkpoint("best")
    run.set_status("done")
    assert run.checkpoint("best") == run.checkpoints / "last.ckpt"


def test_summary_is_read_as_written(run):
    values = {"best": {"epoch": 3, "val/loss": 0.1}, "test": {}, "choices": {"scheduler": None}}
    run.save_summary(values)
    assert Run(run.folder).summary() == values


def without(facts, **changed):
    return json.dumps({**FACTS[facts].to_dict(), **changed}).encode()


DAMAGED = {
    "facts, a list": ("facts.json", b"[1]", "facts.json: must hold {...}, got a list"),
    "facts, not UTF-8": ("facts.json", b'{"kind": "\xff"}', "facts.json: not JSON"),
    "facts, text for a number": (
        "facts.json", without("series", lookback="5"), "facts: lookback must be int, got '5'",
    ),
    "facts, null": (
        "facts.json", without("series", mean=[0.0, None]), "facts: mean must be tuple.float",
    ),
    "facts, NaN": ("facts.json", without("series", std=[NAN, 1.0]), "facts.json: series facts: std must be"),
    "facts, a word": ("facts.json", without("text", vocabulary="abc"), "vocabulary must be tuple.str"),
    "facts, a flag": ("facts.json", without("text", lowercase=1), "lowercase must be bool, got 1"),
    "facts, yes": ("facts.json", without("series", horizon=True), "horizon must be int, got True"),
    "facts, another kind": ("facts.json", b"{}", "facts.json: facts of unknown kind None"),
    "config, empty": ("config.yaml", b"", "config.yaml: not a Gatewise run's config .it has no task, data"),
    "config, a list": ("config.yaml", b"- 1\n", "config.yaml: must hold settings .key: value., got a list"),
    "config, a word": ("config.yaml", b"word\n", "config.yaml: not a Gatewise run's config"),
    "config, another's": ("config.yaml", b"model: gru\ntask: {}\n", "it has no data, model, trainer"),
    "config, cut": ("config.yaml", b"a: 1\nb: [1,\n", "config.yaml:3: not YAML"),
    "config, not UTF-8": ("config.yaml", b"a: \xff", "config.yaml: not YAML"),
    "config, control characters": ("config.yaml", b"a: \x01", "config.yaml: not YAML"),
    "status, empty": ("status.json", b"", "status.json:1: not JSON"),
    "status, {}": ("status.json", b"{}", "status.json: state must be one of .*, got None.* to continue"),
    "status, a list": ("status.json", b"[]", "status.json: must hold {...}, got a list"),
    "status, unknown": ("status.json", b'{"state": ["done"]}', "state must be one of"),
    "overrides, empty": ("overrides.yaml", b"", "overrides.yaml: must hold overrides"),
    "overrides, a list": ("overrides.yaml", b"[]", "overrides.yaml: must hold settings"),
    "overrides, wrong": ("overrides.yaml", b"overrides: [1]\nchoices: {}", "must hold overrides"),
    "overrides, cut": ("overrides.yaml", b"overrides: [a", "overrides.yaml:1: not YAML"),
    "summary, cut": ("summary.json", b'{"a": 1,\n', "summary.json:2: not JSON"),
    "summary, a list": ("summary.json", b"[[1, 2]]", "summary.json: must hold"),
    "summary, deep": ("summary.json", b"[" * 100_000, "summary.json: not JSON"),
}  # fmt: skip
READS = {
    "facts.json": [Run.facts],
    "config.yaml": [Run.config],
    "status.json": [Run.state],
    "overrides.yaml": [Run.choices, Run.overrides],
    "summary.json": [Run.summary],
}


@pytest.mark.parametrize(("name", "content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_named_in_one_line(name, content, message, run):
    (run.folder / name).write_bytes(content)
    for read in READS[name]:
        with pytest.raises(ValueError, match=message) as caught:
            read(run)
        assert str(caught.value).startswith(f"{run.folder}/{name}:")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [NAN, float("inf"), -float("inf")])
def test_facts_that_no_file_can_keep(number, run):
    facts = replace(FACTS["features"], std=(1.0, number))
    with pytest.raises(ValueError, match=rf"features facts: std\[1\] is {number}; the training data has"):
        run.save_facts(facts)
    assert not (run.folder / "facts.json").exists()


def test_a_reference_that_is_no_text_and_the_setting_it_came_from(tmp_path):
    with pytest.raises(ValueError, match=r"^run=123: not a run directory"):
        Run.open(123, tmp_path)
    with pytest.raises(ValueError, match=r"^resume=nope: not a run directory"):
        Run.open("nope", tmp_path, key="resume")
    with pytest.raises(ValueError, match=r"^resume=last: no run has been started"):
        Run.open("last", tmp_path, key="resume")
    with pytest.raises(ValueError, match=r"^run=~nobody-here/x: not a run directory"):
        Run.open("~nobody-here/x", tmp_path)


def test_a_saved_config_is_read_as_it_is(run):
    config = run.config()
    config.trainer.max_epochs = 7
    run.save_config(config)
    assert Run(run.folder).config() == config


@pytest.mark.parametrize("value", [r"/home/a\${oc.env:HOME}", "/home/a\udcff", r"\${"])
def test_what_a_run_cannot_keep_is_named_before_it_is_made(value):
    config = OmegaConf.create({"data": {"folders": ["fine", value], "other": "${oc.env:HOME}"}})
    with pytest.raises(ValueError, match=r"^data\.folders\[1\]=.*: a run can.*: rename it$"):
        config_files.check_storable(config)
    config_files.check_storable(OmegaConf.create({"é": ["$", "{}", "${oc.env:HOME}", 1, None]}))


def test_the_state_is_recorded_on_a_full_disk(create, monkeypatch):
    run = create()
    run.set_status("running")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gatewise.runs.files.tempfile.mkstemp", full)
    for reason in ("no space " * 100, None):
        run.set_status("failed", reason)
        assert (run.state(), run.reason()) == ("failed", reason)
    (run.folder / "status.json").unlink()
    with pytest.raises(OSError, match="No space"):
        run.set_status("failed")
