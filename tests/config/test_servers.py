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
