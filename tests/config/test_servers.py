"""A stored config may not choose where the user's keys and numbers go."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gatewise.config.origins import check_servers

LOGGERS = "pytorch_lightning.loggers."
NOTHING = OmegaConf.create({"logger": {}})


@pytest.mark.parametrize(
    "name", ["WandbLogger", "MLFlowLogger", "CometLogger", "NeptuneLogger", "wandb.WandbLogger"]
)
def test_a_logger_that_sends_has_to_be_the_users(name: str) -> None:
    stored = OmegaConf.create({"logger": {"mine": {"_target_": LOGGERS + name, "offline": False}}})
    with pytest.raises(
        ValueError, match=rf"logger\.mine\._target_={LOGGERS}{name}: a run may not choose to send"
    ):
        check_servers(stored, ["trainer.max_epochs=2"], Path("r"), NOTHING)
    check_servers(stored, [f"logger.mine._target_={LOGGERS}{name}"], Path("r"), NOTHING)
    check_servers(stored, [], Path("r"), stored)


@pytest.mark.parametrize("name", ["CSVLogger", "TensorBoardLogger"])
def test_a_logger_of_files_need_not(name: str) -> None:
    stored = OmegaConf.create({"logger": {"mine": {"_target_": LOGGERS + name, "save_dir": "r"}}})
    check_servers(stored, [], Path("r"), NOTHING)
    stored.logger.mine.save_dir = "s3://bucket/x"
    with pytest.raises(ValueError, match="where your keys are sent"):
        check_servers(stored, [], Path("r"), NOTHING)


def test_a_registry_of_models_is_the_users() -> None:
    stored = OmegaConf.create({"trainer": {"model_registry": "of/a/stranger"}})
    with pytest.raises(ValueError, match="may not choose where its weights are sent"):
        check_servers(stored, ["trainer.max_epochs=2"], Path("r"), NOTHING)
    check_servers(stored, ["trainer.model_registry=of/a/stranger"], Path("r"), NOTHING)


def test_a_logger_of_another_package_has_to_be_the_users_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the user's own modules is theirs."""
    text = "from pytorch_lightning.loggers.logger import Logger\nclass Sends(Logger):\n    pass\n"
    for folder, name in (("site-packages", "installed_one"), ("mine", "own_one")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path / folder)
    stored = OmegaConf.create({"logger": {"x": {"_target_": "installed_one.Sends"}}})
    with pytest.raises(ValueError, match="may not choose to send"):
        check_servers(stored, [], Path("r"), NOTHING)
    check_servers(stored, ["+logger.x._target_=installed_one.Sends"], Path("r"), NOTHING)
    check_servers(OmegaConf.create({"logger": {"x": {"_target_": "own_one.Sends"}}}), [], Path("r"), NOTHING)
