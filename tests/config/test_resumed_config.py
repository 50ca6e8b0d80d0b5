"""The config of a resumed run."""

import pytest
from omegaconf import OmegaConf

from gatewise.config.resume import as_resumed, resumed_config, warn_of_given
from gatewise.settings.declared import check_settings

STARTED = ["model=gru", "seed=3", "~callbacks.timer", "+data.stride=1", "trainer.max_epochs=2", "name=${x}"]


@pytest.fixture
def run(run):
    (run.folder / "overrides.yaml").write_text(
        "overrides: ['" + "', '".join(STARTED) + "']\nchoices: {model: gru, trainer: cpu, scheduler: null}\n"
    )
    return run


def files(run):
    return {path.name: path.read_bytes() for path in run.folder.iterdir() if path.is_file()}


UNCHANGED = {
    "nothing": [],
    "all it was started with": STARTED,
    "as stored": ["trainer.max_epochs=2", "callbacks.early_stopping.patience=3", "test=true", "seed=3"],
    "its choices": ["model=gru", "trainer=cpu"],
    "another's affairs": [
        "resume=last",
        "sweep.x=1",
        "hydra.verbose=true",
        "paths.runs_dir=x",
        "sweep=seeds",
    ],
    "gone already": ["~callbacks.other"],
    "added already": ["+model.hidden_size=8"],
    "as dictionary": ["callbacks.early_stopping={patience:3}"],
}


@pytest.mark.parametrize("overrides", UNCHANGED.values(), ids=UNCHANGED)
def test_what_is_so_already(overrides, run):
    before = files(run)
    assert resumed_config(run, overrides) == run.config()
    assert files(run) == before


CHANGED = {
    "epochs": (["trainer.max_epochs=5"], "trainer.max_epochs", 5),
    "endless": (["trainer.max_epochs=-1"], "trainer.max_epochs", -1),
    "new": (["+trainer.max_steps=5"], "trainer.max_steps", 5),
    "none": (["callbacks.early_stopping=null"], "callbacks.early_stopping", None),
    "the last one": (["trainer.max_epochs=5", "trainer.max_epochs=2"], "trainer.max_epochs", 2),
    "wandb": (["wandb.mode=online"], "logger.wandb.mode", "online"),
    "wandb's list": (["wandb.tags=[a,b]"], "logger.wandb.tags", ["a", "b"]),
    "wandb as dictionary": (["wandb={mode:online}"], "logger.wandb.mode", "online"),
    "wandb, no such key of the logger": (["wandb.project=mine"], "wandb.project", "mine"),
}


@pytest.mark.parametrize(("overrides", "key", "value"), CHANGED.values(), ids=CHANGED)
def test_what_may_change(overrides, key, value, run):
    from omegaconf import OmegaConf

    before = files(run)
    config = resumed_config(run, overrides)
    assert OmegaConf.select(config, key) == value
    assert files(run) == before  # saving it is the caller's affair
    run.save_config(config)
    assert resumed_config(run, overrides) == config


def test_the_first_number_of_epochs_again_is_a_change(run):
    run.save_config(resumed_config(run, ["trainer.max_epochs=9"]))
    assert resumed_config(run, STARTED).trainer.max_epochs == 2


def test_a_logger_that_never_heard_of_wandb_hears_of_it(run):
    config = run.config()
    config.wandb.mode = "disabled"
    run.save_config(config)
    assert resumed_config(run, ["wandb.mode=disabled"]).logger.wandb.mode == "disabled"


GIVEN = "trainer.enable_progress_bar"


@pytest.mark.parametrize("overrides", [[], [f"+{GIVEN}=false"], [f"{GIVEN}=false"]])
def test_what_is_given_by_gatewise_is_left_out(overrides, run, caplog):
    """A run of an earlier version may hold it; it was not used then either."""
    plain = run.config()
    stored = run.config()
    OmegaConf.update(stored, GIVEN, False, force_add=True)
    run.save_config(stored)
    assert resumed_config(run, overrides) == plain == as_resumed(stored)
    warn_of_given(plain)
    assert not caplog.messages
    warn_of_given(stored)
    assert caplog.messages == [f"{GIVEN}: not used, now as before: Gatewise gives its own"]


def test_what_is_given_by_gatewise_can_still_not_be_set(run):
    stored = run.config()
    OmegaConf.update(stored, GIVEN, False, force_add=True)
    run.save_config(stored)
    trainer = resumed_config(run, [f"{GIVEN}=true"]).trainer
    with pytest.raises(ValueError, match="is not for you to set"):
        check_settings("pytorch_lightning.Trainer", trainer, "trainer")


REFUSED = {
    "another model": ("model=lstm", "model=lstm: the run was started with model=gru, and only settings of"),
    "a number": ("seed=4", "seed=4: the run was started with seed=3"),
    "another group": ("trainer=gpu", "trainer=gpu: the run was started with trainer=cpu"),
    "a group it had not": ("logger=all", "logger=all: the run was started with logger="),
    "none of what was chosen": ("model=null", "model=null: the run was started with model=gru"),
    "a deletion": (
        "~callbacks.early_stopping",
        "~callbacks.early_stopping: a resumed run takes plain settings",
    ),
    "a sweep": ("trainer.max_epochs=1,2", "a resumed run takes plain settings"),
    "what it has not": (
        "callbacks.other.x=1",
        "callbacks.other.x=1: the run was started without callbacks.other.x",
    ),
    "a word of epochs": (
        "trainer.max_epochs=many",
        "trainer.max_epochs must be a whole number of at least -1",
    ),
    "half an epoch": (
        "trainer.max_epochs=2.5",
        "trainer.max_epochs must be a whole number of at least -1, got 2.5",
    ),
    "too few": ("trainer.max_epochs=-2", "trainer.max_epochs must be a whole number"),
    "no epochs": ("trainer.max_epochs=null", "trainer.max_epochs must be a whole number"),
}


@pytest.mark.parametrize(("override", "message"), REFUSED.values(), ids=REFUSED)
def test_what_may_not_change(override, message, run):
    before = files(run)
    with pytest.raises(ValueError, match=message):
        resumed_config(run, [override])
    assert files(run) == before
