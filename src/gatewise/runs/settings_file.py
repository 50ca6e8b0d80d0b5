"""The settings of a ``config.yaml`` as plain values by dotted key, read many times as fast as with OmegaConf.

For those who look at hundreds of runs. Nothing is resolved, and nothing is called: an interpolation or a
reference to the environment stays the text that it is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml

from gatewise.runs.moved import with_todays_targets
from gatewise.runs.reading import LARGEST_SETTINGS, read_text
from gatewise.runs.yaml_size import check_size
from gatewise.settings import first_line

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# As OmegaConf, which writes these files, reads them: 1e-3 is a number, and a date is a text.
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)
    |\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class _Loader(_Base):
    yaml_implicit_resolvers: ClassVar[dict[Any, Any]] = {
        first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":float", ":timestamp"))]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_settings(path: Path) -> dict[str, Any]:
    """All settings of a YAML file by dotted key (``model.cell.forget_bias``); lists are values.

    Raises ValueError naming the file where it is no mapping, too large, or not YAML.
    """
    try:
        text = with_todays_targets(read_text(path, LARGEST_SETTINGS))
        check_size(text)
        values = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f":{error.problem_mark.line + 1}"
        raise ValueError(f"{path}{line}: not YAML ({error.problem})") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = first_line(error)
        raise ValueError(reason if str(path) in reason else f"{path}: not YAML ({reason})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: must hold settings (key: value), got a {type(values).__name__}")
    return dict(_flat(values, ""))


def _flat(values: dict[Any, Any], above: str) -> Any:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value
