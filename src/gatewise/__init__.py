"""Gatewise: experiments with recurrent sequence models.

Importing the package is light; torch and Lightning are imported by the modules that need them.
"""

__version__ = "0.1.0"
