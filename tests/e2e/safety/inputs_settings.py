"""Settings, sweeps and words of a command line that make no sense, or that may work."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from harness import Input
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from workplace import Place

SPEECH, SERIES, TEXT = (
    ("experiment=speech/features", "data.train_file=mine.ts"),
    ("experiment=series/csv", "data.file=mine.csv", "data.time_column=date"),
    ("experiment=text/files", "data.files=[mine.txt]"),
)
KINDS = {"speech": SPEECH, "series": SERIES, "text": TEXT}
FAST = (
    *(
        "logger=none",
        "name=x",
        "model.hidden_size=4",
        "trainer.max_epochs=1",
        "+callbacks.timer.duration={seconds: 3}",
    ),
    *("trainer.limit_train_batches=2", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"),
)
PRESETS = {
    "speech": (*SPEECH, "test=false"),
    "series": (*SERIES, "test=false", "scheduler=plateau", "optimizer=sgd", "model=projected_lstm"),
    "text": (*TEXT, "test=false", "scheduler=cosine", "optimizer=adamw", "model=rnn"),
}
"""Between them these have most settings."""

NONSENSE = {
    "a word": "abc",
    "minus one": "-1",
    "zero": "0",
    "half": "0.5",
    "beyond a unit": "1.5",
    "not a number": "nan",
    "infinity": "inf",
    "minus infinity": "-inf",
    "beyond a float": "1e400",
    "beyond 64 bits": "100000000000000000000",
    "2**31": "2147483648",
    "beyond 32 bits": "4294967296",
    "minus 2**63": "-9223372036854775808",
    "no list": "[]",
    "a list": "[1,2]",
    "a list in a list": "[[1],[a,{b:null}]]",
    "a mapping": "{a:1}",
    "a target": "{_target_:os.getcwd}",
    "nothing": "",
    "null": "null",
    "true": "true",
    "an escape code": "'\x1b[31mred'",
    "a line break": "'a\nb'",
    "right to left": "'\u202eabc'",
    "markup": "'[/b][red]:bar:'",
    "up": "../../../elsewhere/new",
    "absolute": "/proc/nonexistent/x",
    "nobody's home": "~nobody1/x",
    "a device": "/dev/null",
    "the environment": "${oc.env:HOME}",
    "an interpolation": "${no.such}",
    "itself": "${..}",
    "5000 letters": "y" * 5000,
    "300 letters": "y" * 300,
    "a letter": "é",
    "a date": "2023-01-01",
    "a range": "interval(0,1)",
    "quotes": "'\"'\"",
}
"""Each by what it is, as it is written after a setting's ``=``."""
_WRONG = {
    bool: ("a word", "beyond a unit", "a list", "a mapping", "an escape code", "5000 letters"),
    int: ("a word", "a list in a list", "a mapping", "not a number", "an escape code", "5000 letters"),
    float: ("a word", "a list in a list", "a mapping", "not a number", "an escape code", "5000 letters"),
}
"""What a setting with a default of this type cannot be."""


def leaves(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of a config with its value, named as on the command line."""
    if isinstance(config, dict) and config:
        for name, value in config.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, config


def of_settings(
    place: Place, count: int, seed: int = 0, presets: Iterable[str] = tuple(PRESETS)
) -> list[Input]:
    """``count`` of all combinations of a setting of conf/ with a nonsense, every setting alike often."""
    draw = random.Random(seed)
    by_setting = []
    seen: set[str] = set()
    for preset in (PRESETS[name] for name in presets):
        config = yaml.safe_load(place("train", *FAST, *preset, "--cfg", "job").out)
        for key, default in leaves(config):
            if key in seen or key.startswith(("trainer.max_time", "callbacks.timer")):
                continue
            seen.add(key)
            names = [*NONSENSE]
            draw.shuffle(names)
            by_setting.append((preset, key, default, names))
    draw.shuffle(by_setting)
    rounds = [
        _of_setting(preset, key, default, names[turn])
        for turn in range(len(NONSENSE))
        for preset, key, default, names in by_setting
    ]
    return rounds[:count]


def _of_setting(preset: tuple[str, ...], key: str, default: Any, name: str) -> Input:
    wrong = name in _WRONG.get(type(default), ())
    words = [word for word in (*FAST, *preset) if word.partition("=")[0] != key]
    argv = ("train", *words, f"{key}={NONSENSE[name]}")
    # Rates and weights that a training ends with: nan is only seen when it is there.
    return Input(f"{key}={name}", argv, right="refused" if wrong else "either", may_begin=not wrong)


_SWEEPS = (
    *("seed=abc,1", "seed=1,1e400", "model=lstm,gruu", "model.hidden_size=interval(0,inf)"),
    *("sweep.params=5", "sweep.params=[1]", "sweep.params={seed:5.5.5}", "sweep.params={nosuch:'1,2'}"),
    *("sweep.seeds=5.5", "sweep.seeds=[a]", "sweep.seeds=[1,1]", "sweep.jobs=0", "sweep.jobs=-3"),
    *("sweep.jobs=abc", "sweep.jobs=1000000000", "sweep.trials=0", "sweep.trials=abc", "sweep.lag=0"),
    *("sweep.sampler=5", "sweep.sampler={_target_:os.getcwd}", "sweep.pruner=abc", "sweep.retries=-1"),
    *("sweep.objectives=[nosuch]", "sweep.directions=[up]", "sweep.resume=nosuch", "sweep.job=5"),
    *("seed=range(1,1000000000)", "seed=range(1,0)", "seed=choice()", "seed=[1,2],abc", "seed=tag(x,1)"),
    *("optimizer.lr=interval(1,0)", "optimizer.lr=interval(nan,1)"),
    *("optimizer.lr=tag(log,interval(0,1))", "model=glob(nosuch*)", "name='\x1b[31m',x"),
    "sweep.wandb_file=/dev/null/x.yaml",
)


def of_sweeps() -> list[Input]:
    """Sweeps over nonsense; none of them may train."""
    base = ("train", "-m", *FAST, *SPEECH, "test=false")
    return [Input(f"-m {text}", (*base, *text.split(" ")), right="refused") for text in _SWEEPS]


_COMMANDS = (
    *([], ["nosuch"], ["\x1b[31mx"], ["x\ny"], ["train", "nosuch"], ["train", "--nosuch"]),
    *(["train", "="], ["train", "=="], ["train", "a=b=c"], ["train", "+"], ["train", "~"]),
    *(["train", "++a.b"], ["train", ""], ["train", "seed"], ["train", "seed=1", "seed=2", "--cfg", "job"]),
    *(["train", "seed="], ["train", "seed={"], ["train", "seed=[1,2"], ["train", "--multirun=x"]),
    *(["train", "--config-path"], ["train", "--cfg"], ["train", "--cfg", "nosuch"]),
    *(["train", "--config-name", "nosuch"], ["train", "--config-dir", "/dev/null"]),
    *(["train", "--config-dir", "\x1b[31m"], ["train", "--config-path", "/nonexistent"]),
    *(["train", "\udcff=1"], ["train", "--package", "x"], ["train", "--info", "nosuch"]),
    *(["train", "\x1b[31m=1"], ["train", "a\nb=1"], ["train", "model=\x1b[31m"]),
    *(["train", "nosuch.deep.er=1"], ["train", "model/cell=1"], ["train", "@a=1"]),
    *(["evaluate", "run=nosuch"], ["evaluate", "run=\x1b[31m"], ["evaluate", "run="]),
    *(["evaluate", "run=mine.ts"], ["evaluate", "run=/dev/null"], ["evaluate", "run=a\nb"]),
    *(["evaluate", f"run={'y' * 5000}"], ["evaluate", "run=runs/r", "split=nosuch"]),
    *(["evaluate", "run=runs/r", "checkpoint=nosuch"], ["evaluate", "run=runs/r", "accelerator=nosuch"]),
    *(["evaluate", "run=runs/r", "output=/dev/null/x"], ["evaluate", "run=runs/r", "output=."]),
    *(["evaluate", "run=runs/r", "data.nosuch=1"], ["evaluate", "run=runs/r", "data.test_file=nosuch"]),
    *(["evaluate", "-m", "run=runs/r,nosuch"], ["predict"], ["predict", "run=runs/r"]),
    *(["predict", "run=runs/r", "input=nosuch.ts"], ["predict", "run=runs/r", "input="]),
    *(["predict", "run=runs/r", "input=\x1b[31m"], ["predict", "run=runs/r", "input=/dev/null"]),
    *(["predict", "run=runs/r", "input=runs"], ["predict", "run=runs/r", "input=~nobody1/x"]),
    *(["predict", "run=runs/r", f"input={'y' * 300}.ts"], ["predict", "run=runs/r", "input=mine.csv"]),
    *(["predict", "run=runs/r", "input=mine.ts", "task.x=1"],),
    *(["predict", "run=runs/t", "input=the king", "task.length=abc"],),
    *(["predict", "run=runs/t", "input="], ["predict", "run=runs/t", "input=the king", "task.length=-1"]),
    *(["sync", "run=nosuch"], ["sync", "jobs=x"], ["sync", "jobs=0"], ["sync", "nosuch=1"]),
    *(["sync", "run=\x1b[31m"], ["completion"], ["completion", "sh"], ["completion", "\x1b[31m"]),
    *(["data", "nosuch"], ["data", "get"], ["data", "get", "nosuch"], ["data", "show", "\x1b[31m"]),
    *(["data", "show", "y" * 5000], ["data", "words=3"], ["data", "words=null"], ["data", "list", "a\nb"]),
    *(["data", "list", "paths.data_dir=null"], ["data", "list", f"paths.data_dir={'y' * 5000}"]),
    *(["data", "get", "mr", "paths.data_dir=/dev/null"], ["data", "get", "../mr"], ["data", "get", ""]),
    *(["completion", "bash", "zsh"], ["bench"], ["bench", "nosuch"], ["bench", "engine", "nosuch"]),
    *(["bench", "training", "--nosuch"], ["bench", "engine", "--steps=abc"], ["train", "resume=nosuch"]),
    *(["train", "resume=\x1b[31m"], ["train", "resume=runs/r", "resume_from=x"]),
    *(["train", "resume=runs/r", "model.hidden_size=8"], ["train", "resume=runs/r", "nosuch=1"]),
    *(["train", "resume=a\nb"], ["train", f"resume={'y' * 5000}"], ["train", "resume=mine.ts"]),
)
_MAY_WORK = ([], ["bench"], ["completion"], ["train", "seed=1", "seed=2", "--cfg", "job"])


def of_commands() -> list[Input]:
    """Command lines that cannot be meant."""
    inputs = []
    for words in _COMMANDS:
        right = "either" if words in _MAY_WORK else "refused"
        inputs.append(Input(f"command {' '.join(words)[:60]!r}", tuple(words), right=right))
    return inputs


def of_drawn_commands(count: int) -> list[Input]:
    """Command lines that hypothesis makes of words, signs and any text."""
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
    keys = st.sampled_from(
        ["model", "seed", "data.train_file", "task", "trainer.devices", "name", "run", "hydra.x"]
    )
    value = st.one_of(text, st.sampled_from([*NONSENSE.values()]))
    word = st.one_of(
        text,
        st.builds("{}={}".format, keys, value),
        st.builds("{}{}={}".format, st.sampled_from("+~@-"), keys, value),
        st.sampled_from(["-m", "--cfg", "job", "--info", "--help", "--resolve", "-cd", "=", "{", "["]),
    )
    verb = st.sampled_from(["evaluate", "predict", "completion", "train", "bench", "nosuch"])
    drawn: list[tuple[str, ...]] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(verb, st.lists(word, min_size=1, max_size=4))
    def keep(verb: str, words: list[str]) -> None:
        # A training that hypothesis hits upon is a short one of the user's own data.
        base = (*FAST, *SPEECH, "test=false") if verb == "train" else ()
        drawn.append((verb, *base, *words))

    keep()
    return [Input(f"drawn {number}", argv, may_begin=True) for number, argv in enumerate(drawn)]
