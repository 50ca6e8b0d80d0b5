"""Secrets of the user's, in files and in the environment: no run directory holds them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from workplace import Place, write_sequences

SECRET, KEY = "hunter2-the-secret", "0123456789abcdef" * 2 + "01234567"
FAST = (
    "experiment=speech/features",
    "data.train_file=mine.ts",
    "threads=1",
    "model.hidden_size=2",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
)


@pytest.fixture
def mine(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place with data of the user's, and with secrets in the environment."""
    write_sequences(place.folder)
    monkeypatch.setenv("THE_SECRET", SECRET)
    monkeypatch.setenv("THE_EPOCHS", "1")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("GATEWISE_ENVIRONMENT", raising=False)
    return place


def holding(folder: Path, *texts: str) -> list[Path]:
    """The files below a folder that hold one of the texts."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if any(text.encode() in path.read_bytes() for text in texts)]


@pytest.mark.slow
def test_a_reference_to_the_environment_is_kept_as_one(mine: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    local = mine.folder / "conf" / "local"
    local.mkdir(parents=True)
    (local / "default.yaml").write_text(
        'trainer: {max_epochs: "${oc.decode:${oc.env:THE_EPOCHS}}"}\nmine: "https://${oc.env:THE_SECRET}@host"\n'
        "wandb: {notes: '${mine}'}\n"
    )
    given = (
        "logger=all",
        "+wandb.tags=[a,'x-${oc.env:THE_SECRET}']",
        "+extra=${oc.env:NOT_SET_AT_ALL,plain}",
    )
    trained = mine.ok("train", *FAST, *given)
    run = mine.last()
    assert SECRET not in trained.out
    assert holding(mine.folder / "runs", SECRET, KEY) == []
    stored = (run.folder / "config.yaml").read_text()
    assert "max_epochs: <oc.decode:<oc.env:THE_EPOCHS>>" in stored
    assert "https://<oc.env:THE_SECRET>@host" in stored
    assert "extra: plain" in stored
    assert "${oc.env:THE_SECRET}" in "".join(run.overrides())
    mine.ok("predict", "run=last", "input=mine.npz")
    mine.ok("evaluate", "run=last")
    # A stranger's run could have it sent away; one's own is gone on with by naming what it may read.
    (local / "default.yaml").unlink()
    refused = mine("train", "resume=last", "trainer.max_epochs=2")
    assert refused.code == 1
    assert "came from the environment variable THE_SECRET" in refused.line()
    assert "GATEWISE_ENVIRONMENT=THE_SECRET" in refused.line()
    monkeypatch.setenv("GATEWISE_ENVIRONMENT", "THE_SECRET, THE_EPOCHS")
    mine.ok("train", "resume=last", "trainer.max_epochs=2")
    assert run.metrics_file.read_text().count("\n") == 3, "two epochs"
    assert holding(mine.folder / "runs", SECRET, KEY) == []
    monkeypatch.delenv("THE_SECRET")
    assert "which is not set" in mine("train", "resume=last", "trainer.max_epochs=3").line()


@pytest.mark.parametrize("text", ["<oc.env:THE_SECRET>", "${oc.env:THE_SECRET}"])
def test_the_run_of_a_stranger_reads_nothing(mine: Place, text: str) -> None:
    mine.ok("train", *FAST, "logger=none", "trainer.max_epochs=1", "+extra=here")
    config = mine.last().folder / "config.yaml"
    config.write_text(
        config.read_text().replace("extra: here", f"extra: {text}").replace("mine.ts", f"{text}.ts")
    )
    for words in (
        ("train", "resume=last", "trainer.max_epochs=2"),
        ("evaluate", "run=last"),
        ("predict", "run=last", "input=mine.npz"),
    ):
        result = mine(*words)
        assert SECRET not in result.out + result.err
    assert holding(mine.folder / "runs", SECRET) == []


@pytest.mark.slow
def test_a_resume_that_gives_it_again(mine: Place) -> None:
    again = "++extra=${oc.env:THE_SECRET}"
    mine.ok("train", *FAST, "logger=none", "trainer.max_epochs=1", again)
    assert mine("train", "resume=last", "trainer.max_epochs=2").code == 1
    mine.ok("train", "resume=last", "trainer.max_epochs=2", again)
    assert "extra: <oc.env:THE_SECRET>" in (mine.last().folder / "config.yaml").read_text()
    mine.ok("train", "resume=last", "trainer.max_epochs=3", "++extra=another")


@pytest.mark.slow
def test_a_sweep_and_two_processes(mine: Place) -> None:
    given = ("trainer.max_epochs=1", "wandb.mode=disabled", "+extra=${oc.env:THE_SECRET}")
    mine.ok("train", "-m", *FAST, *given, "seed=1,2")
    assert holding(mine.folder, SECRET) == []
    mine.ok("train", *FAST, *given, "trainer=ddp_cpu")
    assert holding(mine.folder, SECRET) == []


def test_untracked_and_changed_files_of_secrets(mine: Place) -> None:
    def git(*words: str) -> None:
        who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", str(mine.folder), *who, *words], check=True, capture_output=True)

    git("init", "-q")
    (mine.folder / ".env").write_text("A=1\n")
    (mine.folder / "cell.py").write_text("one = 1\n")
    git("add", ".env", "cell.py")
    git("commit", "-qm", "first")
    (mine.folder / ".env").write_text(f"A={SECRET}\n")
    (mine.folder / "cell.py").write_text("one = 2\n")
    for name in ("secrets.yaml", "credentials.toml", "id_rsa", "notes.txt", ".netrc", "api_key.sh"):
        (mine.folder / name).write_text(f"x: {SECRET}\n")
    (mine.folder / "new.py").write_text(f"WANDB_API_KEY = '{KEY}'\nvocabulary = 3\n")
    mine.ok("train", *FAST, "logger=none", "trainer.max_epochs=1")
    run = mine.last()
    code = (run.folder / "code.diff").read_text()
    head = code.partition("\n\n")[0]
    assert "left out, by their names secrets: .env, api_key.sh, credentials.toml, secrets.yaml" in head
    assert "crossed out: 1" in head
    assert "+one = 2" in code
    assert "+vocabulary = 3" in code
    assert holding(run.folder, SECRET, KEY) == []
    assert run.commit().endswith("+changes")
