"""What the processes of a sweep are forked from: importing this imports all that trains."""

from gatewise.launch.imports import import_to_stay

import_to_stay("gatewise.cli.train")
