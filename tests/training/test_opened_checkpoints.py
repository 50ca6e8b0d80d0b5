"""Checkpoints, configs and facts that do not belong together are refused before anything is built."""

import copy
import time
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch.utils.data import DataLoader

from gatewise.cells import GRU, LSTM
from gatewise.kinds.sequences import FeatureFacts, SequenceBatch
from gatewise.nn import Recurrent
from gatewise.runs.run import Run
from gatewise.tasks.classification import SequenceClassification
from gatewise.training.checkpoints import WholeCheckpoints
from gatewise.training.mid_epoch import MidEpochCheckpoint
from gatewise.training.opened import bounded, check_sizes, load_weights
from gatewise.training.resumable import check_optimizer_finite, check_resumable_from

FACTS = FeatureFacts(3, ("a", "b"), (4, 5), (0.0,) * 3, (1.0,) * 3)
CONFIG = OmegaConf.create(
    {
        "task": {"_target_": "gatewise.tasks.classification.SequenceClassification"},
        "data": {"_target_": "gatewise.data.sequences.FeatureSequences"},
        "model": {"_target_": "gatewise.nn.Recurrent", "hidden_size": 4, "num_layers": 1},
    }
)


def a_task(facts=FACTS, cell=None, hidden_size=4):
    return SequenceClassification(
        lambda **sizes: Recurrent(hidden_size=hidden_size, cell=cell or LSTM(), **sizes),
        facts,
        optimizer=lambda weights: torch.optim.Adam(weights, lr=0.01),
    )


def a_trainer(folder: Path, **settings) -> Trainer:
    return Trainer(
        default_root_dir=str(folder),
        accelerator="cpu",
        logger=False,
        plugins=[WholeCheckpoints()],
        callbacks=[
            MidEpochCheckpoint(folder / "checkpoints/last.ckpt"),
            EarlyStopping("val/loss"),
            ModelCheckpoint(folder / "checkpoints", "best", monitor="val/loss"),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder, and the checkpoint of its first epoch."""
    folder = tmp_path_factory.mktemp("run")
    batch = SequenceBatch(torch.randn(4, 5, 3), torch.full((4,), 5), torch.tensor([0, 1, 1, 0]))
    loader = DataLoader([batch, batch], batch_size=None)
    trainer = a_trainer(folder, max_epochs=1)
    trainer.fit(a_task(), loader, loader)
    return Run(folder), torch.load(folder / "checkpoints/best.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def fresh(trained):
    return a_task(), a_trainer(trained[0].folder)


def put(*keys, value):
    def edit(checkpoint):
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        checkpoint[keys[-1]] = value(checkpoint[keys[-1]]) if callable(value) else value

    return edit


def drop(*keys):
    def edit(checkpoint):
        for key in keys[:-1]:
            checkpoint = checkpoint[key]
        del checkpoint[keys[-1]]

    return edit


LOOP = ("loops", "fit_loop")
GROUP = ("optimizer_states", 0, "param_groups", 0)
KEPT = ("optimizer_states", 0, "state", 0)
EDITS = {
    "other shape": (put("state_dict", "head.weight", value=torch.zeros(3, 3)), "3 x 3 .* as weights head"),
    "a word": (put("state_dict", "head.weight", value="x"), "str and no tensor in place of the weights"),
    "sparse": (put("state_dict", "head.weight", value=torch.Tensor.to_sparse), "sparse_coo"),
    "complex": (put("state_dict", "head.weight", value=torch.Tensor.cfloat), "complex64"),
    "whole numbers": (put("state_dict", "head.weight", value=torch.Tensor.long), "int64"),
    "expanded": (put("state_dict", "head.weight", value=torch.zeros(1).expand(10**6, 10**6)), "1000000 x"),
    "one more": (put("state_dict", "zz", value=torch.zeros(1)), "weights 'zz', of which .* none"),
    "a number's": (put("state_dict", 5, value=torch.zeros(1)), "weights '5', of which"),
    "none": (put("state_dict", value={}), "no weights encoder"),
    "no step": (drop("global_step"), "global_step must be a whole number .* got None"),
    "other step": (put("global_step", value=5), "global_step must be the 2 of loops, got 5"),
    "step of text": (put("global_step", value="x"), "global_step must be"),
    "epoch below 0": (put("epoch", value=-3), "epoch must be a whole number of 0 or more, got -3"),
    "epoch, huge": (put("epoch", value=10**30), "epoch must be"),
    "epoch, later": (put("epoch", value=7), "epoch_progress.current.* must be that of epoch 7"),
    "no optimizer": (drop("optimizer_states"), "holds weights alone"),
    "no optimizers": (put("optimizer_states", value=[]), "must be the state of one optimizer, got 0"),
    "optimizer of 5": (put("optimizer_states", value=[5]), "optimizer_states must be a list of mappings"),
    "group more": (put(*GROUP[:-1], value=lambda groups: [*groups, {"params": [9]}]), "of the 5 weights"),
    "no group": (put(*GROUP[:-1], value=[]), "must be of the 5 weights, got 0"),
    "lr of text": (put(*GROUP, "lr", value="x"), "lr must be a number of 0 or more, got 'x'"),
    "lr NaN": (put(*GROUP, "lr", value=float("nan")), "lr must be a number of 0 or more, got nan"),
    "nothing kept": (put(*KEPT[:-1], value={}), "its optimizer has kept nothing"),
    "kept text": (put(*KEPT, value="x"), r"optimizer_states.state\[0\] must be a mapping"),
    "kept of other size": (put(*KEPT, "exp_avg", value=torch.zeros(3)), "exp_avg must be 16 x 3, got '3'"),
    "kept of one": (put(*KEPT, "exp_avg_sq", value=torch.zeros(1)), "exp_avg_sq must be 16 x 3"),
    "callbacks, a list": (put("callbacks", value=[]), "callbacks must be a mapping, got ..;"),
    "callbacks, null": (put("callbacks", value=None), "callbacks must be a mapping, got None"),
    "no callbacks": (drop("callbacks"), "callbacks must be a mapping"),
    "a callback of 5": (put("callbacks", value=lambda c: dict.fromkeys(c, 5)), "callbacks.EarlyStopping"),
    "a callback's list": (put("callbacks", value=lambda _: {5: {}}), "callbacks.5 must be a mapping"),
    "callbacks of other types": (
        put("callbacks", value=lambda c: {name: {key: [1] for key in state} for name, state in c.items()}),
        "callbacks.EarlyStopping.[a-z_]+ must be",
    ),
    "no loops": (drop("loops"), "loops.fit_loop must be a mapping"),
    "loops, empty": (put("loops", value={}), "loops.fit_loop must be a mapping"),
    "a loop of 5": (put(*LOOP, value=5), "loops.fit_loop must be a mapping, got 5"),
    "a count of 3": (put(*LOOP, "epoch_progress", value=3), "epoch_progress must be a mapping, got 3"),
    "a count of text": (put(*LOOP, "epoch_progress", "current", "processed", value="x"), "processed must be"),
    "a count below 0": (put(*LOOP, "epoch_progress", "total", "ready", value=-3), "ready must be a whole"),
    "a count too far": (put(*LOOP, "epoch_progress", "current", "ready", value=10**9), "of epoch 0"),
    "a method of a count": (
        lambda c: c["loops"]["fit_loop"]["epoch_progress"]["current"].update(reset=5),
        "epoch_progress.current.reset is no count, got 5",
    ),
    "no count": (put(*LOOP, "epoch_loop.batch_progress", "total", value={}), "ready must be there"),
    "Lightning 99": (put("pytorch-lightning_version", value="99.0"), "must be one of Lightning's"),
    "Lightning x": (put("pytorch-lightning_version", value="x.y"), "must be one of Lightning's"),
    "Lightning 5": (put("pytorch-lightning_version", value=5), "must be one of Lightning's"),
    "no Lightning": (drop("pytorch-lightning_version"), "must be one of Lightning's"),
    "schedulers of 5": (put("lr_schedulers", value=5), "lr_schedulers must be a list"),
    "scheduler of 5": (lambda c: c.update(scheduler=5), "scheduler must be a mapping"),
    "mid-epoch of 5": (lambda c: c.update(mid_epoch=5), "mid_epoch must be a mapping"),
    "mid-epoch of nobody": (
        lambda c: c.update(
            mid_epoch={"batches": 1, "stepped": 1, "is_last_batch": True, "validation_due": None, "ranks": []}
        ),
        "mid_epoch.ranks must be a list",
    ),
    "metrics of text": (lambda c: c.update(callback_metrics={"a": "x"}), "callback_metrics.a must be"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "message"), EDITS.values(), ids=EDITS)
def test_no_training_goes_on_from_it(edit, message, trained, fresh):
    run, whole = trained
    path = run.folder / "checkpoints/last.ckpt"
    edited = copy.deepcopy(whole)
    edit(edited)
    with pytest.raises(ValueError, match=message) as caught:
        check_resumable_from(path, edited, *fresh)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).endswith("checkpoint=best")  # which to use instead
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


def test_a_whole_one_is_gone_on_from(trained, fresh):
    run, whole = trained
    check_resumable_from(run.folder / "checkpoints/last.ckpt", whole, *fresh)
    more = {**whole, "a_users_own": [1], "hyper_parameters": 5}
    check_resumable_from(run.folder / "checkpoints/last.ckpt", more, *fresh)
    check_optimizer_finite(run.folder, whole)


def test_an_optimizer_of_nan(trained):
    run, whole = trained
    edited = copy.deepcopy(whole)
    edited["optimizer_states"][0]["state"][2]["exp_avg"][0] = float("nan")
    with pytest.raises(ValueError, match="optimizer's exp_avg are not all numbers"):
        check_optimizer_finite(run.folder / "last.ckpt", edited)


def places(node, keys=()):
    """The keys of every value of a checkpoint but its weights."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*keys, key)
        yield from places(child, (*keys, key))


ODD = [
    None,
    True,
    -1,
    0,
    10**30,
    1.5,
    float("nan"),
    "x",
    "",
    [],
    [1],
    {},
    {"a": 1},
    {5: 5},
    torch.zeros(2, 2),
]
ODD += [torch.zeros(1).to_sparse(), torch.zeros(1, device="meta")]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_edit_is_refused_in_one_line_or_may_be_restored(data, trained, fresh):
    run, whole = trained
    path = run.folder / "checkpoints/last.ckpt"
    edited = copy.deepcopy(whole)
    for _ in range(data.draw(st.integers(1, 2))):
        *keys, last = data.draw(st.sampled_from(list(places(edited))))
        node = edited
        for key in keys:
            node = node[key]
        if data.draw(st.booleans()) or isinstance(node, list):
            node[last] = data.draw(st.sampled_from(ODD))
        else:
            del node[last]
        if not list(places(edited)):
            break
    if not isinstance(edited.get("state_dict"), dict):
        return  # read_checkpoint says so
    try:
        check_resumable_from(path, edited, *fresh)
        check_optimizer_finite(path, edited)
    except ValueError as error:
        if not str(error).startswith(f"{path}: ") or "\n" in str(error):
            raise AssertionError(str(error)) from error


@pytest.mark.parametrize("odd", [torch.zeros(1).to_sparse(), torch.zeros(1, device="meta")])
def test_state_of_the_optimizer_that_is_no_plain_tensor(odd, trained):
    run, whole = trained
    path = run.folder / "checkpoints/last.ckpt"
    edited = copy.deepcopy(whole)
    next(iter(edited["optimizer_states"][0]["state"].values()))["step"] = odd
    with pytest.raises(ValueError, match="its optimizer's step are no plain tensor of numbers"):
        check_optimizer_finite(path, edited)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"classes": ("a", "b", "c")}, "facts.json: classes: a size of 3, but the weights head.weight in "),
        ({"classes": tuple(map(str, range(10**6)))}, "classes: a size of 1000000, but"),
        ({"feature_size": 10**11}, "facts.json: feature_size: a size of 100000000000, but the weights enc"),
    ],
)
def test_facts_of_other_weights(facts, message, trained):
    values = {**FACTS.to_dict(), **facts}
    del values["kind"]
    with pytest.raises(ValueError, match=message) as caught:
        check_sizes(trained[0], CONFIG, trained[0].folder / "checkpoints/best.ckpt", FeatureFacts(**values))
    assert "checkpoints/best.ckpt are " in str(caught.value)


def test_names_of_another_run_of_the_same_sizes(trained):
    values = {**FACTS.to_dict(), "classes": FACTS.classes[::-1]}
    del values["kind"]
    path = trained[0].folder / "checkpoints/best.ckpt"
    with pytest.raises(
        ValueError, match=r"facts.json: classes: not the one that the weights in checkpoints/b"
    ):
        check_sizes(trained[0], CONFIG, path, FeatureFacts(**values))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("hidden_size", 10**9, r"model.hidden_size=1000000000: the weights in checkpoints/best.ckpt have 16"),
        ("hidden_size", 10**30, "model.hidden_size=1000"),
        ("hidden_size", 5, "model.hidden_size=5: .* 16 rows, which is not so many for each gate"),
        ("num_layers", 10**6, "model.num_layers=1000000: 1000000 layer.s. in all, but .* the weights of 1;"),
        ("num_layers", 0, "model.num_layers=0: 0 layer"),
        ("bidirectional", True, "num_layers=1, bidirectional: 2 layer"),
    ],
)
def test_a_config_of_other_weights(setting, value, message, trained):
    config = copy.deepcopy(CONFIG)
    OmegaConf.update(config, f"model.{setting}", value)
    began = time.monotonic()
    with pytest.raises(ValueError, match=rf"config\.yaml: (model\.)?{message}"):
        check_sizes(trained[0], config, trained[0].folder / "checkpoints/best.ckpt", FACTS)
    assert time.monotonic() - began < 1


def test_sizes_that_fit(trained):
    check_sizes(trained[0], CONFIG, trained[0].folder / "checkpoints/best.ckpt", FACTS)


def test_a_users_own_part_that_would_fill_the_memory(trained):
    path = trained[0].folder / "checkpoints/best.ckpt"
    with pytest.raises(ValueError, match=r"too small for .* make a tensor of 1e.12 numbers"), bounded(path):
        torch.nn.Linear(10**6, 10**6)
    with pytest.raises(ValueError, match=r"too small for .* make a tensor of inf numbers"), bounded(path):
        torch.empty(10**10, 10**10)
    layers = (torch.nn.Linear(1, 1) for _ in range(10**9))
    with pytest.raises(ValueError, match="make more than 1010 of them"), bounded(path):
        torch.nn.Sequential(*layers)
    with bounded(path):
        torch.nn.Linear(100, 100)
        assert torch.randn(3, generator=torch.Generator()).shape == (3,)
    torch.empty(10**6, 10**3, device="meta")


def test_weights_of_another_cell(trained):
    run, whole = trained
    path = run.folder / "checkpoints/best.ckpt"
    load_weights(a_task(), path, whole)
    with pytest.raises(
        ValueError, match=r"holds no weights .*bias_n, of which this run's model has 4 .*put them back"
    ):
        load_weights(a_task(cell=GRU()), path, whole)
    empty = {name: value.to("meta") for name, value in whole["state_dict"].items()}
    with pytest.raises(ValueError, match="have no values"):
        load_weights(a_task(), path, {"state_dict": empty})
