"""The ``gatewise`` command: a verb a file."""

import sys

from gatewise.launch.own_code import leave_out_runs

# Before anything else is imported, which might be taken from a run directory.
leave_out_runs(sys.argv[1:])
