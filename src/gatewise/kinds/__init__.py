"""Kinds of data: the facts and batches that a DataModule provides and a Task uses."""
