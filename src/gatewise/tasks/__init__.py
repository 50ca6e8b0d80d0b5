"""Tasks: one kind of prediction per file, each a LightningModule that takes any Recurrent."""

from gatewise.tasks.task import Task

__all__ = ["Task"]
