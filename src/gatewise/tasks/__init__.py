"""Tasks: the kinds of prediction, a file each, every one a LightningModule over any Recurrent."""

from gatewise.tasks.task import Task

__all__ = ["Task"]
