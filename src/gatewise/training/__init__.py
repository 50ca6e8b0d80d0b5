"""One training: its parts, its loop, its loggers."""
