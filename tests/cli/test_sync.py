"""Where `gatewise sync` would send to, before anything is sent."""

from __future__ import annotations

import os

import pytest

from gatewise.cli.sync import _check_connection
from gatewise.config.wandb import check_environment


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "http://[", "http://x:99999999", "http://x:abc", "http://a b/", "http://127.0.0.1:9"),
        *(f"http://{'y' * 300}", "http://é..é", "http://\x1b[31m", "", "nonsense", "file:///etc/passwd"),
    ],
)
def test_a_server_that_is_none_is_one_line(url: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be reached .*nothing was uploaded"):
        _check_connection(url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("WANDB_BASE_URL", "nonsense"), ("WANDB_BASE_URL", "http://"), ("WANDB_INIT_TIMEOUT", "abc")),
        *(("WANDB_SILENT", "maybe"), ("WANDB_CONFIG_DIR", "~nobody1/x"), ("WANDB_QUIET", "2")),
    ],
)
def test_a_variable_that_wandb_stumbles_over_is_named(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}={value}: W&B does not take it"):
        check_environment({name: value})


def test_a_key_is_not_shown() -> None:
    with pytest.raises(ValueError, match=r"^WANDB_API_KEY: W&B does not take it") as caught:
        check_environment({"WANDB_API_KEY": " the key of mine"})
    assert "the key" not in str(caught.value)


def test_what_is_there_is_taken() -> None:
    check_environment(
        {"HOME": os.environ["HOME"], "WANDB_BASE_URL": "https://api.wandb.ai", "WANDB_MODE": "x"}
    )
