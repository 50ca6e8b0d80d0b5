"""Which settings of a run's config write outside of its directory."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from gatewise.config.places import check_places, look_here, take_own_cache

KEPT = {
    "callbacks.best.dirpath": ("{run}/checkpoints", "{run}/checkpoints/../more"),
    "callbacks.best.filename": ("best", "{{epoch}}-{{val/loss:.3f}}", "sub/best", "..best", "a..b"),
    "callbacks.best.monitor": ("val/loss",),
    "logger.csv.name": ("csv", "a/b"),
    "trainer.default_root_dir": ("{run}",),
    "trainer.profiler": ("simple",),
    "data.file": ("/etc/hosts", "../mine.csv"),
}
REFUSED = {
    "callbacks.best.dirpath": ("/", "/tmp", "x", ".", "..", "~", "~/x", "{run}/..", "{run}x", "s3://x", "\0"),
    "callbacks.best.filename": ("/x", "../x", "x/../../y", "..", "x/..", "~/x", "{{epoch:/>9}}", "a\n/../b"),
    "callbacks.mine.sub_dir": ("../x", "x/../../y"),
    "callbacks.mine.where": ("/tmp", "../x", "file:///x"),
    "callbacks.mine.nested.output_dir": ("x",),
    "callbacks.mine.files.0": ("/x",),
    "logger.csv.save_dir": ("x", "/tmp"),
    "logger.csv.version": ("../x",),
    "logger.mlf.tracking_uri": ("http://example.org",),
    "logger.wandb.id": ("../x",),
    "trainer.profiler.dirpath": ("x",),
}


def check(run: Path, key: str, value: str, *given: str, own: str | None = None) -> None:
    nested: object = value
    for name in reversed(key.split(".")[1:]):
        nested = [nested] if name == "0" else {name: nested}
    config = {key.split(".")[0]: nested}
    check_places(run, OmegaConf.create(config), given, None if own is None else OmegaConf.create(config))


def cases(table: dict[str, tuple[str, ...]]) -> list[tuple[str, str]]:
    return [(key, value) for key, values in table.items() for value in values]


@pytest.mark.parametrize(("key", "value"), cases(KEPT))
def test_kept(key: str, value: str, tmp_path: Path) -> None:
    check(tmp_path, key, value.format(run=tmp_path))


@pytest.mark.parametrize(("key", "value"), cases(REFUSED))
def test_refused(key: str, value: str, tmp_path: Path) -> None:
    value = value.format(run=tmp_path)
    with pytest.raises(ValueError, match="writes outside of the run directory"):
        check(tmp_path, key, value)
    check(tmp_path, key, value, key.removesuffix(".0"))
    check(tmp_path, key, value, key.split(".")[0])
    check(tmp_path, key, value, own=key)
    with pytest.raises(ValueError, match="writes outside of the run directory"):
        check(tmp_path, key, value, f"{key}x")


def test_words_of_wandb_are_no_paths(tmp_path: Path) -> None:
    node = {"_target_": "gatewise.training.wandb.make_logger", "notes": "/data2, not /data", "tags": ["../x"]}
    check_places(tmp_path, OmegaConf.create({"logger": {"wandb": node}}), (), None)


@given(st.text(st.sampled_from("./~ab{}:>"), max_size=12))
def test_a_part_of_a_path_that_is_taken_stays_in_its_folder(name: str) -> None:
    run = Path("/runs/r")
    try:
        check(run, "callbacks.best.filename", name)
    except ValueError:
        return
    try:
        formatted = name.format(1, 2, a=1, b=2, ab=3)
    except (ValueError, KeyError, IndexError, AttributeError):
        return  # Lightning raises the same
    path = Path("/runs/r/checkpoints") / f"{formatted}.ckpt"
    import os

    assert Path(os.path.normpath(path)).is_relative_to("/runs/r/checkpoints")


@pytest.mark.parametrize(
    "value", ["local://{outside}", "file://{outside}", "file:{outside}", "local:{outside}", "data:,x"]
)
@pytest.mark.parametrize("key", ["callbacks.best.dirpath", "logger.csv.save_dir", "callbacks.best.filename"])
def test_an_address_is_no_folder_of_the_run_where_one_works_in_it(
    key: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a path from there it would lie in the run; libraries take it for an address of its own."""
    monkeypatch.chdir(tmp_path)
    check(tmp_path, key, "x")
    with pytest.raises(ValueError, match="writes outside of the run directory"):
        check(tmp_path, key, value.format(outside=tmp_path.parent))


@pytest.mark.parametrize("value", ["{" + ":" * 60_000, "{" * 60_000, "{a:" * 20_000, "a/" * 30_000 + "{:"])
def test_a_long_one_takes_no_time(value: str, tmp_path: Path) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match="writes outside of the run directory"):
        check(tmp_path, "callbacks.best.filename", value)
    assert time.process_time() - begun < 2


def test_prepared_texts_are_kept_where_the_user_says() -> None:
    """A run directory may have come from anywhere, and nothing is written where it says."""
    stored = OmegaConf.create({"data": {"cache_dir": "/of/another"}, "paths": {"cache_dir": "/of/another"}})
    take_own_cache(stored, OmegaConf.create({"paths": {"cache_dir": "/mine"}}))
    assert stored.data.cache_dir == "/mine"
    take_own_cache(stored, None)
    assert stored.data.cache_dir is None
    without = OmegaConf.create({"data": {"files": []}})
    take_own_cache(without, OmegaConf.create({"paths": {"cache_dir": "/mine"}}))
    assert "cache_dir" not in without.data


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"evaluation_tokens": 7, "max_length": None, "header": False}, ["old"]),
        ({"test_files": ["mine.txt"]}, ["here", "there"]),
        ({"folder": "mine"}, ["here", "there"]),
        ({"test_files": ["mine.txt"], "folders": ["new"]}, ["new"]),
        ({}, ["old"]),
    ],
)
def test_files_that_are_named_anew_are_looked_for_here(data, expected):
    own = OmegaConf.create({"data": data, "paths": {"work_dir": "here", "data_dir": "there"}})
    stored = OmegaConf.merge({"data": {"folders": ["old"]}}, {"data": data})
    look_here(stored, own)
    assert stored.data.folders == expected
