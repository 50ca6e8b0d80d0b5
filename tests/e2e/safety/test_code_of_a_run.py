"""A stranger's run directory brings no code, whatever it names and wherever the command is given."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning  # noqa: F401 - else each process would import it anew
from omegaconf import OmegaConf
from strangers import Stranger

import gatewise.training.parts  # noqa: F401 - likewise
from gatewise.config.origins import BASES as DEFINED
from gatewise.config.origins import check_origins, check_servers
from gatewise.training.parts import PARTS as CLASSES

VERBS = {
    "evaluate": ("evaluate", "run={}"),
    "predict": ("predict", "run={}", "input={}/example.npy"),
    "resume": ("train", "resume={}"),
}


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    return Stranger(tmp_path)


def _zip(s: Stranger) -> None:
    with zipfile.ZipFile(s.run / "evil.zip", "w") as file:
        file.writestr("evil.py", s.evil)


def _compiled(s: Stranger) -> None:
    source = s.write("evil.py", s.evil)
    py_compile.compile(str(source), str(s.run / "evil.pyc"), doraise=True)
    source.unlink()


def _extension(s: Stranger) -> None:
    (s.run / "evil.abi3.so").write_bytes(b"")


def _module(s: Stranger) -> None:
    s.write("runs/r/evil.py", s.evil)


def _namespace(s: Stranger) -> None:
    s.write("runs/r/nsp/mod.py", s.evil)


def _package(s: Stranger) -> None:
    s.write("runs/r/evil/__init__.py", s.evil)


def _linked_folder(s: Stranger) -> None:
    _module(s)
    (s.work / "link").symlink_to(s.run)


def _linked_module(s: Stranger) -> None:
    _module(s)
    (s.work / "conf").mkdir()
    (s.work / "linked.py").symlink_to(s.run / "evil.py")


def _linked_submodule(s: Stranger) -> None:
    _module(s)
    s.write("mine/__init__.py", "")
    (s.work / "mine" / "cell.py").symlink_to(s.run / "evil.py")


def _linked_package(s: Stranger) -> None:
    _module(s)
    (s.work / "mine").symlink_to(s.run)


def _longer_path(s: Stranger) -> None:
    _module(s)
    s.write("mine/__init__.py", f"__path__.append({str(s.run)!r})\n")


def _own_that_imports(s: Stranger) -> None:
    _module(s)
    s.write("own.py", "from runs.r.evil import Evil\n")


def _own_that_hides_it(s: Stranger) -> None:
    _module(s)
    s.write("own.py", "from gatewise.cells import GRU\nimport runs.r.evil\nclass Evil(GRU): pass\n")


def _bare(s: Stranger) -> None:
    _module(s)
    for name in ("overrides.yaml", "facts.json", "status.json"):
        (s.run / name).unlink()


WAYS: dict[str, tuple[Callable[[Stranger], None], str, tuple[str, ...], str]] = {
    "namespace package, from inside": (_namespace, "runs/r", ("",), "nsp.mod.Evil"),
    "namespace package, from above": (_module, "runs", ("",), "r.evil.Evil"),
    "namespace package, from the top": (_module, ".", ("",), "runs.r.evil.Evil"),
    "the same as an absolute entry": (_module, ".", ("{work}",), "runs.r.evil.Evil"),
    "the run as an entry": (_module, ".", ("{run}",), "evil.Evil"),
    "the run as a relative entry": (_module, ".", ("runs/r",), "evil.Evil"),
    "a linked entry": (_linked_folder, ".", ("{work}/link",), "evil.Evil"),
    "a linked entry, from above": (_linked_folder, ".", ("",), "link.evil.Evil"),
    "a package": (_package, ".", ("{run}",), "evil.Evil"),
    "a zip file": (_zip, ".", ("{run}/evil.zip",), "evil.Evil"),
    "compiled, without its source": (_compiled, ".", ("{run}",), "evil.Evil"),
    "an extension": (_extension, ".", ("{run}",), "evil.Evil"),
    "a linked module beside conf/": (_linked_module, ".", (), "linked.Evil"),
    "a linked module of a package": (_linked_submodule, ".", ("",), "mine.cell.Evil"),
    "a linked package": (_linked_package, ".", ("",), "mine.evil.Evil"),
    "a package with a longer path": (_longer_path, ".", ("",), "mine.evil.Evil"),
    "a module that imports it": (_own_that_imports, ".", ("",), "own.Evil"),
    "a run by nothing but its name": (_bare, ".", ("{run}",), "evil.Evil"),
    "the same, from inside": (_bare, "runs/r", ("",), "evil.Evil"),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_of_a_run_is_imported(stranger: Stranger, way: str) -> None:
    prepare, at, path, target = WAYS[way]
    prepare(stranger)
    stranger.name(target)
    entries = [entry.format(work=stranger.work, run=stranger.run) for entry in path]
    # Nor is it where it is taken for a part.
    answer = stranger.check(at, entries, build=True)
    assert not stranger.pwned.exists()
    assert answer.code == 1
    assert f"model.cell._target_={target}: " in answer.line()


def test_nor_by_a_module_of_the_users_own(stranger: Stranger) -> None:
    _own_that_hides_it(stranger)
    stranger.name("own.Evil")
    answer = stranger.check(path=[""])
    assert not stranger.pwned.exists()
    assert (answer.code, "own" in answer.imported) == (0, False)


@pytest.mark.parametrize("verb", VERBS)
def test_nor_does_a_command(stranger: Stranger, verb: str) -> None:
    stranger.write("runs/r/evil.py", stranger.evil)
    stranger.name("runs.r.evil.Evil")
    answer = stranger(*(word.format("runs/r") for word in VERBS[verb]), path=[""])
    assert not stranger.pwned.exists()
    assert answer.code == 1
    assert "evil.py lies in the run directory" in answer.line()


NO_PARTS = (
    *(
        "pytorch_lightning.callbacks.LambdaCallback",
        "pytorch_lightning.callbacks.lambda_function.LambdaCallback",
    ),
    *("os.system", "builtins.exec", "subprocess.Popen", "runpy.run_path", "code.InteractiveConsole"),
    *("this.s", "antigravity.X", "__main__.X", "sys.modules", "unittest.mock.Mock", "pickle.Unpickler"),
    *("numpy.f2py.__main__.x", "numpy.f2py.f2py2e.X", "hydra.test_utils.a_module.x", "hydra.main.DictConfig"),
    *("torch.hub.load", "torch.load", "torch.nn.Linear", "torch.optim.adam.torch.hub.Load"),
    *("torch.optim.swa_utils.update_bn", "torch.optim.lr_scheduler.torch", "torch.utils.model_zoo.X"),
    *("pytorch_lightning.utilities.rank_zero.rank_zero_only", "pytorch_lightning.Trainer.fit"),
    *("pytorch_lightning.callbacks.timer.os.system", "pytorch_lightning.cli.LightningCLI"),
    *("gatewise.sweeps.slurm._ask", "gatewise.cells.cell.torch.hub.Load", "gatewise.cli.main.main"),
    *("gatewise.cells", "gatewise", "", ".", "a..b", "gatewise.cells.GRU()", "gatewise.cells. GRU", "ünï.X"),
    *("hydra.utils.get_method", "hydra._internal.utils._locate", "omegaconf.OmegaConf.create"),
    *(
        "optuna.samplers.TPESampler",
        "wandb.init",
        "pandas.read_pickle",
        "sklearn.svm.SVC",
        "setuptools.setup",
    ),
    *(None, 7, ["os.system"], {"_target_": "os.system"}),
)


def test_what_is_installed_is_no_part_and_is_not_imported(stranger: Stranger) -> None:
    answer = stranger.check_each(NO_PARTS)
    assert answer.err == ""
    packages = {str(target).partition(".")[0] for target in NO_PARTS}
    assert answer.imported & packages == set()


def test_parts_of_the_libraries_are_parts(stranger: Stranger) -> None:
    answer = stranger.check_each(PARTS)
    assert answer.err.split() == [*PARTS]


PARTS = (
    *("gatewise.cells.GRU", "gatewise.cells.lstm.LSTM", "gatewise.training.wandb.make_logger"),
    *("torch.optim.RMSprop", "torch.optim.adam.Adam", "torch.optim.lr_scheduler.OneCycleLR"),
    *("pytorch_lightning.callbacks.StochasticWeightAveraging", "pytorch_lightning.loggers.CSVLogger"),
    *("pytorch_lightning.callbacks.timer.Timer", "pytorch_lightning.profilers.SimpleProfiler"),
    "pytorch_lightning.Trainer",
)

SCRIPT = "import random\nfrom pathlib import Path\nPath({pwned!r}).touch()\ndraw = random.Random(1)\n"
SCRIPT += "class Plain: pass\nclass Rows(list): pass\ndef make(): pass\n"


@pytest.mark.parametrize("name", ["x", "random", "Path", "draw", "Plain", "Rows", "make", "random.Random"])
def test_a_script_of_the_users_own_is_no_part(stranger: Stranger, name: str) -> None:
    stranger.write("make_strings.py", SCRIPT.format(pwned=str(stranger.pwned)))
    (stranger.work / "conf").mkdir()
    stranger.name(f"make_strings.{name}")
    answer = stranger.check()
    assert not stranger.pwned.exists()
    assert answer.code == 1
    assert f"_target_=make_strings.{name}: " in answer.line()


KEYS = (
    "callbacks.mine",
    "task.extra.deep",
    "data.inner",
    "optimizer",
    "scheduler",
    "trainer.plugins",
    "wandb.x",
)


@pytest.mark.parametrize("key", KEYS)
def test_wherever_it_is_named(stranger: Stranger, key: str) -> None:
    stranger.name("os.system", key)
    assert f"{key}._target_=os.system: " in stranger.check().line()


INSIDE = [
    f"gatewise.{name}"
    for name in (
        *(
            "training.wandb.RunLogger",
            "training.loggers.MetricsFile",
            "training.loggers.RowsBeforeCheckpoints",
        ),
        *("training.checkpoints.PathsInside", "training.mid_epoch.MidEpochCheckpoint"),
        *(
            "training.validations.ValidationsFile",
            "training.trainer.NoProfiler",
            "sweeps.pruning.PruneTraining",
        ),
    )
]


def test_what_gatewise_makes_itself_is_no_part_of_a_config(stranger: Stranger) -> None:
    """It takes paths, and settings of W&B's such as its server, that are not looked at."""
    assert stranger.check_each(INSIDE).err == ""


@pytest.mark.parametrize("key", ["data.mine", "callbacks.mine.inner", "trainer.mine", "logger.mine.a", "x"])
@pytest.mark.parametrize(
    "name", ["loggers.CometLogger", "callbacks.ModelCheckpoint", "profilers.SimpleProfiler", "Trainer"]
)
def test_a_part_of_lightnings_at_another_place(key: str, name: str, stranger: Stranger) -> None:
    """`evaluate` would make it, with nothing of its settings looked at."""
    config = OmegaConf.create({})
    OmegaConf.update(config, key, {"_target_": f"pytorch_lightning.{name}"}, force_add=True)
    with pytest.raises(ValueError, match=r"belongs elsewhere"):
        check_origins(config, stranger.run)


def test_in_a_list(stranger: Stranger) -> None:
    stranger.config.callbacks.mine = [{"a": [{"_target_": "os.system"}]}]
    stranger.save()
    assert "callbacks.mine[0].a[0]._target_=os.system: " in stranger.check().line()


def test_settings_by_their_place_are_none(stranger: Stranger) -> None:
    """They would stand for those that a run's config is looked through for."""
    checkpoints = "pytorch_lightning.callbacks.ModelCheckpoint"
    stranger.config.callbacks.mine = {"_target_": checkpoints, "_args_": [str(stranger.work)]}
    stranger.save()
    assert "no _args_" in stranger.check().line()


def test_the_server_of_a_logger_is_the_users(stranger: Stranger) -> None:
    """Its key would be sent there."""
    settings = {"base_url": "http://of.a.stranger"}
    logger = {"_target_": "pytorch_lightning.loggers.WandbLogger", "settings": settings}
    config = OmegaConf.create({"logger": {"mine": logger}})
    own = OmegaConf.create({"logger": {"mine": {"_target_": logger["_target_"]}}})
    key = "logger.mine.settings.base_url"
    with pytest.raises(ValueError, match=rf"{key}=http://of.a.stranger: a run may not choose where"):
        check_servers(config, ["trainer.max_epochs=2"], stranger.run, own)
    check_servers(config, [f"+{key}=http://of.a.stranger"], stranger.run, own)


PLANTED = ("yaml.py", "omegaconf.py", "hydra/__init__.py", "torch.py", "argparse.py", "json.py", "antlr4.py")
PLANTED += ("hydra_plugins/evil.py", "pandas.py", "sitecustomize.py", "click.py", "wandb.py", "csv.py")


@pytest.mark.parametrize("way", ["-m", pytest.param("PYTHONPATH", marks=pytest.mark.slow)])
def test_modules_in_the_run_stand_for_nothing(stranger: Stranger, way: str) -> None:
    """Those of Python's own start apart, which ``python -m`` takes from where it is given."""
    for name in PLANTED if way == "-m" else ("hydra_plugins/evil.py", "omegaconf.py", "torch.py", "yaml.py"):
        stranger.write(f"runs/r/{name}", stranger.evil)
    program = ["-m", "gatewise"] if way == "-m" else [str(Path(sys.executable).with_name("gatewise"))]
    environment = {
        **os.environ,
        **({"PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:."} if way != "-m" else {}),
    }
    stranger.name("os.system")
    done = subprocess.run(
        [sys.executable, *program, "evaluate", "run=."],
        cwd=stranger.run, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert not stranger.pwned.exists()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert "_target_=os.system" in done.stderr


def test_conf_of_a_run_is_not_read(stranger: Stranger) -> None:
    """Hydra would run the callbacks that it names."""
    stranger.write("runs/r/evil.py", stranger.evil)
    local = f"hydra:\n  callbacks:\n    mine:\n      _target_: os.mkdir\n      path: {stranger.pwned}\n"
    stranger.write("runs/r/conf/local/default.yaml", local)
    answer = stranger("train", "resume=.", at="runs/r")
    assert not stranger.pwned.exists()
    assert f"{stranger.run}/conf is not read: it lies in the run directory" in answer.err


def test_what_parts_derive_from_is_what_is_checked_when_they_are_imported() -> None:
    assert {f"{part.__module__}.{part.__qualname__}" for part in CLASSES} == set(DEFINED.split())


def test_files_of_a_package_in_the_run_are_none_of_an_installed_one(stranger: Stranger) -> None:
    stranger.write("runs/r/evil/__init__.py", stranger.evil)
    stranger.config.data.package = "evil"
    stranger.save()
    answer = stranger("evaluate", "run=runs/r", "data.test_file=x.ts", path=[str(stranger.run)])
    assert not stranger.pwned.exists()
    assert "no package 'evil' is installed here" in answer.line()


OWN = """
from gatewise.cells import GRU
from pytorch_lightning.callbacks import Callback
{imports}

class Mine({base}):
    pass
"""
BASES = {
    "a cell": ("", "GRU", "model.cell"),
    "a callback": ("", "Callback", "callbacks.mine"),
    "by a star": ("from gatewise.cells import *", "LSTM", "model.cell"),
    "by its module": ("import torch", "torch.optim.AdamW", "optimizer"),
    "by another module": ("import gatewise.cells as c", "c.MinGRU", "model.cell"),
    "by a function": ("def base(): return GRU", "base()", "model.cell"),
    "with a mixin": ("class Mixin: pass", "Mixin, GRU", "model.cell"),
}


PLACES = ("working folder", "package", "PYTHONPATH", "installed", "editable")


@pytest.mark.parametrize(
    ("base", "at"),
    [
        pytest.param(base, at, marks=[] if base == "a cell" or at == "working folder" else pytest.mark.slow)
        for base in BASES
        for at in PLACES
    ],
)
def test_a_part_of_the_users_own_is_one(stranger: Stranger, base: str, at: str) -> None:
    imports, derived, key = BASES[base]
    text = OWN.format(imports=imports, base=derived)
    folder = {"PYTHONPATH": "elsewhere/", "installed": "lib/site-packages/", "editable": "src/"}.get(at, "")
    name = "mine_pkg.cells.parts" if at in ("package", "installed") else "mine_parts"
    stranger.write(f"{folder}{name.replace('.', '/')}.py", text)
    (stranger.work / "conf").mkdir()
    stranger.name(f"{name}.Mine", key)
    path = [str(stranger.work / folder)] if folder else []
    answer = stranger.check(path=path)
    believed = not (at == "installed" and derived == "base()")
    assert (name in answer.imported, answer.code) == (believed, not believed), answer.err


@pytest.mark.slow
def test_an_own_part_is_trained_evaluated_and_resumed(stranger: Stranger) -> None:
    shutil.rmtree(stranger.work / "runs")
    stranger.write("mine_parts.py", OWN.format(imports="", base="GRU"))
    (stranger.work / "conf").mkdir()
    fast = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    cell = ["model=gru", "model.cell._target_=mine_parts.Mine", "wandb.mode=disabled", "model.hidden_size=8"]
    for argv in (
        ["train", *cell, *fast, "trainer.max_epochs=1"],
        ["train", "resume=last", "trainer.max_epochs=2", "trainer.devices=1"],
        ["evaluate", "run=last"],
    ):
        answer = stranger(*argv)
        assert (answer.code, answer.err) == (0, ""), answer.out + answer.err
