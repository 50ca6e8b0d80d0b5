"""Payloads of the gate microscope's page, of random numbers as smooth over time as real ones."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

GATES = {"LSTM": ("i", "f", "o"), "GRU": ("r", "z"), "RNN": ()}
STATES = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}
MEANINGS = {
    "i": "input gate: how much of the candidate is written",
    "f": "forget gate: how much of the cell state is kept",
    "o": "output gate: how much of the cell state is shown",
    "r": "reset gate: how much of the past the candidate sees",
    "z": "update gate: how much of the past is kept",
    "n": "candidate",
    "c": "cell state, the long-term memory",
    "h": "hidden state, the output",
}
SENTENCE = ["Bob", "is", "a", "nice", "person", ".", "Dan", "on", "the", "other", "hand", "is", "evil", "."]
LAST = 254


def coded(values: np.ndarray, low: float, high: float) -> str:
    """Values [T, U] in the code that the page reads; NaN is blank."""
    codes = np.clip(np.round((values - low) / (high - low) * LAST), 0, LAST)
    codes = np.where(np.isnan(values), 255, codes).astype(np.uint8)
    return base64.b64encode(zlib.compress(codes.tobytes(), 9)).decode()


def packed(values: Any) -> str:
    """Much text, as the page reads it."""
    return base64.b64encode(zlib.compress(json.dumps(values).encode(), 9)).decode()


def read(model: dict[str, Any], name: str, layer: int = 0, direction: int = 0) -> np.ndarray:
    """The values [T, U] of an array of a payload; blank is NaN."""
    arrays = {array["name"]: array for array in model["arrays"]}
    array = arrays[name]
    if "same" in array:
        return read(model, array["same"], layer, direction)
    codes = np.frombuffer(zlib.decompress(base64.b64decode(array["blocks"][layer][direction])), np.uint8)
    low, high, _ = array["scale"]
    values = np.where(codes == 255, np.nan, low + (high - low) * codes.astype(float) / LAST)
    return values.reshape(model["steps"], -1)


def smooth(draw: np.random.Generator, shape: tuple[int, int], memory: float = 0.9) -> np.ndarray:
    """Random walks [T, U] that return to zero."""
    values = np.zeros(shape)
    noise = draw.normal(size=shape)
    for step in range(1, shape[0]):
        values[step] = memory * values[step - 1] + (1 - memory**2) ** 0.5 * noise[step]
    return values


def rounded(values: np.ndarray, digits: int = 4) -> list[Any]:
    """As lists, to a number of significant digits."""
    return np.vectorize(lambda value: float(f"{value:.{digits}g}"), otypes=[float])(values).tolist()


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def run_cell(cell: str, draw: np.random.Generator, steps: int, hidden: int) -> dict[str, np.ndarray]:
    """Gates and states [T, H] of a made network that follows the cell's equations."""
    gates = {
        name: sigmoid(1.5 * smooth(draw, (steps, hidden)) + draw.normal(size=hidden)) for name in GATES[cell]
    }
    n = np.tanh(1.5 * smooth(draw, (steps, hidden), 0.6))
    if cell == "RNN":
        return {"h": n}
    keep = "f" if cell == "LSTM" else "z"
    gates[keep] = sigmoid(2.0 + 2 * smooth(draw, (steps, hidden), 0.5) + draw.normal(size=hidden))
    write = gates["i"] * n if cell == "LSTM" else (1 - gates["z"]) * n
    memory = np.zeros((steps, hidden))
    memory[0] = write[0]
    for step in range(1, steps):
        memory[step] = gates[keep][step] * memory[step - 1] + write[step]
    arrays = {**gates, "n": n}
    if cell == "LSTM":
        arrays |= {"h": gates["o"] * np.tanh(memory), "c": memory}
    else:
        arrays |= {"h": memory}
    return {**arrays, "kept": gates[keep], "written": write}


def described(
    name: str, cell: str, arrays: list[np.ndarray]
) -> tuple[str, str, str, tuple[float, float, str]]:
    """Name, meaning, kind and scale of an array."""
    states = STATES[cell]
    if name in GATES[cell]:
        return name, MEANINGS[name], "gate", (0.0, 1.0, "share")
    if name == "kept":
        return (
            f"kept {states[-1]}",
            f"share of {states[-1]} that is carried over",
            "kept",
            (0.0, 1.0, "share"),
        )
    most = float(max(np.nanmax(np.abs(array)) for array in arrays))
    scale = (-most, most, "diverging")
    if name == "written":
        return f"written {states[-1]}", f"what is added to {states[-1]}", "written", scale
    return name, MEANINGS[name], "candidate" if name == "n" else "state", scale


def half_lags(kept: np.ndarray) -> dict[str, list[float | None]]:
    """Quartiles over starts of the steps after which less than half is left, for each unit of kept [T, U]."""
    steps, units = kept.shape
    lags = np.full((steps, units), np.inf)
    for start in range(steps):
        left = np.cumprod(kept[start + 1 :], axis=0)
        for unit in range(units):
            below = np.flatnonzero(left[:, unit] < 0.5) if len(left) else ()
            if len(below):
                lags[start, unit] = below[0] + 1
    quartiles = np.quantile(lags, [0.25, 0.5, 0.75], axis=0, method="inverted_cdf")
    rows = [[float(v) if np.isfinite(v) else None for v in row] for row in quartiles]
    return {"low": rows[0], "median": rows[1], "high": rows[2]}


def made_model(
    cell: str = "LSTM",
    names: Sequence[str] = SENTENCE,
    *,
    seed: int = 0,
    name: str | None = None,
    layers: int = 1,
    directions: int = 1,
    hidden: int = 8,
    step: str = "token",
    task: str = "LanguageModelling",
    words: Sequence[tuple[int, int, str]] | None = None,
    parts: bool = True,
) -> dict[str, Any]:
    """One model's part of a payload; without ``parts`` nothing but its arrays is there."""
    draw = np.random.default_rng(seed)
    steps = len(names)
    groups = [[run_cell(cell, draw, steps, hidden) for _ in range(directions)] for _ in range(layers)]
    if parts and cell == "LSTM":
        groups[0][0]["i"][-1] = np.nan  # a step that was not there
    arrays = []
    for key in groups[0][0]:
        told, meaning, kind, scale = described(key, cell, [g[key] for row in groups for g in row])
        blocks = [[coded(group[key], scale[0], scale[1]) for group in row] for row in groups]
        array = {"name": told, "meaning": meaning, "kind": kind, "scale": scale, "blocks": blocks}
        same = next((a["name"] for a in arrays if a["scale"] == scale and a["blocks"] == blocks), None)
        arrays.append(array if same is None else {**array, "blocks": None, "same": same})
    units = [
        [{"numbers": list(range(hidden)), "order": order(group["h"]), "of": hidden} for group in row]
        for row in groups
    ]
    model: dict[str, Any] = {
        "name": name or f"{cell}, runs/text/{cell.lower()}",
        "run": f"runs/text/{cell.lower()}-{seed}",
        "task": task,
        "cell": cell,
        "equations": "i  = σ(U_i x + b_i + W_i h)    input gate\nh' = o · tanh(c')              hidden state",
        "input": " ".join(names),
        "parameters": 123456,
        "layers": layers,
        "directions": directions,
        "hidden": hidden,
        "steps": steps,
        "step": step,
        "names": list(names),
        "words": None if words is None else [list(word) for word in words],
        "arrays": arrays,
        "units": units,
        "memory": None,
        "saturation": [],
        "predictions": None,
        "decided": None,
        "clamps": None,
        "follows": {"problem": "the run's data are no longer at data/text: correlations need them"},
        "gradients": [],
        "gradient_note": "norm over the units",
        "sentences": [],
        "problems": ["nothing but the arrays was asked for"],
    }
    if parts:
        model |= made_parts(cell, draw, groups, names, task)
    return model


def order(values: np.ndarray) -> list[int]:
    """Places of units [T, U] by how they go with the first one, which stands for similarity here."""
    values = np.nan_to_num(values)
    return [int(place) for place in np.argsort(-(values * values[:, :1]).sum(axis=0))]


def made_parts(
    cell: str, draw: np.random.Generator, groups: list[list[dict]], names: Sequence[str], task: str
) -> dict[str, Any]:
    """Everything of a model's payload that is worked out from its arrays and its run."""
    steps, hidden = groups[0][0]["h"].shape
    layers, directions = len(groups), len(groups[0])

    def each(of: Any) -> list[list[Any]]:
        return [[of(group) for group in row] for row in groups]

    kept = "kept" in groups[0][0]
    made: dict[str, Any] = {
        "memory": {"state": STATES[cell][-1], "half": each(lambda g: half_lags(g["kept"]))} if kept else None,
        "saturation": [
            {
                "name": gate,
                "below": each(lambda g, gate=gate: rounded(np.nanmean(g[gate] < 0.1, axis=0))),
                "above": each(lambda g, gate=gate: rounded(np.nanmean(g[gate] > 0.9, axis=0))),
            }
            for gate in GATES[cell]
        ],
        "follows": made_follows(draw, names, layers, directions, hidden),
        "gradients": [
            {
                "state": state,
                "layer": layer,
                "direction": direction,
                "distance": list(range(steps)),
                "median": rounded(1.0 * (rate - 0.04 * (layer + 2 * direction)) ** np.arange(steps)),
                "low": rounded(0.5 * (rate - 0.04 * (layer + 2 * direction)) ** np.arange(steps)),
                "high": rounded(2.0 * (rate - 0.04 * (layer + 2 * direction)) ** np.arange(steps)),
            }
            for state, rate in zip(STATES[cell], (0.6, 0.95), strict=False)
            for layer in range(layers)
            for direction in range(directions)
        ],
        "sentences": [
            "At the full stop (step 5) the forget gate was 0.41 on average over units; over all steps 0.83."
        ],
        "problems": [],
    }
    by_class = task == "SequenceClassification"
    choices = ["low", "middle", "high"] if by_class else ["the", "a", "evil", "nice", "."]
    probabilities = -np.sort(-draw.dirichlet(np.ones(len(choices)), size=steps), axis=1)
    following = [None] * steps if by_class else [*names[1:], None]
    made["predictions"] = {
        "title": "class after each step" if by_class else "next word",
        "steps": [
            [[choices[(i + t) % len(choices)], float(f"{p:.4g}")] for i, p in enumerate(row)]
            for t, row in enumerate(probabilities)
        ],
        "actual": following,
        "surprise": [
            None if name is None else round(float(-np.log(draw.uniform(0.01, 1))), 4) for name in following
        ],
    }
    gradient = draw.normal(size=steps)
    made["decided"] = {
        "answer": choices[0],
        "title": made["predictions"]["title"],
        "gradient": rounded(gradient),
        "left_out": rounded(gradient + 0.5 * draw.normal(size=steps)),
        "agreement": 0.83,
        "note": "a step is left out by taking its mean over the data",
    }
    held = [*GATES[cell], "h"]
    rows = [
        {
            "layer": layer,
            "direction": direction,
            "unit": unit,
            "name": gate,
            "value": value,
            "loss": round(2.0 + float(draw.normal()) * (1 if unit is None else 0.1), 4),
            "answer": choices[int(draw.integers(2))] if unit is None else choices[0],
            "probability": round(float(draw.uniform()), 4),
        }
        for layer in range(layers)
        for direction in range(directions)
        for gate in held
        for value in ("0", "1", "mean")
        for unit in (None, *range(min(hidden, 8)))
    ]
    made["clamps"] = {"loss": 2.0, "answer": choices[0], "rows": rows, "note": "units: those that vary most"}
    return made


def made_follows(
    draw: np.random.Generator, names: Sequence[str], layers: int, directions: int, hidden: int
) -> dict[str, Any]:
    """Correlations with features, ranked over the units of all layers and directions, and contexts."""
    features = ["punctuation", "position", "inside quotes"]

    count = layers * directions * hidden
    r = draw.uniform(-1, 1, size=(len(features), count)).round(4)
    p = (1 - np.abs(r)) ** 3
    table = {
        "r": r.tolist(),
        "p": rounded(p, 3),
        "holm": rounded(np.minimum(1, p * count), 3),
        "rank": ((-np.abs(r)).argsort(axis=1).argsort(axis=1) + 1).tolist(),
    }

    def known(group: int) -> dict[str, Any]:
        own = slice(group * hidden, (group + 1) * hidden)
        return {name: [row[own] for row in rows] for name, rows in table.items()}

    def contexts() -> dict[str, Any]:
        return {
            str(unit): [
                [
                    "the one who wrote it said",
                    str(names[int(draw.integers(len(names)))]),
                    "and then",
                    round(float(v), 3),
                ]
                for v in -np.sort(-draw.uniform(-1, 1, size=6))
            ]
            for unit in range(1, hidden)
        }

    return {
        "array": "h",
        "features": features,
        "steps": 4000,
        "shifts": 999,
        "note": "values are those of the hidden state",
        "units": [[known(layer * directions + d) for d in range(directions)] for layer in range(layers)],
        "contexts": packed([[contexts() for _ in range(directions)] for _ in range(layers)]),
    }


def matched(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Each unit of the first model with one of the second, counted from the other end."""
    pairs = range(min(first["layers"], second["layers"]))
    most = min(first["hidden"], second["hidden"])
    return [
        {
            "layer": [layer, layer],
            "direction": [0, 0],
            "pairs": [[unit, second["hidden"] - 1 - unit, 0.9 - 0.01 * unit] for unit in range(most)],
        }
        for layer in pairs
    ]


def made_inspection(
    *models: dict[str, Any], title: str = "gate microscope", matching: Any = None
) -> dict[str, Any]:
    """The payload of a page of one or two models."""
    return {
        "title": title,
        "version": "0.0",
        "made": "2026-01-02T03:04:05+00:00",
        "models": list(models),
        "matching": matching,
    }


def classified(**settings: Any) -> dict[str, Any]:
    """A model of three classes that reads frames."""
    names = [str(i) for i in range(30)]
    return made_model("GRU", names, step="frame", task="SequenceClassification", **settings)


def forecasting(**settings: Any) -> dict[str, Any]:
    """A model of a series, whose predictions are numbers."""
    names = [f"2026-01-{day:02d}" for day in range(1, 29)]
    model = made_model("LSTM", names, step="time", task="Forecasting", **settings)
    if model["predictions"]:
        values = np.sin(np.arange(len(names)) / 4) * 10
        model["predictions"] = {
            "title": "forecast of the next value",
            "steps": [[["load", float(value)]] for value in values],
            "actual": [*(str(round(float(value), 3)) for value in values[1:]), None],
            "surprise": [None] * len(names),
        }
    return model


def characters(text: str, **settings: Any) -> dict[str, Any]:
    """A model that reads characters, joined to words."""
    words, first = [], 0
    for word in text.split(" "):
        words.append((first, first + len(word) - 1, word))
        first += len(word) + 1
    return made_model("GRU", list(text), words=words, **settings)
