"""What may change when a training is taken up again."""

from __future__ import annotations

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from gatewise.runs.files import write_text
from gatewise.runs.run import Run


def with_overrides(run: Run, overrides: list[str]) -> bool:
    """Put the settings given with ``resume=`` into the run's config.

    Those it was started with may be repeated. Returns whether any differs from what it was.

    Raises ValueError for a group choice (``model=gru``) that differs from the run's: that is another model,
    not this training resumed.
    """
    config, before = run.config(), run.config()
    choices = run.choices()
    for text, override in zip(overrides, OverridesParser.create().parse_overrides(overrides), strict=True):
        key = override.key_or_group
        if key in ("resume", "sweep") or key.startswith(("hydra", "paths")):
            continue
        if key in choices:
            if override.value() != choices[key]:
                raise ValueError(
                    f"{text}: the run was started with {key}={choices[key]}, and a resumed run keeps its "
                    f"parts; leave {key} out, or start a new run"
                )
            continue
        if override.is_delete() or override.is_sweep_override():
            raise ValueError(f"{text}: a resumed run takes plain settings, like trainer.max_epochs=50")
        OmegaConf.update(config, key, override.value(), force_add=override.is_add())
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(config))
    return bool(config != before)
