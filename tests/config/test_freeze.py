"""A multirun composes from the configs as they were when it began."""

from __future__ import annotations

import json
import pickle
from contextlib import contextmanager

import pytest
import yaml
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import OmegaConf

from gatewise.config.compose import conf_folder, hydra_session
from gatewise.config.freeze import freeze, restore, save

FOLDER = conf_folder()


@contextmanager
def loaders(**where):
    """A loader as it is, and one that is frozen."""
    with hydra_session("train", **where) as plain, hydra_session("train", **where) as frozen:
        freeze(frozen.config_loader)
        yield plain.config_loader, frozen.config_loader


def names():
    yield from (path.relative_to(FOLDER).with_suffix("").as_posix() for path in FOLDER.rglob("*.yaml"))


def test_a_frozen_folder_answers_as_the_folder_does():
    with loaders() as (plain, frozen):
        ours, theirs = ((x.repository.sources[1]) for x in (frozen, plain))
        assert theirs.path == ours.path == str(FOLDER)
        assert len(ours.texts) == len(list(names()))
        groups = ["", *(p.relative_to(FOLDER).as_posix() for p in FOLDER.rglob("*") if p.is_dir())]
        assert len(groups) > 10
        for name in [*groups, *names(), "nosuch", "model/nosuch", "model/gru.yaml"]:
            for ask in ("is_group", "is_config"):
                assert getattr(ours, ask)(name) == getattr(theirs, ask)(name), (ask, name)
        for group in groups:
            for kind in (None, ObjectType.CONFIG, ObjectType.GROUP):
                assert ours.list(group, kind) == theirs.list(group, kind), (group, kind)
        for name in names():
            assert ours.load_config(name) == theirs.load_config(name)


@pytest.mark.parametrize("experiment", ["text/king_james", "series/sunspots"])
def test_a_frozen_loader_composes_as_before(experiment):
    overrides = [f"experiment={experiment}", "model=gru", "trainer=ddp"]
    composed = [
        loader.load_configuration("train", overrides, RunMode.MULTIRUN) for loader in loaders_of(loaders)
    ]
    assert OmegaConf.to_container(composed[0]) == OmegaConf.to_container(composed[1])


def loaders_of(manager):
    with manager() as both:
        yield from both


def test_what_is_edited_later_changes_nothing(tmp_path, monkeypatch):
    mine = tmp_path / "conf" / "optimizer" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    text = (FOLDER / "optimizer" / "sgd.yaml").read_text()
    mine.write_text(text.replace("lr: ", "lr: 1"))
    other = tmp_path / "other" / "optimizer" / "other.yaml"
    other.parent.mkdir(parents=True)
    other.write_text(mine.read_text())
    monkeypatch.chdir(tmp_path)

    def rate(loader, choice="mine", *more):
        overrides = [f"optimizer={choice}", *more]
        master = loader.load_configuration("train", overrides, RunMode.MULTIRUN)
        return loader.load_sweep_config(master, overrides).optimizer.lr

    with loaders(extra="other") as (plain, frozen):
        before = rate(plain)
        assert rate(frozen) == rate(frozen, "other") == before
        mine.write_text(text.replace("lr: ", "lr: 2"))
        other.unlink()
        assert rate(plain) != before
        assert rate(frozen) == rate(frozen, "other") == before
        # Also for a launcher that sends the loader to another machine, and where a search path is added.
        sent = pickle.loads(pickle.dumps(frozen))
        assert rate(sent) == before
        assert rate(frozen, "mine", "hydra.searchpath=[pkg://hydra.conf]") == before


def test_a_choice_that_is_gone_or_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with loaders() as (_, frozen), pytest.raises(Exception, match="Could not find 'model/nosuch'"):
        frozen.load_configuration("train", ["model=nosuch"], RunMode.MULTIRUN)


def test_a_file_that_is_no_yaml_is_named_where_it_is_chosen(tmp_path, monkeypatch):
    folder = tmp_path / "conf" / "model"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("a: 1\nb: [\n")
    (folder / "latin.yaml").write_bytes(b"a: \xff")
    (folder / "empty.yaml").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with loaders() as both:
        for loader in both:
            with pytest.raises(yaml.YAMLError, match=rf'in "{folder}/bad.yaml", line 3'):
                loader.load_configuration("train", ["model=bad"], RunMode.MULTIRUN)
            with pytest.raises(UnicodeDecodeError):
                loader.load_configuration("train", ["model=latin"], RunMode.MULTIRUN)
            loader.load_configuration("train", ["model=gru"], RunMode.MULTIRUN)


def test_a_file_is_parsed_once_and_what_was_parsed_stays_as_it_was(monkeypatch):
    parsed = []
    load = OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: parsed.append(str(file.name)) or load(file))
    with hydra_session("train") as hydra:
        freeze(hydra.config_loader)
        composed = [
            hydra.config_loader.load_configuration("train", [f"seed={seed}"], RunMode.RUN)
            for seed in (1, 2, 1)
        ]
        mine = [name for name in parsed if name.startswith(str(FOLDER))]
        assert len(mine) == len(set(mine)) > 8
        assert [config.seed for config in composed] == [1, 2, 1]
        assert OmegaConf.to_container(composed[0]) == OmegaConf.to_container(composed[2])
        sent = pickle.loads(pickle.dumps(hydra.config_loader))
    again = sent.load_configuration("train", ["seed=1"], RunMode.RUN)
    assert OmegaConf.to_container(again.model) == OmegaConf.to_container(composed[0].model)


def test_a_copy_composes_as_the_files_did_and_names_those_that_differ(tmp_path, monkeypatch):
    conf, other = tmp_path / "conf" / "optimizer", tmp_path / "other" / "optimizer"
    text = (FOLDER / "optimizer" / "sgd.yaml").read_text()
    for folder, names in ((conf, ("mine", "gone", "same")), (other, ("added",))):
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.yaml").write_text(text.replace("lr: ", "lr: 1"))
    monkeypatch.chdir(tmp_path)
    path = f"hydra.searchpath=[file://{other.parent}]"

    def rates(loader):
        composed = [
            loader.load_configuration("train", [f"optimizer={name}", path], RunMode.MULTIRUN)
            for name in ("mine", "gone", "same", "added", "adam")
        ]
        return [config.optimizer.lr for config in composed]

    with hydra_session("train") as hydra:
        freeze(hydra.config_loader)
        before = rates(hydra.config_loader)
        save(hydra.config_loader, tmp_path / "copy")
    with hydra_session("train") as hydra:
        assert restore(hydra.config_loader, tmp_path / "copy") == []
        assert rates(hydra.config_loader) == before
    (conf / "mine.yaml").write_text(text)
    (conf / "gone.yaml").unlink()
    (conf / "new.yaml").write_text(text)
    (other / "added.yaml").write_text(text)
    with hydra_session("train") as hydra:
        differing = restore(hydra.config_loader, tmp_path / "copy")
        assert sorted(differing) == [
            conf / "gone.yaml", conf / "mine.yaml", conf / "new.yaml", other / "added.yaml"
        ]  # fmt: skip
        freeze(hydra.config_loader)
        assert rates(hydra.config_loader) == before
        with pytest.raises(Exception, match="Could not find 'optimizer/new'"):
            hydra.config_loader.load_configuration("train", ["optimizer=new"], RunMode.MULTIRUN)
    # Also where there is no conf/ any more.
    monkeypatch.chdir(tmp_path / "copy")
    with hydra_session("train") as hydra:
        restore(hydra.config_loader, tmp_path / "copy")
        assert rates(hydra.config_loader) == before


def test_a_copy_adds_no_package_to_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with hydra_session("train") as hydra:
        freeze(hydra.config_loader)
        save(hydra.config_loader, tmp_path / "copy")
    listed = json.loads((tmp_path / "copy" / "sources.json").read_text())["folders"]
    assert [entry["path"] for entry in listed] == [str(FOLDER)]
    listed.append({"provider": "evil", "path": "pkg://evil_package"})
    (tmp_path / "copy" / "sources.json").write_text(json.dumps({"folders": listed}))
    (tmp_path / "evil_package").mkdir()
    (tmp_path / "evil_package" / "__init__.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    with hydra_session("train") as hydra:
        restore(hydra.config_loader, tmp_path / "copy")
        assert hydra.config_loader.load_configuration("train", [], RunMode.RUN).seed == 1


@pytest.mark.parametrize(
    "content", ["{}", '{"folders": [{"path": "/a"}]}', '{"folders": 3}', '{"folders": ["a"]}']
)
def test_a_damaged_copy_is_named(content, tmp_path):
    (tmp_path / "sources.json").write_text(content)
    with (
        hydra_session("train") as hydra,
        pytest.raises(ValueError, match=r"sources\.json: must list folders"),
    ):
        restore(hydra.config_loader, tmp_path)
