"""``python -m gatewise``: the same program as the ``gatewise`` command."""

import sys

from gatewise.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
