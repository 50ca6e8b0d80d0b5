"""A sweep composes from the configs as they were when it began."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from gatewise.config.compose import Folders, conf_folder, folders, hydra_session
from gatewise.config.freeze import ConfigCopy, copy_configs

FOLDER = conf_folder()


def composed(loader, *overrides):
    return loader.load_configuration("train", list(overrides), RunMode.MULTIRUN)


def copied(folder, *overrides, extra=None):
    """A copy in ``folder`` of what a sweep with these overrides is composed from."""
    with hydra_session("train", folders(extra=extra)) as loader:
        copy_configs(composed(loader, *overrides), folder)
    return ConfigCopy(folder)


def write_optimizers(folder: Path, *names: str) -> str:
    """Optimizers with a rate of their own; returns the text of one with that of Gatewise."""
    text = (FOLDER / "optimizer" / "sgd.yaml").read_text()
    folder.mkdir(parents=True)
    for name in names:
        (folder / f"{name}.yaml").write_text(text.replace("lr: ", "lr: 1"))
    return text


def rates(loader, *names, overrides=()):
    return [composed(loader, f"optimizer={name}", *overrides).optimizer.lr for name in names]


@pytest.mark.parametrize("experiment", ["text/king_james", "series/sunspots"])
def test_a_copy_composes_as_the_files_do(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [f"experiment={experiment}", "model=gru", "trainer=ddp"]
    copy = copied(tmp_path / "copy", *overrides)
    configs = []
    for where in (None, copy.folders(folders())):
        with hydra_session("train", where) as loader:
            config = OmegaConf.to_container(composed(loader, *overrides))
            configs.append({key: value for key, value in config.items() if key != "hydra"})
    assert configs[0] == configs[1]


@pytest.mark.slow
def test_what_is_edited_later_changes_nothing_and_is_named(tmp_path, monkeypatch):
    conf, extra, added = (tmp_path / name / "optimizer" for name in ("conf", "extra", "added"))
    text = write_optimizers(conf, "mine", "gone", "same")
    write_optimizers(extra, "other")
    write_optimizers(added, "further")
    monkeypatch.chdir(tmp_path)
    search = f"hydra.searchpath=[pkg://hydra.conf,'file://{added.parent}']"
    names = ("mine", "gone", "same", "other", "further", "adam")
    with hydra_session("train", folders(extra="extra")) as loader:
        before = rates(loader, *names, overrides=[search])
        assert len(set(before)) == 2
    copy = copied(tmp_path / "copy", search, extra="extra")
    with hydra_session("train", folders(extra="extra")) as loader:
        assert copy.differing(loader) == []

    (conf / "mine.yaml").write_text(text)
    (conf / "gone.yaml").unlink()
    (conf / "new.yaml").write_text(text)
    (extra / "other.yaml").unlink()
    (added / "further.yaml").write_text(text)
    with hydra_session("train", folders(extra="extra")) as loader:
        assert sorted(copy.differing(loader)) == [
            added / "further.yaml", conf / "gone.yaml", conf / "mine.yaml", conf / "new.yaml",
            extra / "other.yaml",
        ]  # fmt: skip
    where = copy.folders(folders())
    (of_copy,) = copy.overrides([search], "train")
    assert str(added.parent) not in of_copy
    with hydra_session("train", where) as loader:
        assert rates(loader, *names, overrides=[of_copy]) == before
        with pytest.raises(Exception, match="Could not find 'optimizer/new'"):
            rates(loader, "new", overrides=[of_copy])
        # Also where a launcher sends the loader to another machine.
        sent = pickle.loads(pickle.dumps(loader))
    assert rates(sent, *names, overrides=[of_copy]) == before
    # Also where there is no conf/ any more, and where ConfigCopy is asked for the copies of copies.
    monkeypatch.chdir(tmp_path / "copy")
    assert copy.overrides([of_copy], "train") == [of_copy]
    assert copy.folders(where) == where
    with hydra_session("train", ConfigCopy(tmp_path / "copy").folders(folders())) as loader:
        assert rates(loader, *names, overrides=[of_copy]) == before


def test_a_search_path_of_the_primary_config_leads_to_the_copies(tmp_path, monkeypatch):
    added = tmp_path / "added" / "optimizer"
    text = write_optimizers(added, "further")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    primary = (FOLDER / "train.yaml").read_text()
    (tmp_path / "mine" / "train.yaml").write_text(
        primary.replace("\nhydra:\n", f"\nhydra:\n  searchpath: ['{FOLDER}', 'file://{added.parent}']\n")
    )
    with hydra_session("train", folders("mine")) as loader:
        before = rates(loader, "further")
        copy_configs(composed(loader), tmp_path / "copy")
    (added / "further.yaml").write_text(text)
    copy = ConfigCopy(tmp_path / "copy")
    with hydra_session("train", copy.folders(folders())) as loader:
        assert rates(loader, "further", overrides=copy.overrides([], "train")) == before
    # What the command line says takes its place.
    assert copy.overrides(["seed=1", "hydra.searchpath=[]"], "train") == ["seed=1"]


def test_a_copy_is_all_that_is_searched_beside_packages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copy = copied(tmp_path / "copy")
    now = Folders("pkg://hydra.conf", (("working-folder", "/elsewhere"),))
    with hydra_session("train", copy.folders(now)) as loader:
        places = [f"{source.scheme()}://{source.path}" for source in loader.get_sources()]
    assert places == ["pkg://hydra.conf", f"file://{tmp_path}/copy/0", "structured://"]


def test_a_copy_adds_no_package_to_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copied(tmp_path / "copy")
    listed = json.loads((tmp_path / "copy" / "sources.json").read_text())["folders"]
    assert [entry["path"] for entry in listed] == [str(FOLDER)]
    listed.append({"provider": "evil", "path": "pkg://evil_package"})
    (tmp_path / "copy" / "sources.json").write_text(json.dumps({"folders": listed}))
    (tmp_path / "evil_package").mkdir()
    (tmp_path / "evil_package" / "__init__.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    with hydra_session("train", ConfigCopy(tmp_path / "copy").folders(folders())) as loader:
        assert loader.load_configuration("train", [], RunMode.RUN).seed == 1


def test_a_copy_that_names_classes_as_they_were_called_stays_and_composes_with_todays_names(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    task = Path("task") / "classification.yaml"
    copied(tmp_path / "copy")
    old = tmp_path / "copy" / "0" / task
    name = "gatewise.tasks.classification.SequenceClassification"
    old.write_text(old.read_text().replace(name, "gatewise.tasks.SequenceClassification"))
    (old.parent / "latin.yaml").write_bytes(b"a: \xff")
    before = old.read_text()
    copy = ConfigCopy(tmp_path / "copy")
    with hydra_session("train", copy.folders(folders())) as loader:
        assert composed(loader).task["_target_"] == name
    assert old.read_text() == before != (FOLDER / task).read_text()
    with hydra_session("train") as loader:
        # What differs are not the names of classes.
        assert copy.differing(loader) == [FOLDER / "task" / "latin.yaml"]
    assert ConfigCopy(tmp_path / "copy").folders(folders()) == copy.folders(folders())


@pytest.mark.parametrize(
    "content", ["{}", '{"folders": [{"path": "/a"}]}', '{"folders": 3}', '{"folders": ["a"]}']
)
def test_a_damaged_copy_is_named(content, tmp_path):
    (tmp_path / "sources.json").write_text(content)
    with pytest.raises(ValueError, match=r"sources\.json: must list folders"):
        ConfigCopy(tmp_path)


def test_a_strangers_copy_is_small_and_leads_nowhere(tmp_path, monkeypatch):
    copied(tmp_path / "configs")
    sources = json.loads((tmp_path / "configs" / "sources.json").read_text())
    sources["folders"].append({"provider": "x", "path": "/"})
    (tmp_path / "configs" / "sources.json").write_text(json.dumps(sources))
    looked_at = []
    rglob = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda path, *rest: looked_at.append(path) or rglob(path, *rest))
    with hydra_session("train", folders()) as loader:
        ConfigCopy(tmp_path / "configs").differing(loader)
    assert Path("/") not in looked_at

    lines = [f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]" for n in range(12)]
    (tmp_path / "configs" / "0" / "train.yaml").write_text("\n".join(["a: &a [x]", *lines]))
    with pytest.raises(ValueError, match=r"0/train\.yaml: more than 100,000 values"):
        ConfigCopy(tmp_path / "configs")
