"""What the processes of a sweep are forked from: importing this imports all that trains."""

from gatewise.launch.imports import import_to_stay
from gatewise.launch.matplotlib_settings import import_matplotlib

import_matplotlib()
import_to_stay("gatewise.cli.train")
