"""Kinds of data: what a DataModule states and hands over, and a Task takes."""
